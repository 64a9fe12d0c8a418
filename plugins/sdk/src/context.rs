//! What the host lends for a call.

use crate::tensor::Lent;
use crate::{Element, Error, Result};
use musiva_abi::{self as abi, Status, Str};
use std::marker::PhantomData;

/// Outputs, the seed, and whether to stop: all for the length of one call.
pub struct Context<'a> {
    call: &'a abi::Call,
}

impl<'a> Context<'a> {
    /// The context of a call.
    pub(crate) fn new(call: &'a abi::Call) -> Self {
        Self { call }
    }

    /// Output `index`: zeros to write on. Each output can be asked for once, and must be of the type and shape that
    /// the function promises.
    ///
    /// # Errors
    /// Where the host refuses; pass the error on.
    pub fn output<T: Element>(&mut self, index: u32, shape: &[usize]) -> Result<&'a mut [T]> {
        let allocate = self.call.output.ok_or_else(|| Error::internal("the host makes no outputs"))?;
        let sides: Vec<i64> = shape.iter().map(|&side| i64::try_from(side).unwrap_or(i64::MAX)).collect();
        let mut out = std::ptr::null_mut();
        // SAFETY: the host's own function with its own call; the shape has as many sides as it says.
        let status = unsafe { allocate(self.call, index, T::DTYPE, sides.len() as i32, sides.as_ptr(), &mut out) };
        if status != Status::OK {
            // The host knows why, and says it better.
            return Err(Error::new(status, ""));
        }
        // SAFETY: just allocated for this type and shape, and used here alone.
        unsafe { Lent(out, PhantomData).elements(shape.iter().product()) }
    }

    /// Gives text output `index`.
    ///
    /// # Errors
    /// Where the host refuses; pass the error on.
    pub fn text(&mut self, index: u32, text: &str) -> Result<()> {
        let give = self.call.text.ok_or_else(|| Error::internal("the host takes no text"))?;
        // SAFETY: the host's own function with its own call; it copies the text.
        match unsafe { give(self.call, index, Str::lent(text)) } {
            Status::OK => Ok(()),
            status => Err(Error::new(status, "")),
        }
    }

    /// The only allowed source of randomness: the same seed and inputs make the same outputs.
    pub fn seed(&self) -> u64 {
        self.call.seed
    }

    /// An error where the host asks to stop. To be asked in long loops.
    ///
    /// # Errors
    /// That error; pass it on.
    pub fn go_on(&self) -> Result<()> {
        // SAFETY: the host's own function with its own call.
        match self.call.cancelled.is_some_and(|cancelled| unsafe { cancelled(self.call) } != 0) {
            true => Err(Error::new(Status::CANCELLED, "stopped")),
            false => Ok(()),
        }
    }

    /// Tells the host why the call fails.
    pub(crate) fn fail(&self, message: &str) {
        if let Some(fail) = self.call.fail {
            // SAFETY: the host's own function with its own call; it copies the text.
            unsafe { fail(self.call, Str::lent(message)) };
        }
    }
}

impl Context<'_> {
    /// Gives text output `index` as JSON.
    pub(crate) fn json(&mut self, index: u32, value: &impl serde::Serialize) -> Result<()> {
        let json = serde_json::to_string(value).map_err(|error| Error::internal(error.to_string()))?;
        self.text(index, &json)
    }
}
