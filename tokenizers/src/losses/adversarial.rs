//! The losses of a tokenizer and of the discriminator that it plays against.
//!
//! A tokenizer `G` makes media, a discriminator `D` judges real ones `x` and made ones `y` by logits, above zero for
//! real. All means are over the places of a head, then over heads.
//!
//! | | tokenizer | discriminator |
//! |---|---|---|
//! | hinge (SoundStream, equations 1 and 2) | `max(0, 1 - D(y))` | `max(0, 1 - D(x)) + max(0, 1 + D(y))` |
//! | non-saturating (Goodfellow et al. 2014) | `log(1 + exp(-D(y)))` | `log(1 + exp(-D(x))) + log(1 + exp(D(y)))` |

use crate::discriminators::Judgement;
use crate::settings::AdversarialLoss;
use burn::tensor::{Tensor, activation};
use musiva_core::parameters;

/// How far from real media their neighbours lie that [`gradient_penalty`] looks at: root mean square of the change of a
/// number, of media within `[-1, 1]`.
const NEAR: f64 = 0.01;

/// Least norm that is divided by.
const LEAST: f64 = 1e-12;

/// The tokenizer's loss by what the heads make of its media: small where they take them for real.
pub fn generator_loss(loss: AdversarialLoss, made: &[Judgement]) -> Tensor<1> {
    mean(made.iter().map(|head| real_loss(loss, head.logits.clone())))
}

/// The discriminator's loss by what its heads make of real and of made media.
pub fn discriminator_loss(loss: AdversarialLoss, real: &[Judgement], made: &[Judgement]) -> Tensor<1> {
    let of_real = mean(real.iter().map(|head| real_loss(loss, head.logits.clone())));
    // To be taken for made is the mirror image of being taken for real.
    of_real + mean(made.iter().map(|head| real_loss(loss, head.logits.clone().neg())))
}

/// Small where logits are taken for real.
fn real_loss(loss: AdversarialLoss, logits: Tensor<2>) -> Tensor<1> {
    match loss {
        AdversarialLoss::Hinge => activation::relu(logits.neg() + 1.0).mean(),
        AdversarialLoss::NonSaturating => activation::softplus(logits.neg(), 1.0).mean(),
    }
}

/// The part of all judgements that are right, each head counting alike: 1 where real media are told from made ones
/// everywhere, a half by chance.
pub fn accuracy(real: &[Judgement], made: &[Judgement]) -> Tensor<1> {
    let right = |logits: Tensor<2>| logits.greater_elem(0.0).float().mean();
    let of_real = mean(real.iter().map(|head| right(head.logits.clone())));
    (of_real + mean(made.iter().map(|head| right(head.logits.clone().neg())))) * 0.5
}

/// Mean absolute difference of what the layers of a discriminator see in real and in made media, mean over layers and
/// heads (SoundStream, equation 3). No gradient goes to the real ones.
pub fn feature_matching(real: &[Judgement], made: &[Judgement]) -> Tensor<1> {
    mean(real.iter().zip(made).map(|(real, made)| {
        let layers = real.features.iter().zip(&made.features);
        mean(layers.map(|(real, made)| (real.clone().detach() - made.clone()).abs().mean()))
    }))
}

/// LeCam regularisation (Tseng et al., "Regularizing Generative Adversarial Networks under Limited Data", 2021, equation
/// 5): squared distance of the logits of real media to the moving average of those of made ones, and the other way
/// round. `anchors` are these averages, of real and of made media, a row a head: `[K, 2]`.
pub fn lecam(real: &[Judgement], made: &[Judgement], anchors: Tensor<2>) -> Tensor<1> {
    let near = |logits: Tensor<2>, head: usize, anchor: usize| {
        let anchor = anchors.clone().slice([head..head + 1, anchor..anchor + 1]);
        (logits - anchor).square().mean()
    };
    mean(
        real.iter()
            .zip(made)
            .enumerate()
            .map(|(head, (real, made))| near(real.logits.clone(), head, 1) + near(made.logits.clone(), head, 0)),
    )
}

