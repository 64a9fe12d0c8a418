//! Pictures out of an MP4, in the order in which they are shown.

use super::{boxes::read_top, sps::Sps, tables::Sample, track::Track};
use crate::{
    colour::{Planes, planes_to_rgb},
    fault::{Fault, Outcome, broken},
    h264::Decoder,
    hdr::ToneMap,
    info::{Colours, Format, SourceInfo},
    source::{ReadSeek, Source, Stream},
    timeline::Schedule,
};
use std::{collections::VecDeque, io::SeekFrom};

/// The video track of a file, being decoded.
struct Movie {
    file: Box<dyn ReadSeek>,
    file_length: u64,
    track: Track,
    colours: Colours,
    /// For high dynamic range.
    tone_map: Option<ToneMap>,
    max_pixels: u64,
    decoder: Decoder,
    /// The sample that is to be fed next, in decoding order.
    fed: usize,
    /// Whether the decoder was told that there is no more.
    finished: bool,
    /// Decoded and not yet handed out.
    ready: VecDeque<Planes>,
    /// Place in the track's `order` of the picture that comes out next.
    place: usize,
}

/// Opens the first video track.
pub(crate) fn open(mut file: Box<dyn ReadSeek>, max_pixels: u64) -> Outcome<Stream> {
    let file_length = file.seek(SeekFrom::End(0))?;
    let top = read_top(&mut file, file_length)?;
    let track = Track::parse(&top, file_length)?;
    let (sps, size) = (&track.sps, track.sps.size);
    within(sps, max_pixels)?;
    // ISO/IEC 14496-12 §12.1.5: what the container says about colour goes before the codec's word.
    let colours = Colours::of(track.colour.or(sps.colour), size)?;
    let schedule = Schedule::of(track.timeline.clone())?;
    let info = SourceInfo {
        format: Format::Mp4,
        codec: format!("H.264 {}", sps.profile_name()).trim_end().to_owned(),
        matrix: colours.matrix,
        range: colours.range,
        transfer: colours.transfer,
        colour_stated: colours.stated,
        orientation: track.orientation,
        stored: size,
        pixel_aspect: track.pixel_aspect.or(sps.pixel_aspect).unwrap_or((1, 1)),
        rate: schedule.rate,
        constant_rate: schedule.is_even(),
        frames: schedule.frames,
        still: false,
        start: track.start,
    };
    let mut movie = Movie {
        file,
        file_length,
        colours,
        tone_map: ToneMap::new(colours.transfer, colours.wide),
        max_pixels,
        decoder: Decoder::new()?,
        fed: 0,
        finished: false,
        ready: VecDeque::new(),
        place: 0,
        track,
    };
    movie.seek(0)?;
    Ok(Stream { info, schedule, source: Box::new(movie) })
}

fn within(sps: &Sps, max_pixels: u64) -> Outcome<()> {
    if sps.coded_pixels > max_pixels {
        let [height, width] = sps.size;
        return Err(Fault::TooBig(format!(
            "its pictures have {width}×{height} pixels, more than the limit of {max_pixels}"
        )));
    }
    Ok(())
}

