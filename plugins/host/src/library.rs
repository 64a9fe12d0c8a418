//! A library that is loaded, and the instances that it makes.

use crate::call::{self, Failure, Given, Wanted};
use crate::wrong;
use musiva_abi::{self as abi, Entry, Host, Status, Str, Table};
use musiva_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

/// Kinds of plugins.
pub const KINDS: [&str; 6] = ["tokenizer", "backbone", "conditioner", "sampler", "metric", "dataset"];
/// A library holds no more things.
const MOST: u32 = 256;

/// Something that a library holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Reverse domain.
    pub id: String,
    /// One of six.
    pub kind: String,
    /// Of the plugin.
    pub version: String,
    /// One line.
    pub summary: String,
    /// SPDX expression.
    pub license: String,
}

/// A library, looked at and found in order.
#[derive(Debug)]
pub struct Library {
    entry: Entry,
    place: String,
    described: Vec<Described>,
    minor: u32,
}

impl Library {
    /// A library by its entry; `place` is where it comes from, for messages.
    ///
    /// # Errors
    /// Where the entry is of another major version, shorter than version 1.0 has it, or holds what is not allowed.
    ///
    /// # Safety
    /// `entry` is null, or leads to an entry as the header has it, which with all that it leads to lives as long as the
    /// process.
    pub unsafe fn from_entry(entry: *const Entry, place: impl Into<String>) -> Result<Arc<Self>> {
        let place = place.into();
        let bad = |message: String| wrong(place.clone(), message);
        if entry.is_null() || !entry.is_aligned() {
            return Err(bad("its entry is no pointer to a struct".into()));
        }
        // SAFETY: the size and the version stand at the beginning, whatever the version.
        let (size, major, minor) = unsafe {
            ((*entry).struct_size, (&raw const (*entry).abi_major).read(), (&raw const (*entry).abi_minor).read())
        };
        if size < std::mem::offset_of!(Entry, descriptor_count) {
            return Err(bad(format!("its entry says it is {size} bytes long, too short for a version")));
        }
        if major != abi::ABI_MAJOR {
            let ours = abi::ABI_MAJOR;
            return Err(bad(format!(
                "it was built for version {major}.{minor} of the plugin ABI, this is version {ours}"
            ))
            .mend("build it again with the headers or the kit of this version"));
        }
        if size < size_of::<Entry>() {
            let wanted = size_of::<Entry>();
            return Err(bad(format!("its entry says it is {size} bytes long, version 1.0 has {wanted}")));
        }
        // SAFETY: long enough, by its own word.
        let entry = unsafe { *entry };
        if entry.create.is_none() || entry.destroy.is_none() || entry.get_interface.is_none() {
            return Err(bad("its entry lacks `create`, `destroy` or `get_interface`".into()));
        }
        // SAFETY: by the caller's promise.
        let described = unsafe { describe(&entry) }.map_err(bad)?;
        Ok(Arc::new(Self { entry, place, described, minor }))
    }

    /// What it holds.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The version of the ABI that it was built for.
    pub fn abi(&self) -> String {
        format!("{}.{}", abi::ABI_MAJOR, self.minor)
    }

    /// What it holds under this id.
    ///
    /// # Errors
    /// Where it holds nothing of the kind.
    pub fn get(&self, id: &str) -> Result<&Described> {
        self.described.iter().find(|one| one.id == id).ok_or_else(|| {
            let all: Vec<_> = self.described.iter().map(|one| one.id.as_str()).collect();
            wrong(self.place.clone(), format!("the library holds no `{id}`, only {}", all.join(", ")))
                .mend("set `id` in plugin.toml to what the library holds")
        })
    }

