//! Diffusion samplers on fields of which the way is known: where one is exact it is exact, and elsewhere it errs by as
//! much as its order says.

use super::diffusion::{Ddim, Euler, Heun, Steps};
use crate::schedules::Linear;
use crate::testing::{Fake, cosine, keys, right, straight, vectors};
use burn::tensor::{Device, Tensor};
use musiva_core::parameters::to_vec;
use musiva_core::{
    BackboneSpec, CanvasShape, Predicts, Process, RngStream, SampleRequest, Sampler, TokenKind, TokenShape,
};

/// A field on two frames of one token and three channels: of a number at a time.
fn field(of: impl Fn(f64, f64) -> f64 + Send + Sync + 'static) -> Fake {
    let canvas = CanvasShape::new(1, 2, TokenShape { grid: [2, 1, 1], kind: TokenKind::Vectors { channels: 3 } });
    Fake::each(BackboneSpec::Diffusion { channels: 3, self_conditioned: false }, canvas, move |asked| {
        let vector = |(x, &t): (&[f32], &f64)| x.iter().map(|&x| of(f64::from(x), t) as f32).collect();
        asked.values.chunks(3).zip(&asked.times).map(vector).collect()
    })
}

/// The noise that the sample begins with, and what it is after each step, number by number.
fn steps(sampler: &dyn Sampler, backbone: &Fake, process: &Process) -> (Vec<f64>, Vec<Vec<f64>>) {
    let request = SampleRequest::prompts(&[vec![1]], keys(5, 1), &backbone.canvas);
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
    as_near_as(2e-5, found, wanted);
}

#[track_caller]
fn as_near_as(limit: f64, found: &[f64], wanted: impl Iterator<Item = f64>) {
    let wanted: Vec<f64> = wanted.collect();
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < limit), "{found:?} instead of {wanted:?}");
}

fn linear(predicts: Predicts) -> Process {
    Process::new(Linear::default(), predicts)
}

/// `α(t)` and `σ(t)`, written out.
fn mix(process: &Process, t: f64) -> (f64, f64) {
    let angle = t * std::f64::consts::FRAC_PI_2;
    match process.schedule.name() {
        "straight" => (1.0 - t, t),
        "cosine" => (angle.cos(), angle.sin()),
        _ => {
            // By β from 0.1 to 20.
            let alpha = (-19.9 / 4.0 * t * t - 0.05 * t).exp();
            (alpha, (1.0 - alpha * alpha).sqrt())
        }
    }
}

/// All clips are one: then `x_t = α·x + σ·ε` with one noise at every step, however few. By most schedules it is the first:
/// by `linear` that is taken for a mixture with a little of the clip.
#[test]
fn one_known_clip_is_reached_along_its_path_in_any_number_of_steps() {
    const CLIP: f64 = 0.7;
    type Make = fn(Steps) -> Box<dyn Sampler>;
    let both = [Predicts::Data, Predicts::Velocity].into_iter();
    let mut cases: Vec<(Make, Process)> = both
        .flat_map(|predicts| -> [(Make, Process); 4] {
            [
                (|steps| Box::new(Euler(steps)), straight(predicts)),
                (|steps| Box::new(Heun(steps)), straight(predicts)),
                (|steps| Box::new(Ddim(steps)), cosine(predicts)),
                (|steps| Box::new(Ddim(steps)), linear(predicts)),
            ]
        })
        .collect();
    cases.push((|steps| Box::new(Ddim(steps)), linear(Predicts::Noise)));
    for (make, process) in cases {
        let told = process.clone();
        let backbone = field(move |x, t| {
            let (alpha, sigma) = told.schedule.mix(t);
            right(&told, CLIP, (x - alpha * CLIP) / sigma, t)
        });
        // At time 1 the noise is told from the clip by a division by 0.0066.
        let limit = if process.predicts == Predicts::Noise { 2e-4 } else { 2e-5 };
        for count in [1, 2, 5] {
            let sampler = make(Steps { steps: count, ..Steps::default() });
            let (noise, all) = steps(&*sampler, &backbone, &process);
            let (alpha, sigma) = mix(&process, 1.0);
            let noise: Vec<f64> = noise.iter().map(|noise| (noise - alpha * CLIP) / sigma).collect();
            for (i, found) in all.iter().enumerate() {
                let (alpha, sigma) = mix(&process, 1.0 - (i + 1) as f64 / count as f64);
                as_near_as(limit, found, noise.iter().map(|noise| alpha * CLIP + sigma * noise));
            }
        }
    }
}

