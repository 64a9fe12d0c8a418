//! What diffusion objectives ask of a backbone, and their losses by hand: who answers by the definitions has none.

use super::*;
use crate::testing::{Asked, Fake, Log, cosine, of_vectors, straight};
use musiva_core::canvas::Layout;
use musiva_core::{CanvasShape, TokenKind, TokenShape, TokenValues};
use std::f64::consts::FRAC_PI_2;
use std::sync::Arc;

/// Three frames of a token of two channels.
fn canvas() -> Arc<CanvasShape> {
    let tokens = TokenShape { grid: [3, 1, 1], kind: TokenKind::Vectors { channels: 2 } };
    Arc::new(CanvasShape::new(1, 4, tokens))
}

/// Two samples of the words 1 and 2.
const CLIPS: [[f32; 6]; 2] = [[0.3, -1.2, 2.0, 0.7, -0.4, 1.1], [-0.9, 0.2, 0.6, -2.1, 1.4, 0.5]];

fn batch(canvas: &Arc<CanvasShape>, clips: &[&[f32]]) -> CleanBatch {
    CleanBatch {
        layout: Arc::new(Layout::whole(canvas)),
        context: (1..=clips.len() as u32).map(|word| canvas.prompt(&[word])).collect(),
        target: clips.iter().map(|clip| of_vectors(canvas, clip.to_vec())).collect(),
        samples: (0..clips.len() as u64).collect(),
        dropout: true,
    }
}

fn clips() -> CleanBatch {
    batch(&canvas(), &[&CLIPS[0], &CLIPS[1]])
}

/// `α(t)` and `σ(t)`, written out.
fn mix(process: &Process, t: f64) -> (f64, f64) {
    match process.schedule.family() {
        Family::Straight => (1.0 - t, t),
        Family::VariancePreserving => ((FRAC_PI_2 * t).cos(), (FRAC_PI_2 * t).sin()),
    }
}

/// What is to be predicted of a number, by the definitions. The velocity is how the noisy number changes: with the time by
/// the straight schedule, with the angle `πt/2` by the cosine schedule.
fn target(process: &Process, x: f64, noisy: f64, t: f64) -> f64 {
    let (alpha, sigma) = mix(process, t);
    let noise = if sigma == 0.0 { 0.0 } else { (noisy - alpha * x) / sigma };
    match (process.predicts, process.schedule.family()) {
        (Predicts::Data, _) => x,
        (Predicts::Noise, _) => noise,
        (Predicts::Velocity, Family::Straight) => noise - x,
        (Predicts::Velocity, Family::VariancePreserving) => alpha * noise - sigma * x,
    }
}

/// Says the target, but for an error of each token, and is watched.
fn off_by(process: &Process, self_conditioned: bool, error: [f64; 3]) -> (Fake, Log) {
    let (spec, process) = (BackboneSpec::Diffusion { channels: 2, self_conditioned }, process.clone());
    let answer = move |asked: &Asked| {
        let number = |i: usize| {
            let (x, noisy) = (f64::from(CLIPS[asked.word() - 1][i]), f64::from(asked.values[i]));
            (target(&process, x, noisy, asked.times[i / 2]) + error[i / 2]) as f32
        };
        (0..3).map(|position| vec![number(2 * position), number(2 * position + 1)]).collect()
    };
    Fake::each(spec, canvas(), answer).watched()
}

/// Both objectives with each prediction, and frames so far apart; no prompt is dropped, nothing self-conditioned.
fn objectives(frame_offset: f32) -> Vec<Box<dyn Objective>> {
    let all = [Predict::Data, Predict::Velocity, Predict::Noise].into_iter();
    let of = |predict| -> [Box<dyn Objective>; 2] {
        let flow = RectifiedFlow { predict, frame_offset, prompt_dropout: 0.0, self_condition: 0.0, shift: 1.0 };
        let ddpm = Ddpm { predict, frame_offset, prompt_dropout: 0.0, self_condition: 0.0 };
        [Box::new(flow), Box::new(ddpm)]
    };
    all.flat_map(of).collect()
}

fn numbers(loss: &Loss) -> (f64, f64) {
    let number = |x: &Tensor<1>| f64::from(x.clone().into_scalar::<f32>());
    assert_eq!(loss.parts[0].0, "clean_mse");
    (number(&loss.total), number(&loss.parts[0].1))
}

