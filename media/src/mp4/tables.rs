//! What the tracks of a movie share: where their samples lie, when they are due, and which part of
//! them is shown.

use super::boxes::{Bytes, Top};
use crate::fault::{Fault, Outcome, broken};

/// A coded picture, or a packet of sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub offset: u64,
    pub size: u32,
    /// Presentation time on the track's clock.
    pub time: i64,
    /// Whether decoding can start here.
    pub sync: bool,
}

/// More samples than any clip that one would train on: two days at 24 frames per second.
const MOST_SAMPLES: usize = 1 << 22;

/// A track that was looked for.
pub(crate) struct Found<'a> {
    pub trak: Bytes<'a>,
    /// Ticks per second of the movie's clock.
    pub movie_scale: u32,
}

/// The first track of `kind` (`vide`, `soun`).
pub(crate) fn find<'a>(moov: Bytes<'a>, kind: &[u8; 4]) -> Outcome<Option<Found<'a>>> {
    let mut movie_scale = 0;
    let mut found = None;
    for entry in moov.boxes() {
        let (name, payload) = entry?;
        match &name {
            b"mvhd" => movie_scale = movie_header_scale(payload)?,
            b"trak" if found.is_none() && handler(payload)? == *kind => found = Some(payload),
            _ => {}
        }
    }
    Ok(found.map(|trak| Found { trak, movie_scale }))
}

/// Whether the samples are in movie fragments, which the tables do not describe.
pub(crate) fn in_fragments(top: &Top) -> Outcome<bool> {
    Ok(top.fragments || Bytes(&top.moov).find(b"mvex")?.is_some())
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

pub(crate) fn media_scale(mdhd: Bytes) -> Outcome<u32> {
    movie_header_scale(mdhd)
        .and_then(|scale| if scale > 0 { Ok(scale) } else { Err(broken("its clock has no ticks per second")) })
}

/// The part of the track that is shown, on the track's clock.
#[derive(Clone, Copy, Default)]
pub(crate) struct Edit {
    pub from: i64,
    pub to: Option<i64>,
    /// Seconds before it.
    pub wait: f64,
    /// A tick of the movie's clock, in ticks of the track's, rounded up: edit lists are no finer.
    pub tick: i64,
}

impl Edit {
    /// The edit list of a track; all of the track where there is none.
    pub(crate) fn of(trak: Bytes, scale: u32, movie_scale: u32) -> Outcome<Self> {
        match trak.find(b"edts")? {
            Some(edts) => Self::parse(edts.must(&[b"elst"])?, scale, movie_scale),
            None => Ok(Self::default()),
        }
    }

    /// Whether a picture from `start` to `end` is shown: at least half of it is inside, or more than a tick of the movie's
    /// clock, to which edit lists round. The duration of the picture that is shown last may be that of its place in decoding
    /// order, and far too long.
    pub(crate) fn shows(&self, start: i64, end: i64) -> bool {
        self.to.is_none_or(|to| start + ((end - start) / 2).min(self.tick) < to)
    }

    fn parse(mut elst: Bytes, scale: u32, movie_scale: u32) -> Outcome<Self> {
        let version = elst.u32()? >> 24;
        let count = elst.entries(if version == 1 { 20 } else { 12 })?;
        let tick = i64::from(scale.div_ceil(movie_scale.max(1)));
        let mut edit = Self { tick, ..Self::default() };
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

/// Samples in decoding order and their durations.
pub(crate) struct Table {
    pub times: Vec<Sample>,
    pub durations: Vec<u32>,
}

/// The samples that the tables in `stbl` describe.
pub(crate) fn samples(stbl: Bytes, file_length: u64) -> Outcome<Table> {
    let sizes = sizes(stbl.must(&[b"stsz"])?, file_length)?;
    let count = sizes.len();
    let durations = runs(stbl.must(&[b"stts"])?, count)?;
    if durations.len() != count {
        return Err(broken("its table of durations does not cover its samples"));
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
            return Err(broken("it lists more samples than fit into the file"));
        }
        vec![each; count as usize]
    } else {
        let count = stsz.entries(4)?;
        if count > MOST_SAMPLES {
            return Err(Fault::TooBig(format!("it has {count} samples")));
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
            return Err(Fault::Foreign("its samples follow several descriptions".into()));
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
        return Err(broken("its table of chunks does not cover its samples"));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shown_up_to_the_end_of_the_edit_as_far_as_its_clock_tells() {
        let edit = |to| Edit { to, tick: 16, ..Edit::default() };
        // ffmpeg's file of pictures at uneven times with B-frames: the last one starts 2,000 ticks before the end, and its
        // own duration is the 22,000 to the next one in decoding order.
        assert!(edit(Some(172_000)).shows(170_000, 192_000));
        // One that starts at the end, which is rounded up; and one that is cut in its middle.
        assert!(!edit(Some(172_008)).shows(172_000, 174_000));
        assert!(edit(Some(172_000)).shows(171_000, 173_000) && !edit(Some(172_000)).shows(171_990, 174_000));
        // Of one that is shorter than two ticks of the movie's clock half has to be inside.
        assert!(edit(Some(104)).shows(100, 106) && !edit(Some(103)).shows(100, 106));
        assert!(edit(None).shows(5, 6));
    }
}
