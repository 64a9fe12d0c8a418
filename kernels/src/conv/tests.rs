use burn::backend::DType;
use burn::tensor::module::{conv_transpose3d, conv3d as burns_conv3d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor, TensorData};

use super::apply::{Weight, apply};
use super::map::Map;
use super::weight_gradient::{Factor, weight_gradient};
use super::{Axis, conv1d, conv1d_transposed, conv3d, conv3d_transposed};
use crate::lanes::InstructionSet;
use crate::testing::{self, assert_near, device, noise, values};

/// A convolution, or a transposed one, with the sizes of its tensors.
#[derive(Clone, Debug)]
struct Case {
    axes: [Axis; 3],
    clips: usize,
    size: [usize; 3],
    taps: [usize; 3],
    channels: [usize; 2],
    up: bool,
}

impl Case {
    /// Random sizes, mostly prime, with windows that may be larger than the clip.
    fn random(seed: u64) -> Self {
        let random = noise(24, seed);
        let mut random = random.into_iter().map(|x| (x + 1.0) / 2.0);
        let mut one_of = |choices: &[usize]| choices[(random.next().unwrap() * choices.len() as f32) as usize];
        let channels = [0; 2].map(|_| one_of(&[1, 2, 3, 7, 8, 10, 16, 17, 23, 32, 37, 48, 67]));
        let axes = [0; 3].map(|_| Axis {
            stride: one_of(&[1, 1, 2, 3]),
            dilation: one_of(&[1, 1, 2, 3]),
            before: one_of(&[0, 1, 2, 5]),
            after: one_of(&[0, 1, 3]),
        });
        let size = [one_of(&[1, 2, 3, 5]), one_of(&[3, 5, 7]), one_of(&[2, 5, 7, 11])];
        let taps = [one_of(&[1, 2, 3]), one_of(&[1, 3]), one_of(&[1, 2, 3, 5])];
        Self { axes, clips: one_of(&[1, 2, 3]), size, taps, channels, up: seed % 2 == 1 }
    }

    /// One axis with the others of length 1.
    fn on_one_axis(axis: Axis, length: usize, taps: usize, channels: [usize; 2], up: bool) -> Self {
        let axes = [Axis::default(), Axis::default(), axis];
        Self { axes, clips: 2, size: [1, 1, length], taps: [1, 1, taps], channels, up }
    }

    fn map(&self) -> Map {
        let Self { axes, size, taps, up, .. } = self.clone();
        let windows = [0, 1, 2].map(|i| axes[i].windows(size[i], taps[i]));
        let places = [0, 1, 2].map(|i| axes[i].places(size[i], taps[i]));
        let (fine, coarse) = if up { (places, size) } else { (size, windows) };
        Map { axes, taps, fine, coarse, up }
    }

    fn x(&self) -> [usize; 5] {
        let [t, h, w] = self.size;
        [self.clips, t, h, w, self.channels[0]]
    }

    fn weight(&self) -> [usize; 5] {
        let ([t, h, w], [c, n]) = (self.taps, self.channels);
        [t, h, w, c, n]
    }

    fn y(&self) -> [usize; 5] {
        let [t, h, w] = self.map().output();
        [self.clips, t, h, w, self.channels[1]]
    }

    fn run(&self, x: Tensor<5>, weight: Tensor<5>, bias: Option<Tensor<1>>) -> Tensor<5> {
        let convolution = if self.up { conv3d_transposed } else { conv3d };
        convolution(x, weight, bias, self.axes)
    }

    /// The value, and the gradients of its product with noise by input, weight and bias.
    fn results(&self, dtype: DType) -> [Vec<f64>; 4] {
        let device = device().autodiff();
        let x = tensor(self.x(), 1, dtype, &device).require_grad();
        let weight = tensor(self.weight(), 2, dtype, &device).require_grad();
        let bias = tensor([self.channels[1]], 3, dtype, &device).require_grad();
        let y = self.run(x.clone(), weight.clone(), Some(bias.clone()));
        assert_eq!(y.dims(), self.y(), "{self:?}");
        let grads = (y.clone() * tensor(self.y(), 4, dtype, &device)).sum().backward();
        let [of_x, of_weight] = [x, weight].map(|x| values(x.grad(&grads).unwrap()));
        [values(y), of_x, of_weight, values(bias.grad(&grads).unwrap())]
    }

