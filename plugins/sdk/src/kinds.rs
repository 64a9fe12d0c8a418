//! What every plugin is, and the kinds with one small interface each: conditioners, samplers, metrics, datasets.

use crate::export::{Interface, Kind, with};
use crate::{Context, Error, Result, Tensor};
use musiva_abi::{self as abi, Call, Instance, Status, Str, Table};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// What every plugin has, whatever its kind.
pub trait Plugin: Sized + Send + 'static {
    /// Reverse domain, of a-z, 0-9, `-` and dots: what a recipe writes after `kind =`.
    const ID: &'static str;
    /// `1.2.3`; `env!("CARGO_PKG_VERSION")` will do.
    const VERSION: &'static str;
    /// One line for listings.
    const SUMMARY: &'static str;
    /// SPDX expression.
    const LICENSE: &'static str = "";
    /// What a recipe says of it. Its JSON Schema is what recipes are checked against: document the fields, and give
    /// them ranges. A field with `#[schemars(extend("format" = "path"))]` is a file, relative to the recipe.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes an instance. Cheap: large files are read when it is first run.
    ///
    /// # Errors
    /// Where the configuration cannot work.
    fn new(config: Self::Config) -> Result<Self>;
}

/// The shape of a conditioner's embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionerSpec {
    /// `L`.
    pub length: usize,
    /// `D`.
    pub channels: usize,
}

/// Texts to embeddings.
pub trait Conditioner: Plugin {
    /// The shape of its embeddings.
    fn spec(&self) -> ConditionerSpec;

    /// Writes f32 `[B, L, D]` to output 0 and to output 1 u8 `[B, L]`, 1 where an embedding stands for something.
    ///
    /// # Errors
    /// Where a text does not fit.
    fn encode(&mut self, cx: &mut Context, texts: &[&str]) -> Result<()>;
}

/// [`Conditioner`] as the ABI sees it.
pub struct ConditionerTable<T>(PhantomData<T>);

impl<T: Conditioner> Kind for ConditionerTable<T> {
    const KIND: &'static str = "conditioner";
}

impl<T: Conditioner> Interface for ConditionerTable<T> {
    type Table = abi::Conditioner;
    const ID: &'static str = abi::Conditioner::ID;
    const TABLE: &'static abi::Conditioner = &abi::Conditioner {
        struct_size: size_of::<abi::Conditioner>(),
        describe: Some(describe_conditioner::<T>),
        encode: Some(condition::<T>),
    };
}

unsafe extern "C" fn describe_conditioner<T: Conditioner>(this: *const Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe { with::<T>(this, call, |plugin, cx| cx.json(0, &plugin.spec())) }
}

unsafe extern "C" fn condition<T: Conditioner>(
    this: *mut Instance,
    call: *const Call,
    count: usize,
    texts: *const Str,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and `count` live texts.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let texts = if count == 0 { &[] } else { std::slice::from_raw_parts(texts, count) };
            let texts: Result<Vec<&str>> = texts.iter().map(|text| utf8(*text)).collect();
            plugin.encode(cx, &texts?)
        })
    }
}

/// A text of the host.
///
/// # Safety
/// It lives for `'a`.
pub(crate) unsafe fn utf8<'a>(text: Str) -> Result<&'a str> {
    // SAFETY: by the caller's promise.
    std::str::from_utf8(unsafe { text.bytes() }).map_err(|_| Error::input("a text is not UTF-8"))
}

/// What a sampler drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drives {
    /// A model that predicts the next code.
    Codes,
    /// A model that predicts a field.
    Field,
}

/// What a sampler is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SamplerSpec {
    /// What it drives.
    pub drives: Drives,
    /// By what the host extrapolates from the prediction without the prompt to the one with it; 1: not at all.
    pub guidance: f32,
}

/// How predictions become tokens: of codes [`Sampler::pick`], of a field the other two.
pub trait Sampler: Plugin {
    /// What it drives.
    fn spec(&self) -> SamplerSpec;

    /// The times that a field goes through, falling from 1 to 0.
    ///
    /// # Errors
    /// Where it drives codes.
    fn begin(&mut self) -> Result<Vec<f32>> {
        Err(Error::unsupported("this sampler drives codes, not fields"))
    }

    /// Takes `x` at time `index` and the guess of the clean vectors there, both f32 `[B, L, C]`; writes `x` at time
    /// `index + 1` to output 0. The first step is 0, or a later one where what is there is changed.
    ///
    /// # Errors
    /// Where it drives codes.
    fn step(&mut self, _cx: &mut Context, _index: usize, _x: Tensor, _clean: Tensor) -> Result<()> {
        Err(Error::unsupported("this sampler drives codes, not fields"))
    }

    /// Picks by logits f32 `[B, K]` and a uniform number in `[0, 1)` a row; i64 `[B]` to output 0.
    ///
    /// # Errors
    /// Where it drives fields.
    fn pick(&mut self, _cx: &mut Context, _logits: Tensor, _uniform: &[f32]) -> Result<()> {
        Err(Error::unsupported("this sampler drives fields, not codes"))
    }
}

/// [`Sampler`] as the ABI sees it.
pub struct SamplerTable<T>(PhantomData<T>);

impl<T: Sampler> Kind for SamplerTable<T> {
    const KIND: &'static str = "sampler";
}

