//! In which order positions follow each other, by what comes before what; what becomes of codes on their way into a
//! sequence and back; and where tokens lie in time.

use super::*;
use crate::{Modality, TokenKind, TokenShape, TokenValues};
use std::sync::Arc;

/// Three steps of a clip of 2 × 2 tokens, of one, two and two frames, and two tokens of sound a frame.
fn canvas(order: PositionOrder) -> Arc<CanvasShape> {
    let kind = TokenKind::Codes { levels: 1, entries: 4, bits: Some(2) };
    let sound = TokenShape { grid: [10, 1, 1], kind };
    let canvas = CanvasShape::new(1, 2, TokenShape { grid: [3, 2, 2], kind }).with_sound(sound, 2, 2);
    Arc::new(CanvasShape { order, ..canvas })
}

fn is_clip(canvas: &CanvasShape, position: usize) -> bool {
    canvas.modality(position) == Modality::Video
}

/// Whether of all pairs of positions the first of each comes first for which `first` says so.
fn holds(target: &[usize], first: impl Fn(usize, usize) -> bool) -> bool {
    let pairs = (0..target.len()).flat_map(|i| (0..target.len()).map(move |j| (i, j)));
    pairs.into_iter().all(|(i, j)| !first(target[i], target[j]) || i < j)
}

