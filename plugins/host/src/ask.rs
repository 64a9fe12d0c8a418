//! What an instance is asked for: a function of its tables with its arguments, whatever way the question takes.
//!
//! `T` is a tensor: a [`View`] where the function is called, its place in shared memory on the way to another process.

use musiva_abi::{self as abi, DType};
use serde::{Deserialize, Serialize};

/// Types of elements that cross the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Element {
    /// 32-bit floating point.
    F32,
    /// 64-bit integers.
    I64,
    /// Bytes.
    U8,
}

impl Element {
    /// In the ABI.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::I64 => DType::I64,
            Self::U8 => DType::U8,
        }
    }

    /// Bytes of one.
    pub fn size(self) -> usize {
        usize::from(self.dtype().bits / 8)
    }
}

/// Elements that tensors are lent of. None has padding.
pub trait Lendable: Copy {
    /// Its type.
    const ELEMENT: Element;
}

impl Lendable for f32 {
    const ELEMENT: Element = Element::F32;
}

impl Lendable for i64 {
    const ELEMENT: Element = Element::I64;
}

impl Lendable for u8 {
    const ELEMENT: Element = Element::U8;
}

/// A tensor that a plugin reads, contiguous in C order.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Of its elements.
    pub element: Element,
    /// Its sides.
    pub shape: Vec<i64>,
    /// Its elements, aligned to them.
    pub bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// Lends `values`, as many as the product of the sides.
    pub fn of<T: Lendable>(values: &'a [T], shape: &[usize]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        // SAFETY: the same memory; the elements have no padding.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        Self { element: T::ELEMENT, shape: signed(shape), bytes }
    }

    /// In the ABI, as long as this view stays where it is.
    pub fn tensor(&self) -> abi::Tensor {
        tensor(self.element, &self.shape, self.bytes.as_ptr().cast_mut().cast())
    }
}

/// A tensor of the ABI on the CPU.
pub fn tensor(element: Element, shape: &[i64], data: *mut std::ffi::c_void) -> abi::Tensor {
    abi::Tensor {
        data,
        device: abi::Device { device_type: abi::DEVICE_CPU, device_id: 0 },
        ndim: shape.len() as i32,
        dtype: element.dtype(),
        shape: shape.as_ptr(),
        strides: std::ptr::null(),
        byte_offset: 0,
    }
}

/// Sides as the ABI has them. None is so long that it would not fit.
pub fn signed(sides: &[usize]) -> Vec<i64> {
    sides.iter().map(|&side| side as i64).collect()
}

/// The canvas of a backbone in the words of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canvas {
    /// Length `P` of the prompt.
    pub prompt: i64,
    /// How many text tokens there are to choose from.
    pub words: i64,
    /// Places `[t, h, w]` of the tokens.
    pub grid: [i64; 3],
    /// Entries of codes, else 0.
    pub entries: i64,
    /// Length of the vectors, 0 where there are none.
    pub channels: i64,
}

impl Canvas {
    /// As the header has it.
    pub fn lent(&self) -> abi::Canvas {
        let Self { prompt, words, grid, entries, channels } = *self;
        abi::Canvas { struct_size: size_of::<abi::Canvas>(), prompt, words, grid, entries, channels }
    }
}

/// The input of a backbone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input<T> {
    /// The canvas.
    pub canvas: Canvas,
    /// All parameters.
    pub theta: T,
    /// Prompts.
    pub prompt: T,
    /// Codes or vectors; none where decoding begins.
    pub x: Option<T>,
    /// Times, of a field.
    pub times: Option<T>,
    /// Which of them each position stands at.
    pub at: Option<T>,
    /// The last guess of the clean vectors.
    pub guess: Option<T>,
}

impl<T> Input<T> {
    fn map<U, E>(self, f: &mut impl FnMut(T) -> Result<U, E>) -> Result<Input<U>, E> {
        Ok(Input {
            canvas: self.canvas,
            theta: f(self.theta)?,
            prompt: f(self.prompt)?,
            x: self.x.map(&mut *f).transpose()?,
            times: self.times.map(&mut *f).transpose()?,
            at: self.at.map(&mut *f).transpose()?,
            guess: self.guess.map(&mut *f).transpose()?,
        })
    }
}

