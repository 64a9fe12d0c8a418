//! Lanes in the vector registers of x86-64.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::{LANES, LaneWork, Lanes};

/// The bits of the second number of a pair.
const SECOND: i32 = 0xffff_0000_u32 as i32;

/// 32 registers of a vector each: 24 sums, 2 vectors and a broadcast number.
#[target_feature(enable = "avx512f")]
pub fn run_avx512(work: impl LaneWork) {
    // SAFETY: the function runs only where there is AVX-512F.
    unsafe { work.run::<__m512, 12, 2>() }
}

/// As [`run_avx512`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn run_avx512_bf16(work: impl LaneWork) {
    // SAFETY: the function runs only where there are these instructions.
    unsafe { work.run::<Paired, 12, 2>() }
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

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        unsafe {
            let numbers = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(numbers))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn first(self) -> Self {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(self))) }
    }

    #[inline(always)]
    unsafe fn second(self) -> Self {
        unsafe { _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(self), _mm512_set1_epi32(SECOND))) }
    }
}

/// A vector on a processor with instructions for bf16.
#[derive(Clone, Copy)]
pub struct Paired(__m512);

impl Lanes for Paired {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(Lanes::splat(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(Lanes::load(from)) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        unsafe { Self(Lanes::load_first(from, n)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { self.0.store(to) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe { self.0.store_first(to, n) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { Self(self.0.mul_add(factor.0, addend.0)) }
    }

    #[inline(always)]
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
        unsafe {
            let pairs = |x: __m512| transmute::<__m512, __m512bh>(x);
            Self(_mm512_dpbf16_ps(self.0, pairs(a.0), pairs(b.0)))
        }
    }

    #[inline(always)]
    unsafe fn pairs(first: Self, second: Self) -> Self {
        // 0, 16, 1, 17, …: a number of the first vector, then one of the second.
        const TURNS: [u16; 2 * LANES] = {
            let mut turns = [0; 2 * LANES];
            let mut i = 0;
            while i < 2 * LANES {
                turns[i] = (i / 2 + i % 2 * LANES) as u16;
                i += 1;
            }
            turns
        };
        unsafe {
            let halves: __m512i = transmute(_mm512_cvtne2ps_pbh(second.0, first.0));
            let turns = _mm512_loadu_si512(TURNS.as_ptr().cast());
            Self(_mm512_castsi512_ps(_mm512_permutexvar_epi16(turns, halves)))
        }
    }

    #[inline(always)]
    unsafe fn neighbours(low: Self, high: Self) -> Self {
        unsafe { Self(transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high.0, low.0))) }
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

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        unsafe {
            let numbers = [_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(LANES / 2).cast())];
            let numbers = [_mm256_cvtepu16_epi32(numbers[0]), _mm256_cvtepu16_epi32(numbers[1])];
            let numbers = [_mm256_slli_epi32::<16>(numbers[0]), _mm256_slli_epi32::<16>(numbers[1])];
            [_mm256_castsi256_ps(numbers[0]), _mm256_castsi256_ps(numbers[1])]
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe {
            let numbers = [_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(LANES / 2).cast())];
            let numbers = [_mm256_cvtepi8_epi32(numbers[0]), _mm256_cvtepi8_epi32(numbers[1])];
            [_mm256_cvtepi32_ps(numbers[0]), _mm256_cvtepi32_ps(numbers[1])]
        }
    }

    #[inline(always)]
    unsafe fn first(self) -> Self {
        unsafe {
            let first = [_mm256_castps_si256(self[0]), _mm256_castps_si256(self[1])];
            let first = [_mm256_slli_epi32::<16>(first[0]), _mm256_slli_epi32::<16>(first[1])];
            [_mm256_castsi256_ps(first[0]), _mm256_castsi256_ps(first[1])]
        }
    }

    #[inline(always)]
    unsafe fn second(self) -> Self {
        unsafe {
            let mask = _mm256_castsi256_ps(_mm256_set1_epi32(SECOND));
            [_mm256_and_ps(self[0], mask), _mm256_and_ps(self[1], mask)]
        }
    }
}
