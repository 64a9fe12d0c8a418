//! Lines for the host's log.

use musiva_abi::{self as abi, Str};
use std::fmt;
use std::sync::OnceLock;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// Something failed.
    Error = abi::LOG_ERROR,
    /// Something is not as it should be.
    Warn = abi::LOG_WARN,
    /// Something worth knowing.
    Info = abi::LOG_INFO,
    /// For whoever looks for a mistake.
    Debug = abi::LOG_DEBUG,
    /// For whoever looks very closely.
    Trace = abi::LOG_TRACE,
}

static HOST: OnceLock<&'static abi::Host> = OnceLock::new();

/// Writes a line to the host's log: `log(Level::Info, format_args!("{n} clips"))`. Before the first instance is made
/// nobody listens.
pub fn log(level: Level, message: fmt::Arguments) {
    if let Some(host) = HOST.get()
        && let Some(write) = host.log
    {
        // SAFETY: the host outlives every instance, and its log is for any thread.
        unsafe { write(*host, level as i32, Str::lent(&message.to_string())) };
    }
}

/// Remembers the host that made the first instance: a process has one.
///
/// # Safety
/// `host` is null or outlives the library.
pub(crate) unsafe fn listen(host: *const abi::Host) {
    // SAFETY: by the caller's promise.
    if let Some(host) = unsafe { host.as_ref() } {
        // A second one is no news.
        let _ = HOST.set(host);
    }
}