    /// The same by the definition, one product at a time.
    fn expected(&self) -> [Vec<f64>; 4] {
        let wide = |shape: &[usize], seed| -> Vec<f64> {
            noise(shape.iter().product(), seed).into_iter().map(f64::from).collect()
        };
        let (x, weight, bias) = (wide(&self.x(), 1), wide(&self.weight(), 2), wide(&[self.channels[1]], 3));
        let grad = wide(&self.y(), 4);
        let ([c, n], map) = (self.channels, self.map());
        let mut y: Vec<f64> = bias.iter().copied().cycle().take(grad.len()).collect();
        let (mut of_x, mut of_weight, mut of_bias) = (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; n]);
        for (i, g) in grad.iter().enumerate() {
            of_bias[i % n] += g;
        }
        let flat = |[t, h, w]: [usize; 3], [_, hs, ws]: [usize; 3]| (t * hs + h) * ws + w;
        let each = |[t, h, w]: [usize; 3]| (0..t * h * w).map(move |i| [i / (h * w), i / w % h, i % w]);
        for clip in 0..self.clips {
            for (window, tap) in each(map.coarse).flat_map(|window| each(map.taps).map(move |tap| (window, tap))) {
                let at = [0, 1, 2].map(|i| {
                    (window[i] * self.axes[i].stride + tap[i] * self.axes[i].dilation).wrapping_sub(self.axes[i].before)
                });
                if (0..3).any(|i| at[i] >= map.fine[i]) {
                    continue;
                }
                let fine = clip * map.fine.iter().product::<usize>() + flat(at, map.fine);
                let coarse = clip * map.coarse.iter().product::<usize>() + flat(window, map.coarse);
                let (source, output) = if self.up { (coarse, fine) } else { (fine, coarse) };
                for (c, n) in (0..c).flat_map(|i| (0..n).map(move |j| (source * c + i, output * n + j))) {
                    let w = (flat(tap, map.taps) * self.channels[0] + c % self.channels[0]) * self.channels[1]
                        + n % self.channels[1];
                    y[n] += x[c] * weight[w];
                    of_x[c] += grad[n] * weight[w];
                    of_weight[w] += x[c] * grad[n];
                }
            }
        }
        [y, of_x, of_weight, of_bias]
    }

    fn check(&self) {
        for (dtype, tolerance) in [(DType::F32, 3e-6), (DType::F64, 1e-12)] {
            for (found, expected) in self.results(dtype).iter().zip(self.expected()) {
                assert_near(found, &expected, tolerance);
            }
        }
    }
}

fn tensor<const D: usize>(shape: [usize; D], seed: u64, dtype: DType, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(noise(shape.iter().product(), seed), shape), (device, dtype))
}

fn f32s<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    tensor(shape, seed, DType::F32, &device())
}

fn uniform(stride: [usize; 3], taps: [usize; 3]) -> [Axis; 3] {
    let [t, h, w] = [0, 1, 2].map(|i| Axis::default().stride(stride[i]));
    [t.causal(taps[0]), h.same(taps[1]), w.same(taps[2])]
}

#[test]
fn value_and_gradients_agree_with_the_definition() {
    for seed in 0..60 {
        Case::random(seed).check();
    }
}

#[test]
fn value_and_gradients_agree_with_the_definition_for_many_channels_and_places() {
    for (channels, up) in [([67, 131], false), ([131, 61], true), ([97, 3], false), ([3, 97], true)] {
        let (size, taps) = ([5, 7, 17], [3, 3, 3]);
        Case { axes: uniform([2, 1, 2], taps), clips: 3, size, taps, channels, up }.check();
    }
}

