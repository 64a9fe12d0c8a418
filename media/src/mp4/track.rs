//! The video track of a movie: where its samples lie and when they are shown.

use super::{
    boxes::{Bytes, Top},
    sps::Sps,
};
use crate::{
    fault::{Fault, Outcome, broken},
    info::Orientation,
    timeline::Timeline,
};

/// A coded picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub offset: u64,
    pub size: u32,
    /// Presentation time on the track's clock.
    pub time: i64,
    /// Whether decoding can start here.
    pub sync: bool,
}

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
    /// Matrix and full-range flag of the `colr` box.
    pub colour: Option<(u8, bool)>,
    pub pixel_aspect: Option<(u32, u32)>,
}

/// More samples than any clip that one would train on: two days at 24 frames per second.
const MOST_SAMPLES: usize = 1 << 22;

impl Track {
    /// The first video track.
    pub(crate) fn parse(top: &Top, file_length: u64) -> Outcome<Self> {
        let moov = Bytes(&top.moov);
        let mut movie_scale = 0;
        let mut found = None;
        for entry in moov.boxes() {
            let (kind, payload) = entry?;
            match &kind {
                b"mvhd" => movie_scale = movie_header_scale(payload)?,
                b"trak" if found.is_none() && handler(payload)? == *b"vide" => found = Some(payload),
                _ => {}
            }
        }
        let trak = found.ok_or_else(|| broken("it has no video track"))?;
        let mdia = trak.must(&[b"mdia"])?;
        let scale = media_scale(mdia.must(&[b"mdhd"])?)?;
        let stbl = mdia.must(&[b"minf", b"stbl"])?;
        let description = Description::parse(stbl.must(&[b"stsd"])?)?;
        let samples = samples(stbl, file_length)?;
        if samples.times.is_empty() {
            return Err(match top.fragments || moov.find(b"mvex")?.is_some() {
                true => Fault::Foreign("it is a fragmented MP4".into()),
                false => broken("its video track holds no pictures"),
            });
        }
        let edit = match trak.find(b"edts")? {
            Some(edts) => Edit::parse(edts.must(&[b"elst"])?, scale, movie_scale)?,
            None => Edit::default(),
        };
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
        let last_duration = durations.last().map_or(1, |&ticks| i64::from(ticks.max(1)));
        let ends = |place: usize| if place + 1 < order.len() { time(place + 1) } else { time(place) + last_duration };
        let first = (0..order.len()).position(|place| time(place) >= edit.from).unwrap_or(order.len());
        // A picture counts where at least half of it is inside: edit lists round their durations.
        let inside = |&place: &usize| edit.to.is_none_or(|to| time(place) + (ends(place) - time(place)) / 2 < to);
        let last = first + (first..order.len()).take_while(inside).count();
        if first == last {
            return Err(broken("its edit list shows none of its pictures"));
        }
        let from = time(first);
        let timeline = Timeline {
            scale,
            starts: (first..last).map(|place| (time(place) - from) as u64).collect(),
            end: (ends(last - 1) - from) as u64,
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

fn handler(trak: Bytes) -> Outcome<[u8; 4]> {
    let mut hdlr = trak.must(&[b"mdia", b"hdlr"])?;
    hdlr.take(8)?;
    hdlr.array()
}

fn movie_header_scale(mut mvhd: Bytes) -> Outcome<u32> {
    let version = mvhd.u32()? >> 24;
    mvhd.take(if version == 1 { 16 } else { 8 })?;
    mvhd.u32()
}

fn media_scale(mdhd: Bytes) -> Outcome<u32> {
    movie_header_scale(mdhd)
        .and_then(|scale| if scale > 0 { Ok(scale) } else { Err(broken("its clock has no ticks per second")) })
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

/// The part of the track that is shown, on the track's clock.
#[derive(Default)]
struct Edit {
    from: i64,
    to: Option<i64>,
    /// Seconds before it.
    wait: f64,
}

impl Edit {
    fn parse(mut elst: Bytes, scale: u32, movie_scale: u32) -> Outcome<Self> {
        let version = elst.u32()? >> 24;
        let count = elst.entries(if version == 1 { 20 } else { 12 })?;
        let mut edit = Self::default();
        let mut seen = false;
        for _ in 0..count {
            let (duration, from) = match version {
                1 => (elst.u64()?, elst.u64()? as i64),
                _ => (elst.u32()?.into(), i64::from(elst.u32()? as i32)),
            };
            elst.u32()?;
            let seconds = duration as f64 / f64::from(movie_scale.max(1));
            if from < 0 {
                if !seen {
                    edit.wait += seconds;
                }
                continue;
            }
            if seen {
                return Err(Fault::Foreign("its edit list joins several parts".into()));
            }
            seen = true;
            edit.from = from;
            if duration > 0 && movie_scale > 0 {
                let ticks = u128::from(duration) * u128::from(scale) / u128::from(movie_scale);
                edit.to = i64::try_from(ticks).ok().and_then(|ticks| from.checked_add(ticks));
            }
        }
        Ok(edit)
    }
}

/// What the sample description says.
struct Description {
    parameter_sets: Vec<Vec<u8>>,
    sps: Sps,
    length_size: usize,
    colour: Option<(u8, bool)>,
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
                colr.take(8)?;
                let matrix = colr.u16()?;
                // `nclc` is QuickTime's older form without the flag.
                let full = colr.u8().is_ok_and(|flags| flags & 0x80 != 0);
                u8::try_from(matrix).ok().map(|matrix| (matrix, full))
            }
            _ => None,
        };
        let pixel_aspect = match entry.find(b"pasp")? {
            Some(mut pasp) => Some((pasp.u32()?, pasp.u32()?)).filter(|&(w, h)| w > 0 && h > 0),
            None => None,
        };
        Ok(Self { parameter_sets, sps, length_size, colour, pixel_aspect })
    }
}

/// Samples in decoding order and their durations.
struct Table {
    times: Vec<Sample>,
    durations: Vec<u32>,
}

fn samples(stbl: Bytes, file_length: u64) -> Outcome<Table> {
    let sizes = sizes(stbl.must(&[b"stsz"])?, file_length)?;
    let count = sizes.len();
    let durations = runs(stbl.must(&[b"stts"])?, count)?;
    if durations.len() != count {
        return Err(broken("its table of durations does not cover its pictures"));
    }
    // Written as signed by everybody, whatever the version of the box says.
    let shifts = match stbl.find(b"ctts")? {
        Some(ctts) => runs(ctts, count)?,
        None => Vec::new(),
    };
    let offsets = offsets(stbl, &sizes)?;
    let mut times = Vec::with_capacity(count);
    let mut clock = 0i64;
    for (index, (&size, &offset)) in sizes.iter().zip(&offsets).enumerate() {
        let shift = shifts.get(index).map_or(0, |&shift| i64::from(shift as i32));
        times.push(Sample { offset, size, time: clock + shift, sync: false });
        clock += i64::from(durations[index]);
    }
    match stbl.find(b"stss")? {
        Some(mut stss) => {
            stss.u32()?;
            for _ in 0..stss.entries(4)? {
                let number = stss.u32()? as usize;
                if let Some(sample) = number.checked_sub(1).and_then(|index| times.get_mut(index)) {
                    sample.sync = true;
                }
            }
        }
        None => times.iter_mut().for_each(|sample| sample.sync = true),
    }
    Ok(Table { times, durations })
}

fn sizes(mut stsz: Bytes, file_length: u64) -> Outcome<Vec<u32>> {
    stsz.u32()?;
    let each = stsz.u32()?;
    let sizes: Vec<u32> = if each > 0 {
        let count = u64::from(stsz.u32()?);
        if count.saturating_mul(each.into()) > file_length || count > MOST_SAMPLES as u64 {
            return Err(broken("it lists more pictures than fit into the file"));
        }
        vec![each; count as usize]
    } else {
        let count = stsz.entries(4)?;
        if count > MOST_SAMPLES {
            return Err(Fault::TooBig(format!("it has {count} pictures")));
        }
        (0..count).map(|_| stsz.u32()).collect::<Outcome<_>>()?
    };
    Ok(sizes)
}

/// A table of (count, value) runs, laid out, `most` values at most.
fn runs(mut table: Bytes, most: usize) -> Outcome<Vec<u32>> {
    table.u32()?;
    let mut values = Vec::with_capacity(most);
    for _ in 0..table.entries(8)? {
        let (count, value) = (table.u32()? as usize, table.u32()?);
        let count = count.min(most - values.len());
        values.extend(std::iter::repeat_n(value, count));
    }
    Ok(values)
}

/// Where each sample starts: chunks of consecutive samples, ISO/IEC 14496-12 §8.7.4.
fn offsets(stbl: Bytes, sizes: &[u32]) -> Outcome<Vec<u64>> {
    let chunks: Vec<u64> = match stbl.find(b"stco")? {
        Some(mut stco) => {
            stco.u32()?;
            (0..stco.entries(4)?).map(|_| Ok(stco.u32()?.into())).collect::<Outcome<_>>()?
        }
        None => {
            let mut co64 = stbl.must(&[b"co64"])?;
            co64.u32()?;
            (0..co64.entries(8)?).map(|_| co64.u64()).collect::<Outcome<_>>()?
        }
    };
    let mut stsc = stbl.must(&[b"stsc"])?;
    stsc.u32()?;
    let mut groups = Vec::new();
    for _ in 0..stsc.entries(12)? {
        let (first, samples, description) = (stsc.u32()? as usize, stsc.u32()? as usize, stsc.u32()?);
        if description != 1 {
            return Err(Fault::Foreign("its pictures follow several descriptions".into()));
        }
        groups.push((first, samples));
    }
    let mut offsets = Vec::with_capacity(sizes.len());
    let mut group = 0;
    for (index, &chunk) in chunks.iter().enumerate() {
        while groups.get(group + 1).is_some_and(|&(first, _)| first <= index + 1) {
            group += 1;
        }
        let Some(&(_, samples)) = groups.get(group) else { break };
        let mut at = chunk;
        for _ in 0..samples.min(sizes.len() - offsets.len()) {
            let size = sizes[offsets.len()];
            offsets.push(at);
            at = at.saturating_add(size.into());
        }
    }
    if offsets.len() != sizes.len() {
        return Err(broken("its table of chunks does not cover its pictures"));
    }
    Ok(offsets)
}
