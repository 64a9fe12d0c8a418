//! One call into a plugin: what it is lent, what it may give back, and what it gave.

use crate::ask::{Element, tensor};
use crate::environment::Environment;
use musiva_abi::{self as abi, DType, Status, Str};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// No output whose shape the host does not know beforehand is larger, in bytes.
const LARGEST: usize = 1 << 30;
/// No text is longer.
const LONGEST: usize = 16 << 20;
/// Of a message that is longer, so much is kept.
const MESSAGE: usize = 4 << 10;

/// Where outputs lie while a call lasts, and after it.
pub trait Allocator {
    /// What is kept of an output.
    type Kept;
    /// Makes room for so many zeros: what to keep, and where the first lies. `None`: there is not so much memory.
    fn zeros(&mut self, element: Element, count: usize) -> Option<(Self::Kept, *mut c_void)>;
}

/// Vectors of this process.
pub struct Heap;

impl Allocator for Heap {
    type Kept = Values;

    fn zeros(&mut self, element: Element, count: usize) -> Option<(Values, *mut c_void)> {
        // The elements of a vector stay where they are when the vector itself is moved.
        Some(match element {
            Element::F32 => {
                let mut values = vec![0.0; count];
                let first = values.as_mut_ptr().cast();
                (Values::F32(values), first)
            }
            Element::I64 => {
                let mut values = vec![0; count];
                let first = values.as_mut_ptr().cast();
                (Values::I64(values), first)
            }
            Element::U8 => {
                let mut values = vec![0; count];
                let first = values.as_mut_ptr().cast();
                (Values::U8(values), first)
            }
        })
    }
}

/// Numbers on their way out of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floating point.
    F32(Vec<f32>),
    /// Codes.
    I64(Vec<i64>),
    /// Bytes.
    U8(Vec<u8>),
}

/// An output that a function promises.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// For messages.
    pub name: Cow<'static, str>,
    /// Of its elements.
    pub element: Element,
    /// Its sides; `None`: any.
    pub shape: Vec<Option<usize>>,
    /// Whether it may be left out.
    pub optional: bool,
}

impl Wanted {
    /// An output of a known shape.
    pub fn exact(name: &'static str, element: Element, shape: &[usize]) -> Self {
        Self { name: name.into(), element, shape: shape.iter().map(|&side| Some(side)).collect(), optional: false }
    }

    /// An output of which some sides are known.
    pub fn some(name: &'static str, element: Element, shape: &[Option<usize>]) -> Self {
        Self { name: name.into(), element, shape: shape.to_vec(), optional: false }
    }

    /// How many elements an output of this shape has.
    ///
    /// # Errors
    /// Where it is none that is wanted, or is too large.
    pub fn count(&self, dtype: DType, shape: &[i64]) -> Result<usize, String> {
        let fits = |(side, wanted): (&i64, &Option<usize>)| {
            wanted.map_or(*side > 0, |wanted| usize::try_from(*side) == Ok(wanted))
        };
        let ranks = shape.len() == self.shape.len();
        if dtype != self.element.dtype() || !ranks || !shape.iter().zip(&self.shape).all(fits) {
            let sides: Vec<_> =
                self.shape.iter().map(|side| side.map_or("·".into(), |side| side.to_string())).collect();
            let wanted = format!("{} [{}]", dtype_name(self.element.dtype()), sides.join(", "));
            return Err(format!("it makes {} of {} {shape:?}, expected {wanted}", self.name, dtype_name(dtype)));
        }
        let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(usize::try_from(side).ok()?));
        let known = self.shape.iter().all(Option::is_some);
        let bytes = |count: usize| count.checked_mul(self.element.size());
        let count = count.filter(|&count| bytes(count).is_some_and(|all| known || all <= LARGEST));
        count.ok_or_else(|| format!("it makes {} of {shape:?}: more than {LARGEST} bytes", self.name))
    }
}

/// An output that was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output<K = Values> {
    /// Its sides.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: K,
}

impl Output {
    /// The numbers, which were wanted as f32.
    pub fn f32(self) -> Vec<f32> {
        match self.values {
            Values::F32(values) => values,
            _ => unreachable!("the output was wanted as f32"),
        }
    }

    /// The numbers, which were wanted as i64.
    pub fn i64(self) -> Vec<i64> {
        match self.values {
            Values::I64(values) => values,
            _ => unreachable!("the output was wanted as i64"),
        }
    }

    /// The numbers, which were wanted as u8.
    pub fn u8(self) -> Vec<u8> {
        match self.values {
            Values::U8(values) => values,
            _ => unreachable!("the output was wanted as u8"),
        }
    }
}

/// What a call gave.
#[derive(Debug, Serialize, Deserialize)]
pub struct Returned<K = Values> {
    /// Outputs by number.
    pub outputs: Vec<Option<Output<K>>>,
    /// Texts by number.
    pub texts: Vec<Option<String>>,
    /// The answer of a shape function, else zeros.
    pub grid: [i64; 3],
}