#[test]
fn objectives_walk_the_paths_that_they_name() {
    let of = |objective: &dyn Objective| {
        let process = objective.process().unwrap();
        (process.schedule.name().to_owned(), process.predicts)
    };
    assert_eq!(of(&RectifiedFlow::default()), ("straight".to_owned(), Predicts::Velocity));
    assert_eq!(of(&Ddpm::default()), ("cosine".to_owned(), Predicts::Velocity));
    assert_eq!(of(&Ddpm { predict: Predict::Data, ..Ddpm::default() }).1, Predicts::Data);
    assert_eq!(of(&RectifiedFlow { predict: Predict::Noise, ..RectifiedFlow::default() }).1, Predicts::Noise);
}

#[test]
fn passes_are_counted_with_those_of_self_conditioning() {
    let canvas = canvas();
    for share in [0.0, 0.3, 1.0] {
        let flow = RectifiedFlow { self_condition: share, ..RectifiedFlow::default() };
        let ddpm = Ddpm { self_condition: share, ..Ddpm::default() };
        for objective in [&flow as &dyn Objective, &ddpm] {
            let spec = BackboneSpec::Diffusion { channels: 2, self_conditioned: true };
            let (model, log) = Fake::each(spec, canvas.clone(), |_| vec![vec![0.0; 2]; 3]).watched();
            let steps = 500;
            for step in 0..steps {
                objective.loss(&model, &clips(), RngKey::new(3).step(step)).unwrap();
            }
            let passes = log.lock().unwrap().len() as f64 / steps as f64;
            assert!((passes - objective.forwards()).abs() < 0.06, "{passes}, {}", objective.forwards());
        }
    }
}

#[test]
fn how_far_frames_are_apart_is_the_recipes() {
    for offset in [0.0, 0.25] {
        assert!(objectives(offset).iter().all(|objective| objective.frame_offset() == offset));
    }
}

#[test]
fn only_shorter_vectors_have_numbers_that_stand_for_nothing() {
    assert_eq!(own_channels(&Layout::whole(&canvas())), None);
    let sound = TokenShape { grid: [3, 1, 1], kind: TokenKind::Vectors { channels: 1 } };
    let both = Arc::new(CanvasShape::clone(&canvas()).with_sound(sound, 1, 1));
    let layout = Layout::whole(&both);
    let wanted = layout.elements().iter().flat_map(|element| [1.0f32, f32::from(u8::from(element.track == 0))]);
    assert_eq!(own_channels(&layout).unwrap().try_to_vec::<f32>().unwrap(), wanted.collect::<Vec<_>>());
}

#[test]
fn the_velocity_is_how_the_noisy_number_changes() {
    let (x, noise, t, step) = (0.7, -1.3, 0.37, 1e-5);
    for (process, unit) in [(straight(Predicts::Velocity), 1.0), (cosine(Predicts::Velocity), FRAC_PI_2)] {
        let mix = |t| mix(&process, t);
        let noisy = |t| mix(t).0 * x + mix(t).1 * noise;
        let slope = (noisy(t + step) - noisy(t - step)) / (2.0 * step);
        let velocity = target(&process, x, noisy(t), t);
        assert!((slope - unit * velocity).abs() < 1e-6, "{process:?}: {slope}, {velocity}");
        let (alpha, sigma) = process.schedule.mix(t);
        assert!((alpha - mix(t).0).abs() < 1e-12 && (sigma - mix(t).1).abs() < 1e-12);
    }
}

