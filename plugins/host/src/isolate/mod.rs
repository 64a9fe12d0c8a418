//! `--isolate`: plugins in processes of their own, so that a crash within a call is an error and not the end.
//!
//! The host's code above the call is the same. A question ([`Ask`](crate::ask::Ask)) goes to a child process as a line of
//! JSON over a socket; its tensors, and the outputs that the child makes room for, lie in memory that both see. So an
//! input is copied once, into that memory, and an output once, out of it. The child runs the same calls by the same
//! tables and looks at what they give; what it says is looked at again, for the plugin could have said it.
//!
//! A child runs one instance at a time, and is used again for the next one. It is a process group of its own, so that
//! Ctrl-C at a terminal reaches the host alone, and ends when the host does.

#[cfg(target_os = "linux")]
mod child;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
mod shared;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
pub use child::{serve, serve_library};
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{Apart, Session};
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{serve, serve_library};
#[cfg(target_os = "linux")]
pub(crate) use session::{Apart, Session};

use std::ffi::OsString;
use std::time::Duration;

/// How plugins are run in processes of their own.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// A program and its first arguments that calls [`serve`] with the library, which comes after.
    pub command: Vec<OsString>,
    /// How long a call may take.
    pub limit: Duration,
}
