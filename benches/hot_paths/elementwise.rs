//! The element-wise and row-wise kernels beside Burn's own operations on Flex.

use super::harness::{Case, Export, Group, insert, noise};
use burn::nn::RmsNormConfig;
use burn::tensor::{Device, Tensor, activation, module};
use musiva_core::Weights;
use std::hint::black_box;

/// A batch of 16 canvases of 332 positions, four times as wide as the trunk.
const SHAPE: [usize; 3] = [16, 332, 512];
const EPSILON: f64 = 1e-6;

type Operation = fn(Tensor<3>) -> Tensor<3>;

const OPERATIONS: [(&str, Operation, Operation); 5] = [
    ("gelu", musiva_kernels::gelu, activation::gelu_approximate),
    ("silu", musiva_kernels::silu, activation::silu),
    ("softmax", musiva_kernels::softmax, |x| activation::softmax(x, 2)),
    (
        "rms_norm",
        |x| musiva_kernels::rms_norm(x.clone(), Tensor::ones([SHAPE[2]], &x.device()), EPSILON),
        |x| RmsNormConfig::new(SHAPE[2]).with_epsilon(EPSILON).init(&x.device()).forward(x),
    ),
    (
        "layer_norm",
        |x| musiva_kernels::layer_norm(x, EPSILON),
        |x| module::layer_norm(x.clone(), Tensor::ones([SHAPE[2]], &x.device()), None, EPSILON),
    ),
];

pub fn group() -> Group {
    let cases = OPERATIONS.into_iter().flat_map(|(name, ours, burns)| {
        [("", ours), (", Burn's", burns)].into_iter().flat_map(move |(whose, operation)| {
            // The input is held, as it is in a residual block: the output is a new tensor.
            let x = noise(1, SHAPE, &Device::flex());
            let forward = Case::new(format!("{name} forward{whose}"), move || {
                black_box(operation(x.clone()));
            });
            let (x, weights) = training();
            let backward = Case::new(format!("{name} forward+backward{whose}"), move || {
                black_box(gradient(operation, &x, &weights));
            });
            [forward, backward]
        })
    });
    let export: Export = Box::new(|| {
        let mut exports = Weights::new();
        let (x, weights) = training();
        insert(&mut exports, "inputs.x", x.clone());
        insert(&mut exports, "inputs.weights", weights.clone());
        for (name, ours, _) in OPERATIONS {
            insert(&mut exports, &format!("outputs.{name}"), ours(x.clone()));
            insert(&mut exports, &format!("gradients.{name}"), gradient(ours, &x, &weights));
        }
        Ok(exports)
    });
    Group { name: "elementwise", cases: cases.collect(), export: Some(export) }
}

fn training() -> (Tensor<3>, Tensor<3>) {
    let device = Device::flex().autodiff();
    (noise(1, SHAPE, &device).require_grad(), noise(2, SHAPE, &device))
}

/// Of the sum of the results, weighted: so the gradient that comes in is a tensor of full size.
fn gradient(operation: Operation, x: &Tensor<3>, weights: &Tensor<3>) -> Tensor<3> {
    let gradients = (operation(x.clone()) * weights.clone()).sum().backward();
    x.grad(&gradients).expect("it was asked for")
}
