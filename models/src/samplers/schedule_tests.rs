//! The schedules of samplers, by what they ask a backbone step by step: how many tokens are hidden, at which times, and
//! with which guess. The numbers are worked by hand.

use super::autoregressive::Autoregressive;
use super::diffusion::{Ddim, Euler, Heun, Steps};
use super::maskgit::{Choice, MaskGit};
use crate::objectives::masked::MaskSchedule;
use crate::testing::{self, Asked, Fake, Log, cosine, keys, of_codes, of_vectors, sampled, straight};
use musiva_core::{BackboneSpec, CanvasShape, Predicts, Process, SampleRequest, Sampler, Start, TokenKind, TokenShape};
use std::sync::Arc;

/// So many entries that a token hardly comes out as what it was by chance.
const ENTRIES: usize = 4099;

/// A masked model that knows nothing, of a grid.
fn ignorant(grid: [usize; 3]) -> (Fake, Log) {
    let kind = TokenKind::Codes { levels: 1, entries: ENTRIES, bits: None };
    let canvas = CanvasShape::new(1, 2, TokenShape { grid, kind });
    let length = grid.iter().product();
    Fake::each(BackboneSpec::Masked, canvas, move |_| vec![vec![0.0; ENTRIES]; length]).watched()
}

fn request(canvas: &Arc<CanvasShape>, size: usize, start: Option<Start>) -> SampleRequest {
    SampleRequest { start, ..SampleRequest::prompts(&vec![vec![1]; size], keys(5, size), canvas) }
}

#[test]
fn passes_are_the_steps_twice_with_guidance() {
    let canvas = CanvasShape::new(1, 2, TokenShape { grid: [2, 2, 2], kind: TokenKind::Vectors { channels: 3 } });
    let one = Steps { steps: 5, guidance: 1.0, ..Steps::default() };
    for (guidance, times) in [(1.0, 1.0), (3.0, 2.0), (0.0, 2.0)] {
        let steps = Steps { guidance, ..one };
        assert_eq!(Euler(steps).forwards(&canvas), 5.0 * times);
        assert_eq!(Ddim(steps).forwards(&canvas), 5.0 * times);
        // Two slopes a step, but for the last.
        assert_eq!(Heun(steps).forwards(&canvas), 9.0 * times);
        // All tokens once, however many steps that is.
        let one_by_one = Autoregressive { guidance, ..Autoregressive::default() };
        assert_eq!(one_by_one.forwards(&canvas), times);
        // Guided passes go side by side; tokens one after the other, steps too.
        assert_eq!([Euler(steps).depth(&canvas), Heun(steps).depth(&canvas), one_by_one.depth(&canvas)], [5, 9, 8]);
        assert_eq!(MaskGit { steps: 3, guidance, ..MaskGit::default() }.depth(&canvas), 3);
    }
}

/// How many tokens are hidden as each step begins, of each frame where frames have a pace of their own; of both of two
/// samples as many.
fn hidden(settings: MaskGit, grid: [usize; 3], strength: Option<f64>) -> Vec<Vec<usize>> {
    let (backbone, log) = ignorant(grid);
    let length = grid.iter().product();
    let tokens = vec![of_codes(&backbone.canvas, vec![7; length]); 2];
    let start = strength.map(|strength| Start { tokens, strength });
    sampled(&settings, &backbone, None, &request(&backbone.canvas, 2, start));
    let pace = if settings.frame_offset > 0.0 { grid[1] * grid[2] } else { length };
    let count = |asked: &Asked| -> Vec<usize> {
        asked.masked.chunks(pace).map(|tokens| tokens.iter().filter(|hidden| **hidden).count()).collect()
    };
    let log = log.lock().unwrap();
    assert!(log.iter().all(|call| count(&call[0]) == count(&call[1])), "samples differ in how many are hidden");
    log.iter().map(|call| count(&call[0])).collect()
}

fn settings(steps: usize, schedule: MaskSchedule) -> MaskGit {
    MaskGit { steps, schedule, ..MaskGit::default() }
}