#[test]
fn value_and_gradients_agree_with_the_definition_for_sound() {
    for (stride, dilation) in [(1, 1), (1, 3), (1, 9), (2, 1), (5, 1), (5, 3), (8, 1), (4, 2)] {
        for channels in [[1, 32], [32, 1], [13, 37]] {
            for up in [false, true] {
                let axis = Axis::default().stride(stride).dilation(dilation);
                let taps = if stride == 1 { 7 } else { 2 * stride };
                let axis = if up { axis.padding(0, dilation) } else { axis.causal(taps) };
                Case::on_one_axis(axis, 61, taps, channels, up).check();
            }
        }
    }
}

/// More than half a megabyte of weights takes more than one walk over them.
#[test]
fn value_and_gradients_agree_with_the_definition_for_a_large_weight() {
    let (size, taps) = ([2, 3, 5], [3, 3, 3]);
    for up in [false, true] {
        Case { axes: uniform([1; 3], taps), clips: 1, size, taps, channels: [113, 127], up }.check();
    }
}

#[test]
fn the_value_agrees_with_burns_own_convolutions() {
    let (stride, dilation) = ([2, 1, 2], [1, 2, 1]);
    let axes = [0, 1, 2].map(|i| Axis { stride: stride[i], dilation: dilation[i], before: 1, after: 1 });
    let (x, weight, bias) = (f32s([2, 5, 7, 11, 13], 1), f32s([3, 3, 5, 13, 17], 2), f32s([17], 3));
    let first = |x: Tensor<5>| x.permute([0, 4, 1, 2, 3]);

    let options = ConvOptions::new(stride, [1; 3], dilation, 1);
    let expected = burns_conv3d(first(x.clone()), weight.clone().permute([4, 3, 0, 1, 2]), Some(bias.clone()), options);
    let found = conv3d(x.clone(), weight.clone(), Some(bias.clone()), axes);
    assert_near(&values(first(found)), &values(expected), 2e-6);

    let options = ConvTransposeOptions::new(stride, [1; 3], [0; 3], dilation, 1);
    let weights = weight.clone().permute([3, 4, 0, 1, 2]);
    let expected = conv_transpose3d(first(x.clone()), weights, Some(bias.clone()), options);
    let found = conv3d_transposed(x, weight, Some(bias), axes);
    assert_near(&values(first(found)), &values(expected), 2e-6);
}

/// The value is linear in each argument, so that a difference of any step is its derivative.
#[test]
fn gradients_agree_with_differences_of_the_value() {
    for seed in [70, 71, 72, 73] {
        let case = Case { channels: [3, 17], ..Case::random(seed) };
        let [_, of_x, of_weight, of_bias] = case.results(DType::F32);
        let arguments = [(case.x().to_vec(), 1), (case.weight().to_vec(), 2), (vec![case.channels[1]], 3)];
        let loss = |argument: usize, element: usize, step: f32| -> f64 {
            let data = |i: usize| {
                let (shape, seed) = &arguments[i];
                let mut x = noise(shape.iter().product(), *seed);
                if i == argument {
                    x[element] += step;
                }
                TensorData::new(x, shape.clone())
            };
            let [x, weight] = [0, 1].map(|i| Tensor::from_data(data(i), &device()));
            let y = case.run(x, weight, Some(Tensor::from_data(data(2), &device())));
            values(y).iter().zip(noise(case.y().iter().product(), 4)).map(|(y, g)| y * f64::from(g)).sum()
        };
        for (argument, gradient) in [of_x, of_weight, of_bias].iter().enumerate() {
            for element in (0..gradient.len()).step_by(gradient.len().div_ceil(7)) {
                let slope = (loss(argument, element, 8.0) - loss(argument, element, -8.0)) / 16.0;
                assert!((gradient[element] - slope).abs() < 1e-4, "{case:?}: {} {slope}", gradient[element]);
            }
        }
    }
}

