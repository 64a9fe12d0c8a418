//! Memory that two processes see: a file without a name, mapped by both.

use crate::ask::{Element, View};
use crate::call::{Allocator, Values};
use crate::isolate::wire::Placed;
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// So much address space is set aside on both sides: the file grows within it, and nothing moves.
const SPACE: usize = 1 << if usize::BITS == 64 { 36 } else { 28 };
/// Tensors begin at multiples of this, and no two share a line of a cache.
const ALIGNED: usize = 64;
/// The file grows by multiples of this.
const STEP: usize = 1 << 20;

mod c {
    use super::*;
    // Of Linux and every C library on it: linux/memfd.h, asm-generic/fcntl.h and asm-generic/mman.h.
    pub const MFD_CLOEXEC: c_uint = 1;
    pub const MFD_ALLOW_SEALING: c_uint = 2;
    pub const F_ADD_SEALS: c_int = 1033;
    pub const F_SEAL_SHRINK: c_int = 2;
    pub const PROT_READ_WRITE: c_int = 3;
    pub const MAP_SHARED: c_int = 1;
    pub const MAP_NORESERVE: c_int = 0x4000;

    unsafe extern "C" {
        pub fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
        pub fn fcntl(file: c_int, command: c_int, ...) -> c_int;
        pub fn mmap(at: *mut c_void, length: usize, what: c_int, how: c_int, file: c_int, from: c_long) -> *mut c_void;
        pub fn munmap(at: *mut c_void, length: usize) -> c_int;
    }
}

/// The memory.
#[derive(Debug)]
pub struct Shared {
    file: File,
    start: *mut u8,
    /// How much of it there is, as far as this side knows: it only grows.
    length: Cell<usize>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and goes with its owner.
unsafe impl Send for Shared {}

impl Shared {
    /// New memory. The other side cannot make it shorter, so that what is there stays there.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a terminated name; flags of the call.
        let file = unsafe { c::memfd_create(c"musiva".as_ptr(), c::MFD_CLOEXEC | c::MFD_ALLOW_SEALING) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: made a moment ago, and owned by nobody else.
        let file = unsafe { File::from_raw_fd(file) };
        // SAFETY: an open file, and the one argument of this command.
        if unsafe { c::fcntl(file.as_raw_fd(), c::F_ADD_SEALS, c::F_SEAL_SHRINK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Self::of(file)
    }

    /// The memory of a file that the other side made.
    pub fn of(file: File) -> io::Result<Self> {
        let how = c::MAP_SHARED | c::MAP_NORESERVE;
        // SAFETY: a new mapping, wherever there is room.
        let start = unsafe { c::mmap(std::ptr::null_mut(), SPACE, c::PROT_READ_WRITE, how, file.as_raw_fd(), 0) };
        if start.addr() == usize::MAX {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, start: start.cast(), length: Cell::new(0) })
    }

    /// The file, for the other side.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether bytes `start..start + length` are there.
    fn holds(&self, start: usize, length: usize) -> io::Result<bool> {
        let Some(end) = start.checked_add(length).filter(|&end| end <= SPACE) else { return Ok(false) };
        if end > self.length.get() {
            self.length.set(usize::try_from(self.file.metadata()?.len()).unwrap_or(SPACE));
        }
        Ok(end <= self.length.get())
    }

    /// Makes room for `length` bytes from the first place at or after `from`; where they begin.
    fn reserve(&self, from: usize, length: usize) -> io::Result<usize> {
        let full = || io::Error::new(io::ErrorKind::OutOfMemory, "more than the shared memory can hold");
        let start = from.next_multiple_of(ALIGNED);
        let end = start.checked_add(length).filter(|&end| end <= SPACE).ok_or_else(full)?;
        if !self.holds(start, length)? {
            self.file.set_len(end.next_multiple_of(STEP) as u64)?;
        }
        Ok(start)
    }

    /// Copies a tensor in, at or after `from`.
    pub fn put(&self, from: usize, view: &View) -> io::Result<Placed> {
        let start = self.reserve(from, view.bytes.len())?;
        // SAFETY: within the mapping and the file; the other side waits for a message while this one writes.
        unsafe { self.start.add(start).copy_from_nonoverlapping(view.bytes.as_ptr(), view.bytes.len()) };
        Ok(Placed { element: view.element, shape: view.shape.clone(), start, length: view.bytes.len() })
    }

    /// A tensor that the other side, which is the host, put there.
    pub fn view(&self, placed: Placed) -> io::Result<View<'_>> {
        let Placed { element, shape, start, length } = placed;
        if !self.holds(start, length)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: within the mapping and the file; the host waits for a message while this one reads.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.add(start), length) };
        Ok(View { element, shape, bytes })
    }

    /// Copies `count` elements out from `start`; `None`: they are not there.
    pub fn take(&self, element: Element, start: usize, count: usize) -> io::Result<Option<Values>> {
        let there = match count.checked_mul(element.size()) {
            Some(bytes) => start.is_multiple_of(ALIGNED) && self.holds(start, bytes)?,
            None => false,
        };
        if !there {
            return Ok(None);
        }
        // SAFETY: looked at just now, and any bytes are such elements.
        Ok(Some(unsafe {
            match element {
                Element::F32 => Values::F32(self.copied(start, count)),
                Element::I64 => Values::I64(self.copied(start, count)),
                Element::U8 => Values::U8(self.copied(start, count)),
            }
        }))
    }

    /// # Safety
    /// So many elements lie there, of a type that any bytes are of.
    unsafe fn copied<T: Copy>(&self, start: usize, count: usize) -> Vec<T> {
        let mut values = Vec::with_capacity(count);
        // SAFETY: by the caller's promise; raw, because the other process could write there, whatever it should do.
        unsafe {
            self.start.add(start).cast::<T>().copy_to_nonoverlapping(values.as_mut_ptr(), count);
            values.set_len(count);
        }
        values
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped when this was made; nothing that leads into it outlives it.
        unsafe { c::munmap(self.start.cast(), SPACE) };
    }
}