/// Half of the squared length of the gradient of a discriminator's score by real media, mean over the batch: R1 (Mescheder
/// et al. 2018, equation 9) without its weight.
///
/// Its own gradient by the weights would be a second derivative, which there is not. So, for each sample `x` of `N`
/// numbers, with `g` the gradient of the score by `x`, taken beforehand and held fast, `e = g / ‖g‖` and `h = 0.01·√N`,
/// what is computed is
///
/// `½·((D(x + h·e) - D(x - h·e)) / 2h)²`,
///
/// the square of a central difference along the gradient. As `h` goes to zero the value goes to `½·‖g‖²`, with an error of
/// order `h²`; and so does the derivative by the weights, to the exact one and not to an estimate of it: that of
/// `½·(e·g)²` with `e` held fast is `(e·g)·(e·∂g) = g·∂g`, which is that of `½·‖g‖²`. A direction drawn at random (and `N`
/// times as much) would be right on average only.
///
/// `frozen` and `learning` give the score `[B]` of media, without and with gradients by the weights; each sample's must
/// depend on itself alone.
pub fn gradient_penalty<const D: usize>(
    frozen: impl FnOnce(Tensor<D>) -> Tensor<1>,
    learning: impl Fn(Tensor<D>) -> Tensor<1>,
    real: Tensor<D>,
) -> Tensor<1> {
    let count = real.dims()[0];
    let each = real.dims().iter().product::<usize>() / count;
    let point = real.clone().detach().require_grad();
    let gradients = frozen(point.clone()).sum().backward();
    let Some(gradient) = point.grad(&gradients) else { return Tensor::zeros([1], &real.device()) };
    let gradient = parameters::learning(gradient, &real.device(), false).reshape([count, each]);
    let length = gradient.clone().square().sum_dim(1).sqrt() + LEAST;
    let h = NEAR * (each as f64).sqrt();
    let step = (gradient / length * h).reshape(real.dims());
    let slope = (learning(real.clone() + step.clone()) - learning(real - step)) / (2.0 * h);
    slope.square().mean() * 0.5
}

/// How much the discriminator's pull on media weighs: as much as the distortion's, by the length of their gradients at
/// the tokenizer's output, and at most `most` times (Esser et al., "Taming Transformers", 2021, equation 7, which takes
/// the gradients by the weights of the last layer; by the media they need no pass through the tokenizer: Défossez et al.,
/// "High Fidelity Neural Audio Compression", 2022, section 3.4).
pub fn adaptive_weight<const D: usize>(distortion: Tensor<D>, adversarial: Tensor<D>, most: f64) -> Tensor<1> {
    let length = |x: Tensor<D>| x.square().sum().sqrt();
    (length(distortion) / (length(adversarial) + LEAST)).clamp(0.0, most)
}