/// A function with its arguments; what each does stands in the headers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask<T> {
    /// `describe` of a tokenizer, conditioner, sampler or dataset.
    Describe,
    /// `describe` of a backbone.
    DescribeOn(Canvas),
    /// `shape` of a tokenizer, of media of these sides.
    Shape(Vec<i64>),
    /// `encode` of a tokenizer.
    Encode(T),
    /// `decode` of a tokenizer.
    Decode(T),
    /// `reset` of a stream or of a metric.
    Reset,
    /// `encode_step` of a stream, and whether it is the last.
    EncodeStep(T, bool),
    /// `decode_step` of a stream, and whether it is the last.
    DecodeStep(T, bool),
    /// `parameters` of a backbone.
    Parameters(Canvas),
    /// `forward` of a backbone.
    Forward(Input<T>),
    /// `vjp` of a backbone, with the gradient by its predictions.
    Vjp(Input<T>, T),
    /// `begin` of a backbone's cache.
    Begin(Input<T>),
    /// `step` of a backbone's cache, with the picked tokens.
    Step(Input<T>, T),
    /// `encode` of a conditioner.
    Embed(Vec<String>),
    /// `begin` of a sampler.
    Times,
    /// `step` of a sampler: its number, x, and the guess of the clean vectors.
    Walk(i64, T, T),
    /// `pick` of a sampler: logits and uniform numbers.
    Pick(T, T),
    /// `update` of a metric: what was made, the reference and the caption.
    Update(T, T, String),
    /// `result` of a metric.
    Result,
    /// `read` of a dataset.
    Read(u64),
}

impl<T> Ask<T> {
    /// The function's name in the headers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Describe | Self::DescribeOn(_) => "describe",
            Self::Shape(_) => "shape",
            Self::Encode(_) | Self::Embed(_) => "encode",
            Self::Decode(_) => "decode",
            Self::Reset => "reset",
            Self::EncodeStep(..) => "encode_step",
            Self::DecodeStep(..) => "decode_step",
            Self::Parameters(_) => "parameters",
            Self::Forward(_) => "forward",
            Self::Vjp(..) => "vjp",
            Self::Begin(_) | Self::Times => "begin",
            Self::Step(..) | Self::Walk(..) => "step",
            Self::Pick(..) => "pick",
            Self::Update(..) => "update",
            Self::Result => "result",
            Self::Read(_) => "read",
        }
    }

    /// How many texts it promises.
    pub fn texts(&self) -> usize {
        match self {
            Self::Describe | Self::DescribeOn(_) | Self::Parameters(_) | Self::Result => 1,
            Self::Read(_) => 2,
            _ => 0,
        }
    }

    /// The same question with other tensors.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub fn map<U, E>(self, f: &mut impl FnMut(T) -> Result<U, E>) -> Result<Ask<U>, E> {
        Ok(match self {
            Self::Describe => Ask::Describe,
            Self::DescribeOn(canvas) => Ask::DescribeOn(canvas),
            Self::Shape(sides) => Ask::Shape(sides),
            Self::Encode(media) => Ask::Encode(f(media)?),
            Self::Decode(tokens) => Ask::Decode(f(tokens)?),
            Self::Reset => Ask::Reset,
            Self::EncodeStep(media, last) => Ask::EncodeStep(f(media)?, last),
            Self::DecodeStep(tokens, last) => Ask::DecodeStep(f(tokens)?, last),
            Self::Parameters(canvas) => Ask::Parameters(canvas),
            Self::Forward(input) => Ask::Forward(input.map(f)?),
            Self::Vjp(input, dy) => Ask::Vjp(input.map(f)?, f(dy)?),
            Self::Begin(input) => Ask::Begin(input.map(f)?),
            Self::Step(input, tokens) => Ask::Step(input.map(f)?, f(tokens)?),
            Self::Embed(texts) => Ask::Embed(texts),
            Self::Times => Ask::Times,
            Self::Walk(index, x, clean) => Ask::Walk(index, f(x)?, f(clean)?),
            Self::Pick(logits, uniform) => Ask::Pick(f(logits)?, f(uniform)?),
            Self::Update(made, reference, caption) => Ask::Update(f(made)?, f(reference)?, caption),
            Self::Result => Ask::Result,
            Self::Read(index) => Ask::Read(index),
        })
    }
}
