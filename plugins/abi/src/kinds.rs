//! `musiva/conditioner.h`, `musiva/sampler.h`, `musiva/metric.h` and `musiva/dataset.h`.

use crate::{Call, Instance, Status, Str, Tensor};

/// Asks an instance what it is or has found, as JSON.
pub type Ask = unsafe extern "C" fn(this: *const Instance, call: *const Call) -> Status;

/// Sets an instance going.
pub type Start = unsafe extern "C" fn(this: *mut Instance, call: *const Call) -> Status;

/// `musiva_conditioner_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Conditioner {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// The shape of its embeddings, as JSON.
    pub describe: Option<Ask>,
    /// Texts to embeddings.
    pub encode:
        Option<unsafe extern "C" fn(this: *mut Instance, call: *const Call, count: usize, texts: *const Str) -> Status>,
}

/// `musiva_sampler_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// What it drives, as JSON.
    pub describe: Option<Ask>,
    /// The times of a field.
    pub begin: Option<Start>,
    /// One step of a field.
    pub step: Option<
        unsafe extern "C" fn(
            this: *mut Instance,
            call: *const Call,
            index: i64,
            x: *const Tensor,
            clean: *const Tensor,
        ) -> Status,
    >,
    /// Picks codes.
    pub pick: Option<
        unsafe extern "C" fn(
            this: *mut Instance,
            call: *const Call,
            logits: *const Tensor,
            uniform: *const Tensor,
        ) -> Status,
    >,
}

/// `musiva_metric_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// Forgets what came before.
    pub reset: Option<Start>,
    /// Takes one more pair.
    pub update: Option<
        unsafe extern "C" fn(
            this: *mut Instance,
            call: *const Call,
            made: *const Tensor,
            reference: *const Tensor,
            caption: Str,
        ) -> Status,
    >,
    /// The numbers, as JSON.
    pub result: Option<Ask>,
}

/// `musiva_dataset_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Dataset {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// The shape of its samples, as JSON.
    pub describe: Option<Ask>,
    /// A sample.
    pub read: Option<unsafe extern "C" fn(this: *const Instance, call: *const Call, index: u64) -> Status>,
}
