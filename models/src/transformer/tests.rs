//! Training in bf16 beside training in f32, for both backbones on the trunk.

use super::Precision;
use crate::dit::DitConfig;
use crate::lm::LmConfig;
use crate::testing::prompts;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, NoisyVectors, Prediction, ints};
use musiva_core::parameters::to_vec;
use musiva_core::{Backbone, BackboneConfig, CanvasShape, RngKey, RngStream, TokenKind, TokenShape, WeightInit};
use musiva_kernels::cross_entropy;
use std::collections::HashMap;
use std::sync::Arc;

const SIZE: usize = 3;

fn canvas() -> Arc<CanvasShape> {
    let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
    Arc::new(CanvasShape::new(5, 11, TokenShape { grid: [3, 2, 3], kind }))
}

/// The losses of some steps straight down the gradient, `rate` of it each.
fn losses(mut backbone: Box<dyn Backbone>, rate: f64, loss: impl Fn(&dyn Backbone) -> Tensor<1>) -> Vec<f32> {
    let step = |_| {
        let loss = loss(&*backbone);
        let (mut gradients, mut by_name) = (loss.backward(), HashMap::new());
        backbone.parameters().gradients(&mut gradients, &mut |name, gradient| {
            by_name.insert(name.to_owned(), gradient);
        });
        backbone.parameters_mut().update(&mut |name, _, value| match by_name.remove(name) {
            Some(gradient) => value - gradient * rate,
            None => value,
        });
        to_vec(loss)[0]
    };
    (0..8).map(step).collect()
}

fn conditioning(device: &Device) -> Conditioning {
    let words: Vec<u32> = (0..SIZE as u32 * 5).map(|i| i % 11).collect();
    prompts(&canvas(), &words.chunks(5).collect::<Vec<_>>(), device)
}

fn assert_alike(f32: &[f32], bf16: &[f32]) {
    assert!(f32[7] < 0.98 * f32[0], "{f32:?}");
    assert_ne!(f32, bf16);
    assert!(f32.iter().zip(bf16).all(|(a, b)| (a - b).abs() < 0.01 * a), "{f32:?}, {bf16:?}");
}

#[test]
fn a_language_model_learns_alike_in_bf16() {
    let device = Device::flex().autodiff();
    let run = |precision| {
        let config = LmConfig { width: 48, depth: 2, heads: 2, precision, ..Default::default() };
        losses(config.build(&canvas(), &device, &WeightInit::Seed(3)).unwrap(), 0.05, |lm| {
            let codes = ints(&(0..SIZE as u32 * 18).map(|i| i * i % 16).collect::<Vec<_>>(), [SIZE, 18, 1], &device);
            let batch = CanvasBatch { conditioning: conditioning(&device), input: ModelInput::Codes(codes.clone()) };
            let Prediction::Logits(logits) = lm.forward(&batch).unwrap() else { panic!("logits") };
            cross_entropy(logits[0].heads[0].logits.clone().reshape([SIZE * 18, 16]), codes.reshape([SIZE * 18])).mean()
        })
    };
    assert_alike(&run(Precision::F32), &run(Precision::Bf16));
}

#[test]
fn a_diffusion_model_learns_alike_in_bf16() {
    let device = Device::flex().autodiff();
    let noise = |seed| {
        let values = RngKey::new(seed).stream(RngStream::Noise).normals(SIZE * 18 * 4);
        Tensor::<3>::from_data(TensorData::new(values, [SIZE, 18, 4]), &device)
    };
    let run = |precision| {
        let config =
            DitConfig { width: 48, depth: 2, heads: 2, self_condition: false, precision, ..Default::default() };
        losses(config.build(&canvas(), &device, &WeightInit::Seed(3)).unwrap(), 0.03, |dit| {
            let times = Tensor::from_data(TensorData::new(vec![0.1f32, 0.5, 0.9], [SIZE, 1]), &device);
            let field = NoisyVectors { values: noise(1), times, at: vec![0; 18], x0_prev: None };
            let batch = CanvasBatch { conditioning: conditioning(&device), input: ModelInput::NoisyVectors(field) };
            let Prediction::Vector(field) = dit.forward(&batch).unwrap() else { panic!("a field") };
            (field - noise(1) * 2.0).square().mean()
        })
    };
    assert_alike(&run(Precision::F32), &run(Precision::Bf16));
}
