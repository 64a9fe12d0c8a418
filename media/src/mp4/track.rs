//! The video track of a movie: its pictures in the order in which they are shown.

use super::{
    boxes::{Bytes, Top},
    sps::Sps,
    tables::{Edit, Found, Sample, Table, find, in_fragments, media_scale, samples},
};
use crate::{
    fault::{Fault, Outcome, broken},
    info::{Orientation, Stated},
    timeline::Timeline,
};

/// The video track of a movie.
#[derive(Debug)]
pub(crate) struct Track {
    /// In decoding order.
    pub samples: Vec<Sample>,
    /// Indices of all samples in the order of their times.
    pub order: Vec<u32>,
    /// The part of `order` that is shown: samples outside of the edit list's span are decoded only.
    pub shown: std::ops::Range<usize>,
    pub timeline: Timeline,
    /// Seconds of nothing before the first picture.
    pub start: f64,
    pub orientation: Orientation,
    /// SPS and PPS from the sample description, without start codes.
    pub parameter_sets: Vec<Vec<u8>>,
    pub sps: Sps,
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub length_size: usize,
    /// What the `colr` box states.
    pub colour: Stated,
    pub pixel_aspect: Option<(u32, u32)>,
}

impl Track {
    /// The first video track.
    pub(crate) fn parse(top: &Top, file_length: u64) -> Outcome<Self> {
        let moov = Bytes(&top.moov);
        let Found { trak, movie_scale } = find(moov, b"vide")?.ok_or_else(|| broken("it has no video track"))?;
        let mdia = trak.must(&[b"mdia"])?;
        let scale = media_scale(mdia.must(&[b"mdhd"])?)?;
        let stbl = mdia.must(&[b"minf", b"stbl"])?;
        let description = Description::parse(stbl.must(&[b"stsd"])?)?;
        let samples = samples(stbl, file_length)?;
        if samples.times.is_empty() {
            return Err(match in_fragments(top)? {
                true => Fault::Foreign("it is a fragmented MP4".into()),
                false => broken("its video track holds no pictures"),
            });
        }
        let edit = Edit::of(trak, scale, movie_scale)?;
        Self::assemble(samples, edit, scale, orientation(trak.must(&[b"tkhd"])?)?, description)
    }

    fn assemble(
        table: Table,
        edit: Edit,
        scale: u32,
        orientation: Orientation,
        description: Description,
    ) -> Outcome<Self> {
        let Table { times: samples, durations } = table;
        let mut order: Vec<u32> = (0..samples.len() as u32).collect();
        order.sort_by_key(|&index| samples[index as usize].time);
        let time = |place: usize| samples[order[place] as usize].time;
        let lasts = |place: usize| durations.get(order[place] as usize).map_or(0, |&ticks| i64::from(ticks));
        let ends = |place: usize| if place + 1 < order.len() { time(place + 1) } else { time(place) + lasts(place) };
        let first = (0..order.len()).position(|place| time(place) >= edit.from).unwrap_or(order.len());
        let last = first + (first..order.len()).take_while(|&place| edit.shows(time(place), ends(place))).count();
        if first == last {
            return Err(broken("its edit list shows none of its pictures"));
        }
        let from = time(first);
        // Edit lists round: what is within a tick of the movie's clock is not cut.
        let end = edit.to.filter(|&to| to + edit.tick < ends(last - 1)).unwrap_or(ends(last - 1));
        let timeline = Timeline {
            scale,
            starts: (first..last).map(|place| (time(place) - from) as u64).collect(),
            end: (end - from).max(0) as u64,
        };
        Ok(Self {
            order,
            shown: first..last,
            timeline,
            start: edit.wait + (from - edit.from) as f64 / f64::from(scale),
            orientation,
            parameter_sets: description.parameter_sets,
            sps: description.sps,
            length_size: description.length_size,
            colour: description.colour,
            pixel_aspect: description.pixel_aspect,
            samples,
        })
    }
}

fn orientation(mut tkhd: Bytes) -> Outcome<Orientation> {
    let version = tkhd.u32()? >> 24;
    tkhd.take(if version == 1 { 32 } else { 20 })?;
    tkhd.take(16)?;
    let mut matrix = [0; 9];
    for cell in &mut matrix {
        *cell = tkhd.u32()? as i32;
    }
    let [a, b, _, c, d, ..] = matrix;
    Orientation::from_matrix([a, b, c, d])
        .ok_or_else(|| Fault::Foreign("it is to be shown sheared or turned by less than a quarter".into()))
}

/// What the sample description says.
struct Description {
    parameter_sets: Vec<Vec<u8>>,
    sps: Sps,
    length_size: usize,
    colour: Stated,
    pixel_aspect: Option<(u32, u32)>,
}

impl Description {
    fn parse(mut stsd: Bytes) -> Outcome<Self> {
        stsd.take(8)?;
        let (kind, mut entry) = stsd.boxes().next().ok_or_else(|| broken("its sample description is empty"))??;
        if !matches!(&kind, b"avc1" | b"avc3") {
            return Err(Fault::Foreign(format!("its video codec is `{}`, not H.264", kind.escape_ascii())));
        }
        entry.take(78)?;
        let mut avcc = entry.must(&[b"avcC"])?;
        avcc.take(4)?;
        let length_size = usize::from(avcc.u8()? & 3) + 1;
        let mut parameter_sets = Vec::new();
        for mask in [31, 255] {
            for _ in 0..avcc.u8()? & mask {
                let length = avcc.u16()?.into();
                parameter_sets.push(avcc.take(length)?.to_vec());
            }
        }
        let is_sps = |nal: &&Vec<u8>| nal.first().is_some_and(|head| head & 31 == 7);
        let sps = parameter_sets
            .iter()
            .find(is_sps)
            .ok_or_else(|| Fault::Foreign("its H.264 parameters are not in the sample description".into()))?;
        let sps = Sps::parse(sps)?;
        let colour = match entry.find(b"colr")? {
            Some(mut colr) if colr.0.starts_with(b"nclx") || colr.0.starts_with(b"nclc") => {
                colr.take(4)?;
                let mut number = || -> Outcome<_> { Ok(u8::try_from(colr.u16()?).ok()) };
                let [primaries, transfer, matrix] = [number()?, number()?, number()?];
                // `nclc` is QuickTime's older form without the flag.
                let full_range = colr.u8().ok().map(|flags| flags & 0x80 != 0);
                Stated { primaries, transfer, matrix, full_range }
            }
            _ => Stated::default(),
        };
        let pixel_aspect = match entry.find(b"pasp")? {
            Some(mut pasp) => Some((pasp.u32()?, pasp.u32()?)).filter(|&(w, h)| w > 0 && h > 0),
            None => None,
        };
        Ok(Self { parameter_sets, sps, length_size, colour, pixel_aspect })
    }
}
