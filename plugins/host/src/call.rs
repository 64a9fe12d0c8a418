//! One call into a plugin: what it is lent, what it may give back, and what it gave.

use crate::environment::Environment;
use musiva_abi::{self as abi, DType, Status, Str};
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// No output whose shape the host does not know beforehand is larger, in bytes.
const LARGEST: usize = 1 << 30;
/// No text is longer.
const LONGEST: usize = 16 << 20;
/// Of a message that is longer, so much is kept.
const MESSAGE: usize = 4 << 10;

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
#[derive(Clone, Debug)]
pub struct Wanted {
    /// For messages.
    pub name: &'static str,
    /// Of its elements.
    pub dtype: DType,
    /// Its sides; `None`: any.
    pub shape: Vec<Option<usize>>,
    /// Whether it may be left out.
    pub optional: bool,
}

impl Wanted {
    /// An output of a known shape.
    pub fn exact(name: &'static str, dtype: DType, shape: &[usize]) -> Self {
        Self { name, dtype, shape: shape.iter().map(|&side| Some(side)).collect(), optional: false }
    }

    /// An output of which some sides are known.
    pub fn some(name: &'static str, dtype: DType, shape: &[Option<usize>]) -> Self {
        Self { name, dtype, shape: shape.to_vec(), optional: false }
    }

    fn describe(&self) -> String {
        let sides: Vec<_> = self.shape.iter().map(|side| side.map_or("·".into(), |side| side.to_string())).collect();
        format!("{} [{}]", dtype_name(self.dtype), sides.join(", "))
    }
}

/// An output that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its sides.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Values,
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
#[derive(Debug, Default)]
pub struct Given {
    outputs: Vec<Option<Output>>,
    texts: Vec<Option<String>>,
}

impl Given {
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

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the function returned.
    pub status: Status,
    /// In words.
    pub message: String,
}

/// A tensor that the plugin reads.
pub fn lend<T: Lendable>(values: &[T], shape: &[i64]) -> abi::Tensor {
    debug_assert_eq!(shape.iter().product::<i64>(), values.len() as i64);
    abi::Tensor {
        data: values.as_ptr().cast_mut().cast(),
        device: abi::Device { device_type: abi::DEVICE_CPU, device_id: 0 },
        ndim: shape.len() as i32,
        dtype: T::DTYPE,
        shape: shape.as_ptr(),
        strides: std::ptr::null(),
        byte_offset: 0,
    }
}

/// Elements that tensors are lent of.
pub trait Lendable {
    /// In the ABI.
    const DTYPE: DType;
}

impl Lendable for f32 {
    const DTYPE: DType = DType::F32;
}

impl Lendable for i64 {
    const DTYPE: DType = DType::I64;
}

impl Lendable for u8 {
    const DTYPE: DType = DType::U8;
}

/// Lends a call to `body`, and looks at what it gave.
///
/// # Errors
/// Where the function fails, leaves something out, gives something else than was wanted, or changes the environment.
pub fn run(
    seed: u64,
    wanted: &[Wanted],
    texts: usize,
    body: impl FnOnce(*const abi::Call) -> Status,
) -> Result<Given, Failure> {
    let mut given = State { wanted, outputs: Vec::new(), texts: vec![None; texts], failed: None, refused: None };
    given.outputs.resize_with(wanted.len(), || None);
    let state = Mutex::new(given);
    let call = abi::Call {
        struct_size: size_of::<abi::Call>(),
        host_data: (&raw const state).cast_mut().cast::<c_void>(),
        seed,
        output: Some(output),
        text: Some(text),
        fail: Some(fail),
        cancelled: Some(cancelled),
    };
    let environment = Environment::now();
    let status = body(&call);
    let changed = environment.restore();
    state.into_inner().unwrap_or_else(PoisonError::into_inner).judge(status, changed)
}

struct State<'a> {
    wanted: &'a [Wanted],
    outputs: Vec<Option<Box<Lent>>>,
    texts: Vec<Option<String>>,
    /// What the plugin said.
    failed: Option<String>,
    /// What the host would not do for it.
    refused: Option<String>,
}

/// An output with the tensor that leads to it: boxed, so that both stay where they are.
struct Lent {
    shape: Vec<i64>,
    values: Values,
    tensor: abi::Tensor,
}

