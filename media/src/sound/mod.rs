//! Sound: files in, samples out, and back.
//!
//! Containers and codecs are read by Symphonia, which is Rust throughout; MP4 by our own index, so
//! that edit lists count and every declared size is checked. What is written is ours alone: WAV is
//! two headers, and FLAC a few hundred lines, which MP4 needs as well (see [`flac`]).

mod axes;
pub(crate) mod flac;
mod info_list;
pub(crate) mod packets;
mod quantize;
mod read;
mod resample;
mod riff;
mod spectrogram;
mod wav;
mod waveform;
mod write;

pub use axes::{spectrogram_with_axes, waveform_below_spectrogram};
pub use read::{OpenedSound, SoundInfo, SoundOptions, SoundReader, read_sound};
pub use resample::resample;
pub use waveform::waveform;
pub use write::{SampleFormat, encode_sound, write_sound, write_sound_with};

pub(crate) use info_list::read as wav_metadata;
pub(crate) use spectrogram::colour;
