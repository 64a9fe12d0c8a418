//! GIF: times and comments by our own walk over the blocks, pictures by the `gif` crate.

pub(crate) mod blocks;
mod palette;
pub(crate) mod read;
pub(crate) mod write;
