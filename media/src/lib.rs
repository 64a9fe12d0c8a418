#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod codecs;
mod colour;
mod error_map;
mod fault;
mod ffmpeg;
mod font;
mod gif;
mod h264;
mod hdr;
mod info;
mod location;
mod metadata;
mod mp4;
mod read;
mod resize;
mod sheet;
mod sound;
mod source;
mod stills;
mod timeline;
mod write;
mod writer;

pub use codecs::{Coded, H264, Opus};
pub use error_map::error_row;
pub use info::{Format, Matrix, Orientation, Range, SourceInfo, Transfer};
pub use location::Location;
pub use metadata::{Metadata, metadata_of_bytes, read_metadata};
pub use read::{Frame, Opened, ReadOptions, VideoReader, read_clip};
pub use resize::{Filter, center_crop, resample_rate, resize};
pub use sheet::{SheetRow, contact_sheet};
pub use sound::{
    OpenedSound, SampleFormat, SoundInfo, SoundOptions, SoundReader, encode_sound, read_sound, resample,
    spectrogram_with_axes, waveform, waveform_below_spectrogram, write_sound, write_sound_with,
};
pub use write::{WriteOptions, encode_clip, write_clip, write_clip_with, write_movie};
pub use writer::VideoWriter;
