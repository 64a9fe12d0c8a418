//! A clip, with or without sound, as MP4, for players and browsers: index in front of the media,
//! nothing in it that depends on the day or the machine.
//!
//! Pictures are H.264. Sound is FLAC, for these reasons: Chrome (57), Firefox (51) and Safari (11, 13
//! on a Mac) play it in an MP4, as do QuickTime and ffmpeg; it is lossless and exactly as long as the
//! sound, where AAC, Opus and MP3 put silence in front and behind; and it is free. Of AAC there is no
//! encoder in Rust, and the one in C that builds by itself (Fraunhofer's) has a licence of its own;
//! Opus in MP4 is new in Safari, its library wants CMake, and it knows five sample rates; encoders of
//! MP3 are LGPL; browsers do not play PCM in MP4. The price is size: some 250 kbit/s for speech at
//! 16 kHz and up to 800 kbit/s for music in stereo at 48 kHz.

use super::{
    boxes::{numbers, put, put_full},
    coded::{Kind, Pictures, Track},
    tags,
};
use crate::{
    fault::{Fault, Outcome},
    metadata::Metadata,
};
use musiva_core::{Clip, Rate, Sound};
use std::{
    fs::File,
    io::{self, Seek, Write},
    ops::Range,
};

/// The file's bytes. Sides of the clip must be even.
pub(crate) fn encode(clip: &Clip, sound: Option<&Sound>, qp: u8, metadata: &Metadata) -> Outcome<Vec<u8>> {
    let mut tracks = vec![Track::pictures(clip, qp)?];
    if let Some(sound) = sound {
        tracks.push(Track::sound(sound)?);
    }
    let size = tracks.iter().map(|track| track.data.len()).sum();
    let chunks = interleave(&tracks);
    let mut out = head(&tracks, &chunks, size, metadata)?;
    for chunk in &chunks {
        out.extend_from_slice(&tracks[chunk.track].data[chunk.bytes.clone()]);
    }
    Ok(out)
}

/// A file of pictures alone that come one after the other. Coded, they wait on the disk for the index, which
/// stands before them: memory does not grow with the clip but by a few bytes a picture.
pub(crate) struct Writer {
    pictures: Pictures,
    waiting: File,
    /// Bytes that are waiting.
    size: usize,
}

impl Writer {
    /// For pictures of `[height, width]`, which must be even; `waiting` is an empty file for its use.
    pub(crate) fn new(size: [usize; 2], rate: Rate, qp: u8, waiting: File) -> Outcome<Self> {
        Ok(Self { pictures: Pictures::new(size, rate, qp)?, waiting, size: 0 })
    }

    /// The next picture, `[H, W, 3]`.
    pub(crate) fn push(&mut self, picture: &[u8]) -> Outcome<()> {
        let mut data = Vec::new();
        self.pictures.push(picture, &mut data)?;
        self.size += data.len();
        fits(self.size)?;
        Ok(self.waiting.write_all(&data)?)
    }

    /// Writes the whole file, the same bytes as [`encode`] of all pictures as a clip.
    pub(crate) fn finish(mut self, metadata: &Metadata, out: &mut dyn Write) -> Outcome<()> {
        let tracks = [self.pictures.finish(Vec::new())?];
        out.write_all(&head(&tracks, &interleave(&tracks), self.size, metadata)?)?;
        self.waiting.rewind()?;
        io::copy(&mut self.waiting, out)?;
        Ok(())
    }
}

fn fits(size: usize) -> Outcome<()> {
    match size > 0xf000_0000 {
        true => Err(Fault::TooBig("the coded media do not fit into 4 GB".into())),
        false => Ok(()),
    }
}

/// All of a file before its media, which are `size` bytes.
fn head(tracks: &[Track], chunks: &[Chunk], size: usize, metadata: &Metadata) -> Outcome<Vec<u8>> {
    fits(size)?;
    let mut out = Vec::with_capacity(4096 + tracks.iter().map(|track| 8 * track.sizes.len()).sum::<usize>());
    put(&mut out, b"ftyp", |out| {
        out.extend_from_slice(b"isom");
        out.extend_from_slice(&512u32.to_be_bytes());
        out.extend_from_slice(b"isomiso2avc1mp41");
    });
    let before = out.len();
    // The index says where the media start, and they start behind the index: its size does not
    // depend on what it says.
    write_index(&mut out, tracks, chunks, 0, metadata);
    let start = out.len() + 8;
    out.truncate(before);
    write_index(&mut out, tracks, chunks, start as u32, metadata);
    out.extend_from_slice(&(size as u32 + 8).to_be_bytes());
    out.extend_from_slice(b"mdat");
    Ok(out)
}

/// Consecutive samples of one track.
struct Chunk {
    track: usize,
    samples: u32,
    /// Where they lie in the track's data.
    bytes: Range<usize>,
}

