//! Sixteen numbers at a time, for kernels that wait for arithmetic and not for memory.
//!
//! Where sums of products must stay in registers, the compiler cannot be left to find the vectors by itself: here they
//! are a type, with one implementation per instruction set. The fused multiply-add rounds once where plain code rounds
//! twice, so a result differs in its last bits between a processor that has it and one that has not.

use std::array::from_fn;

/// Numbers in a vector.
pub(crate) const LANES: usize = 16;

/// A vector of [`LANES`] numbers.
///
/// # Safety
///
/// The processor must have the instructions of the type. [`InstructionSet`] asks it; nothing else names the types.
/// Pointers need no alignment, and as many readable or writable elements as the function says.
pub(crate) trait Lanes: Copy {
    /// `x` in every lane.
    unsafe fn splat(x: f32) -> Self;

    /// The elements from `from` on.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `n` elements from `from` on, and zeros; `n` is at most [`LANES`].
    unsafe fn load_first(from: *const f32, n: usize) -> Self;

    /// Writes the lanes.
    unsafe fn store(self, to: *mut f32);

    /// Writes the first `n` lanes; `n` is at most [`LANES`].
    unsafe fn store_first(self, to: *mut f32, n: usize);

    /// `self · factor + addend`.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The sum of the lanes, by halves.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut lanes = [0.0; LANES];
        // SAFETY: there is room for all lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let eight: [f32; 8] = from_fn(|i| lanes[i] + lanes[i + 8]);
        let four: [f32; 4] = from_fn(|i| eight[i] + eight[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}

/// Work that is compiled for each vector type.
pub(crate) trait LaneWork {
    /// Does the work. A tile of `ROWS` times `VECTORS` vectors of sums leaves registers for its operands.
    ///
    /// Implementations, and whatever they call in their loops, are `#[inline(always)]`.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self);
}

/// A vector type that the processor has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct InstructionSet(Set);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Set {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl InstructionSet {
    /// The one with the widest vectors.
    pub fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self(Set::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self(Set::Avx2);
            }
        }
        Self(Set::Plain)
    }

    /// All of the processor, the widest last.
    #[cfg(test)]
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self(Set::Plain)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(Self(Set::Avx2));
        }
        if all.last() != Some(&Self::widest()) {
            all.push(Self::widest());
        }
        all
    }

    /// Does the work.
    pub fn run(self, work: impl LaneWork) {
        // SAFETY: a value of this type exists only where the processor has been asked.
        unsafe {
            match self.0 {
                Set::Plain => work.run::<Plain, 6, 1>(),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => x86::run_avx2(work),
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 => x86::run_avx512(work),
            }
        }
    }
}

/// Vectors as the compiler makes them for the lowest instruction set: NEON on AArch64.
#[derive(Clone, Copy)]
struct Plain([f32; LANES]);

impl Lanes for Plain {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0; LANES];
        // SAFETY: the caller's; `n` is at most `LANES`.
        unsafe { from.copy_to_nonoverlapping(lanes.as_mut_ptr(), n) };
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's; `n` is at most `LANES`.
        unsafe { self.0.as_ptr().copy_to_nonoverlapping(to, n) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Where there is no instruction for it, a fused multiply-add is a slow function.
        let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
        let one = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
        Self(from_fn(|i| one(self.0[i], factor.0[i], addend.0[i])))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{LANES, LaneWork, Lanes};

    /// 32 registers of a vector each: 24 sums, 2 vectors and a broadcast number.
    #[target_feature(enable = "avx512f")]
    pub fn run_avx512(work: impl LaneWork) {
        // SAFETY: the function runs only where there is AVX-512F.
        unsafe { work.run::<__m512, 12, 2>() }
    }

    /// 16 registers of half a vector each: 12 for sums, 2 for a vector and one for a broadcast number.
    #[target_feature(enable = "avx2,fma")]
    pub fn run_avx2(work: impl LaneWork) {
        // SAFETY: the function runs only where there are AVX2 and FMA.
        unsafe { work.run::<[__m256; 2], 6, 1>() }
    }

    // SAFETY of all blocks below: the instructions exist and the pointers are valid by the trait's contract.
    impl Lanes for __m512 {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            unsafe { _mm512_maskz_loadu_ps(first(n), from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            unsafe { _mm512_mask_storeu_ps(to, first(n), self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, factor, addend) }
        }
    }

    /// The lowest `n` bits.
    #[inline(always)]
    fn first(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }

    impl Lanes for [__m256; 2] {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { [_mm256_set1_ps(x); 2] }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(LANES / 2))] }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            let mut lanes = [0.0; LANES];
            unsafe {
                from.copy_to_nonoverlapping(lanes.as_mut_ptr(), n);
                Self::load(lanes.as_ptr())
            }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self[0]);
                _mm256_storeu_ps(to.add(LANES / 2), self[1]);
            }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            let mut lanes = [0.0; LANES];
            unsafe {
                self.store(lanes.as_mut_ptr());
                lanes.as_ptr().copy_to_nonoverlapping(to, n);
            }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { [_mm256_fmadd_ps(self[0], factor[0], addend[0]), _mm256_fmadd_ps(self[1], factor[1], addend[1])] }
        }
    }
}
