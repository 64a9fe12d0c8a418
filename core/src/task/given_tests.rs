//! What of a clip and its sound a task gives: which frames, which samples, and at which positions their tokens stand.

use super::*;
use crate::{Rate, Sound, TokenKind, TokenShape, TokenValues, TokenizerSpec, Tokens};
use std::sync::Mutex;

const STRIDES: [usize; 3] = [4, 2, 2];
/// Samples of a token of sound; two of these last a frame.
const HOP: usize = 3;
const FRAMES: usize = 9;
const SAMPLES: usize = FRAMES * 2 * HOP;

/// Nine frames of 4 × 6 pixels, [3, 2, 3] tokens, and two tokens of sound a frame.
fn canvas() -> Arc<CanvasShape> {
    let kind = TokenKind::Codes { levels: 1, entries: 1 << 16, bits: Some(16) };
    let sound = TokenShape { grid: [FRAMES * 2, 1, 1], kind };
    let canvas = CanvasShape::new(3, 5, TokenShape { grid: [3, 2, 3], kind }).with_strides(STRIDES);
    let mut canvas = canvas.with_sound(sound, 2, STRIDES[0]).with_context();
    // At 8 frames a second.
    canvas.tracks[0].seconds = STRIDES[0] as f64 / 8.0;
    canvas.tracks[1].seconds = 1.0 / 16.0;
    canvas.tracks[1].strides = [HOP, 1, 1];
    Arc::new(canvas)
}

/// Every pixel of frame `t` is `t`, of clip `n` `20·n` more.
fn clip(n: usize) -> Clip {
    let pixels = (0..FRAMES).flat_map(|t| vec![(20 * n + t) as u8; 4 * 6 * 3]).collect();
    Clip::new([FRAMES, 4, 6], Rate::whole(8), pixels).unwrap()
}

/// Sample `i` is `i`, of sound `n` `1000·n` more.
fn sound(n: usize) -> Sound {
    let samples = (0..SAMPLES).map(|i| (1000 * n + i) as f32).collect();
    Sound::new(1, Rate::whole(8 * 2 * HOP as u32), samples).unwrap()
}

/// Tells of each token the last frame, or the first sample, that it stands for; and remembers how long the media were.
struct Counting {
    spec: TokenizerSpec,
    lengths: Mutex<Vec<usize>>,
}

impl Counting {
    fn new(modality: Modality) -> Self {
        let kind = TokenKind::Codes { levels: 1, entries: 1 << 16, bits: Some(16) };
        let strides = if modality == Modality::Video { STRIDES } else { [HOP, 1, 1] };
        let spec = TokenizerSpec { modality, kind, codes: kind, strides, causal: true, range: [-1.0, 1.0] };
        Self { spec, lengths: Mutex::default() }
    }
}

impl Tokenizer for Counting {
    fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        match media {
            Media::Clip(clip) => {
                self.lengths.lock().unwrap().push(clip.frames());
                let [frames, h, w] = [clip.frames(), clip.shape()[1] / STRIDES[1], clip.shape()[2] / STRIDES[2]];
                let last = (0..frames).step_by(STRIDES[0]).map(|t| u32::from(clip.frame(t)[0]));
                let codes: Vec<u32> = last.flat_map(|code| vec![code; h * w]).collect();
                Tokens::codes([codes.len() / (h * w), h, w], 1 << 16, codes)
            }
            Media::Sound(sound) => {
                self.lengths.lock().unwrap().push(sound.length());
                let codes: Vec<u32> = sound.samples().chunks(HOP).map(|samples| samples[0] as u32).collect();
                Tokens::codes([codes.len(), 1, 1], 1 << 16, codes)
            }
            Media::Text(_) => panic!("no text is given"),
        }
    }

    fn decode(&self, _: &Tokens) -> Result<Media> {
        unreachable!("nothing is decoded")
    }
}

/// What a task gives of two samples: the positions, the codes at them, and how many frames and samples were looked at. It
/// is given no text.
fn context(task: &Task) -> (Vec<usize>, [Vec<u32>; 2], [Vec<usize>; 2]) {
    let (canvas, video, audio) = (canvas(), Counting::new(Modality::Video), Counting::new(Modality::Audio));
    let layout = task.layout(&canvas, None).unwrap();
    let encoders: Encoders = [("video".into(), &video as &dyn Tokenizer), ("audio".into(), &audio)].into();
    let both = |one: [Media; 2]| Vec::from(one);
    let media: TrackMedia = [
        ("video".into(), both([0, 1].map(|n| Media::Clip(clip(n))))),
        ("audio".into(), both([0, 1].map(|n| Media::Sound(sound(n))))),
    ]
    .into();
    let mut samples = vec![canvas.blank(); 2];
    task.lay_context(&canvas, &encoders, None, &media, false, &mut samples).unwrap();
    // The codes in the order of the positions, of whichever track.
    let codes = |sample: &Values| -> Vec<u32> {
        let code = |&position: &usize| {
            let (track, index) = canvas.find(position);
            let TokenValues::Codes { codes, .. } = &sample.tracks[track] else { panic!("codes") };
            codes[index]
        };
        layout.context().iter().map(code).collect()
    };
    let given = [codes(&samples[0]), codes(&samples[1])];
    let lengths = [video, audio].map(|tokenizer| tokenizer.lengths.into_inner().unwrap());
    (layout.context().to_vec(), given, lengths)
}

