//! WAV (RIFF/WAVE, "Multimedia Programming Interface and Data Specifications 1.0", 1991, and
//! Microsoft's "Multiple Channel Audio Data and WAVE Files"): a header, the words, the samples.
//!
//! By our own hand, because the headers are forty bytes and the usual library cannot write the
//! words that go between them.

use super::{SampleFormat, info_list, quantize::quantize};
use crate::{
    fault::{Fault, Outcome},
    metadata::Metadata,
};
use musiva_core::Sound;

const INTEGERS: u16 = 1;
const FLOATS: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// The file's bytes.
pub(crate) fn encode(sound: &Sound, rate: u32, format: SampleFormat, metadata: &Metadata) -> Outcome<Vec<u8>> {
    let (tag, bits) = match format {
        SampleFormat::I16 => (INTEGERS, 16u16),
        SampleFormat::I24 => (INTEGERS, 24),
        SampleFormat::F32 => (FLOATS, 32),
    };
    let each = usize::from(bits / 8);
    let size = sound.samples().len() * each;
    let words: usize = metadata.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
    if size + words > 0xffff_ff00 {
        return Err(Fault::TooBig(format!("{size} bytes of samples do not fit into a WAV, which holds 4 GB")));
    }
    let frame = sound.channels() * each;
    let mut out = Vec::with_capacity(size + words + 128);
    chunk(&mut out, b"RIFF", |out| {
        out.extend_from_slice(b"WAVE");
        chunk(out, b"fmt ", |out| {
            let many = sound.channels() > 2;
            out.extend_from_slice(&if many { EXTENSIBLE } else { tag }.to_le_bytes());
            out.extend_from_slice(&(sound.channels() as u16).to_le_bytes());
            out.extend_from_slice(&rate.to_le_bytes());
            out.extend_from_slice(&rate.saturating_mul(frame as u32).to_le_bytes());
            out.extend_from_slice(&(frame as u16).to_le_bytes());
            out.extend_from_slice(&bits.to_le_bytes());
            if many {
                // 22 more bytes: the bits that count, no loudspeaker for any channel, and the sort
                // of samples as a GUID.
                out.extend_from_slice(&22u16.to_le_bytes());
                out.extend_from_slice(&bits.to_le_bytes());
                out.extend_from_slice(&0u32.to_le_bytes());
                out.extend_from_slice(&tag.to_le_bytes());
                out.extend_from_slice(&[0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
            } else if tag != INTEGERS {
                out.extend_from_slice(&0u16.to_le_bytes());
            }
        });
        if tag != INTEGERS {
            chunk(out, b"fact", |out| out.extend_from_slice(&(sound.length() as u32).to_le_bytes()));
        }
        info_list::write(out, metadata);
        chunk(out, b"data", |out| {
            for &sample in sound.samples() {
                match format {
                    SampleFormat::F32 => out.extend_from_slice(&sample.to_le_bytes()),
                    SampleFormat::I16 | SampleFormat::I24 => {
                        out.extend_from_slice(&quantize(sample, bits.into()).to_le_bytes()[..each]);
                    }
                }
            }
        });
    });
    Ok(out)
}

/// Appends a chunk: its letters, its size, what `payload` writes, and a byte to make it even.
pub(super) fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], payload: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    payload(out);
    let size = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&size.to_le_bytes());
    if !size.is_multiple_of(2) {
        out.push(0);
    }
}