    /// The JSON Schema of a configuration: an object.
    ///
    /// # Errors
    /// Where the library fails to say, or says something else.
    pub fn schema(&self, id: &str) -> Result<Value> {
        let Some(schema) = self.entry.config_schema else { return Ok(serde_json::json!({ "type": "object" })) };
        // SAFETY: the library's own function, with a live call and text.
        let given = call::run(0, &[], 1, |call| unsafe { schema(call, Str::lent(id)) });
        let mut given = given.map_err(|failure| error(id, "config_schema", &failure))?;
        let json: Value = parse(id, "config_schema", &given.text(0))?;
        match json.get("type").and_then(Value::as_str) {
            Some("object") => Ok(json),
            _ => Err(wrong(id, "its config_schema is no schema of an object")),
        }
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or lacks the interface of its kind.
    pub fn create(self: &Arc<Self>, id: &str, config: &Value) -> Result<Instance> {
        let config = config.to_string();
        let mut raw = std::ptr::null_mut();
        let create = self.entry.create.expect("looked at when it was loaded");
        // SAFETY: the library's own function; the host outlives everything, the rest lives for the call.
        let status = |call| unsafe { create(host(), call, Str::lent(id), Str::lent(&config), &mut raw) };
        let made = call::run(0, &[], 0, status);
        match made {
            Err(failure) => Err(error(id, "create", &failure)),
            Ok(_) if raw.is_null() => Err(wrong(id, "create: it reports success and gives no instance")),
            Ok(_) => Ok(Instance { library: self.clone(), raw, id: id.to_owned() }),
        }
    }
}

/// The descriptors, copied.
///
/// # Safety
/// As [`Library::from_entry`].
unsafe fn describe(entry: &Entry) -> Result<Vec<Described>, String> {
    if entry.descriptor_count == 0 || entry.descriptor_count > MOST {
        return Err(format!("it says it holds {} things; 1 to {MOST} are allowed", entry.descriptor_count));
    }
    if entry.descriptors.is_null() || !entry.descriptors.is_aligned() {
        return Err("its descriptors are no pointer".into());
    }
    let (mut all, mut ids) = (Vec::new(), BTreeSet::new());
    for i in 0..entry.descriptor_count as usize {
        // SAFETY: by the caller's promise there are as many pointers.
        let pointer = unsafe { entry.descriptors.add(i).read() };
        if pointer.is_null() || !pointer.is_aligned() {
            return Err(format!("descriptor {i} is no pointer to a struct"));
        }
        // SAFETY: the size stands first, whatever the version.
        let size = unsafe { (*pointer).struct_size };
        if size < size_of::<abi::Descriptor>() {
            let wanted = size_of::<abi::Descriptor>();
            return Err(format!("descriptor {i} says it is {size} bytes long, version 1.0 has {wanted}"));
        }
        // SAFETY: long enough, by its own word.
        let one = unsafe { *pointer };
        // SAFETY: the header wants the texts to be constant.
        let text = |name: &str, text: Str, most: usize| match unsafe { short(text, most) } {
            Some(text) => Ok(text),
            None => Err(format!("the {name} of descriptor {i} is not UTF-8 of at most {most} bytes")),
        };
        let one = Described {
            id: text("id", one.id, 128)?,
            kind: text("kind", one.kind, 32)?,
            version: text("version", one.version, 32)?,
            summary: text("summary", one.summary, 1024)?,
            license: text("license", one.license, 256)?,
        };
        if !is_id(&one.id) {
            return Err(format!("{:?} is no id: expected a reverse domain such as org.example.dct", one.id));
        }
        if !KINDS.contains(&one.kind.as_str()) {
            return Err(format!("`{}` is of kind {:?}; kinds are {}", one.id, one.kind, KINDS.join(", ")));
        }
        if !is_version(&one.version) {
            return Err(format!("`{}` is of version {:?}; a version is like 1.2.3", one.id, one.version));
        }
        if !ids.insert(one.id.clone()) {
            return Err(format!("it holds `{}` twice", one.id));
        }
        all.push(one);
    }
    Ok(all)
}

/// # Safety
/// The text is constant.
unsafe fn short(text: Str, most: usize) -> Option<String> {
    if text.len > most || (text.ptr.is_null() && text.len > 0) {
        return None;
    }
    // SAFETY: by the caller's promise.
    let text = std::str::from_utf8(unsafe { text.bytes() }).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Whether this is a reverse domain: parts of a-z, 0-9 and `-`, with at least one dot.
pub fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut parts = text.split('.');
    parts.clone().count() >= 2 && parts.all(|part| !part.is_empty() && part.chars().all(plain))
}

/// Whether this is a version: numbers with dots between, and perhaps a tail.
pub fn is_version(text: &str) -> bool {
    let tail = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(tail)
}

/// A thing made with a configuration.
#[derive(Debug)]
pub struct Instance {
    library: Arc<Library>,
    raw: *mut abi::Instance,
    id: String,
}

// SAFETY: the header lets instances be used from any thread, one at a time: whoever shares one has it behind a lock.
unsafe impl Send for Instance {}

impl Instance {
    /// What it is called.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The table of an interface, where the instance has it.
    ///
    /// # Errors
    /// Where the table is shorter than its version, or lacks a function.
    pub fn table<T: Complete>(&self) -> Result<Option<T>> {
        let get = self.library.entry.get_interface.expect("looked at when it was loaded");
        // SAFETY: the library's own function, with its own instance.
        let pointer = unsafe { get(self.raw, Str::lent(T::ID)) };
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: the library gives a constant table for this id, or nothing.
        unsafe { read(pointer) }.map(Some).map_err(|message| wrong(&self.id, message))
    }

