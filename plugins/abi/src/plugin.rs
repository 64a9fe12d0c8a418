//! The library and its host.

use crate::{Call, Instance, Status, Str};
use core::ffi::c_void;

/// `MUSIVA_ABI_MAJOR`.
pub const ABI_MAJOR: u32 = 1;
/// `MUSIVA_ABI_MINOR`.
pub const ABI_MINOR: u32 = 0;
/// The one exported symbol.
pub const ENTRY: &str = "musiva_plugin_entry";

/// `musiva_host`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// The host's own.
    pub host_data: *mut c_void,
    /// What the host is called.
    pub name: Str,
    /// Its version.
    pub version: Str,
    /// How many threads a call had best use.
    pub threads: u32,
    /// Writes a line of the log.
    pub log: Option<unsafe extern "C" fn(host: *const Host, level: i32, message: Str)>,
    /// Something that a later host offers.
    pub get_extension: Option<unsafe extern "C" fn(host: *const Host, id: Str) -> *const c_void>,
}

// SAFETY: the host is constant, and its functions may be called from any thread.
unsafe impl Sync for Host {}
// SAFETY: as above.
unsafe impl Send for Host {}

/// `musiva_descriptor`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// Reverse domain; a recipe's `kind`.
    pub id: Str,
    /// `tokenizer`, `backbone`, `conditioner`, `sampler`, `metric` or `dataset`.
    pub kind: Str,
    /// Of the plugin.
    pub version: Str,
    /// One line.
    pub summary: Str,
    /// SPDX expression.
    pub license: Str,
    /// 0.
    pub flags: u64,
}

// SAFETY: a descriptor is constant.
unsafe impl Sync for Descriptor {}

/// `musiva_entry`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// [`ABI_MAJOR`].
    pub abi_major: u32,
    /// [`ABI_MINOR`].
    pub abi_minor: u32,
    /// How many descriptors there are.
    pub descriptor_count: u32,
    /// 0.
    pub reserved: u32,
    /// An array of pointers to them.
    pub descriptors: *const *const Descriptor,
    /// The JSON Schema of a configuration.
    pub config_schema: Option<unsafe extern "C" fn(call: *const Call, id: Str) -> Status>,
    /// Makes an instance.
    pub create: Option<
        unsafe extern "C" fn(
            host: *const Host,
            call: *const Call,
            id: Str,
            config_json: Str,
            out: *mut *mut Instance,
        ) -> Status,
    >,
    /// Frees an instance.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut Instance)>,
    /// The table of an interface.
    pub get_interface: Option<unsafe extern "C" fn(instance: *const Instance, interface_id: Str) -> *const c_void>,
}

// SAFETY: an entry is constant, and its functions are for any thread.
unsafe impl Sync for Entry {}
// SAFETY: as above.
unsafe impl Send for Entry {}