fn mean(values: impl Iterator<Item = Tensor<1>>) -> Tensor<1> {
    let values: Vec<_> = values.collect();
    let count = values.len() as f64;
    values.into_iter().reduce(|sum, value| sum + value).expect("a discriminator has heads and layers") / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use musiva_core::parameters::to_vec;
    use musiva_core::{RngKey, RngStream};

    const HINGE: AdversarialLoss = AdversarialLoss::Hinge;
    const NON_SATURATING: AdversarialLoss = AdversarialLoss::NonSaturating;

    fn head(logits: &[f32]) -> Judgement {
        let logits = Tensor::from_data(TensorData::new(logits.to_vec(), [1, logits.len()]), &Device::flex());
        Judgement { logits, features: Vec::new() }
    }

    fn one(tensor: Tensor<1>) -> f64 {
        f64::from(to_vec(tensor.inner())[0])
    }

    fn near(found: Tensor<1>, wanted: f64) {
        let found = one(found);
        assert!((found - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{found}, not {wanted}");
    }

    #[test]
    fn losses_are_those_of_the_table() {
        let (real, made) = ([head(&[2.0, 0.5]), head(&[-1.0])], [head(&[-3.0, 0.25]), head(&[1.5])]);
        // By head, then over heads.
        near(generator_loss(HINGE, &made), ((4.0 + 0.75) / 2.0 + 0.0) / 2.0);
        near(
            discriminator_loss(HINGE, &real, &made),
            ((0.0 + 0.5) / 2.0 + 2.0) / 2.0 + ((0.0 + 1.25) / 2.0 + 2.5) / 2.0,
        );
        let soft = |x: f64| (1.0 + x.exp()).ln();
        near(generator_loss(NON_SATURATING, &made), ((soft(3.0) + soft(-0.25)) / 2.0 + soft(-1.5)) / 2.0);
        let of_real = ((soft(-2.0) + soft(-0.5)) / 2.0 + soft(1.0)) / 2.0;
        near(
            discriminator_loss(NON_SATURATING, &real, &made),
            of_real + ((soft(-3.0) + soft(0.25)) / 2.0 + soft(1.5)) / 2.0,
        );
        near(accuracy(&real, &made), ((1.0 + 0.0) / 2.0 + (0.5 + 0.0) / 2.0) / 2.0);
    }

    #[test]
    fn features_are_compared_layer_by_layer() {
        let with = |layers: [&[f32]; 2]| {
            let layer = |x: &[f32]| Tensor::from_data(TensorData::new(x.to_vec(), [1, x.len()]), &Device::flex());
            [Judgement { features: layers.map(layer).to_vec(), ..head(&[0.0]) }]
        };
        let (real, made) = (with([&[1.0, 2.0, 3.0, 4.0], &[5.0]]), with([&[1.0, 2.0, 3.0, 2.0], &[2.0]]));
        near(feature_matching(&real, &made), (0.5 + 3.0) / 2.0);
    }

    #[test]
    fn lecam_draws_each_side_to_the_mean_of_the_other() {
        let anchors = Tensor::from_data([[2.0, -1.0], [0.5, 0.25]], &Device::flex());
        let (real, made) = ([head(&[3.0, 1.0]), head(&[0.0])], [head(&[0.0]), head(&[1.0])]);
        near(lecam(&real, &made, anchors), ((16.0 + 4.0) / 2.0 + 4.0 + 0.0625 + 0.25) / 2.0);
    }

    #[test]
    fn a_pull_weighs_as_much_as_the_other_up_to_a_limit() {
        let at = |values: [f32; 2]| Tensor::<1>::from_data(values, &Device::flex());
        near(adaptive_weight(at([3.0, 4.0]), at([0.0, 2.0]), 100.0), 2.5);
        near(adaptive_weight(at([3.0, 4.0]), at([0.0, 1e-6]), 100.0), 100.0);
        near(adaptive_weight(at([3.0, 4.0]), at([0.0, 0.0]), 100.0), 100.0);
        near(adaptive_weight(at([0.0, 0.0]), at([0.0, 0.0]), 100.0), 0.0);
    }

    /// A score whose derivatives are known: `Σᵢ wᵢ·sin(xᵢ)` of each sample.
    fn score(w: &Tensor<1>, x: Tensor<2>) -> Tensor<1> {
        (x.sin() * w.clone().unsqueeze::<2>()).sum_dim(1).squeeze_dim(1)
    }

    #[test]
    fn the_penalty_and_its_gradient_are_the_analytic_ones() {
        let (count, each) = (5, 7);
        let device = Device::flex().autodiff();
        let normals = |seed, shape: [usize; 2]| {
            let values = RngKey::new(seed).stream(RngStream::Noise).normals(shape[0] * shape[1]);
            Tensor::<2>::from_data(TensorData::new(values, shape), &device)
        };
        let x = normals(1, [count, each]);
        let w = normals(2, [1, each]).squeeze_dim::<1>(0).require_grad();
        let penalty = gradient_penalty(|x| score(&w.clone().detach(), x), |x| score(&w, x), x.clone());
        let slope = to_vec(w.grad(&penalty.clone().backward()).unwrap());
        // By hand: g = w·cos x, so ½·‖g‖² = ½·Σ w²·cos² x, and its derivative by w is w·cos² x.
        let (x, w) = (to_vec(x.inner()), to_vec(w.inner()));
        let cosine = |row: usize, i: usize| f64::from(x[row * each + i]).cos().powi(2);
        let mean = |i: usize| (0..count).map(|row| cosine(row, i)).sum::<f64>() / count as f64;
        let wanted: f64 = (0..each).map(|i| 0.5 * f64::from(w[i]).powi(2) * mean(i)).sum();
        let found = one(penalty);
        assert!((found / wanted - 1.0).abs() < 2e-3, "{found}, not {wanted}");
        for (i, slope) in slope.into_iter().enumerate() {
            let wanted = f64::from(w[i]) * mean(i);
            assert!((f64::from(slope) - wanted).abs() < 5e-3 * wanted.abs().max(0.1), "{i}: {slope}, not {wanted}");
        }
    }

    #[test]
    fn a_flat_score_has_no_penalty() {
        let device = Device::flex().autodiff();
        let flat = |x: Tensor<2>| (x * 0.0).sum_dim(1).squeeze_dim::<1>(1);
        let penalty = gradient_penalty(flat, flat, Tensor::ones([2, 3], &device));
        assert_eq!(one(penalty), 0.0);
    }
}