    /// The table of the interface of its kind.
    ///
    /// # Errors
    /// As [`Instance::table`], and where the instance does not have it.
    pub fn main_table<T: Complete>(&self) -> Result<T> {
        let missing = || wrong(&self.id, format!("it does not have the interface {} of its kind", T::ID));
        self.table()?.ok_or_else(missing)
    }

    /// Calls `function` of the instance.
    ///
    /// # Errors
    /// As [`call::run`].
    pub fn run(
        &self,
        function: &str,
        seed: u64,
        wanted: &[Wanted],
        texts: usize,
        body: impl FnOnce(*mut abi::Instance, *const abi::Call) -> Status,
    ) -> Result<Given> {
        call::run(seed, wanted, texts, |call| body(self.raw, call))
            .map_err(|failure| error(&self.id, function, &failure))
    }

    /// Calls a function that answers in JSON.
    ///
    /// # Errors
    /// As [`Instance::run`], and where the answer is something else.
    pub fn ask<T: serde::de::DeserializeOwned>(
        &self,
        function: &str,
        body: impl FnOnce(*mut abi::Instance, *const abi::Call) -> Status,
    ) -> Result<T> {
        parse(&self.id, function, &self.run(function, 0, &[], 1, body)?.text(0))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let destroy = self.library.entry.destroy.expect("looked at when it was loaded");
        // SAFETY: made by this library, and used no more.
        unsafe { destroy(self.raw) };
    }
}

fn parse<T: serde::de::DeserializeOwned>(id: &str, function: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| wrong(id, format!("{function}: its answer is not as the header says: {e}")))
}

fn error(id: &str, function: &str, failure: &Failure) -> Error {
    let error = wrong(id, format!("{function}: {}", failure.message));
    match failure.status {
        Status::PANICKED => error.mend("tell its author; the state of this plugin is lost"),
        Status::OUT_OF_MEMORY => error.mend("use smaller batches or media"),
        _ => error,
    }
}

/// Tables whose functions can be looked at.
pub trait Complete: Table {
    /// The first function that is missing.
    fn hole(&self) -> Option<&'static str>;
}

macro_rules! complete {
    ($($table:ident { $($function:ident),+ })+) => { $(
        impl Complete for abi::$table {
            fn hole(&self) -> Option<&'static str> {
                [$((stringify!($function), self.$function.is_none())),+].iter().find(|(_, hole)| *hole).map(|(name, _)| *name)
            }
        }
    )+ };
}

complete! {
    Tokenizer { describe, shape, encode, decode }
    TokenizerStreaming { reset, encode_step, decode_step }
    Backbone { describe, parameters, forward }
    BackboneVjp { vjp }
    BackboneCache { begin, step }
    Conditioner { describe, encode }
    Sampler { describe, begin, step, pick }
    Metric { reset, update, result }
    Dataset { describe, read }
}

/// # Safety
/// `pointer` leads to a constant table of this type, or of a later minor of it.
unsafe fn read<T: Complete>(pointer: *const c_void) -> Result<T, String> {
    let pointer = pointer.cast::<T>();
    if !pointer.is_aligned() {
        return Err(format!("its {} is no pointer to a struct", T::NAME));
    }
    // SAFETY: every table begins with its size.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < size_of::<T>() {
        return Err(format!("its {} says it is {size} bytes long, version 1.0 has {}", T::NAME, size_of::<T>()));
    }
    // SAFETY: long enough, by its own word.
    let table = unsafe { pointer.read() };
    match table.hole() {
        Some(function) => Err(format!("its {} lacks the function `{function}`", T::NAME)),
        None => Ok(table),
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
