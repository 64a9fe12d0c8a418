//! FLAC (RFC 9639), written: for `.flac` files and for the sound of our MP4s.
//!
//! By our own hand. The one encoder in Rust that is kept up, `flacenc`, brings fifteen crates, among
//! them a second generation of hashes, hands out whole streams where MP4 wants frames, and does not
//! write words of ours; what we need of the format is below: fixed and linear prediction, the four
//! ways to couple two channels, and Rice codes in partitions. The stream is of the streamable subset
//! (§7) up to 48 kHz, and the same on every machine: there is no transcendental function in it.

mod bits;
mod predict;
mod rice;

use super::quantize::quantize;
use crate::{
    fault::{Fault, Outcome, broken},
    metadata::Metadata,
};
use bits::{BitWriter, crc8, crc16};
use musiva_core::Sound;
use predict::Subframe;
use std::io::{Read, Seek, SeekFrom};

/// Samples of each channel in a block. The last block may be shorter.
pub(crate) const BLOCK: usize = 4096;

/// A coded sound.
pub(crate) struct Stream {
    /// The payload of the block STREAMINFO (§8.2).
    pub info: [u8; 34],
    /// One for each [`BLOCK`] samples.
    pub frames: Vec<Vec<u8>>,
}

/// The bytes of a `.flac` file.
pub(crate) fn encode(sound: &Sound, rate: u32, bits: u32, metadata: &Metadata) -> Outcome<Vec<u8>> {
    let stream = encode_stream(sound, rate, bits)?;
    let mut out = b"fLaC".to_vec();
    let mut block = |kind: u8, payload: &[u8]| {
        out.push(kind);
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(payload);
    };
    block(0, &stream.info);
    let words = comments(metadata);
    if words.len() >= 1 << 24 {
        return Err(Fault::TooBig("its metadata are larger than 16 MB, which is the most that FLAC holds".into()));
    }
    // 0x80: the last block before the sound.
    block(0x80 | 4, &words);
    out.extend(stream.frames.into_iter().flatten());
    Ok(out)
}

/// Vorbis comments (§8.6): who wrote it, then `key=value` for each pair.
fn comments(metadata: &Metadata) -> Vec<u8> {
    const WRITER: &str = "musiva";
    let mut out = Vec::new();
    out.extend_from_slice(&(WRITER.len() as u32).to_le_bytes());
    out.extend_from_slice(WRITER.as_bytes());
    out.extend_from_slice(&(metadata.iter().count() as u32).to_le_bytes());
    for (key, value) in metadata.iter() {
        out.extend_from_slice(&((key.len() + 1 + value.len()) as u32).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
    out
}

/// The Vorbis comments of a `.flac` file, whoever wrote it.
pub(crate) fn metadata(file: &mut (impl Read + Seek + ?Sized)) -> Outcome<Metadata> {
    let mut metadata = Metadata::new();
    file.seek(SeekFrom::Start(4))?;
    loop {
        let mut head = [0; 4];
        file.read_exact(&mut head)?;
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]);
        if head[0] & 0x7f == 4 {
            let mut block = Vec::new();
            file.take(size.into()).read_to_end(&mut block)?;
            read_comments(&block, &mut metadata).ok_or_else(|| broken("its comments are shorter than they say"))?;
        } else {
            file.seek(SeekFrom::Current(size.into()))?;
        }
        if head[0] & 0x80 != 0 {
            return Ok(metadata);
        }
    }
}

