//! Tracks as they go into an MP4: coded samples, and what the index says of them.

use super::boxes::{numbers, put, put_full};
use crate::{
    colour::rgb_to_planes,
    fault::{Outcome, broken},
    h264::Encoder,
    info::{Matrix, Range},
    sound::flac,
};
use musiva_core::{Clip, Rate, Sound};

/// A coded track.
pub(super) struct Track {
    pub kind: Kind,
    /// Ticks per second of its clock.
    pub timescale: u32,
    /// How long its samples last, in ticks: runs of (samples, ticks each).
    pub durations: Vec<[u32; 2]>,
    /// Bytes of each sample.
    pub sizes: Vec<u32>,
    /// Numbers, from 1, of the samples from which decoding can start, where they are not all.
    pub syncs: Option<Vec<u32>>,
    /// Its entry in the sample description, a box.
    pub entry: Vec<u8>,
    /// The samples, one after another.
    pub data: Vec<u8>,
}

/// What a track is shown or heard as.
pub(super) enum Kind {
    Pictures { height: usize, width: usize },
    Sound,
}

impl Track {
    /// How long it lasts, in ticks of its clock.
    pub(super) fn duration(&self) -> u64 {
        self.durations.iter().map(|&[count, ticks]| u64::from(count) * u64::from(ticks)).sum()
    }

    /// When each sample starts, in ticks of its clock.
    pub(super) fn starts(&self) -> impl Iterator<Item = u64> + '_ {
        let ticks =
            self.durations.iter().flat_map(|&[count, ticks]| std::iter::repeat_n(u64::from(ticks), count as usize));
        ticks.scan(0, |clock, ticks| {
            let start = *clock;
            *clock += ticks;
            Some(start)
        })
    }

    /// A clip as H.264 with its colours flagged. Sides must be even.
    pub(super) fn pictures(clip: &Clip, qp: u8) -> Outcome<Self> {
        let [frames, height, width] = clip.shape();
        let mut pictures = Pictures::new([height, width], clip.rate(), qp)?;
        let mut data = Vec::new();
        for index in 0..frames {
            pictures.push(clip.frame(index), &mut data)?;
        }
        pictures.finish(data)
    }

    /// A sound as FLAC with samples of 16 bits, of exactly its length.
    pub(super) fn sound(sound: &Sound) -> Outcome<Self> {
        const BITS: u32 = 16;
        let Rate { numerator: rate, denominator: 1 } = sound.rate() else {
            return Err(broken(format!("the sound's rate, {} Hz, is no whole number, as MP4 requires", sound.rate())));
        };
        let stream = flac::encode_stream(sound, rate, BITS)?;
        let block = flac::BLOCK as u32;
        let whole = (sound.length() / flac::BLOCK) as u32;
        let rest = (sound.length() % flac::BLOCK) as u32;
        Ok(Self {
            kind: Kind::Sound,
            timescale: rate,
            durations: [[whole, block], [u32::from(rest > 0), rest]]
                .into_iter()
                .filter(|[count, _]| *count > 0)
                .collect(),
            sizes: stream.frames.iter().map(|frame| frame.len() as u32).collect(),
            syncs: None,
            entry: sound_entry(sound.channels() as u16, BITS as u16, rate, &stream.info),
            data: stream.frames.concat(),
        })
    }
}

/// Pictures on their way into a track, one by one.
pub(super) struct Pictures {
    encoder: Encoder,
    size: [usize; 2],
    rate: Rate,
    sizes: Vec<u32>,
    syncs: Vec<u32>,
    sps: Vec<u8>,
    pps: Vec<u8>,
}

impl Pictures {
    /// Of `[height, width]`, which must be even.
    pub(super) fn new(size: [usize; 2], rate: Rate, qp: u8) -> Outcome<Self> {
        let encoder = Encoder::new(rate, qp)?;
        Ok(Self { encoder, size, rate, sizes: Vec::new(), syncs: Vec::new(), sps: Vec::new(), pps: Vec::new() })
    }

