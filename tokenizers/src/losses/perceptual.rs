//! How different two pictures look: the distance of what a network for pictures sees in them (Zhang et al., "The
//! Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018).
//!
//! LPIPS is this distance by VGG16's features, each channel of a layer weighed by how people judged. Its numbers come
//! from a file of the user's ([`FeatureNet::lpips_vgg16`]). Where there is none, [`FeatureNet::random`] is a small network
//! of random weights, which every machine draws alike: its features know edges and textures but nothing that was learned,
//! and its distance is **not** LPIPS.

use crate::conv::{Conv, Size};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use musiva_core::parameters::open_weights;
use musiva_core::{Error, ErrorKind, Init, Parameters, Result};
use std::path::Path;

/// Convolutions of each of VGG16's stages, and their channels (Simonyan and Zisserman 2015, configuration D).
const VGG16: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];
/// The stages of the network of random weights.
const SMALL: [(usize, usize); 3] = [(1, 16), (1, 32), (1, 64)];
/// Mean and deviation of the colours that VGG16 knows, of pictures within `[-1, 1]`.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Least length of the features of a place, squared.
const LEAST: f64 = 1e-20;

/// Convolutions in stages, between which the larger of two rows and columns stays. What it sees is what its stages end
/// with.
#[derive(Module, Debug)]
pub struct FeatureNet {
    stages: Vec<Vec<Conv>>,
    /// How much each channel of a stage weighs.
    linear: Vec<Param<Tensor<1>>>,
}

impl FeatureNet {
    /// Rows and columns of the smallest picture: four halvings leave one place of it.
    pub const SMALLEST: usize = 16;

    fn new(stages: &[(usize, usize)], init: &Init) -> Self {
        let mut input = 3;
        let mut stage = |(i, &(convolutions, channels)): (usize, &(usize, usize))| -> Vec<Conv> {
            let convolution = |j| {
                let before = std::mem::replace(&mut input, channels);
                let gain = std::f32::consts::SQRT_2;
                Conv::new(&init.part(format!("{i}.{j}")), [before, channels], [1, 3, 3], gain)
            };
            (0..convolutions).map(convolution).collect()
        };
        let linear = |&(_, channels): &(usize, usize)| init.ones([channels]).map(|ones| ones / stages.len() as f64);
        let convolutions = stages.iter().enumerate().map(&mut stage).collect();
        Self { stages: convolutions, linear: stages.iter().map(linear).collect() }.no_grad()
    }

    /// LPIPS-VGG16, version 0.1, by a file that `tools/lpips_to_safetensors.py` wrote.
    ///
    /// # Errors
    /// Where there is no such file, or it holds something else.
    pub fn lpips_vgg16(path: &Path, device: &Device) -> Result<Self> {
        let place = path.display().to_string();
        let mut net = Self::new(&VGG16, &Init::new(0, device));
        let (weights, _) = open_weights(path)?;
        net.load(&weights, &place).map_err(|error| {
            Error::new(ErrorKind::Weights, place, "these are not the weights of LPIPS-VGG16")
                .hint("make the file by tools/lpips_to_safetensors.py")
                .caused_by(error)
        })?;
        Ok(net.no_grad())
    }

    /// A small network of random weights; no LPIPS.
    pub fn random(device: &Device) -> Self {
        Self::new(&SMALL, &Init::new(0, device).part("features"))
    }

    /// What LPIPS-VGG16, or else the small network, is and takes for a picture of `[h, w]`.
    pub fn size(lpips: bool, picture: [usize; 2]) -> Size {
        let stages: &[(usize, usize)] = if lpips { &VGG16 } else { &SMALL };
        let (mut size, mut input, mut at) = (Size::default(), 3, picture);
        for (i, &(convolutions, channels)) in stages.iter().enumerate() {
            if i > 0 {
                at = at.map(|side| side / 2);
            }
            for _ in 0..convolutions {
                size.layer([std::mem::replace(&mut input, channels), channels], 9, (at[0] * at[1]) as f64);
            }
            size.parameters += channels;
        }
        size
    }

    /// The distance of pictures `[N, H, W, 3]` within `[-1, 1]`, of at least [`Self::SMALLEST`] rows and columns: `[N]`.
    pub fn distance(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
        let n = a.dims()[0];
        let seen = self.features(a).into_iter().zip(self.features(b)).zip(&self.linear);
        let terms = seen.map(|((a, b), weights)| {
            let squares = (unit(a) - unit(b)).square(); // [N, 1, H, W, C]
            let weighed = squares * weights.val().reshape([1, 1, 1, 1, -1]);
            let places = weighed.dims()[2] * weighed.dims()[3];
            weighed.reshape([n as i32, -1]).sum_dim(1).squeeze_dim::<1>(1) / places as f64
        });
        terms.reduce(|sum, term| sum + term).expect("a network has stages")
    }

    /// What each stage ends with: `[N, 1, H, W, C]`.
    fn features(&self, pictures: Tensor<4>) -> Vec<Tensor<5>> {
        let device = pictures.device();
        let row = |values: [f32; 3]| Tensor::<1>::from_data(values, &device).reshape([1, 1, 1, 3]);
        let x = (pictures - row(SHIFT)) / row(SCALE);
        let mut x: Tensor<5> = x.unsqueeze_dim(1);
        let mut seen = Vec::with_capacity(self.stages.len());
        for (i, stage) in self.stages.iter().enumerate() {
            if i > 0 {
                x = larger_of_two(larger_of_two(x, 2), 3);
            }
            x = stage.iter().fold(x, |x, conv| activation::relu(conv.forward(x)));
            seen.push(x.clone());
        }
        seen
    }
}

