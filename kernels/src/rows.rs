//! What lets several threads write to one tensor.

use std::marker::PhantomData;

/// A tensor under construction whose rows are written by several threads.
pub(crate) struct Rows<'a> {
    start: *mut f32,
    length: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only way to the values is `row`, whose callers promise not to share one.
unsafe impl Sync for Rows<'_> {}

impl<'a> Rows<'a> {
    pub fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), lifetime: PhantomData }
    }

    /// The `width` values from `start` on.
    ///
    /// # Safety
    ///
    /// As long as the reference lives, nobody else asks for any of these values.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that there is no second reference")]
    pub unsafe fn row(&self, start: usize, width: usize) -> &mut [f32] {
        assert!(start + width <= self.length);
        // SAFETY: the values lie within the slice, which is borrowed for 'a, and nobody else refers to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), width) }
    }
}