/// The media in the order in which they lie in the file: what starts within the same half second lies
/// together, so that a player need not jump to and fro. Of one track alone, all is one chunk.
fn interleave(tracks: &[Track]) -> Vec<Chunk> {
    let mut samples: Vec<(u64, usize, Range<usize>)> = Vec::new();
    for (index, track) in tracks.iter().enumerate() {
        let mut at = 0;
        for (start, &size) in track.starts().zip(&track.sizes) {
            let bytes = at..at + size as usize;
            at = bytes.end;
            samples.push((2 * start / u64::from(track.timescale), index, bytes));
        }
    }
    samples.sort_by_key(|&(half_second, track, _)| (half_second, track));
    let mut chunks: Vec<Chunk> = Vec::new();
    for (_, track, bytes) in samples {
        match chunks.last_mut() {
            Some(chunk) if chunk.track == track => {
                chunk.samples += 1;
                chunk.bytes.end = bytes.end;
            }
            _ => chunks.push(Chunk { track, samples: 1, bytes }),
        }
    }
    chunks
}

/// The matrix that changes nothing.
const UPRIGHT: [u32; 9] = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30];

/// `ticks` of a clock of `from` per second on a clock of `to` per second, rounded up.
fn rescale(ticks: u64, from: u32, to: u32) -> u32 {
    let exact = u128::from(ticks) * u128::from(to);
    u32::try_from(exact.div_ceil(from.into())).unwrap_or(u32::MAX)
}

/// The index (`moov`) of media that start at byte `start` of the file.
fn write_index(out: &mut Vec<u8>, tracks: &[Track], chunks: &[Chunk], start: u32, metadata: &Metadata) {
    let timescale = tracks[0].timescale;
    let durations: Vec<u32> =
        tracks.iter().map(|track| rescale(track.duration(), track.timescale, timescale)).collect();
    put(out, b"moov", |out| {
        put_full(out, b"mvhd", 0, |out| {
            // Made and changed at the epoch: equal clips give equal files.
            let longest = durations.iter().copied().max().unwrap_or(0);
            numbers(out, &[0, 0, timescale, longest, 1 << 16, 0x0100_0000, 0, 0]);
            numbers(out, &UPRIGHT);
            numbers(out, &[0, 0, 0, 0, 0, 0, tracks.len() as u32 + 1]);
        });
        for (index, (track, &duration)) in tracks.iter().zip(&durations).enumerate() {
            put(out, b"trak", |out| {
                put_full(out, b"tkhd", 3, |out| {
                    let (volume, height, width) = match track.kind {
                        Kind::Pictures { height, width } => (0, height as u32, width as u32),
                        Kind::Sound => (0x0100_0000, 0, 0),
                    };
                    numbers(out, &[0, 0, index as u32 + 1, 0, duration, 0, 0, 0, volume]);
                    numbers(out, &UPRIGHT);
                    numbers(out, &[width << 16, height << 16]);
                });
                put(out, b"mdia", |out| write_media(out, track, index, chunks, start));
            });
        }
        tags::write(out, metadata);
    });
}

fn write_media(out: &mut Vec<u8>, track: &Track, index: usize, chunks: &[Chunk], start: u32) {
    put_full(out, b"mdhd", 0, |out| {
        // 0x55c4: language undetermined.
        let duration = u32::try_from(track.duration()).unwrap_or(u32::MAX);
        numbers(out, &[0, 0, track.timescale, duration, 0x55c4_0000]);
    });
    put_full(out, b"hdlr", 0, |out| {
        numbers(out, &[0]);
        out.extend_from_slice(match track.kind {
            Kind::Pictures { .. } => b"vide",
            Kind::Sound => b"soun",
        });
        out.extend_from_slice(&[0; 13]);
    });
    put(out, b"minf", |out| {
        match track.kind {
            Kind::Pictures { .. } => put_full(out, b"vmhd", 1, |out| numbers(out, &[0, 0])),
            Kind::Sound => put_full(out, b"smhd", 0, |out| numbers(out, &[0])),
        }
        put(out, b"dinf", |out| {
            put_full(out, b"dref", 0, |out| {
                numbers(out, &[1]);
                put_full(out, b"url ", 1, |_| {});
            });
        });
        put(out, b"stbl", |out| write_tables(out, track, index, chunks, start));
    });
}

fn write_tables(out: &mut Vec<u8>, track: &Track, index: usize, chunks: &[Chunk], start: u32) {
    put_full(out, b"stsd", 0, |out| {
        numbers(out, &[1]);
        out.extend_from_slice(&track.entry);
    });
    put_full(out, b"stts", 0, |out| {
        numbers(out, &[track.durations.len() as u32]);
        numbers(out, track.durations.as_flattened());
    });
    if let Some(syncs) = &track.syncs {
        put_full(out, b"stss", 0, |out| {
            numbers(out, &[syncs.len() as u32]);
            numbers(out, syncs);
        });
    }
    let (mut offsets, mut runs, mut at) = (Vec::new(), Vec::<[u32; 3]>::new(), start);
    for chunk in chunks {
        if chunk.track == index {
            offsets.push(at);
            if runs.last().is_none_or(|&[_, samples, _]| samples != chunk.samples) {
                runs.push([offsets.len() as u32, chunk.samples, 1]);
            }
        }
        at += chunk.bytes.len() as u32;
    }
    put_full(out, b"stsc", 0, |out| {
        numbers(out, &[runs.len() as u32]);
        numbers(out, runs.as_flattened());
    });
    put_full(out, b"stsz", 0, |out| {
        numbers(out, &[0, track.sizes.len() as u32]);
        numbers(out, &track.sizes);
    });
    put_full(out, b"stco", 0, |out| {
        numbers(out, &[offsets.len() as u32]);
        numbers(out, &offsets);
    });
}
