//! Instances: made in this process or in another one, and asked the same way.

use crate::ask::{Ask, View};
use crate::call::{self, Allocator, Failure, Heap, Returned, Wanted};
use crate::isolate::Session;
use crate::tables::{Extras, Tables};
use crate::wrong;
use musiva_abi::{self as abi, Entry, Host, Status, Str};
use musiva_core::{Error, Result};
use std::ffi::c_void;
use std::sync::OnceLock;

/// An instance. Whoever shares one has it behind a lock: it is asked one thing at a time.
pub struct Instance {
    id: String,
    extras: Extras,
    home: Home,
}

enum Home {
    /// In this process.
    Here(Local),
    /// In a process of its own.
    Apart(Session),
}

impl Instance {
    pub(crate) fn here(id: &str, local: Local) -> Self {
        Self { id: id.to_owned(), extras: local.extras(), home: Home::Here(local) }
    }

    pub(crate) fn apart(id: &str, session: Session, extras: Extras) -> Self {
        Self { id: id.to_owned(), extras, home: Home::Apart(session) }
    }

    /// What it is called.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it has beside the interface of its kind.
    pub fn extras(&self) -> Extras {
        self.extras
    }

    /// Asks it.
    ///
    /// # Errors
    /// As [`call::run`]; and, of an instance in another process, where that ends or takes too long.
    pub fn run(&self, ask: Ask<View>, wanted: &[Wanted]) -> Result<Returned> {
        let name = ask.name();
        let returned = match &self.home {
            Home::Here(local) => local.run(Heap, &ask, wanted),
            Home::Apart(session) => session.run(ask, wanted),
        };
        returned.map_err(|failure| error(&self.id, name, &failure))
    }

    /// Asks it something that it answers in JSON.
    ///
    /// # Errors
    /// As [`Instance::run`], and where the answer is something else.
    pub fn answer<T: serde::de::DeserializeOwned>(&self, ask: Ask<View>) -> Result<T> {
        let name = ask.name();
        parse(&self.id, name, &self.run(ask, &[])?.text(0))
    }
}

/// An instance in this process.
pub(crate) struct Local {
    entry: Entry,
    raw: *mut abi::Instance,
    tables: Tables,
}

// SAFETY: the header lets instances be used from any thread, one at a time; without `Sync` there is no other way.
unsafe impl Send for Local {}

impl Local {
    /// Makes an instance of a library whose entry has been looked at.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or its tables are not in order.
    pub fn create(entry: &Entry, id: &str, kind: &str, config: &str) -> Result<Self, Failure> {
        let (create, mut raw) = (entry.create.expect("looked at when it was loaded"), std::ptr::null_mut());
        // SAFETY: the library's own function; the host outlives everything, the rest lives for the call.
        call::run(Heap, &[], 0, |call| unsafe { create(host(), call, Str::lent(id), Str::lent(config), &mut raw) })?;
        let failed = |message: String| Failure { status: Status::INTERNAL, message };
        if raw.is_null() {
            return Err(failed("it reports success and gives no instance".into()));
        }
        // SAFETY: made a moment ago; an entry that has been looked at is that of a library that is never closed.
        match unsafe { Tables::of(entry, raw, kind) } {
            Ok(tables) => Ok(Self { entry: *entry, raw, tables }),
            Err(message) => {
                destroy(entry, raw);
                Err(failed(message))
            }
        }
    }

    /// What it has beside the interface of its kind.
    pub fn extras(&self) -> Extras {
        self.tables.extras()
    }

    /// Asks it, with outputs in `room`.
    ///
    /// # Errors
    /// As [`call::run`].
    pub fn run<R: Allocator>(&self, room: R, ask: &Ask<View>, wanted: &[Wanted]) -> Result<Returned<R::Kept>, Failure> {
        let mut grid = [0; 3];
        let returned = call::run(room, wanted, ask.texts(), |call| {
            // SAFETY: this instance, which nobody else calls: it is not `Sync`.
            let status = unsafe { self.tables.call(self.raw, call, ask, &mut grid) };
            status.expect("only what the instance has is asked of it")
        })?;
        Ok(Returned { grid, ..returned })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        destroy(&self.entry, self.raw);
    }
}

fn destroy(entry: &Entry, raw: *mut abi::Instance) {
    let destroy = entry.destroy.expect("looked at when it was loaded");
    // SAFETY: made by this library, and used no more.
    unsafe { destroy(raw) };
}

/// An answer in JSON.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(id: &str, function: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| wrong(id, format!("{function}: its answer is not as the header says: {e}")))
}

/// A failure with its place, and what can be done.
pub(crate) fn error(id: &str, function: &str, failure: &Failure) -> Error {
    let error = wrong(id, format!("{function}: {}", failure.message));
    match failure.status {
        Status::PANICKED => error.hint("tell its author; the state of this plugin is lost"),
        Status::OUT_OF_MEMORY => error.hint("use smaller batches or media"),
        _ => error,
    }
}

/// The host as plugins see it.
fn host() -> *const Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host {
        struct_size: size_of::<Host>(),
        host_data: std::ptr::null_mut(),
        name: Str::new("musiva"),
        version: Str::new(env!("CARGO_PKG_VERSION")),
        threads: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        log: Some(log),
        get_extension: Some(get_extension),
    })
}

unsafe extern "C" fn log(_: *const Host, level: i32, message: Str) {
    let message = Str { len: message.len.min(64 << 10), ..message };
    // SAFETY: the header wants `len` bytes there.
    let message = String::from_utf8_lossy(unsafe { message.bytes() });
    match level {
        abi::LOG_ERROR => tracing::error!(target: "plugin", "{message}"),
        abi::LOG_WARN => tracing::warn!(target: "plugin", "{message}"),
        abi::LOG_INFO => tracing::info!(target: "plugin", "{message}"),
        abi::LOG_DEBUG => tracing::debug!(target: "plugin", "{message}"),
        _ => tracing::trace!(target: "plugin", "{message}"),
    }
}

unsafe extern "C" fn get_extension(_: *const Host, _: Str) -> *const c_void {
    std::ptr::null()
}