fn read_comments(block: &[u8], metadata: &mut Metadata) -> Option<()> {
    let number = |rest: &[u8]| Some((u32::from_le_bytes(*rest.first_chunk()?) as usize, rest.len() - 4));
    let text = |rest: &mut &[u8]| {
        let (length, left) = number(rest)?;
        let (text, behind) = rest[rest.len() - left..].split_at_checked(length)?;
        *rest = behind;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    let mut rest = block;
    text(&mut rest)?;
    let (count, left) = number(rest)?;
    rest = &rest[rest.len() - left..];
    for _ in 0..count {
        let pair = text(&mut rest)?;
        if let Some((key, value)) = pair.split_once('=') {
            metadata.push_found(key.into(), value.into());
        }
    }
    Some(())
}

/// Codes `sound` in whole numbers of `bits` bits, 16 or 24.
pub(crate) fn encode_stream(sound: &Sound, rate: u32, bits: u32) -> Outcome<Stream> {
    let (channels, length) = (sound.channels(), sound.length());
    if channels > 8 {
        return Err(broken(format!("FLAC holds up to 8 channels; these are {channels}")));
    }
    if rate >= 1 << 20 || length >= 1 << 36 {
        return Err(broken(format!("FLAC holds less than 2^20 Hz and 2^36 samples; these are {rate} and {length}")));
    }
    let mut frames = Vec::with_capacity(length.div_ceil(BLOCK));
    for (number, block) in sound.samples().chunks(BLOCK * channels).enumerate() {
        let plane = |channel: usize| {
            block[channel..].iter().step_by(channels).map(|&sample| quantize(sample, bits)).collect::<Vec<i32>>()
        };
        let planes: Vec<_> = (0..channels).map(plane).collect();
        frames.push(frame(number as u64, rate, bits, &planes));
    }
    let sizes = || frames.iter().map(|frame: &Vec<u8>| frame.len() as u64);
    let mut info = BitWriter::new();
    info.put(BLOCK as u64, 16);
    info.put(BLOCK as u64, 16);
    info.put(sizes().min().unwrap_or(0), 24);
    info.put(sizes().max().unwrap_or(0), 24);
    info.put(rate.into(), 20);
    info.put(channels as u64 - 1, 3);
    info.put(u64::from(bits) - 1, 5);
    info.put(length as u64, 36);
    // No MD5 of the samples: every frame has its own check.
    let mut bytes = [0; 34];
    bytes[..18].copy_from_slice(&info.finish());
    Ok(Stream { info: bytes, frames })
}

/// One frame (§9): all channels of a block.
fn frame(number: u64, rate: u32, bits: u32, planes: &[Vec<i32>]) -> Vec<u8> {
    let length = planes[0].len();
    let (coupling, subframes) = couple(planes, bits);
    let mut out = BitWriter::new();
    // The mark of a frame, blocks of a fixed size.
    out.put(0xfff8, 16);
    // 12: 4096 samples; 7: as many, less one, as 16 bits below say.
    out.put(if length == BLOCK { 12 } else { 7 }, 4);
    const RATES: [u32; 12] =
        [0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];
    let listed = RATES.iter().position(|&listed| listed == rate).filter(|&code| code > 0);
    let code = listed.unwrap_or(if rate < 1 << 16 { 13 } else { 0 });
    out.put(code as u64, 4);
    out.put(coupling, 4);
    out.put(if bits == 16 { 4 } else { 6 }, 3);
    out.put(0, 1);
    out.put_number(number);
    if length != BLOCK {
        out.put(length as u64 - 1, 16);
    }
    if code == 13 {
        out.put(rate.into(), 16);
    }
    let check = crc8(out.bytes());
    out.put(check.into(), 8);
    for subframe in &subframes {
        subframe.write(&mut out);
    }
    out.align();
    let check = crc16(out.bytes());
    out.put(check.into(), 16);
    out.finish()
}

/// The number of the channel assignment (§9.1.3) and the coded channels, by which a frame is shortest.
fn couple(planes: &[Vec<i32>], bits: u32) -> (u64, Vec<Subframe>) {
    let [left, right] = planes else {
        return (planes.len() as u64 - 1, planes.iter().map(|plane| Subframe::best(plane, bits)).collect());
    };
    let join = |by: fn(i32, i32) -> i32| left.iter().zip(right).map(|(&l, &r)| by(l, r)).collect::<Vec<_>>();
    let [left, right] = [left, right].map(|plane| Subframe::best(plane, bits));
    let middle = Subframe::best(&join(|l, r| (l + r) >> 1), bits);
    // A difference needs one bit more.
    let side = Subframe::best(&join(|l, r| l - r), bits + 1);
    let cost = [
        left.cost() + right.cost(),
        left.cost() + side.cost(),
        side.cost() + right.cost(),
        middle.cost() + side.cost(),
    ];
    let best = (0..4).min_by_key(|&way| cost[way]).unwrap_or(0);
    match best {
        0 => (1, vec![left, right]),
        1 => (8, vec![left, side]),
        2 => (9, vec![side, right]),
        _ => (10, vec![middle, side]),
    }
}
