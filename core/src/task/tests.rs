//! Layouts, masks, and what tokens become of both.

use super::*;
use crate::canvas::CanvasTokens;
use crate::{Rate, RngKey, RngStream, TokenKind, TokenShape, TokenValues, Tokens};
use std::collections::BTreeSet;

const STRIDES: [usize; 3] = [4, 2, 2];

/// Nine frames of 4 × 6 pixels, [3, 2, 3] tokens, two tokens of sound a frame.
fn canvas() -> Arc<CanvasShape> {
    let kind = TokenKind::Codes { levels: 1, entries: 4, bits: Some(2) };
    let sound = TokenShape { grid: [18, 1, 1], kind: TokenKind::residual(2, 4) };
    let canvas = CanvasShape::new(3, 5, TokenShape { grid: [3, 2, 3], kind });
    Arc::new(canvas.with_strides(STRIDES).with_sound(sound, 2, 4).with_context())
}

fn task(video: MaskSpec, audio: MaskSpec, frames: usize) -> Task {
    Task { frames, ..Task::new("x", [("video", video), ("audio", audio)]) }
}

fn layout(task: &Task, mask: Option<&Mask>) -> Layout {
    task.layout(&canvas(), mask).unwrap()
}

#[test]
fn every_position_that_there_is_is_given_or_generated() {
    use MaskSpec::*;
    let canvas = canvas();
    let all = |track| canvas.range(canvas.index(track).unwrap()).collect::<BTreeSet<_>>();
    for (video, frames) in [(Target, 1), (Context, 1), (First, 5), (Last, 5), (Ends, 1), (Outside, 1), (Inside, 1)] {
        for audio in [Absent, Target, Context, First, Last, Ends] {
            let task = task(video, audio, frames);
            let mask = task.draw([9, 4, 6], STRIDES, &mut RngKey::new(3).stream(RngStream::Task));
            assert_eq!(mask.is_some(), video.has_region());
            let layout = layout(&task, mask.as_ref());
            let positions: BTreeSet<usize> = layout.positions().collect();
            // The prompt, which no task has to name.
            let mut wanted = all("text");
            wanted.extend(all("video"));
            if audio != Absent {
                wanted.extend(all("audio"));
            }
            assert_eq!(positions, wanted, "{video:?} {audio:?}");
            assert_eq!(layout.context()[..3], [36, 37, 38], "a prompt comes first");
            // A position that is both is where a last piece begins as an image.
            let both = layout.context().iter().filter(|position| layout.target().contains(position)).count();
            assert_eq!(both, if matches!(video, Last | Ends) { 6 } else { 0 }, "{video:?}");
        }
    }
    assert_eq!(layout(&task(Image, Absent, 1), None).target(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_clip_grows_from_what_is_given_of_it() {
    use MaskSpec::*;
    let orders: [(MaskSpec, MaskSpec, usize, &[usize]); 7] = [
        (Target, Target, 1, &[0, 1, 2]),
        (First, Target, 1, &[0, 1, 2]),
        (First, First, 5, &[2]),
        (Last, Absent, 5, &[1, 0]),
        (Ends, Absent, 1, &[1, 2]),
        (Last, Target, 1, &[2, 1, 0]),
        (Context, Last, 1, &[2, 1, 0]),
    ];
    for (video, audio, frames, wanted) in orders {
        let layout = layout(&task(video, audio, frames), None);
        let mut steps: Vec<usize> = layout.target().iter().map(|&position| canvas().step(position)).collect();
        steps.dedup();
        assert_eq!(steps, wanted, "{video:?} {audio:?}");
        let (count, ranks) = layout.steps();
        assert_eq!(count, wanted.len());
        assert!(ranks.is_sorted(), "{video:?} {audio:?}");
    }
}

#[test]
fn sound_lies_at_the_step_of_its_frame() {
    let canvas = canvas();
    // Frame 0 is step 0, frames 1 to 4 step 1, frames 5 to 8 step 2: of two tokens each.
    let steps: Vec<usize> = (18..36).map(|position| canvas.step(position)).collect();
    assert_eq!(steps, [vec![0; 2], vec![1; 8], vec![2; 8]].concat());
    let times: Vec<f64> = (18..36).map(|position| canvas.coordinates(position)[0]).collect();
    // The middle of step 1 is the middle of frames 1 to 4.
    let middle = (times[2..10].iter().sum::<f64>()) / 8.0;
    assert!((middle - 1.0).abs() < 1e-9, "{middle}");
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 0.125).abs() < 1e-9));
}