impl<T: Sampler> Interface for SamplerTable<T> {
    type Table = abi::Sampler;
    const ID: &'static str = abi::Sampler::ID;
    const TABLE: &'static abi::Sampler = &abi::Sampler {
        struct_size: size_of::<abi::Sampler>(),
        describe: Some(describe_sampler::<T>),
        begin: Some(begin::<T>),
        step: Some(step::<T>),
        pick: Some(pick::<T>),
    };
}

unsafe extern "C" fn describe_sampler<T: Sampler>(this: *const Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe { with::<T>(this, call, |plugin, cx| cx.json(0, &plugin.spec())) }
}

unsafe extern "C" fn begin<T: Sampler>(this: *mut Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let times = plugin.begin()?;
            cx.output(0, &[times.len()])?.copy_from_slice(&times);
            Ok(())
        })
    }
}

unsafe extern "C" fn step<T: Sampler>(
    this: *mut Instance,
    call: *const Call,
    index: i64,
    x: *const abi::Tensor,
    clean: *const abi::Tensor,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and live tensors.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let index = usize::try_from(index).map_err(|_| Error::input("a step below zero"))?;
            plugin.step(cx, index, Tensor::new(x)?, Tensor::new(clean)?)
        })
    }
}

unsafe extern "C" fn pick<T: Sampler>(
    this: *mut Instance,
    call: *const Call,
    logits: *const abi::Tensor,
    uniform: *const abi::Tensor,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and live tensors.
    unsafe {
        with::<T>(this, call, |plugin, cx| plugin.pick(cx, Tensor::new(logits)?, Tensor::new(uniform)?.as_slice()?))
    }
}

/// How good clips are.
pub trait Metric: Plugin {
    /// Forgets what came before.
    fn reset(&mut self);

    /// Takes one more pair, both u8 `[T, H, W, 3]`.
    ///
    /// # Errors
    /// Where the pair does not fit.
    fn update(&mut self, made: Tensor, reference: Tensor, caption: &str) -> Result<()>;

    /// The numbers by name, whatever the order of the pairs was.
    ///
    /// # Errors
    /// Where there are none.
    fn result(&self) -> Result<BTreeMap<String, f64>>;
}

/// [`Metric`] as the ABI sees it.
pub struct MetricTable<T>(PhantomData<T>);

impl<T: Metric> Kind for MetricTable<T> {
    const KIND: &'static str = "metric";
}

impl<T: Metric> Interface for MetricTable<T> {
    type Table = abi::Metric;
    const ID: &'static str = abi::Metric::ID;
    const TABLE: &'static abi::Metric = &abi::Metric {
        struct_size: size_of::<abi::Metric>(),
        reset: Some(reset::<T>),
        update: Some(update::<T>),
        result: Some(result::<T>),
    };
}

unsafe extern "C" fn reset<T: Metric>(this: *mut Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe {
        with::<T>(this, call, |plugin, _| {
            plugin.reset();
            Ok(())
        })
    }
}

unsafe extern "C" fn update<T: Metric>(
    this: *mut Instance,
    call: *const Call,
    made: *const abi::Tensor,
    reference: *const abi::Tensor,
    caption: Str,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call, live tensors and a live text.
    unsafe {
        with::<T>(this, call, |plugin, _| plugin.update(Tensor::new(made)?, Tensor::new(reference)?, utf8(caption)?))
    }
}

unsafe extern "C" fn result<T: Metric>(this: *const Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let result = plugin.result()?;
            cx.json(0, &result)
        })
    }
}

/// What a dataset holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetSpec {
    /// How many samples there are; `None`: endless.
    pub length: Option<u64>,
    /// Every clip is `[T, H, W]`.
    pub clip: [usize; 3],
    /// So many frames in so many seconds.
    pub rate: [u32; 2],
}

/// A clip with its caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// `[T, H, W, 3]`.
    pub pixels: Vec<u8>,
    /// What it shows; may be empty.
    pub caption: String,
    /// Where it comes from, for messages.
    pub id: String,
}

/// Clips and captions by number.
pub trait Dataset: Plugin {
    /// What it holds.
    ///
    /// # Errors
    /// Where it cannot be opened.
    fn spec(&self) -> Result<DatasetSpec>;

    /// Sample `index`: the same for the same index.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read(&self, index: u64) -> Result<Sample>;
}

/// [`Dataset`] as the ABI sees it.
pub struct DatasetTable<T>(PhantomData<T>);

impl<T: Dataset> Kind for DatasetTable<T> {
    const KIND: &'static str = "dataset";
}

impl<T: Dataset> Interface for DatasetTable<T> {
    type Table = abi::Dataset;
    const ID: &'static str = abi::Dataset::ID;
    const TABLE: &'static abi::Dataset = &abi::Dataset {
        struct_size: size_of::<abi::Dataset>(),
        describe: Some(describe_dataset::<T>),
        read: Some(read::<T>),
    };
}

unsafe extern "C" fn describe_dataset<T: Dataset>(this: *const Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let spec = plugin.spec()?;
            cx.json(0, &spec)
        })
    }
}

unsafe extern "C" fn read<T: Dataset>(this: *const Instance, call: *const Call, index: u64) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let ([t, h, w], sample) = (plugin.spec()?.clip, plugin.read(index)?);
            if sample.pixels.len() != t * h * w * 3 {
                let message = format!("sample {index} has {} bytes, not {t}·{h}·{w}·3", sample.pixels.len());
                return Err(Error::internal(message));
            }
            cx.output(0, &[t, h, w, 3])?.copy_from_slice(&sample.pixels);
            cx.text(0, &sample.caption)?;
            cx.text(1, &sample.id)
        })
    }
}
