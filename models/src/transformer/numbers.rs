//! Numbers that samples are conditioned on, as vectors.

use super::Linear;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{ConditionShape, Conditioning, Route};
use musiva_core::{CanvasShape, Init};
use musiva_kernels::silu;

/// Sines and cosines that a number is told by.
pub const FEATURES: usize = 64;

/// A vector for each condition of a canvas: as timesteps are embedded (Peebles and Xie 2023, section 3.2), from where the
/// number lies in its range. What is added starts as
/// zeros, so that a model that learned without it goes on as it was.
#[derive(Module, Debug)]
pub struct Numbers {
    each: Vec<Number>,
}

#[derive(Module, Debug)]
struct Number {
    map1: Linear,
    map2: Linear,
    /// What stands for "none".
    none: Param<Tensor<1>>,
}

impl Numbers {
    /// For vectors of `width`.
    pub fn new(init: &Init, canvas: &CanvasShape, width: usize) -> Self {
        let each = |condition: &ConditionShape| {
            let (init, token) = (init.part(format!("condition.{}", condition.name)), condition.route == Route::Token);
            Number {
                map1: Linear::new(&init.part("map1"), [2 * FEATURES, width], 1.0),
                // A token is normalised by its length: one of zeros would have endless gradients.
                map2: Linear::new(&init.part("map2"), [width, width], if token { 0.02 } else { 0.0 }),
                none: match token {
                    true => init.part("none").normal([width], 0.02),
                    false => init.part("none").zeros([width]),
                },
            }
        };
        Self { each: canvas.conditions.iter().map(each).collect() }
    }

    /// How many numbers it learns.
    pub fn parameters(canvas: &CanvasShape, width: usize) -> usize {
        canvas.conditions.len() * ((2 * FEATURES + 1) * width + (width + 1) * width + width)
    }

    /// What the conditions of a route become: `[B, 1, D]` each.
    pub fn by(&self, route: Route, conditioning: &Conditioning, device: &Device) -> Vec<Tensor<3>> {
        let conditions = conditioning.canvas().conditions.iter().zip(&self.each).enumerate();
        let of_route = conditions.filter(|(_, (condition, _))| condition.route == route);
        let vector = |(i, (condition, number)): (usize, (&ConditionShape, &Number))| {
            let [low, high] = condition.range;
            let told: Vec<Option<f64>> =
                conditioning.numbers.iter().map(|numbers| numbers.get(i).copied().flatten()).collect();
            let at: Vec<f32> = told.iter().map(|n| n.map_or(0.0, |n| ((n - low) / (high - low)) as f32)).collect();
            let known: Vec<f32> = told.iter().map(|number| f32::from(number.is_some())).collect();
            let size = told.len();
            let at = Tensor::<2>::from_data(TensorData::new(at, [size, 1]), device);
            let known = Tensor::<3>::from_data(TensorData::new(known, [size, 1, 1]), device);
            let vector = number.map2.forward(silu(number.map1.forward(features(at))));
            vector * known.clone() + number.none.val().unsqueeze::<3>() * (-known + 1.0)
        };
        of_route.map(vector).collect()
    }

    /// The sum of what the conditions of a route become; nothing where there is none.
    pub fn sum(&self, route: Route, conditioning: &Conditioning, device: &Device) -> Option<Tensor<3>> {
        self.by(route, conditioning, device).into_iter().reduce(|a, b| a + b)
    }
}

/// Numbers `[B, S]` in `[0, 1]` as cosines and sines of 64 frequencies, 1 to 1000: `[B, S, 128]`.
pub fn features(numbers: Tensor<2>) -> Tensor<3> {
    let frequencies: Vec<f32> = (0..FEATURES).map(|i| 1000f32.powf(i as f32 / (FEATURES - 1) as f32)).collect();
    let frequencies = Tensor::from_data(TensorData::new(frequencies, [1, 1, FEATURES]), &numbers.device());
    let angles = numbers.unsqueeze_dim::<3>(2) * frequencies;
    Tensor::cat(vec![angles.clone().cos(), angles.sin()], 2)
}