#[test]
fn who_predicts_by_the_definition_has_no_loss_and_an_error_counts_squared() {
    for objective in objectives(0.0).iter().chain(&objectives(1.0)) {
        let process = objective.process().unwrap();
        for step in 0..20 {
            let key = RngKey::new(3).step(step);
            for error in [[0.0; 3], [0.5, -1.0, 2.0]] {
                let (wrong, log) = off_by(&process, false, error);
                let (total, clean) = numbers(&objective.loss(&wrong, &clips(), key).unwrap());
                // Frames at time 0 are known and do not count.
                let asked = &log.lock().unwrap()[0];
                let numbers = asked.iter().flat_map(|asked| {
                    let number = |i: usize| (asked.times[i / 2], error[i / 2], f64::from(CLIPS[asked.word() - 1][i]));
                    (0..6).map(number).collect::<Vec<_>>()
                });
                let numbers: Vec<(f64, f64, f64)> = numbers.filter(|(t, ..)| *t > 0.0).collect();
                let mean = |of: &dyn Fn(f64, f64, f64) -> f64| {
                    let squares = numbers.iter().map(|&(t, error, x)| of(t, error, x).powi(2));
                    squares.sum::<f64>() / numbers.len() as f64
                };
                // The clean data are off by as much, by σ times as much, or by σ/α times as much: but for α < 0.001, where
                // 0.001 stands for it.
                let off = mean(&|t, error, x| {
                    let (alpha, sigma) = mix(&process, t);
                    match process.predicts {
                        Predicts::Data => error,
                        Predicts::Velocity => sigma * error,
                        Predicts::Noise => (alpha * x - sigma * error) / alpha.max(0.001) - x,
                    }
                });
                let wanted = (mean(&|_, error, _| error), off);
                let limit = match process.predicts {
                    // What is rounded is divided by α.
                    Predicts::Noise => 1e-3,
                    _ if error == [0.0; 3] => 1e-6,
                    _ => 1e-4,
                };
                let near = |found: f64, wanted: f64| (found - wanted).abs() < limit * wanted.max(1.0);
                assert!(near(total, wanted.0) && near(clean, wanted.1), "{process:?}: {total}, {clean}, {wanted:?}");
            }
        }
    }
}

/// The straight schedule with errors that weigh more near the noise, and a name of its own.
#[derive(Debug)]
struct Weighted;

impl Schedule for Weighted {
    fn name(&self) -> &str {
        "weighted"
    }
    fn family(&self) -> Family {
        Family::Straight
    }
    fn mix(&self, t: f64) -> (f64, f64) {
        (1.0 - t, t)
    }
    fn weight(&self, t: f64) -> f64 {
        3.0 * t * t
    }
}

#[test]
fn an_error_weighs_what_the_schedule_says() {
    let flow = RectifiedFlow { predict: Predict::Data, prompt_dropout: 0.0, frame_offset: 1.0, ..Default::default() };
    let weighted = flow.with_schedule(Arc::new(Weighted)).unwrap();
    assert_eq!(weighted.process().unwrap().schedule.name(), "weighted");
    assert_eq!(
        (weighted.frame_offset(), weighted.forwards(), weighted.meaning()),
        (1.0, flow.forwards(), flow.meaning())
    );
    for step in 0..20 {
        let (error, key) = ([0.5, -1.0, 2.0], RngKey::new(3).step(step));
        let (wrong, log) = off_by(&flow.process().unwrap(), false, error);
        let (total, clean) = numbers(&weighted.loss(&wrong, &clips(), key).unwrap());
        let asked = log.lock().unwrap()[0].clone();
        let frames = asked.iter().flat_map(|asked| asked.times.iter().zip(&error)).filter(|(t, _)| **t > 0.0);
        let frames: Vec<(f64, f64)> = frames.map(|(&t, &error)| (t, error)).collect();
        let mean = |of: &dyn Fn(f64, f64) -> f64| {
            frames.iter().map(|&(t, error)| of(t, error)).sum::<f64>() / frames.len() as f64
        };
        let wanted = (mean(&|t, error| 3.0 * t * t * error * error), mean(&|_, error| error * error));
        // The clean data are measured without weights.
        assert!((total - wanted.0).abs() < 1e-4 && (clean - wanted.1).abs() < 1e-4, "{total}, {clean}, {wanted:?}");
        // Weights of 1 are none: the objective's own schedule by its name changes nothing.
        let same = flow.with_schedule(Arc::new(Straight)).unwrap();
        assert_eq!(
            numbers(&same.loss(&wrong, &clips(), key).unwrap()),
            numbers(&flow.loss(&wrong, &clips(), key).unwrap())
        );
    }
}