impl Source for Movie {
    fn next(&mut self, into: Option<&mut Vec<u8>>) -> Outcome<bool> {
        if self.place >= self.track.shown.end {
            return Ok(false);
        }
        loop {
            let planes = self.decode()?;
            let place = self.place;
            self.place += 1;
            if place < self.track.shown.start {
                continue;
            }
            if [planes.height, planes.width] != self.track.sps.size {
                return Err(broken("its pictures change their size"));
            }
            if let Some(pixels) = into {
                pixels.clear();
                planes_to_rgb(&planes, self.colours.matrix, self.colours.range, pixels);
                if let Some(map) = &self.tone_map {
                    // 255 · 257 is 65,535.
                    let wide = pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]].map(|code| u16::from(code) * 257));
                    let mut mapped = Vec::with_capacity(pixels.len());
                    map.apply(wide, &mut mapped);
                    *pixels = mapped;
                }
            }
            return Ok(true);
        }
    }

    fn seek(&mut self, picture: usize) -> Outcome<usize> {
        let wanted = self.track.shown.start + picture;
        let Some(&sample) = self.track.order.get(wanted) else {
            return Err(broken("there is no such picture"));
        };
        // The place of a start in `order` is the number of samples that are shown before it: an IDR
        // picture parts those decoded before it from those decoded after it.
        let time = self.track.samples[sample as usize].time;
        let mut start = 0;
        let mut place = 0;
        for index in (1..=sample as usize).rev() {
            let candidate = self.track.samples[index];
            if candidate.sync && candidate.time <= time && self.is_idr(candidate)? {
                start = index;
                let order = &self.track.order;
                place = order.partition_point(|&other| self.track.samples[other as usize].time < candidate.time);
                break;
            }
        }
        self.decoder = Decoder::new()?;
        self.fed = start;
        self.finished = false;
        self.ready.clear();
        self.place = place;
        let mut sets = Vec::new();
        for nal in &self.track.parameter_sets {
            put_nal(&mut sets, nal);
        }
        self.decoder.push(&sets)?;
        Ok(place.saturating_sub(self.track.shown.start))
    }
}

impl Movie {
    /// The next picture in the order of showing.
    fn decode(&mut self) -> Outcome<Planes> {
        loop {
            if let Some(planes) = self.ready.pop_front() {
                return Ok(planes);
            }
            if let Some(&sample) = self.track.samples.get(self.fed) {
                let picture = self.access_unit(sample)?;
                self.ready.extend(self.decoder.push(&picture)?);
                self.fed += 1;
            } else if self.finished {
                return Err(Fault::Undecoded("our decoder makes fewer pictures than it lists".into()));
            } else {
                self.ready.extend(self.decoder.finish()?);
                self.finished = true;
            }
        }
    }

    fn sample(&mut self, sample: Sample) -> Outcome<Vec<u8>> {
        if sample.offset.checked_add(sample.size.into()).is_none_or(|end| end > self.file_length) {
            return Err(broken("the file ends before its last picture"));
        }
        let mut bytes = vec![0; sample.size as usize];
        self.file.seek(SeekFrom::Start(sample.offset))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A sample with start codes instead of lengths, and without what the decoder must not see.
    fn access_unit(&mut self, sample: Sample) -> Outcome<Vec<u8>> {
        let bytes = self.sample(sample)?;
        let mut out = Vec::with_capacity(bytes.len() + 16);
        for nal in nals(&bytes, self.track.length_size) {
            let nal = nal?;
            match nal.first().map(|head| head & 31) {
                // A parameter set on the way may declare any size: checked before it is believed.
                Some(7) => {
                    let sps = Sps::parse(nal)?;
                    within(&sps, self.max_pixels)?;
                    if sps.size != self.track.sps.size {
                        return Err(broken("its pictures change their size"));
                    }
                    put_nal(&mut out, nal);
                }
                // Layers for scalable and for stereo video, which say nothing about the base layer.
                Some(14 | 15 | 20) | None => {}
                Some(_) => put_nal(&mut out, nal),
            }
        }
        Ok(out)
    }

    fn is_idr(&mut self, sample: Sample) -> Outcome<bool> {
        let bytes = self.sample(sample)?;
        let mut kinds = nals(&bytes, self.track.length_size).flatten();
        Ok(kinds.any(|nal| nal.first().is_some_and(|head| head & 31 == 5)))
    }
}

fn put_nal(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(nal);
}

/// The NAL units of a sample, each behind its length of `length_size` bytes.
fn nals(sample: &[u8], length_size: usize) -> impl Iterator<Item = Outcome<&[u8]>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = rest.split_at_checked(length_size).and_then(|(length, behind)| {
            let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            behind.split_at_checked(length)
        });
        let Some((nal, behind)) = split else {
            rest = &[];
            return Some(Err(broken("a coded picture is shorter than its parts")));
        };
        rest = behind;
        Some(Ok(nal))
    })
}
