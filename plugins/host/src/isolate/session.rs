//! An instance in another process, from the host's side.

use crate::ask::{Ask, View};
use crate::call::{Failure, Output, Returned, Wanted};
use crate::isolate::Isolation;
use crate::isolate::process::Process;
use crate::isolate::wire::{Reply, Request, failed};
use crate::library::resident;
use crate::tables::Extras;
use musiva_abi::Status;
use musiva_core::Result;
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A library that is loaded in other processes, and those of them that have no instance just now.
#[derive(Debug)]
pub struct Apart {
    library: PathBuf,
    isolation: Isolation,
    idle: Mutex<Vec<Process>>,
}

impl Apart {
    /// Of the library at this path; nothing is started yet.
    pub fn new(library: &Path, isolation: Isolation) -> Result<Self> {
        Ok(Self { library: library.to_owned(), isolation, idle: Mutex::default() })
    }

    fn process(&self) -> io::Result<Process> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Process::start(&self.isolation, &self.library), Ok)
    }

    /// Bytes in memory of all processes without an instance.
    pub fn resident(&self) -> Option<usize> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().map(|process| resident(&process.id().to_string())).sum()
    }
}

/// An instance in a process of its own.
pub struct Session {
    apart: Arc<Apart>,
    /// `None`: it has ended.
    process: RefCell<Option<Process>>,
}

fn lost(message: String) -> Failure {
    Failure { status: Status::INTERNAL, message }
}

impl Session {
    /// Makes an instance.
    ///
    /// # Errors
    /// As [`Local::create`](crate::instance::Local::create), and where the process cannot be started or ends.
    pub fn begin(apart: &Arc<Apart>, id: &str, kind: &str, config: &str) -> Result<(Self, Extras), Failure> {
        let process = apart.process().map_err(|error| lost(format!("no process can be started for it: {error}")))?;
        let session = Self { apart: apart.clone(), process: RefCell::new(Some(process)) };
        let request = Request::Create { id: id.into(), kind: kind.into(), config: config.into() };
        match session.request(&request)? {
            Reply::Created(extras) => Ok((session, extras)),
            other => Err(session.puzzled(&other)),
        }
    }

    /// Asks it.
    ///
    /// # Errors
    /// As [`Local::run`](crate::instance::Local::run), and where the process ends, takes too long or says what cannot
    /// be.
    pub fn run(&self, ask: Ask<View>, wanted: &[Wanted]) -> Result<Returned, Failure> {
        let (texts, mut free) = (ask.texts(), 0);
        let placed = self.with(|process| {
            ask.map(&mut |view| {
                let placed = process.memory.put(free, &view)?;
                free = placed.start + placed.length;
                Ok(placed)
            })
            .map_err(|error: io::Error| lost(format!("its input does not fit: {error}")))
        });
        let request = Request::Run { ask: Box::new(placed?), wanted: wanted.to_vec(), free };
        match self.request(&request)? {
            Reply::Returned(returned) => self.taken(returned, wanted)?.whole(wanted, texts),
            other => Err(self.puzzled(&other)),
        }
    }

    /// Copies out what a call gave, which the plugin itself could have said.
    fn taken(&self, returned: Returned<usize>, wanted: &[Wanted]) -> Result<Returned, Failure> {
        let mut outputs = Vec::new();
        for (wanted, output) in wanted.iter().zip(returned.outputs) {
            let Some(Output { shape, values: start }) = output else {
                outputs.push(None);
                continue;
            };
            let count = wanted.count(wanted.element.dtype(), &crate::ask::signed(&shape)).map_err(lost)?;
            let values = self.with(|process| {
                let values = process.memory.take(wanted.element, start, count);
                values.map_err(|error| lost(format!("{} cannot be read: {error}", wanted.name)))
            })?;
            let values = values.ok_or_else(|| lost(format!("{} is not where its process says", wanted.name)))?;
            outputs.push(Some(Output { shape, values }));
        }
        Ok(Returned { outputs, texts: returned.texts, grid: returned.grid })
    }

    fn with<T>(&self, body: impl FnOnce(&mut Process) -> Result<T, Failure>) -> Result<T, Failure> {
        match &mut *self.process.borrow_mut() {
            Some(process) => body(process),
            None => Err(lost("the process that it ran in has ended".into())),
        }
    }

    /// The reply that is no failure. A process that is lost is ended.
    fn request(&self, request: &Request) -> Result<Reply, Failure> {
        let reply = self.with(|process| Ok(process.ask(request)))?;
        match reply {
            Ok(Reply::Failed(status, message)) => Err(failed(status, message)),
            Ok(reply) => Ok(reply),
            Err(message) => {
                self.process.borrow_mut().take();
                Err(lost(message))
            }
        }
    }

    fn puzzled(&self, reply: &Reply) -> Failure {
        self.process.borrow_mut().take();
        let mut said = format!("{reply:?}");
        said.truncate(said.floor_char_boundary(64));
        lost(format!("its process answers what nobody asked: {said}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        match self.request(&Request::Destroy) {
            Ok(Reply::Destroyed) => {
                let mut idle = self.apart.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.extend(self.process.borrow_mut().take());
            }
            // It has failed before, and that was told.
            _ if self.process.borrow().is_none() => {}
            other => tracing::error!("{}: destroy: {other:?}", self.apart.library.display()),
        }
    }
}