#[test]
fn as_many_tokens_are_hidden_as_the_schedule_says() {
    for choice in [Choice::Random, Choice::Confidence] {
        let of = |steps, schedule, tokens| {
            hidden(MaskGit { choice, ..settings(steps, schedule) }, [1, 1, tokens], None).concat()
        };
        assert_eq!(of(4, MaskSchedule::Linear, 12), [12, 9, 6, 3]);
        // 16·cos(π/8) = 14.8, 16·cos(π/4) = 11.3, 16·cos(3π/8) = 6.1.
        assert_eq!(of(4, MaskSchedule::Cosine, 16), [16, 14, 11, 6]);
        assert_eq!(of(4, MaskSchedule::Square, 16), [16, 15, 12, 7]);
        // Every step makes one at least, and none is hidden once all are made.
        assert_eq!(of(4, MaskSchedule::Cubic, 3), [3, 2, 1, 0]);
        assert_eq!(of(1, MaskSchedule::Cosine, 5), [5]);
    }
}

#[test]
fn an_edit_hides_as_many_as_are_hidden_there() {
    // The last 4 of 8 steps: of 12 tokens 6, ⌊4.5⌋, 3 and ⌊1.5⌋.
    assert_eq!(hidden(settings(8, MaskSchedule::Linear), [1, 1, 12], Some(0.5)).concat(), [6, 4, 3, 1]);
    // The last 2: 3 and ⌊1.5⌋.
    assert_eq!(hidden(settings(8, MaskSchedule::Linear), [1, 1, 12], Some(0.25)).concat(), [3, 1]);
    // 16·cos(π/4) = 11.3 and 16·cos(3π/8) = 6.1.
    assert_eq!(hidden(settings(4, MaskSchedule::Cosine), [1, 1, 16], Some(0.5)).concat(), [11, 6]);
    // Of each frame by itself where each has a pace of its own.
    let frames = MaskGit { frame_offset: 1.0, ..settings(8, MaskSchedule::Linear) };
    assert_eq!(hidden(frames, [2, 1, 6], Some(0.5)), [[3, 3], [1, 3], [0, 3], [0, 1]]);
}

#[test]
fn frames_follow_each_other_by_the_stagger() {
    let of = |steps, frame_offset| {
        hidden(MaskGit { frame_offset, ..settings(steps, MaskSchedule::Linear) }, [3, 1, 4], None)
    };
    assert_eq!(of(6, 1.0), [[4, 4, 4], [2, 4, 4], [0, 4, 4], [0, 2, 4], [0, 0, 4], [0, 0, 2]]);
    // Half of its way each frame is ahead of the next.
    assert_eq!(of(4, 0.5), [[4, 4, 4], [2, 4, 4], [0, 2, 4], [0, 0, 2]]);
    // Without, tokens of all frames are drawn from one urn.
    assert_eq!(of(4, 0.0).concat(), [12, 9, 6, 3]);
}

#[test]
fn what_is_seen_once_stays() {
    let (backbone, log) = ignorant([1, 1, 12]);
    let start = Start { tokens: vec![of_codes(&backbone.canvas, (0..12).collect())], strength: 0.5 };
    let sampled =
        sampled(&settings(8, MaskSchedule::Linear), &backbone, None, &request(&backbone.canvas, 1, Some(start)));
    let (log, sampled) = (log.lock().unwrap(), testing::codes(&sampled[0]));
    for asked in log.iter().map(|call| &call[0]) {
        assert!((0..12).all(|i| asked.masked[i] || asked.codes[i] == sampled[i]));
    }
    let kept = |i: usize| !log[0][0].masked[i];
    assert!((0..12).all(|i| kept(i) == (sampled[i] == i as u32)), "{sampled:?}");
    for pair in log.windows(2) {
        assert!((0..12).all(|i| pair[0][0].masked[i] || !pair[1][0].masked[i]), "a token was hidden again");
    }
}

#[test]
fn the_surest_tokens_stay_first() {
    // Of token i the likeliest code is i, and with i it grows likelier, but for the last, of which nothing is known.
    let kind = TokenKind::Codes { levels: 1, entries: 8, bits: None };
    let canvas = Arc::new(CanvasShape::new(1, 2, TokenShape { grid: [1, 1, 5], kind }));
    let position = |i: usize| (0..8).map(|k| if k == i && i < 4 { 3.0 + i as f32 } else { 0.0 }).collect();
    let fake = Fake::each(BackboneSpec::Masked, canvas.clone(), move |_| (0..5).map(position).collect());
    let (backbone, log) = fake.watched();
    let sure = MaskGit {
        choice: Choice::Confidence,
        choice_temperature: 0.0,
        temperature: 0.0,
        ..settings(5, MaskSchedule::Linear)
    };
    sampled(&sure, &backbone, None, &request(&canvas, 1, None));
    let log = log.lock().unwrap();
    let appeared = log.windows(2).map(|pair| (0..5).position(|i| pair[0][0].masked[i] && !pair[1][0].masked[i]));
    assert_eq!(appeared.map(Option::unwrap).collect::<Vec<_>>(), [3, 2, 1, 0]);
}