#[test]
fn an_objective_takes_schedules_of_its_family_alone() {
    use crate::schedules::{Linear, ShiftedCosine};
    let (flow, ddpm) = (RectifiedFlow::default(), Ddpm::default());
    let schedules: [(Arc<dyn Schedule>, bool); 4] = [
        (Arc::new(Straight), true),
        (Arc::new(Cosine), false),
        (Arc::new(Linear::default()), false),
        (Arc::new(ShiftedCosine::default()), false),
    ];
    for (schedule, straight) in schedules {
        let [takes, refuses]: [&dyn Objective; 2] = if straight { [&flow, &ddpm] } else { [&ddpm, &flow] };
        let process = takes.with_schedule(schedule.clone()).unwrap().process().unwrap();
        assert_eq!((process.schedule.name(), process.predicts), (schedule.name(), Predicts::Velocity));
        let Err(error) = refuses.with_schedule(schedule.clone()) else { panic!("{schedule:?}") };
        assert!(error.path == "kind" && error.message.contains(schedule.name()), "{error:?}");
        assert!(error.hint.contains("delete `[schedule]`"), "{error:?}");
    }
    let Err(error) = crate::objectives::next_token::NextToken::default().with_schedule(Arc::new(Cosine)) else {
        panic!("it has no noise")
    };
    assert!(error.message.contains("mixes no noise"), "{error:?}");
}

#[test]
fn frames_are_ahead_of_others_where_they_may_be() {
    let apart = |frame_offset: f32| {
        let (fake, log) = off_by(&objectives(frame_offset)[0].process().unwrap(), false, [0.0; 3]);
        (0..200).for_each(|step| {
            drop(objectives(frame_offset)[0].loss(&fake, &clips(), RngKey::new(3).step(step)).unwrap())
        });
        let log = log.lock().unwrap();
        let times: Vec<_> = log.iter().flatten().map(|asked| asked.times.clone()).collect();
        assert!(times.iter().all(|times| times.is_sorted()), "the first frame is cleanest");
        times
    };
    assert!(apart(0.0).iter().all(|times| times[0] == times[2]));
    let times = apart(1.0);
    // As far apart as s of three frames, drawn evenly from 0 to 1, can be: whole ways for s > 1/2, at some of the times.
    let whole = times.iter().filter(|times| times[0] == 0.0 && times[2] == 1.0).count();
    assert!((20..100).contains(&whole), "{whole}");
    assert!(apart(0.25).iter().any(|times| times[0] < times[2]));
    assert!(apart(0.25).iter().all(|times| times[2] - times[0] <= 0.5 + 1e-6));
}

/// The largest distance of numbers from a distribution: above `1.95/√n` once in a thousand (Kolmogorov and Smirnov).
fn distance(mut numbers: Vec<f64>, distribution: impl Fn(f64) -> f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let n = numbers.len() as f64;
    numbers.iter().enumerate().map(|(i, &x)| (distribution(x) - (i as f64 + 0.5) / n).abs()).fold(0.0, f64::max)
}

#[test]
fn times_are_uniform_or_shifted_and_noise_is_normal() {
    let zeros = batch(&canvas(), &[&[0.0; 6], &[0.0; 6]]);
    for shift in [1.0, 3.0] {
        let flow = RectifiedFlow { shift, prompt_dropout: 0.0, ..RectifiedFlow::default() };
        let (fake, log) = off_by(&flow.process().unwrap(), false, [0.0; 3]);
        (0..1000).for_each(|step| drop(flow.loss(&fake, &zeros, RngKey::new(3).step(step)).unwrap()));
        let log = log.lock().unwrap();
        let times: Vec<f64> = log.iter().flatten().map(|asked| asked.times[0]).collect();
        // t' = s·t / (1 + (s - 1)·t) backwards.
        let s = f64::from(shift);
        let far = distance(times, |t| t / (s - (s - 1.0) * t));
        assert!(far < 1.95 / 2000f64.sqrt(), "{shift}: {far}");
        // Of clean zeros the noisy numbers are t·ε.
        let noise: Vec<f64> = log
            .iter()
            .flatten()
            .flat_map(|asked| asked.values.iter().map(|x| f64::from(*x) / asked.times[0]))
            .collect();
        let n = noise.len() as f64;
        let moment = |k| noise.iter().map(|x| x.powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.03 && (moment(2) - 1.0).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.3);
    }
    for (t, shift, wanted) in [(0.5, 3.0, 0.75), (0.25, 3.0, 0.5), (0.75, 1.0, 0.75), (0.0, 9.0, 0.0), (1.0, 9.0, 1.0)]
    {
        assert!((shifted(t, shift) - wanted).abs() < 1e-12, "{t} {shift}");
    }
}