impl Returned {
    /// Output `index`, which was wanted and not optional.
    pub fn output(&mut self, index: usize) -> Output {
        self.optional(index).expect("an output that is not optional was looked for")
    }

    /// Output `index`, which was wanted.
    pub fn optional(&mut self, index: usize) -> Option<Output> {
        self.outputs[index].take()
    }

    /// Text `index`, which was wanted.
    pub fn text(&mut self, index: usize) -> String {
        self.texts[index].take().expect("a text was looked for")
    }
}

impl<K> Returned<K> {
    /// Whether all is there that was wanted.
    ///
    /// # Errors
    /// What is missing.
    pub fn whole(self, wanted: &[Wanted], texts: usize) -> Result<Self, Failure> {
        let missing = |message: String| Failure { status: Status::INTERNAL, message };
        let lacks = |index: &usize| !wanted[*index].optional && self.outputs.get(*index).is_none_or(Option::is_none);
        if let Some(index) = (0..wanted.len()).find(lacks) {
            return Err(missing(format!("output {index} ({}) is missing", wanted[index].name)));
        }
        match (0..texts).find(|&index| self.texts.get(index).is_none_or(Option::is_none)) {
            Some(index) => Err(missing(format!("text {index} is missing"))),
            None => Ok(self),
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the function returned.
    pub status: Status,
    /// In words.
    pub message: String,
}

/// Lends a call to `body`, and looks at what it gave.
///
/// # Errors
/// Where the function fails, leaves something out, gives something else than was wanted, or changes the environment.
pub fn run<R: Allocator>(
    room: R,
    wanted: &[Wanted],
    texts: usize,
    body: impl FnOnce(*const abi::Call) -> Status,
) -> Result<Returned<R::Kept>, Failure> {
    let mut returned =
        State { room, wanted, outputs: Vec::new(), texts: vec![None; texts], failed: None, refused: None };
    returned.outputs.resize_with(wanted.len(), || None);
    let state = Mutex::new(returned);
    let call = abi::Call {
        struct_size: size_of::<abi::Call>(),
        host_data: (&raw const state).cast_mut().cast::<c_void>(),
        // Whatever the host draws at random it draws itself.
        seed: 0,
        output: Some(output::<R>),
        text: Some(text::<R>),
        fail: Some(fail::<R>),
        cancelled: Some(cancelled),
    };
    let environment = Environment::now();
    let status = body(&call);
    let changed = environment.restore();
    let returned = state.into_inner().unwrap_or_else(PoisonError::into_inner).judge(status, changed)?;
    returned.whole(wanted, texts)
}

struct State<'a, R: Allocator> {
    room: R,
    wanted: &'a [Wanted],
    outputs: Vec<Option<Box<Allocated<R::Kept>>>>,
    texts: Vec<Option<String>>,
    /// What the plugin said.
    failed: Option<String>,
    /// What the host would not do for it.
    refused: Option<String>,
}

/// An output with the tensor that leads to it: boxed, so that both stay where they are.
struct Allocated<K> {
    shape: Vec<i64>,
    kept: K,
    tensor: abi::Tensor,
}

impl<R: Allocator> State<'_, R> {
    fn judge(self, status: Status, changed: Option<&str>) -> Result<Returned<R::Kept>, Failure> {
        let fails = |status, message: String| Err(Failure { status, message });
        let said = match (self.refused, self.failed) {
            // What the host refused is the cause of what the plugin said after.
            (Some(refused), _) => Some(refused),
            (None, failed) => failed,
        };
        match (status, said) {
            (Status::OK, None) => {}
            (Status::OK, Some(said)) => {
                return fails(Status::INTERNAL, format!("it reports success, but had said: {said}"));
            }
            (status, Some(said)) => return fails(status, said),
            (status, None) => return fails(status, format!("it failed without a word ({})", status_name(status))),
        }
        if let Some(changed) = changed {
            return fails(Status::INTERNAL, format!("{changed}, which plugins must leave alone"));
        }
        let output = |made: Box<Allocated<R::Kept>>| {
            let made = *made;
            Output { shape: made.shape.iter().map(|&side| side as usize).collect(), values: made.kept }
        };
        let outputs = self.outputs.into_iter().map(|made| made.map(output)).collect();
        Ok(Returned { outputs, texts: self.texts, grid: [0; 3] })
    }

