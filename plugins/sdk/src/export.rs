//! From traits to the entry that a library exports: instances, the guard, and [`export_plugin!`](crate::export_plugin).
//!
//! Authors need nothing from here; the macros do.

pub use crate::backbone::{BackboneTable as Backbone, CacheTable as Cache, VjpTable as Vjp};
pub use crate::kinds::{
    ConditionerTable as Conditioner, DatasetTable as Dataset, MetricTable as Metric, SamplerTable as Sampler,
};
pub use crate::tokenizer::{StreamingTable as Streaming, TokenizerTable as Tokenizer};

use crate::kinds::utf8;
use crate::{Context, Error, Plugin, Result, log};
use musiva_abi::{self as abi, Call, Entry, Instance, Status, Str};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// A table of functions for one plugin type.
pub trait Interface {
    /// The table's type.
    type Table: 'static;
    /// What the host asks for it by.
    const ID: &'static str;
    /// The table.
    const TABLE: &'static Self::Table;
    /// Both, without the type.
    const ENTRY: (&'static str, Pointer) = (Self::ID, Pointer(Self::TABLE as *const Self::Table as *const c_void));
}

/// The interface that every plugin of a kind has.
pub trait Kind: Interface {
    /// The kind's name.
    const KIND: &'static str;
}

/// A pointer to a constant.
#[derive(Clone, Copy, Debug)]
pub struct Pointer(*const c_void);

// SAFETY: what it leads to is constant.
unsafe impl Sync for Pointer {}

/// What the library knows of one plugin type.
pub struct Class {
    descriptor: abi::Descriptor,
    interfaces: &'static [(&'static str, Pointer)],
    schema: fn() -> String,
    create: fn(&'static Class, &str) -> Result<*mut Instance>,
    destroy: unsafe fn(*mut Instance),
}