#[test]
fn the_guess_is_what_the_first_pass_took_for_clean() {
    for predict in [Predict::Data, Predict::Velocity] {
        let always = Ddpm { predict, prompt_dropout: 0.0, self_condition: 1.0, frame_offset: 0.0 };
        let calls = |objective: &Ddpm, self_conditioned| {
            let (fake, log) = off_by(&objective.process().unwrap(), self_conditioned, [0.0; 3]);
            objective.loss(&fake, &clips(), RngKey::new(3)).unwrap();
            std::mem::take(&mut *log.lock().unwrap())
        };
        let log = calls(&always, true);
        let [first, second] = &log[..] else { panic!("two passes, not {}", log.len()) };
        for (i, (first, second)) in first.iter().zip(second).enumerate() {
            // Who is right about the target is right about the data.
            let x0_prev = second.x0_prev.as_ref().unwrap();
            assert!(x0_prev.iter().zip(CLIPS[i]).all(|(a, b)| (a - b).abs() < 1e-4), "{x0_prev:?}");
            assert_eq!(first, &Asked { x0_prev: None, ..second.clone() });
        }
        for log in [calls(&always, false), calls(&Ddpm { self_condition: 0.0, ..always }, true)] {
            assert!(log.len() == 1 && log[0].iter().all(|asked| asked.x0_prev.is_none()));
        }
    }
}

#[test]
fn prompts_are_dropped_as_often_as_asked() {
    for (prompt_dropout, words) in [(0.0, [1, 2]), (1.0, [0, 0])] {
        let canvas = canvas();
        let fake = Fake::each(BackboneSpec::Diffusion { channels: 2, self_conditioned: false }, canvas, |_| {
            vec![vec![0.0; 2]; 3]
        });
        let (fake, log) = fake.watched();
        RectifiedFlow { prompt_dropout, ..RectifiedFlow::default() }.loss(&fake, &clips(), RngKey::new(3)).unwrap();
        assert_eq!([0, 1].map(|row| log.lock().unwrap()[0][row].word()), words);
    }
}

#[test]
fn numbers_after_the_end_of_a_shorter_vector_do_not_count() {
    // A clip of one token of three channels, and its sound of one token of one.
    let latents = |channels| TokenShape { grid: [1, 1, 1], kind: TokenKind::Vectors { channels } };
    let canvas = Arc::new(CanvasShape::new(1, 4, latents(3)).with_sound(latents(1), 1, 1));
    let objective = RectifiedFlow { predict: Predict::Data, prompt_dropout: 0.0, ..RectifiedFlow::default() };
    let loss = |answer: [[f32; 3]; 2]| {
        let spec = BackboneSpec::Diffusion { channels: 3, self_conditioned: false };
        let fake = Fake::each(spec, canvas.clone(), move |_| answer.map(Vec::from).to_vec());
        let mut batch = batch(&canvas, &[&[0.0; 3]]);
        batch.target[0].tracks[1] = TokenValues::Vectors { channels: 1, values: vec![0.0] };
        numbers(&objective.loss(&fake, &batch, RngKey::new(3)).unwrap())
    };
    assert_eq!(loss([[0.0; 3], [0.0, 5.0, -7.0]]), (0.0, 0.0));
    // (1 + 4 + 0 + 9) / 4 numbers.
    assert_eq!(loss([[1.0, 2.0, 0.0], [3.0, 5.0, -7.0]]), (3.5, 3.5));
}

#[test]
fn log_snrs_are_drawn_by_their_density() {
    // The mean of e^(-λ)·weight is ½·∫ dλ, that of weight ½·∫ e^λ dλ.
    let [first, last] = LOG_SNR;
    let all: Vec<(f64, f64)> = (0..10_000).map(|i| draw_log_snr((f64::from(i) + 0.5) / 1e4, LOG_SNR)).collect();
    let mean = |of: &dyn Fn(f64, f64) -> f64| all.iter().map(|&(ratio, weight)| of(ratio, weight)).sum::<f64>() / 1e4;
    assert!((mean(&|ratio, weight| weight * (-ratio).exp()) - 0.5 * (last - first)).abs() < 1e-2);
    assert!((mean(&|_, weight| weight) - 0.5 * (last.exp() - first.exp())).abs() < 1e-2);
    assert!(all.windows(2).all(|two| two[0].0 < two[1].0) && all[0].0 > first && all[9999].0 < last);
    for schedule in [&Straight as &dyn Schedule, &Cosine] {
        for ratio in [first, -1.0, 0.0, last] {
            let (alpha, sigma) = schedule.mix(time_of(schedule, ratio));
            assert!((2.0 * (alpha / sigma).ln() - ratio).abs() < 1e-9);
        }
    }
}