    /// The reason for refusing, or the output.
    fn allocate(&mut self, index: u32, dtype: DType, shape: Option<&[i64]>) -> Result<*mut abi::Tensor, String> {
        let Some(wanted) = self.wanted.get(index as usize) else {
            return Err(format!("it asks for output {index}, and there is none of that number"));
        };
        let (name, element) = (&wanted.name, wanted.element);
        let Some(shape) = shape else { return Err(format!("it asks for {name} without a shape")) };
        let count = wanted.count(dtype, shape)?;
        let slot = &mut self.outputs[index as usize];
        if slot.is_some() {
            return Err(format!("it makes {name} twice"));
        }
        let Some((kept, first)) = self.room.zeros(element, count) else {
            return Err(format!("there is not enough memory for {name} of {shape:?}"));
        };
        let made =
            slot.insert(Box::new(Allocated { shape: shape.to_vec(), kept, tensor: tensor(element, &[], first) }));
        made.tensor = tensor(element, &made.shape, first);
        Ok(&raw mut made.tensor)
    }
}

/// The state behind a call.
///
/// # Safety
/// The call is one of [`run`]'s with this room, which has not returned yet.
unsafe fn state<'a, R: Allocator>(call: *const abi::Call) -> Option<&'a Mutex<State<'a, R>>> {
    // SAFETY: by the caller's promise; the pointer was made of this type.
    unsafe { call.as_ref().and_then(|call| call.host_data.cast::<Mutex<State<'a, R>>>().cast_const().as_ref()) }
}

unsafe extern "C" fn output<R: Allocator>(
    call: *const abi::Call,
    index: u32,
    dtype: DType,
    ndim: i32,
    shape: *const i64,
    out: *mut *mut abi::Tensor,
) -> Status {
    // SAFETY: the header lets plugins call this only while the call lasts.
    let Some(state) = (unsafe { state::<R>(call) }) else { return Status::INVALID_INPUT };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = match usize::try_from(ndim) {
        Ok(0) => Some(&[][..]),
        // SAFETY: the header wants `ndim` sides there. More than any tensor has is not looked at.
        Ok(ndim @ 1..=16) if !shape.is_null() => Some(unsafe { std::slice::from_raw_parts(shape, ndim) }),
        _ => None,
    };
    match state.allocate(index, dtype, shape) {
        Ok(tensor) if !out.is_null() => {
            // SAFETY: not null, and the header wants room for a pointer there.
            unsafe { out.write(tensor) };
            Status::OK
        }
        Ok(_) => refuse(&mut state, "it asks for an output and gives no room for it".into()),
        Err(reason) => refuse(&mut state, reason),
    }
}

fn refuse<R: Allocator>(state: &mut State<R>, reason: String) -> Status {
    state.refused.get_or_insert(reason);
    Status::INVALID_INPUT
}

unsafe extern "C" fn text<R: Allocator>(call: *const abi::Call, index: u32, text: Str) -> Status {
    // SAFETY: the header lets plugins call this only while the call lasts.
    let Some(state) = (unsafe { state::<R>(call) }) else { return Status::INVALID_INPUT };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if text.len > LONGEST {
        return refuse(&mut state, format!("text {index} is longer than {LONGEST} bytes"));
    }
    // SAFETY: the header wants `len` bytes there.
    let Ok(utf8) = std::str::from_utf8(unsafe { text.bytes() }) else {
        return refuse(&mut state, format!("text {index} is not UTF-8"));
    };
    match state.texts.get_mut(index as usize) {
        Some(slot) => {
            *slot = Some(utf8.to_owned());
            Status::OK
        }
        None => refuse(&mut state, format!("it gives text {index}, and there is none of that number")),
    }
}

unsafe extern "C" fn fail<R: Allocator>(call: *const abi::Call, message: Str) {
    // SAFETY: the header lets plugins call this only while the call lasts.
    let Some(state) = (unsafe { state::<R>(call) }) else { return };
    let message = Str { len: message.len.min(MESSAGE), ..message };
    // SAFETY: the header wants at least as many bytes there.
    let message = String::from_utf8_lossy(unsafe { message.bytes() });
    let clean = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    state.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(clean.trim().to_owned());
}

unsafe extern "C" fn cancelled(_: *const abi::Call) -> i32 {
    0
}

fn dtype_name(dtype: DType) -> String {
    let letter = match dtype.code {
        DType::INT => "i",
        DType::UINT => "u",
        DType::FLOAT => "f",
        DType::BFLOAT => "bf",
        DType::BOOL => "bool",
        _ => "type ",
    };
    let lanes = if dtype.lanes == 1 { String::new() } else { format!("×{}", dtype.lanes) };
    format!("{letter}{}{lanes}", dtype.bits)
}

fn status_name(status: Status) -> String {
    let name = match status {
        Status::INVALID_CONFIG => "invalid configuration",
        Status::INVALID_INPUT => "invalid input",
        Status::UNSUPPORTED => "unsupported",
        Status::OUT_OF_MEMORY => "out of memory",
        Status::CANCELLED => "cancelled",
        Status::INTERNAL => "internal error",
        Status::PANICKED => "panicked",
        Status(other) => return format!("status {other}"),
    };
    name.into()
}
