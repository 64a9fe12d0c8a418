//! A clip as H.264 in MP4, for players and browsers: index in front of the pictures, colours flagged,
//! nothing in it that depends on the day or the machine.

use super::{
    boxes::{put, put_full},
    tags,
};
use crate::{
    colour::rgb_to_planes,
    fault::{Outcome, broken},
    h264::Encoder,
    info::{Matrix, Range},
    metadata::Metadata,
};
use musiva_core::Clip;

/// What the index has to say.
struct Index<'a> {
    height: usize,
    width: usize,
    timescale: u32,
    ticks: u32,
    sizes: &'a [u32],
    syncs: &'a [u32],
    sps: &'a [u8],
    pps: &'a [u8],
}

/// The file's bytes. Sides must be even.
pub(crate) fn encode(clip: &Clip, qp: u8, metadata: &Metadata) -> Outcome<Vec<u8>> {
    let [frames, height, width] = clip.shape();
    let mut encoder = Encoder::new(clip.rate(), qp)?;
    let (mut media, mut sizes, mut syncs) = (Vec::new(), Vec::with_capacity(frames), Vec::new());
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    for index in 0..frames {
        let planes = rgb_to_planes(clip.frame(index), [height, width], Matrix::Bt709, Range::Limited);
        let start = media.len();
        for nal in encoder.push(&planes)?.nals {
            match nal.first().map(|head| head & 31) {
                Some(7) => sps = nal,
                Some(8) => pps = nal,
                kind => {
                    if kind == Some(5) && syncs.last() != Some(&(index as u32 + 1)) {
                        syncs.push(index as u32 + 1);
                    }
                    media.extend_from_slice(&(nal.len() as u32).to_be_bytes());
                    media.extend_from_slice(&nal);
                }
            }
        }
        if media.len() == start {
            return Err(broken("the H.264 encoder left a picture out"));
        }
        sizes.push((media.len() - start) as u32);
    }
    if sps.len() < 4 || pps.is_empty() {
        return Err(broken("the H.264 encoder gave no parameter sets"));
    }
    if media.len() > 0xf000_0000 {
        return Err(broken("the coded pictures do not fit into 4 GB"));
    }
    // Some players round to their own clock when there are too few ticks in a second.
    let rate = clip.rate();
    let finer = 10_000u32.div_ceil(rate.numerator);
    let (timescale, ticks) = match (rate.numerator.checked_mul(finer), rate.denominator.checked_mul(finer)) {
        (Some(timescale), Some(ticks)) => (timescale, ticks),
        _ => (rate.numerator, rate.denominator),
    };
    let index = Index { height, width, timescale, ticks, sizes: &sizes, syncs: &syncs, sps: &sps, pps: &pps };

    let mut out = Vec::with_capacity(media.len() + 4096 + 4 * frames);
    put(&mut out, b"ftyp", |out| {
        out.extend_from_slice(b"isom");
        out.extend_from_slice(&512u32.to_be_bytes());
        out.extend_from_slice(b"isomiso2avc1mp41");
    });
    let before = out.len();
    // The index says where the pictures start, and they start behind the index: its size does not
    // depend on what it says.
    index.write(&mut out, 0, metadata);
    let start = out.len() + 8;
    out.truncate(before);
    index.write(&mut out, start as u32, metadata);
    put(&mut out, b"mdat", |out| out.extend_from_slice(&media));
    Ok(out)
}

/// Big-endian numbers.
fn numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// The matrix that changes nothing.
const UPRIGHT: [u32; 9] = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30];

impl Index<'_> {
    fn write(&self, out: &mut Vec<u8>, start: u32, metadata: &Metadata) {
        let duration = u32::try_from(self.sizes.len() as u64 * u64::from(self.ticks)).unwrap_or(u32::MAX);
        put(out, b"moov", |out| {
            put_full(out, b"mvhd", 0, |out| {
                // Made and changed at the epoch: equal clips give equal files.
                numbers(out, &[0, 0, self.timescale, duration, 1 << 16, 0x0100_0000, 0, 0]);
                numbers(out, &UPRIGHT);
                numbers(out, &[0, 0, 0, 0, 0, 0, 2]);
            });
            put(out, b"trak", |out| {
                put_full(out, b"tkhd", 3, |out| {
                    numbers(out, &[0, 0, 1, 0, duration, 0, 0, 0, 0]);
                    numbers(out, &UPRIGHT);
                    numbers(out, &[(self.width as u32) << 16, (self.height as u32) << 16]);
                });
                put(out, b"mdia", |out| {
                    put_full(out, b"mdhd", 0, |out| {
                        // 0x55c4: language undetermined.
                        numbers(out, &[0, 0, self.timescale, duration, 0x55c4_0000]);
                    });
                    put_full(out, b"hdlr", 0, |out| {
                        numbers(out, &[0]);
                        out.extend_from_slice(b"vide");
                        out.extend_from_slice(&[0; 13]);
                    });
                    put(out, b"minf", |out| {
                        put_full(out, b"vmhd", 1, |out| numbers(out, &[0, 0]));
                        put(out, b"dinf", |out| {
                            put_full(out, b"dref", 0, |out| {
                                numbers(out, &[1]);
                                put_full(out, b"url ", 1, |_| {});
                            });
                        });
                        put(out, b"stbl", |out| self.write_table(out, start));
                    });
                });
            });
            tags::write(out, metadata);
        });
    }

    fn write_table(&self, out: &mut Vec<u8>, start: u32) {
        let count = self.sizes.len() as u32;
        put_full(out, b"stsd", 0, |out| {
            numbers(out, &[1]);
            put(out, b"avc1", |out| {
                numbers(out, &[0, 1, 0, 0, 0, 0]);
                out.extend_from_slice(&(self.width as u16).to_be_bytes());
                out.extend_from_slice(&(self.height as u16).to_be_bytes());
                // 72 dots per inch twice, one picture a sample, no name, 24 bits.
                numbers(out, &[72 << 16, 72 << 16, 0]);
                out.extend_from_slice(&1u16.to_be_bytes());
                out.extend_from_slice(&[0; 32]);
                out.extend_from_slice(&24u16.to_be_bytes());
                out.extend_from_slice(&[0xff, 0xff]);
                put(out, b"avcC", |out| {
                    out.extend_from_slice(&[1, self.sps[1], self.sps[2], self.sps[3], 0xff, 0xe1]);
                    out.extend_from_slice(&(self.sps.len() as u16).to_be_bytes());
                    out.extend_from_slice(self.sps);
                    out.push(1);
                    out.extend_from_slice(&(self.pps.len() as u16).to_be_bytes());
                    out.extend_from_slice(self.pps);
                });
                put(out, b"colr", |out| {
                    // Primaries, transfer and matrix of BT.709, limited range.
                    out.extend_from_slice(b"nclx\0\x01\0\x01\0\x01\0");
                });
                put(out, b"pasp", |out| numbers(out, &[1, 1]));
            });
        });
        put_full(out, b"stts", 0, |out| numbers(out, &[1, count, self.ticks]));
        put_full(out, b"stss", 0, |out| {
            numbers(out, &[self.syncs.len() as u32]);
            numbers(out, self.syncs);
        });
        put_full(out, b"stsc", 0, |out| numbers(out, &[1, 1, count, 1]));
        put_full(out, b"stsz", 0, |out| {
            numbers(out, &[0, count]);
            numbers(out, self.sizes);
        });
        put_full(out, b"stco", 0, |out| numbers(out, &[1, start]));
    }
}