#[test]
fn a_token_is_generated_where_one_of_its_pixels_is() {
    // One pixel, in frame 6: step 2, row 1, column 2.
    let mask = Mask::new([9, 4, 6], |t, y, x| (t, y, x) == (6, 3, 4));
    let layout = layout(&task(MaskSpec::Outside, MaskSpec::Absent, 1), Some(&mask));
    assert_eq!(layout.target(), [17]);
    assert_eq!(layout.context().len(), 3 + 17);
}

#[test]
fn every_pixel_is_of_the_token_that_stands_for_it() {
    // Frames, rows and columns of each token of the grid.
    let (frames, rows, columns) = ([0..1, 1..5, 5..9], [0..2, 2..4], [0..2, 2..4, 4..6]);
    let mut position = 0;
    for frames in &frames {
        for rows in &rows {
            for columns in &columns {
                for t in frames.clone() {
                    for (y, x) in rows.clone().flat_map(|y| columns.clone().map(move |x| (y, x))) {
                        let mask = Mask::new([9, 4, 6], |a, b, c| (a, b, c) == (t, y, x));
                        let layout = layout(&task(MaskSpec::Outside, MaskSpec::Absent, 1), Some(&mask));
                        assert_eq!(layout.target(), [position], "{t} {y} {x}");
                    }
                }
                position += 1;
            }
        }
    }
}

#[test]
fn drawn_regions_are_of_any_place_and_size() {
    // Of 8 rows a region takes 2 to 6, anywhere; of one row that row.
    let (mut seen, mut one) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..2000 {
        let mut stream = RngKey::new(seed).stream(RngStream::Task);
        let mask = task(MaskSpec::Outside, MaskSpec::Absent, 1).draw([1, 16, 2], [4, 2, 2], &mut stream).unwrap();
        let rows: Vec<usize> = (0..16).filter(|y| mask.target()[2 * y]).collect();
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        assert!(first % 2 == 0 && last % 2 == 1 && rows.len() == last - first + 1, "{rows:?}");
        seen.insert((first / 2, last / 2));
        one.insert(mask.target()[2 * first..2 * first + 2].to_vec());
    }
    let all = (2..=6).flat_map(|extent| (0..=8 - extent).map(move |start| (start, start + extent - 1)));
    assert_eq!(seen, all.collect::<BTreeSet<_>>());
    assert_eq!(one, BTreeSet::from([vec![true; 2]]));
}

#[test]
fn what_is_covered_shows_the_median_of_what_is_not() {
    // Six pixels, of which the last is to be made; of the others each colour has its own median.
    let pixels = [[9, 1, 200], [7, 2, 200], [8, 3, 0], [255, 4, 200], [0, 5, 0], [77, 77, 77]].concat();
    let clip = Clip::new([1, 2, 3], Rate::whole(8), pixels.clone()).unwrap();
    let covered = Mask::new([1, 2, 3], |_, y, x| (y, x) == (1, 2)).cover(&clip);
    assert_eq!(covered.pixels(), [&pixels[..15], &[8, 3, 200]].concat());
}

#[test]
fn tasks_are_told_in_words() {
    use MaskSpec::*;
    let told = |task: Task| task.to_string();
    assert_eq!(told(task(First, Absent, 5)), "prompt + first 5 frames of the clip → rest of the clip");
    assert_eq!(told(task(First, Target, 1)), "prompt + first frame of the clip → rest of the clip + sound");
    assert_eq!(
        told(Task { seconds: Some(0.5), ..task(Absent, Ends, 1) }),
        "prompt + first and last 0.5 s of the sound → rest of the sound"
    );
    assert_eq!(told(task(Target, Absent, 1)), "prompt → clip");
}

#[test]
fn the_task_of_no_task_is_named_by_what_it_makes() {
    let canvas = canvas();
    let of = |tracks: &[usize]| {
        let tracks = tracks.iter().map(|&track| canvas.tracks[track].clone()).collect();
        let task = Task::from_text(&CanvasShape { tracks, ..CanvasShape::clone(&canvas) });
        (task.name, task.tracks.into_iter().collect::<Vec<_>>())
    };
    let made = |name: &str, tracks: &[&str]| {
        (name.to_owned(), tracks.iter().map(|track| ((*track).to_owned(), MaskSpec::Target)).collect::<Vec<_>>())
    };
    assert_eq!(of(&[0, 2]), made("text-to-video", &["video"]));
    assert_eq!(of(&[1, 2]), made("text-to-audio", &["audio"]));
    assert_eq!(of(&[0, 1, 2]), made("text-to-video-with-sound", &["audio", "video"]));
}

