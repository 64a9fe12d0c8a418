//! Run-time choice of the instruction set, and the arithmetic that all kernels share.
//!
//! There are no intrinsics here; those of the convolutions are in `lanes`. A kernel is plain code in an
//! `#[inline(always)]` function, compiled once for each instruction set; the compiler vectorises it. The alternative, a
//! library of explicit vectors, would be one more dependency and no faster: these kernels wait for memory.

/// What is done to one block of a tensor.
pub(crate) trait Kernel: Sync {
    /// Works in place on `block`, whose first element is element `start` of the tensor.
    ///
    /// Implementations, and whatever they call per element, are `#[inline(always)]`: code that is not inlined is
    /// compiled for the lowest instruction set.
    fn run(&self, start: usize, block: &mut [f32]);
}

/// What is done to one block of a tensor, with sums over blocks on the way.
pub(crate) trait SummingKernel: Sync {
    /// As [`Kernel::run`]; adds the block's part to `sums`.
    fn run(&self, start: usize, block: &mut [f32], sums: &mut [f32]);
}

/// A piece of work to compile for each instruction set: a kernel with its block.
pub(crate) trait Task {
    /// What comes of it.
    type Output;

    /// Does the work; `#[inline(always)]`, as with [`Kernel::run`].
    fn run(self) -> Self::Output;
}

impl<K: Kernel> Task for (&K, usize, &mut [f32]) {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.run(self.1, self.2);
    }
}

impl<K: SummingKernel> Task for (&K, usize, &mut [f32], &mut [f32]) {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.run(self.1, self.2, self.3);
    }
}

/// Runs `kernel` with the widest vectors that the processor has.
pub(crate) fn run_vectorised(kernel: &impl Kernel, start: usize, block: &mut [f32]) {
    vectorised((kernel, start, block));
}

/// Runs `task` with the widest vectors that the processor has.
pub(crate) fn vectorised<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F, as the line above has asked it.
            return unsafe { run_avx512(task) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as the line above has asked it.
            return unsafe { run_avx2(task) };
        }
    }
    // The lowest instruction set has vectors too where it matters: SSE2 on x86-64, NEON on AArch64.
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512<T: Task>(task: T) -> T::Output {
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<T: Task>(task: T) -> T::Output {
    task.run()
}

/// Work that is compiled for each instruction set and, unlike a [`Kernel`], may round by it.
pub(crate) trait Routine {
    /// Does the work. `WIDE`: there are 32 registers of 16 numbers; else 16 of 8 or fewer are taken for granted.
    /// `FUSED`: [`f32::mul_add`] is one instruction.
    ///
    /// Implementations are `#[inline(always)]`, for the reason given at [`Kernel::run`].
    fn run<const WIDE: bool, const FUSED: bool>(self);
}

/// Runs `routine` with the widest vectors that the processor has.
pub(crate) fn run_fused(routine: impl Routine) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F, as the line above has asked it.
            return unsafe { run_fused_avx512(routine) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA, as the line above has asked it.
            return unsafe { run_fused_avx2(routine) };
        }
    }
    if cfg!(target_arch = "aarch64") { routine.run::<false, true>() } else { routine.run::<false, false>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_fused_avx512(routine: impl Routine) {
    routine.run::<true, true>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_fused_avx2(routine: impl Routine) {
    routine.run::<false, true>();
}

/// The results of `kernel` on `block` with each instruction set that the processor has.
#[cfg(test)]
pub(crate) fn run_on_each(kernel: &impl Kernel, block: &[f32]) -> Vec<Vec<f32>> {
    let run = |run: &dyn Fn(&mut [f32])| {
        let mut block = block.to_vec();
        run(&mut block);
        block
    };
    let mut results = vec![run(&|block| kernel.run(0, block)), run(&|block| run_vectorised(kernel, 0, block))];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as the line above has asked it.
        results.push(run(&|block| unsafe { run_avx2((kernel, 0, block)) }));
    }
    results
}

/// The results of `kernel` on `block`, with its `sums` behind them, with each instruction set that the processor has.
#[cfg(test)]
pub(crate) fn run_summing_on_each(kernel: &impl SummingKernel, block: &[f32], sums: usize) -> Vec<Vec<f32>> {
    let run = |run: &dyn Fn(&mut [f32], &mut [f32])| {
        let (mut block, mut sums) = (block.to_vec(), vec![0.0; sums]);
        run(&mut block, &mut sums);
        [block, sums].concat()
    };
    let mut results =
        vec![run(&|block, sums| kernel.run(0, block, sums)), run(&|block, sums| vectorised((kernel, 0, block, sums)))];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as the line above has asked it.
        results.push(run(&|block, sums| unsafe { run_avx2((kernel, 0, block, sums)) }));
    }
    results
}

/// Partial results of a reduction over a row. A constant, so that the order of additions does not depend on the
/// processor; two AVX-512 registers, so that one addition need not wait for the one before.
const LANES: usize = 32;