impl Class {
    /// The class of `T` with its interfaces.
    pub const fn of<T: Plugin>(kind: &'static str, interfaces: &'static [(&'static str, Pointer)]) -> Self {
        Self {
            descriptor: abi::Descriptor {
                struct_size: size_of::<abi::Descriptor>(),
                id: Str::new(T::ID),
                kind: Str::new(kind),
                version: Str::new(T::VERSION),
                summary: Str::new(T::SUMMARY),
                license: Str::new(T::LICENSE),
                flags: 0,
            },
            interfaces,
            schema: schema::<T>,
            create: create_one::<T>,
            destroy: destroy_one::<T>,
        }
    }

    /// What the host reads of it.
    pub const fn descriptor(&'static self) -> &'static abi::Descriptor {
        &self.descriptor
    }

    fn is(&self, id: &str) -> bool {
        // SAFETY: the id is constant.
        unsafe { self.descriptor.id.bytes() == id.as_bytes() }
    }
}

fn schema<T: Plugin>() -> String {
    serde_json::Value::from(schemars::schema_for!(T::Config)).to_string()
}

fn create_one<T: Plugin>(class: &'static Class, config: &str) -> Result<*mut Instance> {
    let config = serde_json::from_str(config).map_err(|error| Error::config(error.to_string()))?;
    let held = Held { class, poisoned: Cell::new(false), value: T::new(config)? };
    Ok(Box::into_raw(Box::new(held)).cast())
}

/// # Safety
/// `instance` is one of T, and used no more.
unsafe fn destroy_one<T>(instance: *mut Instance) {
    // SAFETY: it came from `create_one`.
    drop(unsafe { Box::from_raw(instance.cast::<Held<T>>()) });
}

/// What stands behind an instance's pointer. The class comes first, so that it can be read without knowing `T`.
#[repr(C)]
struct Held<T> {
    class: &'static Class,
    /// Whether a call has panicked: nothing is known of the value then.
    poisoned: Cell<bool>,
    value: T,
}

/// The types of a library.
pub trait Library {
    /// All of them.
    const CLASSES: &'static [Class];
    /// Their descriptors, in the same order.
    const DESCRIPTORS: &'static [&'static abi::Descriptor];
}

/// The entry of a library.
pub const fn entry<L: Library>() -> Entry {
    Entry {
        struct_size: size_of::<Entry>(),
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        descriptor_count: L::DESCRIPTORS.len() as u32,
        reserved: 0,
        // A reference is a pointer.
        descriptors: L::DESCRIPTORS.as_ptr().cast(),
        config_schema: Some(config_schema::<L>),
        create: Some(create::<L>),
        destroy: Some(destroy),
        get_interface: Some(get_interface),
    }
}

unsafe extern "C" fn config_schema<L: Library>(call: *const Call, id: Str) -> Status {
    // SAFETY: the host passes a live call and a live text.
    unsafe { guard(call, |cx| cx.text(0, &(class::<L>(id)?.schema)())) }
}

unsafe extern "C" fn create<L: Library>(
    host: *const abi::Host,
    call: *const Call,
    id: Str,
    config: Str,
    out: *mut *mut Instance,
) -> Status {
    // SAFETY: the host outlives the library, the rest lives for the call.
    unsafe {
        log::listen(host);
        guard(call, |_| {
            let class = class::<L>(id)?;
            out.write((class.create)(class, utf8(config)?)?);
            Ok(())
        })
    }
}

/// # Safety
/// The id lives for the call.
unsafe fn class<L: Library>(id: Str) -> Result<&'static Class> {
    // SAFETY: by the caller's promise.
    let id = unsafe { utf8(id) }?;
    let class = L::CLASSES.iter().find(|class| class.is(id));
    class.ok_or_else(|| Error::unsupported(format!("this library has no `{id}`")))
}

unsafe extern "C" fn destroy(instance: *mut Instance) {
    if !instance.is_null() {
        // A plugin that panics while it is dropped leaks what is left of it.
        quietly(|| {
            // SAFETY: the host passes an instance of this library; the class comes first whatever its type.
            unsafe { ((*instance.cast::<&'static Class>()).destroy)(instance) };
            Ok(())
        })
        .ok();
    }
}

unsafe extern "C" fn get_interface(instance: *const Instance, id: Str) -> *const c_void {
    // SAFETY: the host passes an instance of this library and a live text.
    let (class, id) = unsafe { (*instance.cast::<&'static Class>(), id.bytes()) };
    let found = class.interfaces.iter().find(|(known, _)| known.as_bytes() == id);
    found.map_or(std::ptr::null(), |(_, table)| table.0)
}

/// Runs a function of an instance behind the guard.
///
/// # Safety
/// `this` is a live instance of `T` of this library, used by no other call, and `call` is live.
pub(crate) unsafe fn with<T: Plugin>(
    this: *const Instance,
    call: *const Call,
    body: impl FnOnce(&mut T, &mut Context) -> Result<()>,
) -> Status {
    let held = this.cast_mut().cast::<Held<T>>();
    // SAFETY: by the caller's promise.
    let Some(held) = (unsafe { held.as_mut() }) else { return Status::INTERNAL };
    if held.poisoned.get() {
        // SAFETY: by the caller's promise.
        let status = unsafe { guard(call, |_| Err(Error::internal("it panicked in an earlier call"))) };
        return if status == Status::OK { status } else { Status::PANICKED };
    }
    // SAFETY: by the caller's promise.
    let status = unsafe { guard(call, |cx| body(&mut held.value, cx)) };
    held.poisoned.set(status == Status::PANICKED);
    status
}

/// Runs `body`; an error or a panic becomes a status and a message.
///
/// # Safety
/// `call` is null or live.
unsafe fn guard(call: *const Call, body: impl FnOnce(&mut Context) -> Result<()>) -> Status {
    // SAFETY: by the caller's promise.
    let Some(call) = (unsafe { call.as_ref() }) else { return Status::INTERNAL };
    let mut cx = Context::new(call);
    let (status, message) = match quietly(|| body(&mut cx)) {
        Ok(Ok(())) => return Status::OK,
        Ok(Err(error)) => (error.status(), error.to_string()),
        Err(message) => (Status::PANICKED, format!("it panicked: {message}")),
    };
    // Where the host itself refused something, it has its own words.
    if !message.is_empty() {
        cx.fail(&message);
    }
    status
}

thread_local! {
    /// Whether this thread runs behind a guard, which reports the panic itself.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`; of a panic, its message.
fn quietly<T>(body: impl FnOnce() -> Result<T>) -> Result<Result<T>, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                loud(info);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    GUARDED.set(before);
    outcome.map_err(|payload| {
        let message = said(&*payload);
        // Dropping it may panic again, where nothing would catch it.
        std::mem::forget(payload);
        message
    })
}

fn said(payload: &(dyn Any + Send)) -> String {
    let plain = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    plain.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".into())
}

/// Exports plugin types: each with its kind, then whatever else it can do.
///
/// ```ignore
/// export_plugin!(Dct: Tokenizer + Streaming, Mixer: Backbone + Vjp + Cache);
/// ```
///
/// Once in a library (`crate-type = ["cdylib"]`).
#[macro_export]
macro_rules! export_plugin {
    ($($all:tt)+) => {
        #[cfg(panic = "abort")]
        compile_error!("a plugin must unwind, so that a panic ends a call and not the host: delete `panic = \"abort\"`");

        /// What the library holds.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        pub static musiva_plugin_entry: $crate::abi::Entry = $crate::entry!($($all)+);
    };
}

/// The [`Entry`](abi::Entry) of plugin types, written as for [`export_plugin!`](crate::export_plugin): for hosts that
/// call them without a shared library, as tests do.
#[macro_export]
macro_rules! entry {
    ($($plugin:ty: $kind:ident $(+ $more:ident)*),+ $(,)?) => {{
        struct Library;
        impl $crate::export::Library for Library {
            const CLASSES: &'static [$crate::export::Class] = {
                use $crate::export::{Interface, Kind};
                &[$($crate::export::Class::of::<$plugin>(
                    <$crate::export::$kind<$plugin> as Kind>::KIND,
                    &[
                        <$crate::export::$kind<$plugin> as Interface>::ENTRY
                        $(, <$crate::export::$more<$plugin> as Interface>::ENTRY)*
                    ],
                )),+]
            };
            const DESCRIPTORS: &'static [&'static $crate::abi::Descriptor] = {
                const COUNT: usize = <Library as $crate::export::Library>::CLASSES.len();
                const ALL: [&'static $crate::abi::Descriptor; COUNT] = {
                    let classes = <Library as $crate::export::Library>::CLASSES;
                    let mut all = [classes[0].descriptor(); COUNT];
                    let mut i = 1;
                    while i < COUNT {
                        all[i] = classes[i].descriptor();
                        i += 1;
                    }
                    all
                };
                &ALL
            };
        }
        $crate::export::entry::<Library>()
    }};
}
