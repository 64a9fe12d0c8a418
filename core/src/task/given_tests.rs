//! What of a clip and its sound a task gives: which frames, which samples, and at which places their tokens stand.

use super::*;
use crate::canvas::SoundShape;
use crate::{Rate, TokenKind, TokenShape, TokenizerSpec, Tokens};
use std::sync::Mutex;

const STRIDES: [usize; 3] = [4, 2, 2];
/// Samples of a token of sound; two of these last a frame.
const HOP: usize = 3;
const FRAMES: usize = 9;
const SAMPLES: usize = FRAMES * 2 * HOP;

/// Nine frames of 4 × 6 pixels, [3, 2, 3] tokens, and two tokens of sound a frame.
fn canvas() -> CanvasShape {
    let kind = TokenKind::Codes { levels: 1, entries: 1 << 16, bits: Some(16) };
    let sound = TokenShape { grid: [FRAMES * 2, 1, 1], kind };
    CanvasShape {
        sound: Some(SoundShape { tokens: sound, tokens_per_frame: 2, stride: STRIDES[0] }),
        has_context: true,
        ..CanvasShape::new(3, 5, TokenShape { grid: [3, 2, 3], kind })
    }
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

/// What a task gives of two samples: the places, the codes at them, and how many frames and samples were looked at.
fn context(task: &Task) -> (Vec<usize>, [Vec<u32>; 2], [Vec<usize>; 2]) {
    let (canvas, video, audio) = (canvas(), Counting::new(Modality::Video), Counting::new(Modality::Audio));
    let layout = task.layout(&canvas, STRIDES, None).unwrap();
    let encoders = Encoders { video: &video, audio: Some(&audio) };
    let all =
        task.context_tokens(&canvas, &encoders, &layout, None, &[clip(0), clip(1)], &[sound(0), sound(1)]).unwrap();
    let codes = |values: &Values| match values {
        Values::Codes(codes) => codes.clone(),
        Values::Vectors(_) => panic!("codes"),
    };
    let lengths = [video, audio].map(|tokenizer| tokenizer.lengths.into_inner().unwrap());
    (layout.context().to_vec(), [codes(&all[0]), codes(&all[1])], lengths)
}

fn task(video: MaskSpec, audio: MaskSpec, frames: usize) -> Task {
    Task { name: "x".into(), video, audio, frames, weight: 1.0 }
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
