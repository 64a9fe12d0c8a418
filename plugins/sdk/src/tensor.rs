//! Tensors that the host lends for a call.

use crate::{Error, Result};
use musiva_abi::{self as abi, DType};
use std::marker::PhantomData;

/// A number that tensors are made of.
pub trait Element: sealed::Sealed + Copy + 'static {
    /// Its type in the ABI.
    const DTYPE: DType;
    /// Its name, for messages.
    const NAME: &'static str;
}

mod sealed {
    /// Whatever its bits, each of these is a value.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for i64 {}
    impl Sealed for u8 {}
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    const NAME: &'static str = "f32";
}

impl Element for i64 {
    const DTYPE: DType = DType::I64;
    const NAME: &'static str = "i64";
}

impl Element for u8 {
    const DTYPE: DType = DType::U8;
    const NAME: &'static str = "u8";
}

/// A tensor to read, for the length of a call.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    raw: &'a abi::Tensor,
    shape: &'a [usize],
}

impl<'a> Tensor<'a> {
    /// Looks at a tensor of the host.
    ///
    /// # Safety
    /// `raw` is null, or a tensor that lives for `'a`.
    pub(crate) unsafe fn new(raw: *const abi::Tensor) -> Result<Self> {
        // SAFETY: by the caller's promise.
        let raw = unsafe { raw.as_ref() }.ok_or_else(|| Error::input("a tensor is missing"))?;
        if raw.device.device_type != abi::DEVICE_CPU {
            return Err(Error::input("a tensor does not lie in the memory of the CPU"));
        }
        let shape: &[i64] = match usize::try_from(raw.ndim) {
            Ok(0) => &[],
            // SAFETY: the header promises `ndim` sides, for as long as the tensor lives.
            Ok(ndim) if !raw.shape.is_null() => unsafe { std::slice::from_raw_parts(raw.shape, ndim) },
            _ => return Err(Error::input("a tensor has no shape")),
        };
        if shape.iter().any(|&side| side < 0) {
            return Err(Error::input(format!("{shape:?} is no shape")));
        }
        if !raw.strides.is_null() {
            // SAFETY: as the shape.
            let strides = unsafe { std::slice::from_raw_parts(raw.strides, shape.len()) };
            let mut wanted = 1;
            for (&stride, &side) in strides.iter().zip(shape).rev() {
                if side > 1 && stride != wanted {
                    return Err(Error::input("a tensor is not contiguous"));
                }
                wanted *= side.max(1);
            }
        }
        // SAFETY: the ABI is for 64-bit machines, where a side that is not negative has the same bits in both types.
        let shape = unsafe { std::slice::from_raw_parts(shape.as_ptr().cast::<usize>(), shape.len()) };
        Ok(Self { raw, shape })
    }

    /// The same where there may be none.
    ///
    /// # Safety
    /// As [`Tensor::new`].
    pub(crate) unsafe fn optional(raw: *const abi::Tensor) -> Result<Option<Self>> {
        // SAFETY: by the caller's promise.
        if raw.is_null() { Ok(None) } else { unsafe { Self::new(raw) }.map(Some) }
    }

    /// Its sides.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Its sides, of which there must be `D`.
    ///
    /// # Errors
    /// Where there are more or fewer.
    pub fn dims<const D: usize>(&self) -> Result<[usize; D]> {
        self.shape.try_into().map_err(|_| Error::input(format!("a tensor is {:?}, not of rank {D}", self.shape)))
    }

    /// Its elements in C order.
    ///
    /// # Errors
    /// Where they are of another type.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T]> {
        if self.raw.dtype != T::DTYPE {
            return Err(Error::input(format!("a tensor is {:?}, expected {}", self.raw.dtype, T::NAME)));
        }
        let count: usize = self.shape.iter().product();
        if count == 0 {
            return Ok(&[]);
        }
        let data = self.raw.data.cast::<u8>().wrapping_add(self.raw.byte_offset as usize).cast::<T>();
        if self.raw.data.is_null() || !data.is_aligned() {
            return Err(Error::input("a tensor's elements are not where they should be"));
        }
        // SAFETY: the header promises the elements of the shape, contiguous, for the length of the call; the type is
        // the one that was asked for, and any bits are a value of it.
        Ok(unsafe { std::slice::from_raw_parts(data, count) })
    }
}

/// Marks a buffer of the host as borrowed for the call.
pub(crate) struct Lent<'a>(pub(crate) *mut abi::Tensor, pub(crate) PhantomData<&'a ()>);

impl<'a> Lent<'a> {
    /// The elements of an output that the host has just allocated.
    ///
    /// # Safety
    /// The pointer came from the host's `output` for this type and `count` elements, and is used once.
    pub(crate) unsafe fn elements<T: Element>(self, count: usize) -> Result<&'a mut [T]> {
        // SAFETY: by the caller's promise.
        let raw = unsafe { self.0.as_ref() }.ok_or_else(|| Error::internal("the host gave no output"))?;
        if count == 0 {
            return Ok(&mut []);
        }
        let data = raw.data.cast::<u8>().wrapping_add(raw.byte_offset as usize).cast::<T>();
        if raw.data.is_null() || !data.is_aligned() {
            return Err(Error::internal("the host's output is not where it should be"));
        }
        // SAFETY: the header promises zeros of the shape and type, lent once, until the call returns.
        Ok(unsafe { std::slice::from_raw_parts_mut(data, count) })
    }
}
