//! MP4 and its relatives: the container by our own hand, so that every declared size is checked
//! before anything is allocated by it; the H.264 inside it by OpenH264, the sound by Symphonia and our
//! own FLAC.

pub(crate) mod boxes;
mod coded;
pub(crate) mod read;
pub(crate) mod sound;
pub(crate) mod sps;
pub(crate) mod tables;
pub(crate) mod tags;
pub(crate) mod track;
pub(crate) mod write;