/// Each place's features scaled to length 1.
fn unit(x: Tensor<5>) -> Tensor<5> {
    let length = (x.clone().square().sum_dim(4) + LEAST).sqrt();
    x / length
}

/// The larger of each two neighbours along `dim`; an odd one at the end goes.
fn larger_of_two(x: Tensor<5>, dim: usize) -> Tensor<5> {
    let mut shape = x.dims();
    let half = shape[dim] / 2;
    let x = x.slice_dim(dim, 0..2 * half);
    let (outer, inner): (usize, usize) = (shape[..dim].iter().product(), shape[dim + 1..].iter().product());
    shape[dim] = half;
    let pairs: Tensor<4> = x.reshape([outer, half, 2, inner]);
    pairs.clone().slice_dim(2, 0..1).max_pair(pairs.slice_dim(2, 1..2)).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use musiva_core::parameters::to_vec;

    /// Numbers that `tests/reference/lpips.py` makes alike.
    fn wave(count: usize, step: f64, size: f64) -> Vec<f32> {
        (0..count).map(|i| (size * (step * i as f64 + 0.3).sin()) as f32).collect()
    }

    fn pictures(shape: [usize; 4], step: f64) -> Tensor<4> {
        let values = wave(shape.iter().product(), step, 1.0);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn near(found: Vec<f32>, wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!((f64::from(found) / wanted - 1.0).abs() < 1e-4, "{found}, not {wanted}");
        }
    }

    #[test]
    fn distances_are_those_of_pytorch() {
        let mut net = FeatureNet::new(&[(2, 5), (1, 7), (2, 6)], &Init::new(1, &Device::flex()));
        let mut number = 0.0;
        net.update(&mut |name, _, value| {
            number += 1.0;
            let values = wave(value.dims()[0], 0.7 + 0.01 * number, 0.4);
            let values = if name.starts_with("linear") { values.iter().map(|w| w.abs()).collect() } else { values };
            Tensor::from_data(TensorData::new(values, value.dims()), &Device::flex())
        });
        let shape = [2, 19, 23, 3];
        near(to_vec(net.distance(pictures(shape, 0.11), pictures(shape, 0.13))), &REFERENCE);
    }

    #[test]
    fn lpips_of_the_users_file_is_that_of_pytorch() {
        let Some(path) = std::env::var_os("MUSIVA_LPIPS") else {
            eprintln!("skipped: MUSIVA_LPIPS names no file of tools/lpips_to_safetensors.py");
            return;
        };
        let net = FeatureNet::lpips_vgg16(Path::new(&path), &Device::flex()).unwrap();
        let shape = [2, 35, 67, 3];
        near(to_vec(net.distance(pictures(shape, 0.011), pictures(shape, 0.013))), &LPIPS);
    }

    #[test]
    fn sizes_are_known_without_building() {
        assert_eq!(FeatureNet::size(false, [64, 64]).parameters, FeatureNet::random(&Device::flex()).count());
        // Of the published VGG16 the convolutions are 14,714,688 numbers; 1.25 billion multiplications for 64×64.
        let vgg16 = FeatureNet::size(true, [64, 64]);
        assert_eq!(vgg16.parameters - VGG16.iter().map(|(_, channels)| channels).sum::<usize>(), 14_714_688);
        assert!((vgg16.flops / 2.0 - 1.25e9).abs() < 0.01e9, "{}", vgg16.flops);
    }

    #[test]
    fn equal_pictures_are_at_no_distance_and_blur_is_seen() {
        let net = FeatureNet::random(&Device::flex());
        let a = pictures([1, 32, 32, 3], 0.37);
        assert_eq!(to_vec(net.distance(a.clone(), a.clone())), [0.0]);
        let shifted = a.clone() + 0.1;
        let flat = a.clone() * 0.0 + a.clone().mean().reshape([1, 1, 1, 1]);
        let (shifted, flat) = (to_vec(net.distance(a.clone(), shifted))[0], to_vec(net.distance(a, flat))[0]);
        assert!(flat > 3.0 * shifted && shifted > 0.0, "{flat} {shifted}");
    }

    #[test]
    fn a_black_picture_has_a_finite_gradient() {
        let device = Device::flex().autodiff();
        let net = FeatureNet::random(&device);
        let black = Tensor::<4>::full([1, 16, 16, 3], -1.0, &device).require_grad();
        let loss = net.distance(black.clone(), Tensor::zeros([1, 16, 16, 3], &device)).sum();
        let slope = to_vec(black.grad(&loss.backward()).unwrap());
        assert!(slope.iter().all(|slope| slope.is_finite()) && slope.iter().any(|slope| *slope != 0.0));
    }

    #[test]
    fn another_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let other = FeatureNet::random(&Device::flex()).weights();
        musiva_core::parameters::save_weights(
            &path,
            &other,
            musiva_core::parameters::Precision::F32,
            Default::default(),
        )
        .unwrap();
        let error = FeatureNet::lpips_vgg16(&path, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("not the weights of LPIPS-VGG16") && error.contains("lpips_to_safetensors"), "{error}");
    }

    /// By `tests/reference/lpips.py`: of the small network, and of the file.
    const REFERENCE: [f64; 2] = [0.508_416_987_5, 0.566_308_992_4];
    const LPIPS: [f64; 2] = [0.111_103_949_0, 0.118_113_795_6];
}
