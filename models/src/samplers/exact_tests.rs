//! Diffusion samplers on fields of which the way is known: where one is exact it is exact, and elsewhere it errs by as
//! much as its order says.

use super::diffusion::{Ddim, Euler, Heun, Steps};
use crate::objectives::diffusion::clean;
use crate::testing::{Fake, keys, vectors};
use burn::tensor::{Device, Tensor};
use musiva_core::parameters::to_vec;
use musiva_core::{
    BackboneSpec, CanvasShape, NoisePath, Predicts, Process, RngStream, SampleRequest, Sampler, TokenKind, TokenShape,
};

/// A field on two frames of one place and three channels: of a number at a time.
fn field(of: impl Fn(f64, f64) -> f64 + Send + Sync + 'static) -> Fake {
    let canvas = CanvasShape::new(1, 2, TokenShape { grid: [2, 1, 1], kind: TokenKind::Vectors { channels: 3 } });
    Fake::each(BackboneSpec::Diffusion { channels: 3, self_conditioned: false }, canvas, move |asked| {
        let vector = |(x, &t): (&[f32], &f64)| x.iter().map(|&x| of(f64::from(x), t) as f32).collect();
        asked.values.chunks(3).zip(&asked.times).map(vector).collect()
    })
}

/// The noise that the sample begins with, and what it is after each step, number by number.
fn steps(sampler: &dyn Sampler, backbone: &Fake, process: Process) -> (Vec<f64>, Vec<Vec<f64>>) {
    let request = SampleRequest::prompts(vec![vec![1u32]], keys(5, 1), &backbone.canvas);
    let wide = |numbers: &[f32]| numbers.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let noise = wide(&request.keys[0].stream(RngStream::Noise).normals(6));
    let mut sampling = sampler.begin(backbone, Some(process), &request).unwrap();
    assert_eq!(wide(vectors(&sampling.tokens().unwrap()[0])), noise, "it begins with noise alone");
    let mut all = Vec::new();
    while sampling.progress().0 < sampling.progress().1 {
        sampling.step(backbone).unwrap();
        all.push(wide(vectors(&sampling.tokens().unwrap()[0])));
    }
    (noise, all)
}

#[track_caller]
fn near(found: &[f64], wanted: impl Iterator<Item = f64>) {
    let wanted: Vec<f64> = wanted.collect();
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 2e-5), "{found:?} instead of {wanted:?}");
}

/// All clips are one: then `x_t = α·x + σ·ε` with the first noise at every step, however few.
#[test]
fn one_known_clip_is_reached_along_its_path_in_any_number_of_steps() {
    const CLIP: f64 = 0.7;
    type Make = fn(Steps) -> Box<dyn Sampler>;
    let samplers: [(Make, NoisePath); 3] = [
        (|steps| Box::new(Euler(steps)), NoisePath::Straight),
        (|steps| Box::new(Heun(steps)), NoisePath::Straight),
        (|steps| Box::new(Ddim(steps)), NoisePath::Cosine),
    ];
    for (make, path) in samplers {
        for predicts in [Predicts::Data, Predicts::Velocity] {
            let backbone = field(move |x, t| {
                let (alpha, sigma) = path.mix(t);
                let noise = (x - alpha * CLIP) / sigma;
                match (predicts, path) {
                    (Predicts::Data, _) => CLIP,
                    (Predicts::Velocity, NoisePath::Straight) => noise - CLIP,
                    (Predicts::Velocity, NoisePath::Cosine) => alpha * noise - sigma * CLIP,
                }
            });
            for count in [1, 2, 5] {
                let sampler = make(Steps { steps: count, ..Steps::default() });
                let (noise, all) = steps(&*sampler, &backbone, Process { path, predicts });
                for (i, found) in all.iter().enumerate() {
                    let t = 1.0 - (i + 1) as f64 / count as f64;
                    let (alpha, sigma) = match path {
                        NoisePath::Straight => (1.0 - t, t),
                        NoisePath::Cosine => {
                            ((t * std::f64::consts::FRAC_PI_2).cos(), (t * std::f64::consts::FRAC_PI_2).sin())
                        }
                    };
                    near(found, noise.iter().map(|noise| alpha * CLIP + sigma * noise));
                }
            }
        }
    }
}

/// The velocity `a + b·t` alone: from `t = 1` the way to `t` is the integral.
#[test]
fn heun_is_exact_where_the_velocity_changes_evenly_and_euler_lags() {
    const A: f64 = 0.8;
    const B: f64 = -1.3;
    let backbone = field(|_, t| A + B * t);
    let process = Process { path: NoisePath::Straight, predicts: Predicts::Velocity };
    let settings = Steps { steps: 4, ..Steps::default() };
    let (noise, heun) = steps(&Heun(settings), &backbone, process);
    let whole = |t: f64| A * (t - 1.0) + B / 2.0 * (t * t - 1.0);
    for (i, found) in heun[..3].iter().enumerate() {
        near(found, noise.iter().map(|x| x + whole(1.0 - 0.25 * (i + 1) as f64)));
    }
    // Its last step has no second slope: it is Euler's, which takes the velocity at 0.25 for that of the way to 0.
    near(&heun[3], noise.iter().map(|x| x + whole(0.25) - 0.25 * (A + 0.25 * B)));
    let (_, euler) = steps(&Euler(settings), &backbone, process);
    let slopes = |n: usize| (0..n).map(|k| A + B * (1.0 - 0.25 * k as f64)).sum::<f64>();
    for (i, found) in euler.iter().enumerate() {
        near(found, noise.iter().map(|x| x - 0.25 * slopes(i + 1)));
    }
}

/// The data of `v` and the noisy numbers, worked by hand: `x_t = α·x + σ·ε`.
#[test]
fn clean_data_follow_from_what_is_predicted() {
    let one = |x: f64| Tensor::<3>::from_floats([[[x as f32]]], &Device::flex());
    let of = |path, predicts, [alpha, sigma, noisy, said]: [f64; 4]| {
        to_vec(clean(Process { path, predicts }, one(alpha), one(sigma), one(noisy), one(said)))[0]
    };
    // x = 2 and ε = -1 at t = 0.25: x_t = 1.25, v = -3.
    assert!((of(NoisePath::Straight, Predicts::Velocity, [0.75, 0.25, 1.25, -3.0]) - 2.0).abs() < 1e-6);
    // The same with α = 0.8 and σ = 0.6: x_t = 1, v = -0.8 - 1.2.
    assert!((of(NoisePath::Cosine, Predicts::Velocity, [0.8, 0.6, 1.0, -2.0]) - 2.0).abs() < 1e-6);
    assert_eq!(of(NoisePath::Cosine, Predicts::Data, [0.8, 0.6, 1.0, -2.0]), -2.0);
}