#[test]
fn every_position_is_generated_once() {
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
    // Each in the order of its positions.
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
fn steps_are_counted_in_the_order_in_which_they_are_generated() {
    let canvas = canvas(PositionOrder::InTime);
    let layout = Layout::new(&canvas, vec![0], vec![8, 9, 4, 16, 21, 0]);
    assert_eq!(layout.steps(), (3, vec![0, 0, 1, 1, 0, 2]));
}

#[test]
fn prompts_stand_before_all_that_is_given() {
    let canvas = canvas(PositionOrder::InTime);
    assert_eq!(Layout::whole(&canvas).context(), [22]);
    assert_eq!(Layout::with_prompt(&canvas, vec![3, 12], vec![4]).context(), [22, 3, 12]);
    assert_eq!(Layout::new(&canvas, vec![3, 12], vec![4]).context(), [3, 12]);
    // A text that is generated is no prompt.
    assert_eq!(Layout::with_prompt(&canvas, vec![3, 12], vec![22]).context(), [3, 12]);
}

/// Entries of each of the three codebooks below.
const ENTRIES: usize = 7;
const PATTERNS: [LevelPattern; 3] = [LevelPattern::Parallel, LevelPattern::Delay, LevelPattern::Flat];

/// A sound alone, of five tokens of three codebooks, and a prompt.
fn levels(pattern: LevelPattern) -> Arc<CanvasShape> {
    let sound = TokenShape { grid: [5, 1, 1], kind: TokenKind::Codes { levels: 3, entries: ENTRIES, bits: None } };
    let text = TokenShape { grid: [1, 1, 2], kind: TokenKind::Codes { levels: 1, entries: 4, bits: None } };
    let sound = TrackShape { pattern, ..TrackShape::audio("audio", sound, [1, 1], 1) };
    let tracks = vec![sound, TrackShape::text("text", text)];
    Arc::new(CanvasShape { tracks, order: PositionOrder::InTime, conditions: Vec::new() })
}

/// Values at all positions of a canvas of codes, each code another as far as there are so many.
fn numbered(canvas: &CanvasShape) -> Values {
    let mut values = canvas.blank();
    let mut next = 0;
    for track in &mut values.tracks {
        let TokenValues::Codes { entries, codes, .. } = track else { panic!("codes") };
        codes.iter_mut().for_each(|code| {
            *code = next % *entries as u32;
            next += 5;
        });
    }
    values
}

/// Which digits of which token an element holds.
fn held(element: &Element) -> Vec<(usize, usize)> {
    element.digits.clone().map(|digit| (element.token - element.lag * digit, digit)).collect()
}

#[test]
fn patterns_say_which_codes_stand_together() {
    let elements = |pattern| Layout::whole(&levels(pattern)).elements().iter().map(held).collect::<Vec<_>>();
    let all = |token: usize| vec![(token, 0), (token, 1), (token, 2)];
    assert_eq!(elements(LevelPattern::Parallel), (0..5).map(all).collect::<Vec<_>>());
    assert_eq!(elements(LevelPattern::Flat), (0..5).flat_map(all).map(|code| vec![code]).collect::<Vec<_>>());
    // Figure 1 of MusicGen: each codebook one position later than the one before it.
    assert_eq!(
        elements(LevelPattern::Delay),
        [
            vec![(0, 0)],
            vec![(1, 0), (0, 1)],
            vec![(2, 0), (1, 1), (0, 2)],
            vec![(3, 0), (2, 1), (1, 2)],
            vec![(4, 0), (3, 1), (2, 2)],
            vec![(4, 1), (3, 2)],
            vec![(4, 2)],
        ]
    );
    for pattern in PATTERNS {
        let (canvas, layout) = (levels(pattern), Layout::whole(&levels(pattern)));
        // What was counted without a layout.
        assert_eq!(layout.elements().len(), canvas.tracks[0].elements(5), "{pattern:?}");
        assert_eq!(layout.length(), canvas.length(), "{pattern:?}");
        // Every code of every token once.
        let mut codes: Vec<(usize, usize)> = layout.elements().iter().flat_map(held).collect();
        codes.sort_unstable();
        assert_eq!(codes, (0..5).flat_map(all).collect::<Vec<_>>(), "{pattern:?}");
        assert!((layout.shares().iter().sum::<f32>() - 5.0).abs() < 1e-5, "{pattern:?}");
    }
}

#[test]
fn a_delay_of_few_tokens_is_as_long_as_it_says() {
    let canvas = levels(LevelPattern::Delay);
    for tokens in 0..5 {
        let layout = Layout::new(&canvas, vec![], (0..tokens).collect());
        assert_eq!(layout.elements().len(), canvas.tracks[0].elements(tokens));
        let mut codes: Vec<(usize, usize)> = layout.elements().iter().flat_map(held).collect();
        codes.sort_unstable();
        assert_eq!(codes, (0..tokens).flat_map(|token| [0, 1, 2].map(|digit| (token, digit))).collect::<Vec<_>>());
    }
}

#[test]
fn a_delay_begins_coarse_and_ends_fine() {
    let canvas = levels(LevelPattern::Delay);
    let layout = Layout::whole(&canvas);
    let digits = layout.digits(&numbered(&canvas).at(layout.target(), &canvas)).unwrap();
    let none = ENTRIES as u32;
    let has: Vec<Vec<bool>> = digits.chunks(3).map(|row| row.iter().map(|digit| *digit != none).collect()).collect();
    assert_eq!(has[..2], [[true, false, false], [true, true, false]]);
    assert!(has[2..5].iter().flatten().all(|has| *has));
    assert_eq!(has[5..], [[false, true, true], [false, false, true]]);
}

#[test]
fn codes_survive_the_way_through_digits() {
    let kind = TokenKind::Codes { levels: 1, entries: 1 << 12, bits: Some(12) };
    let clip = CanvasShape::new(2, 9, TokenShape { grid: [2, 1, 3], kind });
    let factorised = |factors| Arc::new(clip.clone().with_factors(factors));
    let mut canvases: Vec<_> = PATTERNS.map(levels).into();
    canvases.extend([1, 2, 3, 4, 6, 12].map(factorised));
    // A clip of two digits beside a sound of three codebooks, in time.
    for pattern in PATTERNS {
        let sound = TokenShape { grid: [10, 1, 1], kind: TokenKind::residual(3, 8) };
        let mut canvas = clip.clone().with_sound(sound, 2, 4).with_factors(2);
        canvas.tracks[1].pattern = pattern;
        canvases.push(Arc::new(canvas));
    }
    for canvas in canvases {
        let text = canvas.index("text").unwrap();
        // All of the media; a piece of them; a text beside them.
        let whole = Layout::whole(&canvas).target().to_vec();
        let words: Vec<usize> = canvas.range(text).chain(whole.iter().copied()).collect();
        for target in [whole.clone(), whole[2..].to_vec(), words] {
            let layout = Layout::with_prompt(&canvas, vec![], target);
            let values = numbered(&canvas).at(layout.target(), &canvas);
            let digits = layout.digits(&values).unwrap();
            assert_eq!(digits.len(), layout.elements().len() * canvas.most_digits());
            assert_eq!(layout.of_digits(&digits), values, "{canvas:?}");
        }
    }
}

#[test]
fn factorised_codes_stand_most_significant_first() {
    let kind = TokenKind::Codes { levels: 1, entries: 64, bits: Some(6) };
    let canvas = Arc::new(CanvasShape::new(0, 2, TokenShape { grid: [1, 1, 2], kind }).with_factors(3));
    let values = Values {
        numbers: Vec::new(),
        tracks: vec![TokenValues::Codes { levels: 1, entries: 64, codes: vec![0b01_10_11, 0b11_00_10] }],
    };
    assert_eq!(Layout::whole(&canvas).digits(&values).unwrap(), [1, 2, 3, 3, 0, 2]);
}

#[test]
fn a_clock_of_frames_and_tokens_that_do_not_divide() {
    // 30 frames a second beside 16,000 samples a second of which a token lasts 400: 4 tokens are 3 frames.
    let kind = TokenKind::Codes { levels: 1, entries: 8, bits: Some(3) };
    let (frames, stride) = (13, 4);
    let sound = TokenShape { grid: [18, 1, 1], kind };
    let sound = TrackShape::audio("audio", sound, [16_000, 400 * 30], stride);
    assert_eq!(sound.axes, Axes::Time { frames: [3, 4], stride });
    let clip = TrackShape::video("video", TokenShape { grid: [4, 2, 2], kind });
    let tracks = vec![TrackShape { strides: [stride, 8, 8], ..clip }, sound.clone()];
    let canvas = CanvasShape { tracks, order: PositionOrder::InTime, conditions: Vec::new() };
    assert_eq!(canvas.frames(), frames);

    // Evenly: a token is 3/4 of a frame, a frame a quarter of a step.
    let times: Vec<f64> = (16..34).map(|position| canvas.coordinates(position)[0]).collect();
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 0.75 / 4.0).abs() < 1e-9), "{times:?}");
    // Step 1 is frames 1 to 4: its middle is where token 3 ends, three frames after the beginning.
    assert!(((times[3] + times[4]) / 2.0 - 1.0).abs() < 1e-9);
    // A frame of the clip lies where its sound does: the middle of frame 4, between 3 and 5, is that of their four tokens.
    let frame = |frame: f64| (frame + 1.5) / 4.0;
    assert!(((times[4] + times[7]) / 2.0 - frame(4.0)).abs() < 1e-9);

    // Token i begins at 3i/4 frames.
    let begins = |token: usize| 3 * token / 4;
    for token in 0..18 {
        assert_eq!(sound.step(token), begins(token).div_ceil(stride), "{token}");
        assert_eq!(canvas.step(16 + token), sound.step(token));
    }
    for frames in 0..=frames {
        assert_eq!(sound.tokens_of(frames), (0..18).filter(|&token| begins(token) < frames).count(), "{frames}");
    }
    // Of so many tokens a frame as before.
    let two = TrackShape::audio("audio", sound.tokens, [32_000, 400 * 40], 2);
    assert_eq!(two.axes, Axes::Time { frames: [1, 2], stride: 2 });
    assert_eq!([0, 1, 2].map(|frames| two.tokens_of(frames)), [0, 2, 4]);
}

#[test]
fn a_small_track_lies_between_the_steps_of_a_large_one() {
    let kind = TokenKind::Codes { levels: 1, entries: 8, bits: Some(3) };
    let half = TrackShape {
        axes: Axes::Grid { scale: [2.0, 3.0] },
        ..TrackShape::video("depth", TokenShape { grid: [2, 2, 2], kind })
    };
    // The middle of two rows is between them, that of three columns is the second.
    let wanted = [[0.5, 1.0], [0.5, 4.0], [2.5, 1.0], [2.5, 4.0]];
    for (i, [h, w]) in wanted.into_iter().enumerate() {
        assert_eq!(half.coordinates(4 + i), [1.0, h, w]);
    }
    assert_eq!([half.step(3), half.step(4)], [0, 1]);
}
