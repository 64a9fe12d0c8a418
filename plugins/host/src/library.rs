//! A library: what it holds, and the making of instances, in this process or in one of its own.

use crate::call::{self, Heap};
use crate::instance::{Instance, Local, error, parse};
use crate::isolate::{Apart, Isolation, Session};
use crate::wrong;
use musiva_abi::{self as abi, Entry, Str};
use musiva_core::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

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

/// What a look at a library finds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of the ABI that the library was built for.
    pub abi: String,
    /// What it holds.
    pub described: Vec<Described>,
    /// The JSON Schema of each one's configuration.
    pub schemas: BTreeMap<String, Value>,
}

/// A library, looked at and found in order.
#[derive(Debug)]
pub struct Library {
    place: String,
    abi: String,
    described: Vec<Described>,
    home: Home,
}

#[derive(Debug)]
enum Home {
    /// Loaded in this process.
    Here(Entry),
    /// Loaded in others, with the schemas that one of them told.
    Apart(Arc<Apart>, BTreeMap<String, Value>),
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
            .hint("build it again with the headers or the kit of this version"));
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
        in_order(&described).map_err(bad)?;
        let abi = format!("{major}.{minor}");
        Ok(Arc::new(Self { place, abi, described, home: Home::Here(entry) }))
    }

    /// A library that is never loaded in this process: each instance runs in a child of its own. `report` is what a
    /// child found at the first look.
    ///
    /// # Errors
    /// Where the report is not in order, or this platform has no such children.
    pub fn isolated(library: &Path, report: Report, isolation: Isolation) -> Result<Arc<Self>> {
        let place = library.display().to_string();
        in_order(&report.described).map_err(|message| wrong(place.clone(), message))?;
        let Report { abi, described, schemas } = report;
        let home = Home::Apart(Arc::new(Apart::new(library, isolation)?), schemas);
        Ok(Arc::new(Self { place, abi, described, home }))
    }

    /// What there is to know of it without making an instance.
    ///
    /// # Errors
    /// As [`Library::schema`].
    pub fn report(&self) -> Result<Report> {
        let schemas = self.described.iter().map(|one| Ok((one.id.clone(), self.schema(&one.id)?)));
        Ok(Report { abi: self.abi(), described: self.described.clone(), schemas: schemas.collect::<Result<_>>()? })
    }

    /// What it holds.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The version of the ABI that it was built for.
    pub fn abi(&self) -> String {
        self.abi.clone()
    }

    /// What it holds under this id.
    ///
    /// # Errors
    /// Where it holds nothing of the kind.
    pub fn get(&self, id: &str) -> Result<&Described> {
        self.described.iter().find(|one| one.id == id).ok_or_else(|| {
            let all: Vec<_> = self.described.iter().map(|one| one.id.as_str()).collect();
            wrong(self.place.clone(), format!("the library holds no `{id}`, only {}", all.join(", ")))
                .hint("set `id` in plugin.toml to what the library holds")
        })
    }

    /// The JSON Schema of a configuration: an object.
    ///
    /// # Errors
    /// Where the library fails to say, or says something else.
    pub fn schema(&self, id: &str) -> Result<Value> {
        let json = match &self.home {
            Home::Here(entry) => {
                let Some(schema) = entry.config_schema else { return Ok(serde_json::json!({ "type": "object" })) };
                // SAFETY: the library's own function, with a live call and text.
                let returned = call::run(Heap, &[], 1, |call| unsafe { schema(call, Str::lent(id)) });
                let mut returned = returned.map_err(|failure| error(id, "config_schema", &failure))?;
                parse(id, "config_schema", &returned.text(0))?
            }
            Home::Apart(_, schemas) => schemas.get(id).cloned().unwrap_or_default(),
        };
        match json.get("type").and_then(Value::as_str) {
            Some("object") => Ok(json),
            _ => Err(wrong(id, "its config_schema is no schema of an object")),
        }
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or lacks the interface of its kind.
    pub fn create(&self, id: &str, config: &Value) -> Result<Instance> {
        let (kind, config) = (&self.get(id)?.kind, config.to_string());
        let made = match &self.home {
            Home::Here(entry) => Local::create(entry, id, kind, &config).map(|local| Instance::here(id, local)),
            Home::Apart(apart, _) => {
                Session::begin(apart, id, kind, &config).map(|(session, extras)| Instance::apart(id, session, extras))
            }
        };
        made.map_err(|failure| error(id, "create", &failure))
    }

    /// The entry, where it is loaded in this process.
    #[cfg(target_os = "linux")]
    pub(crate) fn entry(&self) -> Option<&Entry> {
        match &self.home {
            Home::Here(entry) => Some(entry),
            Home::Apart(..) => None,
        }
    }

    /// Bytes in memory of the processes in which its instances are or were; `None`: the system does not tell.
    pub(crate) fn resident(&self) -> Option<usize> {
        match &self.home {
            Home::Here(_) => resident("self"),
            Home::Apart(apart, _) => apart.resident(),
        }
    }
}

/// Bytes in memory of a process.
pub(crate) fn resident(process: &str) -> Option<usize> {
    let pages = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    Some(pages.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
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
    let mut all = Vec::new();
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
        all.push(Described {
            id: text("id", one.id, 128)?,
            kind: text("kind", one.kind, 32)?,
            version: text("version", one.version, 32)?,
            summary: text("summary", one.summary, 1024)?,
            license: text("license", one.license, 256)?,
        });
    }
    Ok(all)
}

/// Whether ids, kinds and versions are such, and no id stands twice.
fn in_order(described: &[Described]) -> Result<(), String> {
    let mut ids = BTreeSet::new();
    for one in described {
        if !is_id(&one.id) {
            return Err(format!("{:?} is no id: expected a reverse domain such as org.example.dct", one.id));
        }
        if !KINDS.contains(&one.kind.as_str()) {
            return Err(format!("`{}` is of kind {:?}; kinds are {}", one.id, one.kind, KINDS.join(", ")));
        }
        if !is_version(&one.version) {
            return Err(format!("`{}` is of version {:?}; a version is like 1.2.3", one.id, one.version));
        }
        if [&one.summary, &one.license].iter().any(|text| text.len() > 1024 || text.chars().any(char::is_control)) {
            return Err(format!("what `{}` says of itself is no line of text", one.id));
        }
        if !ids.insert(&one.id) {
            return Err(format!("it holds `{}` twice", one.id));
        }
    }
    Ok(())
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