#[test]
fn drawn_regions_lie_within_and_leave_something() {
    for seed in 0..200 {
        for video in [MaskSpec::Outside, MaskSpec::Inside] {
            let mut stream = RngKey::new(seed).stream(RngStream::Task);
            let mask = task(video, MaskSpec::Absent, 1).draw([9, 16, 24], [4, 4, 4], &mut stream).unwrap();
            let target = mask.target().iter().filter(|target| **target).count();
            assert!(target > 0 && target < 9 * 16 * 24, "{seed}");
        }
    }
}

#[test]
fn covered_pixels_tell_nothing_and_pasted_ones_are_exact() {
    let pixels = |seed: usize| (0..9 * 24 * 3).map(|i| (i * seed % 251) as u8).collect();
    let clip = |seed| Clip::new([9, 4, 6], Rate::whole(8), pixels(seed)).unwrap();
    let mask = Mask::new([9, 4, 6], |_, y, x| y == 1 && x > 2);
    let (context, target) = (clip(7), clip(11));
    let mut other = context.clone();
    for (pixel, _) in other.pixels_mut().chunks_exact_mut(3).zip(mask.target()).filter(|(_, target)| **target) {
        pixel.fill(99);
    }
    assert_ne!(context, other);
    assert_eq!(mask.cover(&context), mask.cover(&other));
    let pasted = mask.paste(&context, &target);
    for (i, &inside) in mask.target().iter().enumerate() {
        let of = if inside { &target } else { &context };
        assert_eq!(pasted.pixels()[3 * i..3 * i + 3], of.pixels()[3 * i..3 * i + 3]);
    }
    assert_eq!(mask.apart(&context, &pasted), 0.0);
    let mut brighter = pasted.clone();
    brighter.pixels_mut().iter_mut().for_each(|value| *value = value.wrapping_add(3));
    let off = mask.apart(&pasted, &brighter);
    assert!((2.9..8.0).contains(&off), "{off}");
    let last = task(MaskSpec::Last, MaskSpec::Absent, 5).finish(&context.slice(4..9), &target, None);
    assert_eq!((last.slice(0..4), last.slice(4..9)), (target.slice(0..4), context.slice(4..9)));
}

#[test]
fn flaws_are_told_with_their_hint() {
    use MaskSpec::*;
    let canvas = canvas();
    let told = |task: Task| task.errors(&canvas, 9).into_iter().map(|error| error.path).collect::<Vec<_>>();
    assert_eq!(told(task(Context, Context, 1)), ["video"]);
    assert_eq!(told(task(Target, Outside, 1)), ["audio"]);
    assert_eq!(told(task(Image, Target, 1)), ["audio"]);
    assert_eq!(told(task(Ends, Absent, 5)), ["frames"]);
    assert!(told(task(First, First, 5)).is_empty());
    // Frames that no track counts would be believed to do something.
    assert_eq!(told(task(Target, Absent, 5)), ["frames"]);
    assert_eq!(told(Task { seconds: Some(1.0), ..task(Target, Absent, 1) }), ["seconds"]);
    let mut silent = CanvasShape::clone(&canvas);
    silent.tracks.remove(1);
    assert_eq!(task(Target, Target, 1).errors(&silent, 9)[0].path, "audio");
    let text = |spec| Task::new("x", [("video", Target), ("text", spec)]);
    assert_eq!([Target, Absent, First, Outside].map(|spec| told(text(spec)).len()), [0, 0, 1, 1]);
    let unknown = Task::new("x", [("video", Target), ("depth", Context)]).errors(&canvas, 9);
    assert!(unknown[0].path == "depth" && unknown[0].hint.contains("`video`"), "{unknown:?}");
    // Nine frames of an eighth of a second; half of what there is leaves as much to be made.
    let mut timed = CanvasShape::clone(&canvas);
    timed.tracks[0].seconds = 0.5;
    for (video, seconds, given, fitting) in [(First, 1.25, 1.25, 0.5625), (Ends, 0.75, 1.5, 0.28125)] {
        let errors = Task { seconds: Some(seconds), ..task(video, Absent, 1) }.errors(&timed, 9);
        assert_eq!(errors[0].message, format!("of 1.125 s {given} s are given: nothing is left to be generated"));
        assert_eq!(errors[0].hint, format!("set `seconds = {fitting}`"));
    }
    let error = task(First, Absent, 4).layout(&canvas, None).unwrap_err();
    assert!(error.hint.contains("frames = 1") && error.hint.contains('5'), "{}", error.hint);
}