    /// Codes the next picture, `[H, W, 3]`, and puts it behind what is in `data`.
    pub(super) fn push(&mut self, picture: &[u8], data: &mut Vec<u8>) -> Outcome<()> {
        let planes = rgb_to_planes(picture, self.size, Matrix::Bt709, Range::Limited);
        let start = data.len();
        let number = self.sizes.len() as u32 + 1;
        for nal in self.encoder.push(&planes)?.nals {
            match nal.first().map(|head| head & 31) {
                Some(7) => self.sps = nal,
                Some(8) => self.pps = nal,
                kind => {
                    if kind == Some(5) && self.syncs.last() != Some(&number) {
                        self.syncs.push(number);
                    }
                    data.extend_from_slice(&(nal.len() as u32).to_be_bytes());
                    data.extend_from_slice(&nal);
                }
            }
        }
        if data.len() == start {
            return Err(broken("the H.264 encoder left a picture out"));
        }
        self.sizes.push((data.len() - start) as u32);
        Ok(())
    }

    /// The track of all pictures; `data` are theirs, or nothing where they are kept elsewhere.
    pub(super) fn finish(self, data: Vec<u8>) -> Outcome<Track> {
        if self.sps.len() < 4 || self.pps.is_empty() {
            return Err(broken("the H.264 encoder gave no parameter sets"));
        }
        let [height, width] = self.size;
        let (timescale, ticks) = clock(self.rate);
        Ok(Track {
            kind: Kind::Pictures { height, width },
            timescale,
            durations: vec![[self.sizes.len() as u32, ticks]],
            sizes: self.sizes,
            syncs: Some(self.syncs),
            entry: picture_entry(self.size, &self.sps, &self.pps),
            data,
        })
    }
}

/// Ticks per second, and of a frame. Some players round to their own clock when there are too few
/// ticks in a second.
fn clock(rate: Rate) -> (u32, u32) {
    let finer = 10_000u32.div_ceil(rate.numerator);
    match (rate.numerator.checked_mul(finer), rate.denominator.checked_mul(finer)) {
        (Some(timescale), Some(ticks)) => (timescale, ticks),
        _ => (rate.numerator, rate.denominator),
    }
}

fn picture_entry([height, width]: [usize; 2], sps: &[u8], pps: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, b"avc1", |out| {
        numbers(out, &[0, 1, 0, 0, 0, 0]);
        out.extend_from_slice(&(width as u16).to_be_bytes());
        out.extend_from_slice(&(height as u16).to_be_bytes());
        // 72 dots per inch twice, one picture a sample, no name, 24 bits.
        numbers(out, &[72 << 16, 72 << 16, 0]);
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&[0; 32]);
        out.extend_from_slice(&24u16.to_be_bytes());
        out.extend_from_slice(&[0xff, 0xff]);
        put(out, b"avcC", |out| {
            out.extend_from_slice(&[1, sps[1], sps[2], sps[3], 0xff, 0xe1]);
            out.extend_from_slice(&(sps.len() as u16).to_be_bytes());
            out.extend_from_slice(sps);
            out.push(1);
            out.extend_from_slice(&(pps.len() as u16).to_be_bytes());
            out.extend_from_slice(pps);
        });
        put(out, b"colr", |out| {
            // Primaries, transfer and matrix of BT.709, limited range.
            out.extend_from_slice(b"nclx\0\x01\0\x01\0\x01\0");
        });
        put(out, b"pasp", |out| numbers(out, &[1, 1]));
    });
    entry
}

/// "Encapsulation of FLAC in ISO Base Media File Format", §3.3.1 and §3.3.2.
fn sound_entry(channels: u16, bits: u16, rate: u32, info: &[u8; 34]) -> Vec<u8> {
    // There are 16 bits for the rate. A higher one is halved until it fits, and meant as `dfLa` says.
    let halvings = (0..).find(|halvings| rate >> halvings < 1 << 16).unwrap_or(0);
    let mut entry = Vec::new();
    put(&mut entry, b"fLaC", |out| {
        numbers(out, &[0, 1, 0, 0]);
        out.extend_from_slice(&channels.to_be_bytes());
        out.extend_from_slice(&bits.to_be_bytes());
        numbers(out, &[0, (rate >> halvings) << 16]);
        put_full(out, b"dfLa", 0, |out| {
            // The last block of metadata, STREAMINFO, 34 bytes.
            out.extend_from_slice(&[0x80, 0, 0, 34]);
            out.extend_from_slice(info);
        });
    });
    entry
}
