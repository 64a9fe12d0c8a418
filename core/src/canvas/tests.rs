//! In which order places follow each other, by what comes before what.

use super::*;

/// Three steps of a clip of 2 × 2 places, of one, two and two frames, and two tokens of sound a frame.
fn canvas(order: PositionOrder) -> CanvasShape {
    let kind = TokenKind::Codes { levels: 1, entries: 4, bits: Some(2) };
    let sound = TokenShape { grid: [10, 1, 1], kind };
    CanvasShape {
        sound: Some(SoundShape { tokens: sound, tokens_per_frame: 2, stride: 2 }),
        order,
        ..CanvasShape::new(1, 2, TokenShape { grid: [3, 2, 2], kind })
    }
}

fn is_clip(canvas: &CanvasShape, position: usize) -> bool {
    canvas.modality(position) == Modality::Video
}

/// Whether of all pairs of places the first of each comes first for which `first` says so.
fn holds(target: &[usize], first: impl Fn(usize, usize) -> bool) -> bool {
    let pairs = (0..target.len()).flat_map(|i| (0..target.len()).map(move |j| (i, j)));
    pairs.into_iter().all(|(i, j)| !first(target[i], target[j]) || i < j)
}

#[test]
fn every_place_is_made_once() {
    for order in [PositionOrder::InTime, PositionOrder::ClipFirst] {
        let mut target = Layout::whole(&canvas(order)).target().to_vec();
        target.sort_unstable();
        assert_eq!(target, (0..22).collect::<Vec<_>>());
    }
}

#[test]
fn clip_first_is_the_whole_clip_then_its_whole_sound() {
    let canvas = canvas(PositionOrder::ClipFirst);
    let target = Layout::whole(&canvas).target().to_vec();
    assert!(holds(&target, |a, b| is_clip(&canvas, a) && !is_clip(&canvas, b)));
    // Each in the order of its places.
    assert!(holds(&target, |a, b| is_clip(&canvas, a) == is_clip(&canvas, b) && a < b));
}

#[test]
fn in_time_is_step_by_step_the_clip_and_then_its_sound() {
    let canvas = canvas(PositionOrder::InTime);
    let target = Layout::whole(&canvas).target().to_vec();
    // Sound of frame 0 is of step 0, that of frames 1 and 2 of step 1, that of frames 3 and 4 of step 2.
    let step = |position: usize| if position < 12 { position / 4 } else { [0, 1, 1, 2, 2][(position - 12) / 2] };
    assert!(holds(&target, |a, b| step(a) < step(b)));
    assert!(holds(&target, |a, b| step(a) == step(b) && is_clip(&canvas, a) && !is_clip(&canvas, b)));
    assert!(holds(&target, |a, b| is_clip(&canvas, a) == is_clip(&canvas, b) && a < b));
}

#[test]
fn what_lies_next_to_the_known_end_comes_first() {
    for order in [PositionOrder::InTime, PositionOrder::ClipFirst] {
        let canvas = canvas(order);
        let mut target: Vec<usize> = (0..8).chain(12..18).collect();
        canvas.sort_from(Some(2), &mut target);
        let step = |position: usize| if position < 12 { position / 4 } else { [0, 1, 1, 2, 2][(position - 12) / 2] };
        let alike = |a, b| is_clip(&canvas, a) == is_clip(&canvas, b);
        assert!(holds(&target, |a, b| alike(a, b) && step(a) > step(b)), "{order:?}: {target:?}");
        assert!(holds(&target, |a, b| alike(a, b) && step(a) == step(b) && a < b), "{order:?}: {target:?}");
        match order {
            PositionOrder::InTime => assert!(holds(&target, |a, b| step(a) > step(b))),
            PositionOrder::ClipFirst => assert!(holds(&target, |a, b| is_clip(&canvas, a) && !is_clip(&canvas, b))),
        }
        // Where the beginning is known, or nothing, a clip grows forwards.
        for known in [None, Some(0)] {
            let (mut forwards, mut sorted) = (target.clone(), target.clone());
            canvas.sort_from(known, &mut forwards);
            canvas.sort(&mut sorted);
            assert_eq!(forwards, sorted);
        }
    }
}

#[test]
fn steps_are_counted_in_the_order_in_which_they_are_made() {
    let canvas = canvas(PositionOrder::InTime);
    let layout = Layout::new(vec![0], vec![8, 9, 4, 16, 21, 0]);
    assert_eq!(layout.steps(&canvas), (3, vec![0, 0, 1, 1, 0, 2]));
}