#[test]
fn tokens_are_assembled_from_what_is_given_and_what_is_generated() {
    let canvas = canvas();
    let layout = layout(&task(MaskSpec::Ends, MaskSpec::First, 1), None);
    // All codes of a sample, others for another salt.
    let whole = |salt: u32| {
        let mut values = canvas.blank();
        for values in &mut values.tracks {
            let TokenValues::Codes { entries, codes, .. } = values else { panic!("codes") };
            codes.iter_mut().enumerate().for_each(|(i, code)| *code = (i as u32 * 7 + salt) % *entries as u32);
        }
        values
    };
    let values = |positions: &[usize], salt| whole(salt).at(positions, &canvas);
    let (context, target) = (values(layout.context(), 1), values(layout.target(), 2));
    let tokens = layout.tokens(&context, &target).unwrap();
    let all = canvas.values(&tokens).unwrap();
    // Where a position is both, what was generated stands there.
    assert_eq!(all.at(layout.target(), &canvas), target);
    let only: Vec<usize> = layout.context().iter().copied().filter(|p| !layout.target().contains(p)).collect();
    assert_eq!(all.at(&only, &canvas), values(&only, 1));
    // The prompt stands there too, and of the sound both codebooks of each token.
    assert_eq!(tokens.get("text").unwrap().as_codes().unwrap(), [1, 3, 0]);
    let audio = tokens.get("audio").unwrap();
    assert_eq!((audio.grid(), audio.level_count(), audio.as_codes().unwrap().len()), ([18, 1, 1], Some(2), 36));
    let one = |salt: u32, i: usize| (i as u32 * 7 + salt) % 4;
    let wanted: Vec<u32> = (0..36).map(|i| if i < 4 { one(1, i) } else { one(2, i) }).collect();
    assert_eq!(audio.as_codes().unwrap(), wanted);
    // Too few values fill nothing.
    assert!(layout.tokens(&context, &context).is_err());
}

#[test]
fn codes_and_latents_stand_on_one_canvas() {
    let mut canvas = CanvasShape::clone(&canvas());
    let latents = TokenShape { grid: [18, 1, 1], kind: TokenKind::Vectors { channels: 5 } };
    canvas.tracks[1].tokens = latents;
    let canvas = Arc::new(canvas);
    let video = Tokens::codes([3, 2, 3], 4, (0..18).map(|i| i * 7 % 4).collect()).unwrap();
    let numbers = RngKey::new(3).stream(RngStream::Noise).normals(18 * 5);
    let audio = Tokens::vectors([18, 1, 1], 5, numbers.clone()).unwrap();
    let text = Tokens::codes([3, 1, 1], 5, vec![1, 2, 3]).unwrap();
    let tokens = CanvasTokens::from([("video", video), ("audio", audio), ("text", text)]);
    let all = canvas.values(&tokens).unwrap();
    let layout = task(MaskSpec::Ends, MaskSpec::First, 1).layout(&canvas, None).unwrap();
    let (context, target) = (all.at(layout.context(), &canvas), all.at(layout.target(), &canvas));
    assert_eq!(layout.tokens(&context, &target).unwrap(), tokens);
    // As vectors: code 3 of 2 bits, then zeros; the numbers of a latent.
    let whole = Layout::new(&canvas, vec![], (0..36).collect());
    let media = all.at(whole.target(), &canvas);
    let vectors = whole.vectors(&media).unwrap();
    assert_eq!(vectors[5..10], [1.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(vectors[18 * 5..], numbers);
    assert_eq!(whole.of_vectors(&vectors), media);
    // Some tokens are latents: there are no digits of all.
    assert!(whole.digits(&media).is_none());
    // What a sampler makes is near the signs.
    let near: Vec<f32> = layout.vectors(&target).unwrap().iter().map(|x| x * 0.6).collect();
    let read = layout.tokens(&context, &layout.of_vectors(&near)).unwrap();
    assert_eq!(read.get("video"), tokens.get("video"));
    assert_ne!(read.get("audio"), tokens.get("audio"));
    // Tokens of another length are no tokens of this canvas.
    let other = Tokens::vectors([1, 1, 1], 4, vec![0.0; 4]).unwrap();
    assert!(canvas.blank().lay(1, 0, &other).is_err());
    assert!(canvas.blank().lay(1, 1, tokens.get("audio").unwrap()).is_err());
    assert!(canvas.blank().lay(0, 0, tokens.get("audio").unwrap()).is_err());
}
