//! The entropies that make codes of signs sure by themselves and diverse together.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Tensor, TensorData};
use musiva_core::tokens::signs;

/// The two entropies in nats of codes with `p(code | z) ∝ exp(-‖z - code‖²/τ)`: the mean entropy of a
/// single token (to be made small: each one sure), and the entropy of the weighted mean over all tokens
/// (to be made large: all codes used). MAGVIT-v2, equation 5.
///
/// Codes are corners of a cube, so bits are independent given `z`: the first is a sum over bits and
/// exact. The second does not factorise; it is taken over the joint codes of `group` bits at a time and
/// summed over the groups. That is exact where `group` is all bits, and an upper bound elsewhere;
/// `group = 1` is the factorised entropy of binary spherical quantization (BSQ, section 3.3).
///
/// # Shapes
/// - `z`: `[N, bits]`; `weights`: `[N, 1]`, summing to 1; returns two tensors `[1]`.
pub fn entropies(z: Tensor<2>, weights: Tensor<2>, temperature: f32, group: usize) -> (Tensor<1>, Tensor<1>) {
    let [_, bits] = z.dims();
    let logits = z * (4.0 / temperature);
    let (log_one, log_zero) = (log_sigmoid(logits.clone()), log_sigmoid(-logits));
    let plogp = log_one.clone() * log_one.clone().exp() + log_zero.clone() * log_zero.clone().exp();
    let single = -plogp.sum_dim(1).mean();

    let mut batch = Tensor::zeros([1], &single.device());
    for start in (0..bits).step_by(group) {
        let size = group.min(bits - start);
        let range = start..start + size;
        // [N, size] × [size, 2^size]: the log-probability of each joint code is a sum over its bits.
        let ones = digits(size, 1.0, &single.device());
        let zeros = digits(size, -1.0, &single.device());
        let joint = log_one.clone().slice_dim(1, range.clone()).matmul(ones)
            + log_zero.clone().slice_dim(1, range).matmul(zeros);
        let mean = (joint.exp() * weights.clone()).sum_dim(0);
        batch = batch - (mean.clone() * (mean + 1e-9).log()).sum();
    }
    (single, batch)
}

/// `[size, 2^size]`: 1 where digit `i` of code `j` is `which`, else 0.
fn digits(size: usize, which: f32, device: &burn::tensor::Device) -> Tensor<2> {
    let entries = 1usize << size;
    let mut values = vec![0.0f32; size * entries];
    for code in 0..entries {
        for (i, sign) in signs(code as u32, size).enumerate() {
            values[i * entries + code] = if sign == which { 1.0 } else { 0.0 };
        }
    }
    Tensor::from_data(TensorData::new(values, [size, entries]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use musiva_core::parameters::to_vec;
    use musiva_core::{RngKey, RngStream};

    /// Straight from the definition, over the whole codebook, in double precision.
    fn slow(z: &[f32], bits: usize, weights: &[f32], temperature: f64) -> (f64, f64) {
        let entropy = |p: &[f64]| -p.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        let entries = 1 << bits;
        let (mut single, mut mean) = (0.0, vec![0.0; entries]);
        let n = z.len() / bits;
        for (z, weight) in z.chunks(bits).zip(weights) {
            let distance =
                |code: usize| -> f64 { signs(code as u32, bits).zip(z).map(|(s, z)| f64::from(*z - s).powi(2)).sum() };
            let unnormalised: Vec<f64> = (0..entries).map(|code| (-distance(code) / temperature).exp()).collect();
            let total: f64 = unnormalised.iter().sum();
            let p: Vec<f64> = unnormalised.iter().map(|u| u / total).collect();
            single += entropy(&p) / n as f64;
            mean.iter_mut().zip(&p).for_each(|(m, p)| *m += p * f64::from(*weight));
        }
        (single, entropy(&mean))
    }

    #[test]
    fn entropies_are_those_of_the_definition() {
        let device = Device::flex();
        let (n, bits) = (37, 5);
        let z = RngKey::new(5).stream(RngStream::Noise).normals(n * bits);
        let weights: Vec<f32> = (0..n).map(|i| (i + 1) as f32 / (n * (n + 1) / 2) as f32).collect();
        for temperature in [0.5, 2.0] {
            let (single, batch) = entropies(
                Tensor::from_data(TensorData::new(z.clone(), [n, bits]), &device),
                Tensor::from_data(TensorData::new(weights.clone(), [n, 1]), &device),
                temperature,
                bits,
            );
            let (slow_single, slow_batch) = slow(&z, bits, &weights, f64::from(temperature));
            assert!((f64::from(to_vec(single)[0]) - slow_single).abs() < 1e-5);
            assert!((f64::from(to_vec(batch)[0]) - slow_batch).abs() < 1e-4);
        }
    }

    #[test]
    fn groups_are_entropies_of_their_own() {
        let device = Device::flex();
        let z = RngKey::new(6).stream(RngStream::Noise).normals(13 * 5);
        let whole = Tensor::<2>::from_data(TensorData::new(z, [13, 5]), &device);
        let weights = || Tensor::<2>::full([13, 1], 1.0 / 13.0, &device);
        let batch = |z: Tensor<2>, group| to_vec(entropies(z, weights(), 1.0, group).1)[0];
        let parts = batch(whole.clone().slice_dim(1, 0..3), 3) + batch(whole.clone().slice_dim(1, 3..5), 2);
        assert!((batch(whole, 3) - parts).abs() < 1e-5);
    }
}
