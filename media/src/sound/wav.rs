//! WAV, written by `hound`; the list of our metadata follows what it writes.

use super::{SampleFormat, info_list, quantize::quantize};
use crate::{
    fault::{Fault, Outcome},
    metadata::Metadata,
};
use hound::{WavSpec, WavWriter};
use musiva_core::Sound;
use std::io::Cursor;

/// The file's bytes.
pub(crate) fn encode(sound: &Sound, rate: u32, format: SampleFormat, metadata: &Metadata) -> Outcome<Vec<u8>> {
    let (bits_per_sample, sample_format) = match format {
        SampleFormat::I16 => (16, hound::SampleFormat::Int),
        SampleFormat::I24 => (24, hound::SampleFormat::Int),
        SampleFormat::F32 => (32, hound::SampleFormat::Float),
    };
    let bytes = usize::from(bits_per_sample / 8);
    let size = sound.samples().len() * bytes;
    let mut list = Vec::new();
    info_list::write(&mut list, metadata);
    if size + list.len() > 0xffff_ff00 {
        return Err(Fault::TooBig(format!("{size} bytes of samples do not fit into a WAV, which holds 4 GB")));
    }
    // Bytes of a second and of a sample of every channel are fields of 32 and 16 bits.
    let frame = sound.channels() * bytes;
    if u16::try_from(frame).is_err() || u64::from(rate) * frame as u64 > u64::from(u32::MAX) {
        let channels = sound.channels();
        return Err(Fault::TooBig(format!("{channels} channels at {rate} Hz do not fit into a WAV's header")));
    }
    let spec = WavSpec { channels: sound.channels() as u16, sample_rate: rate, bits_per_sample, sample_format };
    let mut out = Vec::with_capacity(size + list.len() + 128);
    let mut writer = WavWriter::new(Cursor::new(&mut out), spec).map_err(refused)?;
    for &sample in sound.samples() {
        match format {
            SampleFormat::F32 => writer.write_sample(sample),
            SampleFormat::I16 | SampleFormat::I24 => writer.write_sample(quantize(sample, bits_per_sample.into())),
        }
        .map_err(refused)?;
    }
    writer.finalize().map_err(refused)?;
    // A chunk begins at an even byte, and the file is one chunk around all others.
    if !out.len().is_multiple_of(2) {
        out.push(0);
    }
    out.append(&mut list);
    let length = (out.len() - 8) as u32;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    Ok(out)
}

fn refused(error: hound::Error) -> Fault {
    match error {
        hound::Error::IoError(error) => Fault::Io(error),
        other => Fault::Broken(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    fn sound(channels: usize, length: usize) -> Sound {
        Sound::new(channels, Rate::whole(8000), vec![0.25; channels * length]).unwrap()
    }

    #[test]
    fn chunks_fill_the_file_and_begin_at_even_bytes() {
        let words = Metadata::new().with("musiva.seed", "7").unwrap();
        for (format, length) in [SampleFormat::I16, SampleFormat::I24, SampleFormat::F32].into_iter().zip([3, 5, 7]) {
            for (metadata, last) in [(&Metadata::new(), b"data"), (&words, b"LIST")] {
                let file = encode(&sound(1, length), 8000, format, metadata).unwrap();
                let size = |at: usize| u32::from_le_bytes(*file[at + 4..].first_chunk().unwrap()) as usize;
                assert_eq!((&file[..4], &file[8..12], size(0) + 8), (&b"RIFF"[..], &b"WAVE"[..], file.len()));
                let (mut at, mut kind) = (12, &file[..4]);
                while at < file.len() {
                    kind = &file[at..at + 4];
                    at += 8 + size(at).next_multiple_of(2);
                }
                assert_eq!((at, kind), (file.len(), &last[..]));
            }
        }
    }

    #[test]
    fn what_the_header_cannot_hold_is_refused() {
        for (channels, rate) in [(40_000, 8000), (2, u32::MAX)] {
            let refused = encode(&sound(channels, 1), rate, SampleFormat::I16, &Metadata::new()).unwrap_err();
            assert!(refused.to_string().contains("header"), "{refused}");
        }
    }
}
