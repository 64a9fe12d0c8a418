//! MP4 and its relatives: the container by our own hand, so that every declared size is checked
//! before anything is allocated by it; the H.264 inside it by OpenH264.

pub(crate) mod boxes;
pub(crate) mod read;
pub(crate) mod sps;
pub(crate) mod tags;
pub(crate) mod track;
pub(crate) mod write;
