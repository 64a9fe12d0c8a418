//! Whole numbers for samples.

/// `sample` as a whole number of `bits` bits: full scale is 2^(bits − 1), the nearest is taken, and
/// what is beyond is cut off. There is no dither: equal sounds give equal files, and what was read
/// from whole numbers is written as it was.
pub(crate) fn quantize(sample: f32, bits: u32) -> i32 {
    let full = f64::from(1u32 << (bits - 1));
    (f64::from(sample) * full).round().clamp(-full, full - 1.0) as i32
}