impl State<'_> {
    fn judge(self, status: Status, changed: Option<&str>) -> Result<Given, Failure> {
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
        for (index, (wanted, output)) in self.wanted.iter().zip(&self.outputs).enumerate() {
            if output.is_none() && !wanted.optional {
                let message = format!("output {index} ({}) is missing", wanted.name);
                return fails(Status::INTERNAL, message);
            }
        }
        if let Some(index) = self.texts.iter().position(Option::is_none) {
            return fails(Status::INTERNAL, format!("text {index} is missing"));
        }
        let side = |side: &i64| *side as usize;
        let output = |lent: Box<Lent>| Output { shape: lent.shape.iter().map(side).collect(), values: lent.values };
        Ok(Given { outputs: self.outputs.into_iter().map(|lent| lent.map(output)).collect(), texts: self.texts })
    }

    /// The reason for refusing, or the output.
    fn allocate(&mut self, index: u32, dtype: DType, shape: Option<&[i64]>) -> Result<*mut abi::Tensor, String> {
        let Some(wanted) = self.wanted.get(index as usize) else {
            return Err(format!("it asks for output {index}, and there is none of that number"));
        };
        let name = wanted.name;
        let Some(shape) = shape else { return Err(format!("it asks for {name} without a shape")) };
        let fits = |(side, wanted): (&i64, &Option<usize>)| {
            wanted.map_or(*side > 0, |wanted| usize::try_from(*side) == Ok(wanted))
        };
        if dtype != wanted.dtype || shape.len() != wanted.shape.len() || !shape.iter().zip(&wanted.shape).all(fits) {
            let asked = format!("{} {shape:?}", dtype_name(dtype));
            return Err(format!("it makes {name} of {asked}, expected {}", wanted.describe()));
        }
        let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(usize::try_from(side).ok()?));
        let bytes = usize::from(dtype.bits / 8);
        let known = wanted.shape.iter().all(Option::is_some);
        let Some(count) = count.filter(|count| known || count.checked_mul(bytes).is_some_and(|all| all <= LARGEST))
        else {
            return Err(format!("it makes {name} of {shape:?}: more than {LARGEST} bytes"));
        };
        let slot = &mut self.outputs[index as usize];
        if slot.is_some() {
            return Err(format!("it makes {name} twice"));
        }
        let values = match dtype {
            DType::F32 => Values::F32(vec![0.0; count]),
            DType::I64 => Values::I64(vec![0; count]),
            _ => Values::U8(vec![0; count]),
        };
        let lent = slot.insert(Box::new(Lent { shape: shape.to_vec(), values, tensor: lend::<f32>(&[], &[0]) }));
        lent.tensor = match &lent.values {
            Values::F32(values) => lend(values, &lent.shape),
            Values::I64(values) => lend(values, &lent.shape),
            Values::U8(values) => lend(values, &lent.shape),
        };
        Ok(&raw mut lent.tensor)
    }
}

/// The state behind a call.
///
/// # Safety
/// The call is one of [`run`]'s, which has not returned yet.
unsafe fn state<'a>(call: *const abi::Call) -> Option<&'a Mutex<State<'a>>> {
    // SAFETY: by the caller's promise; the pointer was made of this type.
    unsafe { call.as_ref().and_then(|call| call.host_data.cast::<Mutex<State<'a>>>().cast_const().as_ref()) }
}

unsafe extern "C" fn output(
    call: *const abi::Call,
    index: u32,
    dtype: DType,
    ndim: i32,
    shape: *const i64,
    out: *mut *mut abi::Tensor,
) -> Status {
    // SAFETY: the header lets plugins call this only while the call lasts.
    let Some(state) = (unsafe { state(call) }) else { return Status::INVALID_INPUT };
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

fn refuse(state: &mut State, reason: String) -> Status {
    state.refused.get_or_insert(reason);
    Status::INVALID_INPUT
}

unsafe extern "C" fn text(call: *const abi::Call, index: u32, text: Str) -> Status {
    // SAFETY: the header lets plugins call this only while the call lasts.
    let Some(state) = (unsafe { state(call) }) else { return Status::INVALID_INPUT };
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

unsafe extern "C" fn fail(call: *const abi::Call, message: Str) {
    // SAFETY: the header lets plugins call this only while the call lasts.
    let Some(state) = (unsafe { state(call) }) else { return };
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
