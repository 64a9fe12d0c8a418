//! The child's side: makes one instance after the other, and runs what it is asked for.

use crate::instance::Local;
use crate::isolate::shared::{Arena, Shared};
use crate::isolate::wire::{Reply, Request, receive, send};
use crate::library::Library;
use crate::load::open;
use musiva_core::{Error, Result};
use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::time::Duration;

/// How often the child looks whether its host is still there: a call may keep it from hearing so by the socket.
const LOOK: Duration = Duration::from_secs(1);

/// Loads a library and serves the host that started this process with a socket as its standard input and shared memory
/// as its standard output, until the host closes the socket.
///
/// # Errors
/// Where the library cannot be loaded, or the host is none.
pub fn serve(library: &Path) -> Result<()> {
    let host = Host::take().map_err(|error| Error::io(library, "serve it", error))?;
    host.serve(&*open(library)?).map_err(|error| Error::io(library, "serve it", error))
}

/// As [`serve`], of a library that is in this process already.
///
/// # Errors
/// Where the host is none.
pub fn serve_library(library: &Library) -> Result<()> {
    let served = Host::take().and_then(|host| host.serve(library));
    served.map_err(|error| Error::io(Path::new("a library in process"), "serve it", error))
}

/// The way to the host.
struct Host {
    socket: UnixStream,
    memory: Shared,
}

impl Host {
    /// Takes the standard input and output, and puts nothing in their place: a plugin that reads or prints does not
    /// disturb what is said here.
    fn take() -> io::Result<Self> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let memory = Shared::of(File::from(io::stdout().as_fd().try_clone_to_owned()?))?;
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        for standard in 0..2 {
            unsafe extern "C" {
                fn dup2(from: c_int, to: c_int) -> c_int;
            }
            // SAFETY: both are open, and nobody owns the standard ones.
            if unsafe { dup2(nothing.as_raw_fd(), standard) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let host = parent_id();
        std::thread::spawn(move || {
            while parent_id() == host {
                std::thread::sleep(LOOK);
            }
            std::process::exit(0);
        });
        Ok(Self { socket, memory })
    }

    fn serve(&self, library: &Library) -> io::Result<()> {
        let entry = library.entry().ok_or(io::ErrorKind::Unsupported)?;
        let mut instance: Option<Local> = None;
        loop {
            let request = match receive(&self.socket) {
                Ok(request) => request,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            let reply = match request {
                Request::Create { id, kind, config } => match Local::create(entry, &id, &kind, &config) {
                    Ok(made) => Reply::Created(instance.insert(made).extras()),
                    Err(failure) => failure.into(),
                },
                Request::Run { ask, wanted, free } => {
                    let ask = ask.map(&mut |placed| self.memory.view(placed))?;
                    let instance = instance.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
                    instance
                        .run(Arena::new(&self.memory, free), &ask, &wanted)
                        .map_or_else(Reply::from, Reply::Returned)
                }
                Request::Destroy => {
                    instance = None;
                    Reply::Destroyed
                }
            };
            send(&self.socket, &reply)?;
        }
    }
}