/// `x`, or `low` where `x` is below it; NaN stays NaN, unlike with [`f32::max`].
#[inline(always)]
pub(crate) fn at_least(x: f32, low: f32) -> f32 {
    if x < low { low } else { x }
}

/// `exp(x)`, within 1.5 units in the last place for normal results; 0 below -104, infinity above 88.73, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5·2²³: adding it to a small number leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the high one has 10 bits, so that its product with an exponent is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    // exp(x) = 2ⁿ·exp(r) with n integer and |r| ≤ ln(2)/2.
    let x = x.clamp(-104.0, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;

    // exp(r) = 1 + r + r²·q(r); q from the Remez exchange, relative error of the whole 3.6e-9.
    let q = 0.001_381_454;
    let q = q * r + 0.008_368_745;
    let q = q * r + 0.041_668_39;
    let q = q * r + 0.166_665_21;
    let q = q * r + 0.499_999_94;
    let mantissa = 1.0 + (r + r * r * q);

    // 2ⁿ in two factors: n runs from -150 to 128, beyond what one normal number holds.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    mantissa * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `2ⁿ` for n from -126 to 127; some number for other n.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `ln(x)`, correctly rounded but for ties that are nearly met, for positive normal `x`; NaN for NaN.
///
/// Our own, since the system's logarithm differs from system to system. In double precision, since it is wanted once
/// a row.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    if x.is_nan() || x == f32::INFINITY {
        return x;
    }
    // x = 2ⁿ·m with m from √½ to √2.
    let n = (x.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
    let m = f64::from(f32::from_bits(x.to_bits().wrapping_sub((n << 23) as u32)));
    // ln(m) = 2·artanh(s), whose series ends below 2⁻³⁶ of it, as |s| < 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let tail = [13.0, 11.0, 9.0, 7.0, 5.0, 3.0].into_iter().fold(0.0, |tail, n: f64| (tail + 1.0 / n) * square);
    (f64::from(n) * std::f64::consts::LN_2 + 2.0 * s * (1.0 + tail)) as f32
}

/// The sum of `term(a, b)` over two slices of one length.
#[inline(always)]
pub(crate) fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (blocks_a, rest_a) = a.as_chunks::<LANES>();
    let (blocks_b, rest_b) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in blocks_a.iter().zip(blocks_b) {
        for i in 0..LANES {
            lanes[i] += term(a[i], b[i]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
        *lane += term(a, b);
    }
    halve(lanes, |a, b| a + b)
}

/// The largest element; -∞ for an empty row; NaNs count as -∞.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], block[i]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, x);
    }
    halve(lanes, larger)
}

#[inline(always)]
fn halve(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn exp_is_within_one_and_a_half_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in 0..=2_000_003 {
            let x = -87.3 + i as f32 * (87.3 + 88.7) / 2_000_003.0;
            let expected = (x as f64).exp();
            let unit = (expected as f32).next_up() as f64 - expected as f32 as f64;
            worst = worst.max((exp(x) as f64 - expected).abs() / unit);
        }
        assert!(worst < 1.5, "{worst}");
    }

    #[test]
    fn exp_at_the_edges() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::MIN), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(88.73), f32::INFINITY);
        assert!(exp(88.72) < f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-f32::NAN).is_nan());
        // Underflow is gradual: half of the smallest normal number, and the smallest number.
        assert!((exp(-88.03) as f64 / (-88.03f32 as f64).exp() - 1.0).abs() < 1e-6);
        assert_eq!(exp(-103.0), f32::from_bits(1));
    }

    #[test]
    fn ln_is_the_nearest_number() {
        let steps = (0..2_000_003u32).map(|i| f32::from_bits(0x0080_0000 + i * 1061));
        for x in steps.chain([0.99, 1.0, 1.01, std::f32::consts::FRAC_1_SQRT_2, std::f32::consts::SQRT_2, f32::MAX]) {
            let expected = f64::from(x).ln();
            let unit = f64::from((expected as f32).abs().next_up()) - f64::from((expected as f32).abs());
            assert!((f64::from(ln(x)) - expected).abs() <= 0.501 * unit, "{x}: {}, expected {expected}", ln(x));
        }
        assert!(ln(f32::NAN).is_nan());
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
    }

    #[test]
    fn sums_and_maxima_agree_with_the_plain_ones() {
        for n in [0, 1, 2, 31, 32, 33, 64, 67, 331] {
            let (a, b) = (noise(n, 1), noise(n, 2));
            let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| a as f64 * b as f64).sum();
            assert!((sum(&a, &b, |a, b| a * b) as f64 - expected).abs() < 1e-5, "{n}");
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{n}");
        }
        assert_eq!(max(&[f32::NAN, -3.0, f32::NAN, -2.0]), -2.0);
    }
}