/// Of `x ~ N(μ, s²)` all is known: the best guess of the clean data, so each step, and the way of the whole, on which
/// `(x_t - α·μ)/√(α²s² + σ²)` stays what it is.
#[test]
fn ddim_takes_its_step_on_gaussian_data_and_errs_half_as_much_in_twice_as_many() {
    const MEAN: f64 = 0.7;
    const VARIANCE: f64 = 0.25;
    let guess = |x: f64, (alpha, sigma): (f64, f64)| {
        MEAN + alpha * VARIANCE / (alpha * alpha * VARIANCE + sigma * sigma) * (x - alpha * MEAN)
    };
    let processes =
        [cosine(Predicts::Data), linear(Predicts::Data), linear(Predicts::Noise), linear(Predicts::Velocity)];
    for process in processes {
        let told = process.clone();
        let backbone = field(move |x, t| {
            let (alpha, sigma) = told.schedule.mix(t);
            let clean = guess(x, (alpha, sigma));
            right(&told, clean, (x - alpha * clean) / sigma, t)
        });
        let (alpha, sigma) = mix(&process, 1.0);
        let end = |noise: &f64| {
            let left = (VARIANCE / (alpha * alpha * VARIANCE + sigma * sigma)).sqrt();
            MEAN + left * (noise - alpha * MEAN)
        };
        let miss = |count: usize| {
            let (noise, all) = steps(&Ddim(Steps { steps: count, ..Steps::default() }), &backbone, &process);
            let mut before = noise.clone();
            for (i, found) in all.iter().enumerate() {
                let [now, next] = [i, i + 1].map(|i| mix(&process, 1.0 - i as f64 / count as f64));
                let step = |x: &f64| {
                    let clean = guess(*x, now);
                    next.0 * clean + next.1 / now.1 * (x - now.0 * clean)
                };
                near(found, before.iter().map(step));
                before.clone_from(found);
            }
            let miss = before.iter().zip(&noise).map(|(x, noise)| (x - end(noise)).powi(2)).sum::<f64>();
            miss.sqrt()
        };
        let [few, many] = [50, 100].map(miss);
        assert!(few < 0.15 && (1.8..2.2).contains(&(few / many)), "{process:?}: {few}, {many}");
    }
}

/// The velocity `a + b·t` alone: from `t = 1` the way to `t` is the integral.
#[test]
fn heun_is_exact_where_the_velocity_changes_evenly_and_euler_lags() {
    const A: f64 = 0.8;
    const B: f64 = -1.3;
    let backbone = field(|_, t| A + B * t);
    let process = straight(Predicts::Velocity);
    let settings = Steps { steps: 4, ..Steps::default() };
    let (noise, heun) = steps(&Heun(settings), &backbone, &process);
    let whole = |t: f64| A * (t - 1.0) + B / 2.0 * (t * t - 1.0);
    for (i, found) in heun[..3].iter().enumerate() {
        near(found, noise.iter().map(|x| x + whole(1.0 - 0.25 * (i + 1) as f64)));
    }
    // Its last step has no second slope: it is Euler's, which takes the velocity at 0.25 for that of the way to 0.
    near(&heun[3], noise.iter().map(|x| x + whole(0.25) - 0.25 * (A + 0.25 * B)));
    let (_, euler) = steps(&Euler(settings), &backbone, &process);
    let slopes = |n: usize| (0..n).map(|k| A + B * (1.0 - 0.25 * k as f64)).sum::<f64>();
    for (i, found) in euler.iter().enumerate() {
        near(found, noise.iter().map(|x| x - 0.25 * slopes(i + 1)));
    }
}

/// The data of what is predicted and the noisy numbers, worked by hand: `x_t = α·x + σ·ε`.
#[test]
fn clean_data_follow_from_what_is_predicted() {
    let one = |x: f64| Tensor::<3>::from_floats([[[x as f32]]], &Device::flex());
    let of = |process: Process, [alpha, sigma, noisy, said]: [f64; 4]| {
        to_vec(process.clean(one(alpha), one(sigma), one(noisy), one(said)))[0]
    };
    // x = 2 and ε = -1 at t = 0.25: x_t = 1.25, v = -3.
    assert!((of(straight(Predicts::Velocity), [0.75, 0.25, 1.25, -3.0]) - 2.0).abs() < 1e-6);
    assert!((of(straight(Predicts::Noise), [0.75, 0.25, 1.25, -1.0]) - 2.0).abs() < 1e-6);
    // The same with α = 0.8 and σ = 0.6: x_t = 1, v = -0.8 - 1.2.
    assert!((of(cosine(Predicts::Velocity), [0.8, 0.6, 1.0, -2.0]) - 2.0).abs() < 1e-6);
    assert!((of(cosine(Predicts::Noise), [0.8, 0.6, 1.0, -1.0]) - 2.0).abs() < 1e-6);
    assert_eq!(of(cosine(Predicts::Data), [0.8, 0.6, 1.0, -2.0]), -2.0);
    // Noise alone, a quarter of which is not predicted: over 0.001, not over 0.
    assert!((of(straight(Predicts::Noise), [0.0, 1.0, 1.0, 0.75]) - 250.0).abs() < 1e-3);
}

/// What is to be predicted, of the same numbers.
#[test]
fn what_is_predicted_follows_from_clean_data_and_noise() {
    let one = |x: f64| Tensor::<3>::from_floats([[[x as f32]]], &Device::flex());
    let of = |process: Process, [alpha, sigma]: [f64; 2]| {
        to_vec(process.target(one(alpha), one(sigma), one(2.0), one(-1.0)))[0]
    };
    assert_eq!([straight, cosine].map(|process| of(process(Predicts::Data), [0.75, 0.25])), [2.0; 2]);
    assert_eq!([straight, cosine].map(|process| of(process(Predicts::Noise), [0.75, 0.25])), [-1.0; 2]);
    assert_eq!(of(straight(Predicts::Velocity), [0.75, 0.25]), -3.0);
    assert!((of(cosine(Predicts::Velocity), [0.8, 0.6]) + 2.0).abs() < 1e-6);
}
