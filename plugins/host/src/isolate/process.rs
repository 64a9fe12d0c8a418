//! A child process, from the host's side.

use crate::isolate::Isolation;
use crate::isolate::shared::Shared;
use crate::isolate::wire::{Reply, Request, receive, send};
use crate::probe::ended;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;

/// How long a process whose socket is closed may take to be gone.
const GRACE: Duration = Duration::from_secs(2);

/// A child process with the socket and the memory that lead to it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    socket: UnixStream,
    pub memory: Shared,
    limit: Duration,
}

impl Process {
    /// Starts one for `library`.
    pub fn start(isolation: &Isolation, library: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(isolation.limit))?;
        ours.set_write_timeout(Some(isolation.limit))?;
        let memory = Shared::new()?;
        let (program, arguments) = isolation.command.split_first().expect("an isolation has a command");
        let mut command = Command::new(program);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", LevelFilter::current().to_string());
        }
        let child = command
            .args(arguments)
            .arg(library)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::from(memory.file()?))
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()?;
        Ok(Self { child, socket: ours, memory, limit: isolation.limit })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request and waits for the reply.
    ///
    /// # Errors
    /// In words, after which the process is of no use any more.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, String> {
        send(&self.socket, request).and_then(|()| receive(&self.socket)).map_err(|error| self.lost(&error))
    }

    /// Why there is no reply.
    fn lost(&mut self, error: &io::Error) -> String {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("it takes longer than {} seconds, so its process was ended", self.limit.as_secs_f32())
            }
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                let start = Instant::now();
                loop {
                    match self.child.try_wait() {
                        Ok(Some(status)) => return format!("it {}", ended(status)),
                        Ok(None) if start.elapsed() < GRACE => std::thread::sleep(Duration::from_millis(1)),
                        _ => return "its process does not answer any more".into(),
                    }
                }
            }
            _ => format!("its process answers what nobody understands: {error}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; the waiting collects it either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