#[test]
fn one_axis_is_the_case_of_three() {
    let axis = Axis::default().stride(3).dilation(2).padding(4, 1);
    for (conv1, conv3) in
        [(conv1d as fn(_, _, _, _) -> _, conv3d as fn(_, _, _, _) -> _), (conv1d_transposed, conv3d_transposed)]
    {
        let (x, weight) = (f32s([2, 61, 5], 1), f32s([7, 5, 11], 2));
        let found: Tensor<3> = conv1(x.clone(), weight.clone(), None, axis);
        let axes = [axis, Axis::default(), Axis::default()];
        let (x, weight) = (x.reshape([2, 61, 1, 1, 5]), weight.reshape([7, 1, 1, 5, 11]));
        let expected: Tensor<5> = conv3(x, weight, None, axes);
        assert_eq!(values(found), values(expected));
    }
}

#[test]
fn a_tensor_in_another_order_is_read_in_its_own() {
    let axes = uniform([1; 3], [1, 3, 3]);
    let x = f32s([2, 13, 3, 5, 7], 1).permute([0, 2, 3, 4, 1]);
    let weight = f32s([11, 13, 1, 3, 3], 2).permute([2, 3, 4, 1, 0]);
    let straight = |x: Tensor<5>| Tensor::<5>::from_data(x.into_data(), &device());
    let expected = conv3d(straight(x.clone()), straight(weight.clone()), None, axes);
    assert_eq!(values(conv3d(x, weight, None, axes)), values(expected));
}

#[test]
fn each_argument_has_its_gradient_without_the_others() {
    let case = Case { channels: [5, 7], ..Case::random(80) };
    let [_, of_x, of_weight, of_bias] = case.results(DType::F32);
    for (argument, expected) in [of_x, of_weight, of_bias].iter().enumerate() {
        let device = device().autodiff();
        let tracked = |i: usize, x: Tensor<5>| if i == argument { x.require_grad() } else { x };
        let x = tracked(0, tensor(case.x(), 1, DType::F32, &device));
        let weight = tracked(1, tensor(case.weight(), 2, DType::F32, &device));
        let bias = tracked(2, tensor([1, 1, 1, 1, case.channels[1]], 3, DType::F32, &device));
        let y = case.run(x.clone(), weight.clone(), Some(bias.clone().flatten(0, 4)));
        let grads = (y * tensor(case.y(), 4, DType::F32, &device)).sum().backward();
        let found = [x, weight, bias][argument].grad(&grads).unwrap();
        assert_eq!(&values(found), expected);
    }
}

/// With the padding all before, what comes later changes no bit of what was.
#[test]
fn the_future_does_not_change_the_past() {
    let axes = uniform([1; 3], [3, 3, 3]);
    let weight = f32s([3, 3, 3, 7, 19], 2);
    let x = f32s([2, 11, 5, 3, 7], 1);
    let whole = conv3d(x.clone(), weight.clone(), None, axes);
    for now in [1, 4, 10] {
        let changed = x.clone().slice_fill([0..2, now..11, 0..5, 0..3, 0..7], f32::NAN);
        let y = conv3d(changed, weight.clone(), None, axes);
        assert_eq!(values(y.clone().narrow(1, 0, now)), values(whole.clone().narrow(1, 0, now)));
        assert!(values(y.narrow(1, now, 1)).iter().all(|y| y.is_nan()));
        let start = conv3d(x.clone().narrow(1, 0, now), weight.clone(), None, axes);
        assert_eq!(values(start), values(whole.clone().narrow(1, 0, now)));
    }
}

