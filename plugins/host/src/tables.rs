//! The tables of functions of an instance, looked at when it is made: here, and nowhere else, its functions are called.

use crate::ask::{Ask, Input, View};
use musiva_abi::{self as abi, Call, Entry, Status, Str, Table};
use serde::{Deserialize, Serialize};
use std::ffi::c_void;
use std::ptr::null;

/// Interfaces that an instance may have beside that of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// Of a tokenizer: streams.
    pub streaming: bool,
    /// Of a backbone: gradients.
    pub vjp: bool,
    /// Of a backbone: decoding step by step.
    pub cache: bool,
}

/// The tables of one kind.
#[derive(Clone, Copy)]
pub enum Tables {
    Tokenizer(abi::Tokenizer, Option<abi::TokenizerStreaming>),
    Backbone(abi::Backbone, Option<abi::BackboneVjp>, Option<abi::BackboneCache>),
    Conditioner(abi::Conditioner),
    Sampler(abi::Sampler),
    Metric(abi::Metric),
    Dataset(abi::Dataset),
}

impl Tables {
    /// Those of an instance of this kind.
    ///
    /// # Errors
    /// Where the table of its kind is missing, or one is shorter than its version or lacks a function.
    ///
    /// # Safety
    /// `instance` is a live instance of the library of `entry`, whose tables are constant.
    pub unsafe fn of(entry: &Entry, instance: *const abi::Instance, kind: &str) -> Result<Self, String> {
        // SAFETY: by the caller's promise, here and below.
        unsafe {
            Ok(match kind {
                "tokenizer" => Self::Tokenizer(main(entry, instance)?, table(entry, instance)?),
                "backbone" => Self::Backbone(main(entry, instance)?, table(entry, instance)?, table(entry, instance)?),
                "conditioner" => Self::Conditioner(main(entry, instance)?),
                "sampler" => Self::Sampler(main(entry, instance)?),
                "metric" => Self::Metric(main(entry, instance)?),
                _ => Self::Dataset(main(entry, instance)?),
            })
        }
    }

    /// What there is beside the interface of the kind.
    pub fn extras(&self) -> Extras {
        match self {
            Self::Tokenizer(_, streaming) => Extras { streaming: streaming.is_some(), ..Extras::default() },
            Self::Backbone(_, vjp, cache) => Extras { vjp: vjp.is_some(), cache: cache.is_some(), ..Extras::default() },
            _ => Extras::default(),
        }
    }

