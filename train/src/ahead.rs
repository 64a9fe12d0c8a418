//! Batches made ahead: while a step computes, the next ones are read, decoded and cut.

use musiva_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Threads that make batches.
const WORKERS: u64 = 2;
/// Batches that each of them keeps ready.
const READY: usize = 2;

/// Numbered things, made ahead on threads of their own. The number alone says what is made, so it does
/// not matter who makes it, or when.
pub struct Ahead<T> {
    make: Arc<dyn Fn(u64) -> Result<T> + Send + Sync>,
    /// What comes next, and where from: worker `w` makes those of `next + w`, `next + w + WORKERS`, …
    workers: Option<(u64, Vec<Receiver<Result<T>>>)>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Makes thing `n` by `make(n)`, from whichever number is asked for first.
    pub fn new(make: impl Fn(u64) -> Result<T> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), workers: None }
    }

    /// Thing `n`; ready where it is the one after the last, else the making starts again from there.
    ///
    /// # Errors
    /// What `make` returned for it.
    pub fn get(&mut self, n: u64) -> Result<T> {
        if self.workers.as_ref().is_none_or(|(next, _)| *next != n) {
            self.workers = Some((n, (0..WORKERS).map(|worker| self.start(n + worker)).collect()));
        }
        let Some((next, receivers)) = &mut self.workers else { unreachable!("started above") };
        *next += 1;
        // The one that made it comes round again: receivers turn with the numbers.
        let made = receivers[0].recv();
        receivers.rotate_left(1);
        let stopped = || Error::new(ErrorKind::Data, "data", "the thread that makes batches has stopped");
        let made = made.unwrap_or_else(|_| Err(stopped()));
        if made.is_err() {
            self.workers = None;
        }
        made
    }

    /// A worker that makes `first`, `first + WORKERS`, … until nobody wants them, or one fails.
    fn start(&self, first: u64) -> Receiver<Result<T>> {
        let (sender, receiver) = sync_channel(READY);
        let make = self.make.clone();
        thread::spawn(move || {
            for n in (first..).step_by(WORKERS as usize) {
                let made = make(n);
                let failed = made.is_err();
                if sender.send(made).is_err() || failed {
                    return;
                }
            }
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares() -> Ahead<u64> {
        Ahead::new(|n| match n {
            40 => Err(Error::new(ErrorKind::Data, "forty", "is not made")),
            n => Ok(n * n),
        })
    }

    #[test]
    fn what_is_asked_for_comes_in_whatever_order() {
        let mut ahead = squares();
        for n in [0, 1, 2, 3, 4, 5, 9, 10, 3, 3, 100, 101, 102, 103] {
            assert_eq!(ahead.get(n).unwrap(), n * n);
        }
    }

    #[test]
    fn what_fails_fails_where_it_is_asked_for() {
        let mut ahead = squares();
        for n in 30..40 {
            assert_eq!(ahead.get(n).unwrap(), n * n);
        }
        assert!(ahead.get(40).unwrap_err().to_string().contains("forty"));
        assert_eq!(ahead.get(41).unwrap(), 41 * 41);
    }

    #[test]
    fn a_maker_that_panics_is_an_error() {
        let mut ahead = Ahead::<u64>::new(|_| panic!("a bug"));
        assert!(ahead.get(0).unwrap_err().to_string().contains("has stopped"));
    }
}