/// A clip that comes piece by piece, with the frames before each piece in front, is the whole clip.
#[test]
fn a_piece_behind_its_past_has_the_bytes_of_the_whole() {
    let axis = Axis::default().dilation(3).causal(7);
    let (x, weight) = (f32s([1, 131, 5], 1), f32s([7, 5, 37], 2));
    let whole = conv1d(x.clone(), weight.clone(), None, axis);
    for now in [18, 59, 130] {
        let piece = conv1d(x.clone().narrow(1, now - 18, 131 - now + 18), weight.clone(), None, axis.padding(0, 0));
        assert_eq!(values(piece), values(whole.clone().narrow(1, now, 131 - now)));
    }
}

#[test]
fn a_nan_spoils_the_windows_that_see_it() {
    let axis = Axis::default().same(5);
    for channels in [[3, 17], [17, 3]] {
        let x = f32s([1, 37, channels[0]], 1).slice_fill([0..1, 20..21, 1..2], f32::NAN);
        let y = values(conv1d(x, f32s([5, channels[0], channels[1]], 2), None, axis));
        for (i, y) in y.iter().enumerate() {
            assert_eq!(y.is_nan(), (18..=22).contains(&(i / channels[1])), "{i}");
        }
    }
}

#[test]
fn clips_without_places_and_windows_that_do_not_fit() {
    for (size, taps) in [([0, 3, 3], [1, 3, 3]), ([2, 2, 2], [1, 3, 3]), ([3, 1, 1], [5, 1, 1])] {
        for (up, dtype) in [(false, DType::F32), (true, DType::F32), (false, DType::F64), (true, DType::F64)] {
            let case = Case { axes: [Axis::default(); 3], clips: 2, size, taps, channels: [3, 5], up };
            for (found, expected) in case.results(dtype).iter().zip(case.expected()) {
                assert_near(found, &expected, 1e-6);
            }
        }
    }
}

#[test]
fn tensors_without_channels() {
    for channels in [[0, 5], [3, 0], [0, 0]] {
        for up in [false, true] {
            let case = Case { channels, up, ..Case::random(50) };
            for (found, expected) in case.results(DType::F32).iter().zip(case.expected()) {
                assert_near(found, &expected, 1e-6);
            }
        }
    }
}

#[test]
#[should_panic(expected = "expected 4, got 3")]
fn a_weight_for_other_channels_is_a_bug() {
    conv1d(f32s([1, 7, 3], 1), f32s([1, 4, 2], 2), None, Axis::default());
}

#[test]
fn the_same_bytes_for_any_thread_count() {
    let taps = [3, 3, 3];
    for (channels, up) in [([37, 48], false), ([37, 5], false), ([19, 37], true)] {
        let case = Case { axes: uniform([1, 2, 2], taps), clips: 3, size: [5, 13, 17], taps, channels, up };
        testing::same_for_any_thread_count(|| case.results(DType::F32).concat());
    }
    // One tap: groups of places share the work.
    let case = Case::on_one_axis(Axis::default(), 9973, 1, [31, 37], false);
    testing::same_for_any_thread_count(|| case.results(DType::F32).concat());
}

#[test]
fn every_instruction_set_agrees_with_the_widest() {
    for seed in 90..110 {
        let case = Case::random(seed);
        let (map, [c, n]) = (case.map(), case.channels);
        let (x, weight, grad) = (
            noise(case.x().iter().product(), 1),
            noise(case.weight().iter().product(), 2),
            noise(case.y().iter().product(), 4),
        );
        let both = |set| -> Vec<f64> {
            let weight = Weight { values: &weight, channels: [c, n], exchanged: false };
            let y = apply(set, &map, case.clips, &x, weight, &vec![0.0; n]);
            let [x, grad] = [(&x, c), (&grad, n)].map(|(values, channels)| Factor { values, channels });
            let (fine, coarse) = if map.up { (grad, x) } else { (x, grad) };
            y.into_iter().chain(weight_gradient(set, &map, case.clips, fine, coarse)).map(f64::from).collect()
        };
        let expected = both(InstructionSet::widest());
        for set in InstructionSet::all() {
            assert_near(&both(set), &expected, 3e-6);
        }
    }
}
