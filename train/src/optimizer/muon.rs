//! Muon: momentum, made orthogonal (Jordan et al. 2024, "Muon: an optimizer for hidden layers in
//! neural networks").

use burn::tensor::Tensor;

/// Decay of the momentum.
const MOMENTUM: f64 = 0.95;
/// The quintic iteration that drives all singular values near 1: `aX + b(XXᵀ)X + c(XXᵀ)²X`, with
/// coefficients that lift small ones fastest (ibid.).
const NEWTON_SCHULZ: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Iterations; after five, singular values lie between 0.7 and 1.2.
const ITERATIONS: usize = 5;

/// The step for a matrix `[input, output]`, flat: the new momentum, and the direction to subtract.
///
/// The direction is that of Nesterov's momentum with its singular values set to about 1, longer by
/// `√(output/input)` for maps to more dimensions, so that one rate suits matrices of all shapes.
pub fn direction(momentum: Tensor<1>, gradient: Tensor<1>, [input, output]: [usize; 2]) -> [Tensor<1>; 2] {
    let momentum = momentum * MOMENTUM + gradient.clone() * (1.0 - MOMENTUM);
    let ahead = momentum.clone() * MOMENTUM + gradient * (1.0 - MOMENTUM);
    let longer = (output as f64 / input as f64).sqrt().max(1.0);
    let direction = orthogonal(ahead.reshape([input, output])) * longer;
    [momentum, direction.reshape([input * output])]
}

/// The matrix with the same singular vectors and singular values near 1.
fn orthogonal(x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    // The products are those of the shorter side.
    let turned = rows > columns;
    let x = if turned { x.transpose() } else { x };
    let norm = (x.clone() * x.clone()).sum().sqrt() + 1e-7;
    let mut x = x / norm.reshape([1, 1]);
    let [a, b, c] = NEWTON_SCHULZ;
    for _ in 0..ITERATIONS {
        let square = x.clone().matmul(x.clone().transpose());
        let both = square.clone() * b + square.clone().matmul(square) * c;
        x = x.clone() * a + both.matmul(x);
    }
    if turned { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use musiva_core::parameters::to_vec;
    use musiva_core::{RngKey, RngStream};

    fn noise(shape: [usize; 2]) -> Tensor<2> {
        let values = RngKey::new(5).stream(RngStream::Noise).normals(shape[0] * shape[1]);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// Of `x` times its transpose: the diagonal, and the root mean square of the rest.
    fn gram(x: Tensor<2>) -> (Vec<f32>, f32) {
        let n = x.dims()[0];
        let gram = to_vec(x.clone().matmul(x.transpose()));
        let rest = (0..n * n).filter(|i| i / n != i % n).map(|i| gram[i] * gram[i]).sum::<f32>();
        ((0..n).map(|i| gram[i * n + i]).collect(), (rest / (n * (n - 1)) as f32).sqrt())
    }

    #[test]
    fn rows_become_orthogonal_whatever_the_shape_and_the_scale() {
        for (shape, scale) in [([7, 31], 1.0), ([31, 7], 1e-4), ([5, 13], 1e3)] {
            let x = orthogonal(noise(shape) * scale);
            assert_eq!(x.dims(), shape);
            let (lengths, rest) = gram(if shape[0] > shape[1] { x.transpose() } else { x });
            assert!(lengths.iter().all(|&length| (0.45..1.5).contains(&length)), "{lengths:?}");
            assert!(rest < 0.15, "{rest}");
        }
    }

    #[test]
    fn an_orthogonal_matrix_keeps_its_direction() {
        // A rotation: the iteration may change its length, never its singular vectors.
        let (sin, cos) = 0.7f32.sin_cos();
        let rotation = TensorData::new(vec![cos, -sin, sin, cos], [2, 2]);
        let x = to_vec(orthogonal(Tensor::from_data(rotation, &Device::flex())));
        let length = x[0].hypot(x[1]);
        for (a, b) in x.iter().zip([cos, -sin, sin, cos]) {
            assert!((a / length - b).abs() < 1e-5);
        }
    }

    #[test]
    fn the_first_step_is_the_gradient_made_orthogonal() {
        let gradient = noise([3, 12]);
        let flat = gradient.clone().reshape([36]);
        let [momentum, direction] = direction(flat.zeros_like(), flat.clone(), [3, 12]);
        assert!(to_vec(momentum).iter().zip(to_vec(flat)).all(|(m, g)| (m - 0.05 * g).abs() < 1e-6));
        let expected = to_vec(orthogonal(gradient) * 2.0);
        assert!(to_vec(direction).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
