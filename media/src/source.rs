//! What every format's reader gives to [`VideoReader`](crate::VideoReader).

use crate::{fault::Outcome, info::SourceInfo, timeline::Schedule};
use musiva_core::Rate;
use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::{Arc, Mutex, PoisonError},
};

/// A file, or bytes in memory.
pub(crate) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// A file that is lent to one decoder after another.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Box<dyn ReadSeek>>>);

/// The code of white: what is transparent is laid over it.
pub(crate) const BACKGROUND: u8 = 255;

impl Shared {
    pub(crate) fn new(file: Box<dyn ReadSeek>) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).seek(to)
    }
}

/// Pictures as stored, in the order in which they are shown.
pub(crate) trait Source: Send {
    /// Steps to the next picture and, where it is wanted, replaces `into` by its pixels
    /// `[H, W, 3]`. `false` at the end.
    fn next(&mut self, into: Option<&mut Vec<u8>>) -> Outcome<bool>;

    /// Goes where `picture` or an earlier one comes next, and says which.
    fn seek(&mut self, picture: usize) -> Outcome<usize>;
}

/// An opened file.
pub(crate) struct Stream {
    pub info: SourceInfo,
    pub schedule: Schedule,
    pub source: Box<dyn Source>,
}

impl Stream {
    /// Hands out frames at `rate` from now on.
    pub(crate) fn sample(&mut self, rate: Rate) -> Outcome<()> {
        self.schedule = self.schedule.at(rate)?;
        let Schedule { rate, frames, .. } = self.schedule;
        let constant_rate = self.schedule.is_even();
        self.info = SourceInfo { rate, frames, constant_rate, ..self.info.clone() };
        Ok(())
    }
}