    /// Calls the function that is asked for; `None`: these tables do not have it. `shape` answers by `grid`.
    ///
    /// # Safety
    /// `this` is the live instance that the tables were made of and nobody else calls it, `call` is live.
    pub unsafe fn call(
        &self,
        this: *mut abi::Instance,
        call: *const Call,
        ask: &Ask<View>,
        grid: &mut [i64; 3],
    ) -> Option<Status> {
        // SAFETY: the plugin's own functions, with its instance, a live call and tensors and texts that live for it.
        let status = unsafe {
            match (self, ask) {
                (Self::Tokenizer(table, _), Ask::Describe) => (table.describe?)(this, call),
                (Self::Tokenizer(table, _), Ask::Shape(sides)) => {
                    (table.shape?)(this, call, sides.len() as i32, sides.as_ptr(), grid.as_mut_ptr())
                }
                (Self::Tokenizer(table, _), Ask::Encode(media)) => (table.encode?)(this, call, &media.tensor()),
                (Self::Tokenizer(table, _), Ask::Decode(tokens)) => (table.decode?)(this, call, &tokens.tensor()),
                (Self::Tokenizer(_, Some(table)), Ask::Reset) => (table.reset?)(this, call),
                (Self::Tokenizer(_, Some(table)), Ask::EncodeStep(media, last)) => {
                    (table.encode_step?)(this, call, &media.tensor(), i32::from(*last))
                }
                (Self::Tokenizer(_, Some(table)), Ask::DecodeStep(tokens, last)) => {
                    (table.decode_step?)(this, call, &tokens.tensor(), i32::from(*last))
                }
                (Self::Backbone(table, ..), Ask::DescribeOn(canvas)) => (table.describe?)(this, call, &canvas.lent()),
                (Self::Backbone(table, ..), Ask::Parameters(canvas)) => (table.parameters?)(this, call, &canvas.lent()),
                (Self::Backbone(table, ..), Ask::Forward(input)) => {
                    let forward = table.forward?;
                    lent(input, |input| forward(this, call, input))
                }
                (Self::Backbone(_, Some(table), _), Ask::Vjp(input, dy)) => {
                    let vjp = table.vjp?;
                    lent(input, |input| vjp(this, call, input, &dy.tensor()))
                }
                (Self::Backbone(_, _, Some(table)), Ask::Begin(input)) => {
                    let begin = table.begin?;
                    lent(input, |input| begin(this, call, input))
                }
                (Self::Backbone(_, _, Some(table)), Ask::Step(input, tokens)) => {
                    let step = table.step?;
                    lent(input, |input| step(this, call, input, &tokens.tensor()))
                }
                (Self::Conditioner(table), Ask::Describe) => (table.describe?)(this, call),
                (Self::Conditioner(table), Ask::Embed(texts)) => {
                    let texts: Vec<Str> = texts.iter().map(|text| Str::lent(text)).collect();
                    (table.encode?)(this, call, texts.len(), texts.as_ptr())
                }
                (Self::Sampler(table), Ask::Describe) => (table.describe?)(this, call),
                (Self::Sampler(table), Ask::Times) => (table.begin?)(this, call),
                (Self::Sampler(table), Ask::Walk(index, x, clean)) => {
                    (table.step?)(this, call, *index, &x.tensor(), &clean.tensor())
                }
                (Self::Sampler(table), Ask::Pick(logits, uniform)) => {
                    (table.pick?)(this, call, &logits.tensor(), &uniform.tensor())
                }
                (Self::Metric(table), Ask::Reset) => (table.reset?)(this, call),
                (Self::Metric(table), Ask::Update(made, reference, caption)) => {
                    (table.update?)(this, call, &made.tensor(), &reference.tensor(), Str::lent(caption))
                }
                (Self::Metric(table), Ask::Result) => (table.result?)(this, call),
                (Self::Dataset(table), Ask::Describe) => (table.describe?)(this, call),
                (Self::Dataset(table), Ask::Read(index)) => (table.read?)(this, call, *index),
                _ => return None,
            }
        };
        Some(status)
    }
}

/// Lends the input of a backbone to `body`.
fn lent<T>(input: &Input<View>, body: impl FnOnce(&abi::BackboneInput) -> T) -> T {
    let canvas = input.canvas.lent();
    let (theta, prompt) = (input.theta.tensor(), input.prompt.tensor());
    let some = [&input.x, &input.times, &input.at, &input.guess].map(|view| view.as_ref().map(View::tensor));
    let [x, times, at, guess] = some.each_ref().map(|tensor| tensor.as_ref().map_or(null(), std::ptr::from_ref));
    let struct_size = size_of::<abi::BackboneInput>();
    body(&abi::BackboneInput { struct_size, canvas: &canvas, theta: &theta, prompt: &prompt, x, times, at, guess })
}

/// Tables whose functions can be looked at.
trait Complete: Table {
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

/// The table of an interface that every instance of the kind has.
///
/// # Safety
/// As [`Tables::of`].
unsafe fn main<T: Complete>(entry: &Entry, instance: *const abi::Instance) -> Result<T, String> {
    // SAFETY: by the caller's promise.
    let table = unsafe { table(entry, instance) }?;
    table.ok_or_else(|| format!("it does not have the interface {} of its kind", T::ID))
}

/// The table of an interface, where the instance has it.
///
/// # Safety
/// As [`Tables::of`].
unsafe fn table<T: Complete>(entry: &Entry, instance: *const abi::Instance) -> Result<Option<T>, String> {
    let get = entry.get_interface.expect("looked at when it was loaded");
    // SAFETY: the library's own function, with its own instance.
    let pointer = unsafe { get(instance, Str::lent(T::ID)) };
    // SAFETY: the library gives a constant table for this id, or nothing.
    if pointer.is_null() { Ok(None) } else { unsafe { read(pointer) }.map(Some) }
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