fn task(video: MaskSpec, audio: MaskSpec, frames: usize) -> Task {
    Task { frames, ..Task::new("x", [("video", video), ("audio", audio), ("text", MaskSpec::Absent)]) }
}

#[test]
fn of_a_sound_the_samples_of_the_frames_are_given() {
    use MaskSpec::*;
    // A spec, how many frames, and the samples from and to which they are.
    type Case = (MaskSpec, usize, &'static [(usize, usize)]);
    let cases: [Case; 8] = [
        (First, 1, &[(0, 6)]),
        (First, 3, &[(0, 18)]),
        (Last, 1, &[(48, 54)]),
        (Last, 3, &[(36, 54)]),
        (Ends, 1, &[(0, 6), (48, 54)]),
        (Ends, 4, &[(0, 24), (30, 54)]),
        (Context, 1, &[(0, 54)]),
        (Target, 1, &[]),
    ];
    for (share, frames, samples) in cases {
        let (positions, [one, two], [seen, heard]) = context(&task(Absent, share, frames));
        // A token stands where its first sample lies in the whole sound.
        let tokens: Vec<usize> = samples.iter().flat_map(|(start, end)| start / HOP..end / HOP).collect();
        assert_eq!(positions, tokens.iter().map(|token| 18 + token).collect::<Vec<_>>(), "{share:?} {frames}");
        let codes = |n: usize| tokens.iter().map(|token| (1000 * n + token * HOP) as u32).collect::<Vec<_>>();
        assert_eq!((one, two), (codes(0), codes(1)), "{share:?} {frames}");
        // Nothing else is listened to, and no clip looked at.
        let lengths: Vec<usize> = samples.iter().flat_map(|(start, end)| [end - start; 2]).collect();
        assert_eq!((heard, seen), (lengths, vec![]), "{share:?} {frames}");
    }
}

#[test]
fn of_a_sound_that_goes_on_between_frames_the_tokens_that_begin_are_given() {
    // Four tokens last as long as three frames: of frames 0, 1, 2 and so on two, one and one begin.
    let mut canvas = CanvasShape::clone(&canvas());
    let tokens = TokenShape { grid: [12, 1, 1], kind: canvas.tracks[1].tokens.kind };
    let audio = TrackShape::audio("audio", tokens, [4, 3], STRIDES[0]);
    canvas.tracks[1] = TrackShape { context: true, ..audio };
    let canvas = Arc::new(canvas);
    let given = |audio, frames| {
        let layout = task(MaskSpec::Absent, audio, frames).layout(&canvas, None).unwrap();
        layout.context().iter().map(|position| position - 18).collect::<Vec<_>>()
    };
    assert_eq!((given(MaskSpec::First, 1), given(MaskSpec::Last, 1)), (vec![0, 1], vec![11]));
    assert_eq!((given(MaskSpec::First, 2), given(MaskSpec::Last, 2)), (vec![0, 1, 2], vec![10, 11]));
}

#[test]
fn of_a_clip_the_frames_are_given_at_their_steps() {
    use MaskSpec::*;
    // Steps of the grid with the last frame that their token stands for: 0, 1 to 4, 5 to 8. What ends a clip begins as an
    // image: at the step of frames 1 to 4 frame 4 alone is given.
    type Case = (MaskSpec, usize, &'static [(usize, u32)], &'static [usize]);
    let cases: [Case; 7] = [
        (First, 1, &[(0, 0)], &[1]),
        (First, 5, &[(0, 0), (1, 4)], &[5]),
        (Last, 1, &[(2, 8)], &[1]),
        (Last, 5, &[(1, 4), (2, 8)], &[5]),
        (Ends, 1, &[(0, 0), (2, 8)], &[1, 1]),
        (Context, 1, &[(0, 0), (1, 4), (2, 8)], &[9]),
        (Image, 1, &[], &[]),
    ];
    for (share, frames, steps, lengths) in cases {
        let (positions, [one, two], [seen, heard]) = context(&task(share, Absent, frames));
        let wanted: Vec<usize> = steps.iter().flat_map(|(step, _)| step * 6..(step + 1) * 6).collect();
        assert_eq!(positions, wanted, "{share:?} {frames}");
        let codes = |n: u32| steps.iter().flat_map(|(_, code)| vec![20 * n + code; 6]).collect::<Vec<_>>();
        assert_eq!((one, two), (codes(0), codes(1)), "{share:?} {frames}");
        assert_eq!((seen, heard), (lengths.iter().flat_map(|n| [*n; 2]).collect(), vec![]), "{share:?} {frames}");
    }
}

#[test]
fn a_clip_and_its_sound_are_given_beside_each_other() {
    let (positions, [one, _], [seen, heard]) = context(&task(MaskSpec::Last, MaskSpec::Ends, 1));
    // In time: the first frame's sound, the last step's clip, the last frame's sound.
    assert_eq!(positions, [18, 19, 12, 13, 14, 15, 16, 17, 34, 35]);
    assert_eq!(one, [0, 3, 8, 8, 8, 8, 8, 8, 48, 51]);
    assert_eq!((seen, heard), (vec![1; 2], vec![6; 4]));
}

#[test]
fn what_was_given_of_a_clip_stands_in_what_was_made() {
    use MaskSpec::*;
    let frames = |task: &Task| {
        let all = task.finish(&clip(0), &clip(1), None);
        (0..FRAMES).map(|t| all.frame(t)[0]).collect::<Vec<u8>>()
    };
    let (g, m) = (|t: u8| t, |t: u8| 20 + t);
    let cases: [(MaskSpec, usize, [u8; FRAMES]); 6] = [
        (Target, 1, [m(0), m(1), m(2), m(3), m(4), m(5), m(6), m(7), m(8)]),
        (Context, 1, [g(0), g(1), g(2), g(3), g(4), g(5), g(6), g(7), g(8)]),
        (First, 1, [g(0), m(1), m(2), m(3), m(4), m(5), m(6), m(7), m(8)]),
        (First, 5, [g(0), g(1), g(2), g(3), g(4), m(5), m(6), m(7), m(8)]),
        (Last, 5, [m(0), m(1), m(2), m(3), g(4), g(5), g(6), g(7), g(8)]),
        (Ends, 1, [g(0), m(1), m(2), m(3), m(4), m(5), m(6), m(7), g(8)]),
    ];
    for (share, n, wanted) in cases {
        assert_eq!(frames(&task(share, Absent, n)), wanted, "{share:?} {n}");
    }
}

#[test]
fn seconds_are_as_many_frames_as_last_as_long() {
    use MaskSpec::*;
    // A frame lasts an eighth of a second, and two tokens of sound.
    let cases = [(First, Absent), (Last, Absent), (First, Last)].map(|(video, audio)| (video, audio, 5));
    for (video, audio, frames) in cases.into_iter().chain([(Ends, First, 1), (Absent, Ends, 4)]) {
        let counted = task(video, audio, frames);
        let timed = Task { seconds: Some(frames as f64 / 8.0), ..task(video, audio, 1) };
        assert_eq!(context(&counted), context(&timed), "{video:?} {audio:?}");
        let finished = |task: &Task| task.finish(&clip(0), &clip(1), None);
        assert_eq!(finished(&counted), finished(&timed), "{video:?}");
    }
    // As samples: two tokens of three.
    let timed = Task { seconds: Some(0.125), ..task(Absent, First, 1) };
    assert_eq!([timed.samples_of(&canvas()), task(Absent, First, 1).samples_of(&canvas())], [6, 0]);
    // More than there is, and both counts.
    let of =
        |frames, seconds| Task { frames, seconds: Some(seconds), ..task(First, First, 1) }.errors(&canvas(), FRAMES);
    assert!(of(1, 0.5).is_empty());
    assert_eq!(of(1, 1.2)[0].path, "seconds");
    assert_eq!(of(5, 0.5)[0].path, "seconds");
}

/// What begins as the whole does has the whole's tokens, and is not encoded again.
#[test]
fn only_what_changes_is_encoded_again() {
    use MaskSpec::*;
    for (video, audio, wanted) in [(First, First, [0, 0]), (Last, First, [1, 0]), (Context, Ends, [0, 2])] {
        let (canvas, encoded) = (canvas(), [Modality::Video, Modality::Audio].map(Counting::new));
        let encoders: Encoders =
            [("video".into(), &encoded[0] as &dyn Tokenizer), ("audio".into(), &encoded[1])].into();
        let media: TrackMedia =
            [("video".into(), vec![Media::Clip(clip(0))]), ("audio".into(), vec![Media::Sound(sound(0))])].into();
        let task = task(video, audio, 1);
        assert_eq!(task.encodes(), wanted != [0, 0]);
        task.lay_context(&canvas, &encoders, None, &media, true, &mut [canvas.blank()]).unwrap();
        drop(encoders);
        assert_eq!(encoded.map(|tokenizer| tokenizer.lengths.into_inner().unwrap().len()), wanted);
    }
}
