//! Texts, statuses, tensors, and what the host lends for a call.

use core::ffi::c_void;

/// `musiva_str`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Str {
    /// UTF-8, not terminated; may be null where `len` is 0.
    pub ptr: *const u8,
    /// Bytes.
    pub len: usize,
}

impl Str {
    /// A text that lives on.
    pub const fn new(text: &'static str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// A text that lives as long as the call it is passed to.
    pub const fn lent(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// The bytes, whatever they are.
    ///
    /// # Safety
    /// `ptr` is null or leads to `len` bytes that live for `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        match self.ptr.is_null() || self.len == 0 {
            true => &[],
            // SAFETY: by the caller's promise.
            false => unsafe { core::slice::from_raw_parts(self.ptr, self.len) },
        }
    }
}

/// `musiva_status`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// The configuration is wrong.
    pub const INVALID_CONFIG: Self = Self(-1);
    /// An input is wrong.
    pub const INVALID_INPUT: Self = Self(-2);
    /// The plugin does not do that.
    pub const UNSUPPORTED: Self = Self(-3);
    /// There is not enough memory.
    pub const OUT_OF_MEMORY: Self = Self(-4);
    /// The host asked to stop.
    pub const CANCELLED: Self = Self(-5);
    /// A bug of the plugin.
    pub const INTERNAL: Self = Self(-6);
    /// The instance is broken.
    pub const PANICKED: Self = Self(-7);
}

/// `MUSIVA_LOG_ERROR`.
pub const LOG_ERROR: i32 = 1;
/// `MUSIVA_LOG_WARN`.
pub const LOG_WARN: i32 = 2;
/// `MUSIVA_LOG_INFO`.
pub const LOG_INFO: i32 = 3;
/// `MUSIVA_LOG_DEBUG`.
pub const LOG_DEBUG: i32 = 4;
/// `MUSIVA_LOG_TRACE`.
pub const LOG_TRACE: i32 = 5;

/// `MUSIVA_DEVICE_CPU`.
pub const DEVICE_CPU: i32 = 1;

/// `musiva_device`, DLPack's `DLDevice`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// [`DEVICE_CPU`].
    pub device_type: i32,
    /// 0.
    pub device_id: i32,
}

/// `musiva_dtype`, DLPack's `DLDataType`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DType {
    /// Which kind of number.
    pub code: u8,
    /// Bits of an element.
    pub bits: u8,
    /// 1.
    pub lanes: u16,
}

impl DType {
    /// Code of signed integers.
    pub const INT: u8 = 0;
    /// Code of unsigned integers.
    pub const UINT: u8 = 1;
    /// Code of floating-point numbers.
    pub const FLOAT: u8 = 2;
    /// Code of bfloat16.
    pub const BFLOAT: u8 = 4;
    /// Code of booleans.
    pub const BOOL: u8 = 6;

    /// 32-bit floating point.
    pub const F32: Self = Self { code: Self::FLOAT, bits: 32, lanes: 1 };
    /// 64-bit integers.
    pub const I64: Self = Self { code: Self::INT, bits: 64, lanes: 1 };
    /// Bytes.
    pub const U8: Self = Self { code: Self::UINT, bits: 8, lanes: 1 };
}

/// `musiva_tensor`, DLPack's `DLTensor`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// The elements, `byte_offset` before the first.
    pub data: *mut c_void,
    /// Where they lie.
    pub device: Device,
    /// Number of dimensions.
    pub ndim: i32,
    /// What they are.
    pub dtype: DType,
    /// `ndim` sides.
    pub shape: *const i64,
    /// `ndim` strides in elements; null: contiguous in C order.
    pub strides: *const i64,
    /// Bytes from `data` to the first element.
    pub byte_offset: u64,
}

/// `musiva_call`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// The host's own.
    pub host_data: *mut c_void,
    /// The only allowed source of randomness.
    pub seed: u64,
    /// Allocates an output.
    pub output: Option<
        unsafe extern "C" fn(
            call: *const Call,
            index: u32,
            dtype: DType,
            ndim: i32,
            shape: *const i64,
            out: *mut *mut Tensor,
        ) -> Status,
    >,
    /// Gives a text output.
    pub text: Option<unsafe extern "C" fn(call: *const Call, index: u32, text: Str) -> Status>,
    /// Says why the call fails.
    pub fail: Option<unsafe extern "C" fn(call: *const Call, message: Str)>,
    /// Whether to stop.
    pub cancelled: Option<unsafe extern "C" fn(call: *const Call) -> i32>,
}
