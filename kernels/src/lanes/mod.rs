//! Sixteen numbers at a time, for kernels that wait for arithmetic and not for memory.
//!
//! Where sums of products must stay in registers, the compiler cannot be left to find the vectors by itself: here they
//! are a type, with one implementation per instruction set. The fused multiply-add rounds once where plain code rounds
//! twice, so a result differs in its last bits between a processor that has it and one that has not.

#[cfg(target_arch = "x86_64")]
mod x86;

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

    /// The bf16 numbers from `from` on.
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: the caller's; there are so many lanes.
        unsafe {
            Self::load(from_fn::<f32, LANES, _>(|i| f32::from_bits(u32::from(from.add(i).read()) << 16)).as_ptr())
        }
    }

    /// The whole numbers from `from` on.
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the caller's; there are so many lanes.
        unsafe { Self::load(from_fn::<f32, LANES, _>(|i| f32::from(from.add(i).read())).as_ptr()) }
    }

    /// `self + a·b` where each lane of `a` and `b` is a pair of bf16 numbers, the first in its low half: the products
    /// of the first numbers are added, then those of the second.
    #[inline(always)]
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { a.second().mul_add(b.second(), a.first().mul_add(b.first(), self)) }
    }

    /// The first numbers of pairs.
    #[inline(always)]
    unsafe fn first(self) -> Self {
        // SAFETY: the caller's.
        unsafe { self.map_bits(|pair| pair << 16) }
    }

    /// The second numbers of pairs.
    #[inline(always)]
    unsafe fn second(self) -> Self {
        // SAFETY: the caller's.
        unsafe { self.map_bits(|pair| pair & 0xffff_0000) }
    }

    /// Pairs of the lanes of `first` and of `second`, each rounded as [`to_bf16`] does it.
    #[inline(always)]
    unsafe fn pairs(first: Self, second: Self) -> Self {
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        // SAFETY: the caller's; there is room for all lanes.
        unsafe {
            first.store(a.as_mut_ptr());
            second.store(b.as_mut_ptr());
            Self::load(from_fn::<f32, LANES, _>(|i| pair(a[i], b[i])).as_ptr())
        }
    }

    /// Pairs of neighbours among the lanes of `low` and behind them those of `high`, rounded likewise.
    #[inline(always)]
    unsafe fn neighbours(low: Self, high: Self) -> Self {
        let mut all = [0.0; 2 * LANES];
        // SAFETY: the caller's; there is room for all lanes.
        unsafe {
            low.store(all.as_mut_ptr());
            high.store(all[LANES..].as_mut_ptr());
            Self::load(from_fn::<f32, LANES, _>(|i| pair(all[2 * i], all[2 * i + 1])).as_ptr())
        }
    }

    /// The lanes whose bits are `f` of these lanes' bits.
    #[inline(always)]
    unsafe fn map_bits(self, f: impl Fn(u32) -> u32) -> Self {
        let mut lanes = [0.0; LANES];
        // SAFETY: the caller's; there is room for all lanes.
        unsafe {
            self.store(lanes.as_mut_ptr());
            Self::load(from_fn::<f32, LANES, _>(|i| f32::from_bits(f(lanes[i].to_bits()))).as_ptr())
        }
    }

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

/// Asks for the line of the cache at `place`, which need not be a place of anybody's.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The bits of `x` rounded to bf16, ties to even. As the processors that have bf16 do it, a number below the smallest
/// normal one becomes a zero of its sign.
#[inline(always)]
pub(crate) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let normal = if x.abs() < f32::MIN_POSITIVE { bits & 0x8000_0000 } else { rounded };
    (if x.is_nan() { bits | 0x0040_0000 } else { normal } >> 16) as u16
}

/// A pair of bf16 numbers as the bits of one lane.
#[inline(always)]
fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(u32::from(to_bf16(first)) | u32::from(to_bf16(second)) << 16)
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

    /// Does work that multiplies pairs, with the instructions for them where the processor has them.
    pub fn run_on_pairs(self, work: impl LaneWork) {
        #[cfg(target_arch = "x86_64")]
        if self.0 == Set::Avx512 && is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has been asked.
            return unsafe { x86::run_avx512_bf16(work) };
        }
        self.run(work);
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