/// Room for outputs in the shared memory, one after the other.
pub struct Arena<'a> {
    memory: &'a Shared,
    free: usize,
}

impl<'a> Arena<'a> {
    /// Room from `free` on.
    pub fn new(memory: &'a Shared, free: usize) -> Self {
        Self { memory, free }
    }
}

impl Allocator for Arena<'_> {
    /// Where the output begins.
    type Kept = usize;

    fn zeros(&mut self, element: Element, count: usize) -> Option<(usize, *mut c_void)> {
        let length = count.checked_mul(element.size())?;
        let start = self.memory.reserve(self.free, length).ok()?;
        self.free = start + length;
        // SAFETY: within the mapping and the file, behind everything that is in use. An earlier call may have written
        // there.
        let first = unsafe { self.memory.start.add(start) };
        // SAFETY: as above.
        unsafe { first.write_bytes(0, length) };
        Some((start, first.cast()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_see_the_same_and_nobody_can_cut_it_off() {
        let ours = Shared::new().unwrap();
        let theirs = Shared::of(ours.file().unwrap()).unwrap();
        let (numbers, bytes) = ([1.5f32, -2.0, 3.25], [7u8; 11]);
        let first = ours.put(0, &View::of(&numbers, &[3])).unwrap();
        let second = ours.put(first.start + first.length, &View::of(&bytes, &[11])).unwrap();
        assert_eq!((first.start, second.start), (0, 64));
        assert_eq!(theirs.view(second).unwrap().bytes, bytes);
        assert_eq!(theirs.take(Element::F32, 0, 3).unwrap(), Some(Values::F32(numbers.to_vec())));

        // Outputs are zeros wherever they come to lie, and the file grows for them.
        let mut arena = Arena::new(&theirs, 12);
        let (start, _) = arena.zeros(Element::U8, 64).unwrap();
        let (far, _) = arena.zeros(Element::I64, STEP).unwrap();
        assert_eq!((start, far), (64, 128));
        assert_eq!(ours.take(Element::U8, start, 64).unwrap(), Some(Values::U8(vec![0; 64])));
        assert_eq!(ours.take(Element::I64, far, STEP).unwrap(), Some(Values::I64(vec![0; STEP])));

        assert_eq!(ours.take(Element::U8, 1 << 30, 1).unwrap(), None);
        assert_eq!(ours.take(Element::I64, far, usize::MAX / 2).unwrap(), None);
        assert_eq!(ours.take(Element::F32, 4, 1).unwrap(), None);
        assert!(Arena::new(&theirs, 0).zeros(Element::U8, SPACE + 1).is_none());
        assert!(theirs.file.set_len(0).is_err());
    }
}
