//! Keeping freed memory, and what happens where there is none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// Asks the allocator to keep what is freed, up to 2 GiB at the end of the heap, instead of giving it
/// back to the system. Call it once, before there are threads.
///
/// A step of training frees and allocates the same large tensors again and again. What glibc has given
/// back comes again page by page, filled with zeros by the system: an eighth of the time of a training
/// step. The largest amount of memory in use stays what it is. Does nothing on systems whose C library
/// is not glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const M_TRIM_THRESHOLD: i32 = -1;
        const M_MMAP_THRESHOLD: i32 = -3;
        for parameter in [M_MMAP_THRESHOLD, M_TRIM_THRESHOLD] {
            // SAFETY: mallopt is glibc's own function of this signature (malloc.h), and takes any value.
            // Where it refuses one, allocation goes on as before.
            unsafe { mallopt(parameter, i32::MAX) };
        }
    }
}

/// The exit code of a process that has no memory: that of a device which cannot do what is asked for.
const OUT_OF_MEMORY: i32 = 6;

/// The system's allocator; where it has no memory, the process ends with a message, a hint and exit code 6 instead of an
/// abort. For the binary of a command:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: musiva_kernels::Allocator = musiva_kernels::Allocator;
/// ```
///
/// A system that promises more memory than it has kills a process only when it writes to it, and nobody is asked: see that
/// what is estimated fits.
pub struct Allocator;

// SAFETY: every call goes to the system's allocator as it is, whose promises are those of this one; where that returns null,
// this one does not return.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, that the layout is not empty, is passed on.
        there(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        there(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from this allocator, so from the system's, and of this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; the new size is the caller's promise.
        there(unsafe { System.realloc(pointer, layout, size) }, size)
    }
}

/// The pointer, or the end. Nothing here allocates.
fn there(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() {
        let mut text = [0u8; 256];
        let mut rest = &mut text[..];
        let _ = write!(
            rest,
            "error: out of memory: {} KiB more are asked for than there are\n  hint: in training lower `train.batch`, or compute it \
             in parts by `train.accumulate`; `musiva check` estimates what a recipe takes\n",
            size.div_ceil(1 << 10)
        );
        let left = rest.len();
        let _ = std::io::stderr().write_all(&text[..text.len() - left]);
        std::process::exit(OUT_OF_MEMORY);
    }
    pointer
}