/// A field that is half of the noisy vectors, on three frames of one token.
fn field(process: &Process, self_conditioned: bool) -> (Fake, Log) {
    assert_eq!(process.predicts, Predicts::Data);
    let canvas = CanvasShape::new(1, 2, TokenShape { grid: [3, 1, 1], kind: TokenKind::Vectors { channels: 2 } });
    let half = |asked: &Asked| asked.values.chunks(2).map(|vector| vector.iter().map(|x| x / 2.0).collect()).collect();
    Fake::each(BackboneSpec::Diffusion { channels: 2, self_conditioned }, canvas, half).watched()
}

/// The times of the three frames as each call asks of them.
fn times(sampler: &dyn Sampler, process: &Process, strength: Option<f64>) -> Vec<[f64; 3]> {
    let (backbone, log) = field(process, false);
    let start = strength.map(|strength| Start { tokens: vec![of_vectors(&backbone.canvas, vec![0.5; 6])], strength });
    sampled(sampler, &backbone, Some(process), &request(&backbone.canvas, 1, start));
    log.lock().unwrap().iter().map(|call| [0, 1, 2].map(|i| call[0].times[i])).collect()
}

#[track_caller]
fn near(found: &[[f64; 3]], wanted: &[[f64; 3]]) {
    let far = found.as_flattened().iter().zip(wanted.as_flattened()).any(|(a, b)| (a - b).abs() > 1e-6);
    assert!(found.len() == wanted.len() && !far, "{found:?} instead of {wanted:?}");
}

#[test]
fn times_fall_from_noise_to_data() {
    let (straight, cosine) = (straight(Predicts::Data), cosine(Predicts::Data));
    let steps = Steps { steps: 4, ..Steps::default() };
    let all = |times: &[f64]| times.iter().map(|&t| [t; 3]).collect::<Vec<_>>();
    for (sampler, process) in [(&Euler(steps) as &dyn Sampler, &straight), (&Ddim(steps), &cosine)] {
        near(&times(sampler, process, None), &all(&[1.0, 0.75, 0.5, 0.25]));
        near(&times(sampler, process, Some(0.75)), &all(&[0.75, 0.5, 0.25]));
    }
    // Each slope is taken at both ends of a step, but for the last, which ends at the data.
    near(&times(&Heun(steps), &straight, None), &all(&[1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]));
    // 3t / (1 + 2t).
    let shifted = Steps { shift: 3.0, ..steps };
    near(&times(&Euler(shifted), &straight, None), &all(&[1.0, 0.9, 0.75, 0.5]));
    near(&times(&Euler(shifted), &straight, Some(0.5)), &all(&[0.75, 0.5]));
}

#[test]
fn frames_are_at_times_of_their_own_by_the_stagger() {
    let straight = straight(Predicts::Data);
    let of = |steps, frame_offset| times(&Euler(Steps { steps, frame_offset, ..Steps::default() }), &straight, None);
    near(&of(3, 1.0), &[[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]);
    near(&of(4, 0.5), &[[1.0, 1.0, 1.0], [0.5, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]]);
}

#[test]
fn a_step_is_told_what_the_last_one_took_for_clean() {
    let (straight, cosine) = (straight(Predicts::Data), cosine(Predicts::Data));
    let steps = Steps { steps: 4, ..Steps::default() };
    let samplers: [(&dyn Sampler, &Process); 3] =
        [(&Euler(steps), &straight), (&Heun(steps), &straight), (&Ddim(steps), &cosine)];
    for (sampler, process) in samplers {
        let (backbone, log) = field(process, true);
        sampled(sampler, &backbone, Some(process), &request(&backbone.canvas, 2, None));
        let log = log.lock().unwrap();
        assert!(log[0].iter().all(|asked| asked.x0_prev.is_none()), "nothing was guessed before the first step");
        let mut at = 0;
        for (i, call) in log.iter().enumerate().skip(1) {
            for (now, before) in call.iter().zip(&log[at]) {
                let x0_prev: Vec<f32> = before.values.iter().map(|x| x / 2.0).collect();
                assert_eq!(now.x0_prev.as_ref(), Some(&x0_prev), "call {i}");
            }
            // The second slope of Heun mends its step, and is no step.
            at = if log.len() == 7 && i % 2 == 1 { at } else { i };
        }
    }
}
