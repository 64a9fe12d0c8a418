use super::*;
use crate::cvivit::CVivitConfig;
use crate::magvit2::{Magvit2Config, NormConfig, Stage};
use crate::quantizers::QuantizerConfig;
use burn::tensor::Device;
use musiva_core::{RngKey, RngStream, WeightInit};

/// Two pixels a side and two frames a token; a token of it sees three places around, a pixel four.
fn local() -> Magvit2Config {
    let stage = |channels, blocks, down| Stage { channels, blocks, frames: 3, down };
    Magvit2Config {
        patch: 2,
        stages: vec![stage(6, 1, [2, 1, 1]), stage(8, 0, [1; 3])],
        norm: NormConfig::Rms,
        quantizer: QuantizerConfig::Lfq { bits: 7 },
    }
}

fn build(config: &dyn TokenizerConfig) -> Box<dyn Tokenizer> {
    config.build(&Device::flex(), &WeightInit::Seed(5)).unwrap()
}

fn clip([frames, height, width]: [usize; 3]) -> Clip {
    let mut stream = RngKey::new(2).stream(RngStream::Data);
    let pixels = (0..frames * height * width * 3).map(|_| stream.bits() as u8).collect();
    Clip::new([frames, height, width], Rate::whole(8), pixels).unwrap()
}

/// Through the tokenizer and back, in pieces that end at these frames.
fn through(tokenizer: &dyn Tokenizer, clip: &Clip, tiling: Option<Tiling>, ends: &[usize]) -> (Tokens, Clip) {
    let [_, height, width] = clip.shape();
    let [_, h, w] = tokenizer.spec().strides;
    let mut encoding = encoding(tokenizer, [height, width], tiling).unwrap().unwrap();
    let mut decoding = decoding(tokenizer, [height / h, width / w], tiling).unwrap().unwrap();
    let (mut tokens, mut pixels) = (Vec::new(), Vec::new());
    let starts = [0].iter().chain(ends);
    for (&start, &end) in starts.zip(ends) {
        let before = clip.slice(start..end);
        let piece = encoding.push(&Media::Clip(before.clone())).unwrap();
        let made = decoding.push(&piece).unwrap().clip("it").unwrap();
        assert_eq!(made.shape(), before.shape());
        pixels.extend_from_slice(made.pixels());
        tokens.push(piece);
    }
    (Tokens::concat(&tokens, 0).unwrap(), Clip::new(clip.shape(), clip.rate(), pixels).unwrap())
}

#[test]
fn tiles_cover_every_place_and_their_weights_sum_to_one() {
    for length in 1..97 {
        for (side, overlap) in [(1, 0), (8, 0), (8, 1), (8, 4), (16, 3), (13, 6)] {
            let axis = Axis::new(length, side, overlap);
            let count = axis.starts.len();
            assert_eq!(count, 1 + length.saturating_sub(side).div_ceil(side - overlap));
            let mut at = 0;
            let mut sums = vec![0.0; length * 3];
            for (i, weights) in axis.weights(3).iter().enumerate() {
                let (covered, owned) = (axis.covered(i), axis.owned(i));
                assert!(covered.end <= length && owned.end <= covered.len());
                assert_eq!(covered.start + owned.start, at);
                at += owned.len();
                if i > 0 {
                    // A neighbour sees as much or more of what lies before, and the overlap is kept.
                    assert!(axis.covered(i - 1).end >= covered.start + overlap && 2 * owned.start + 1 >= overlap);
                }
                sums[covered.start * 3..].iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            }
            assert_eq!((at, axis.covered(count - 1).end), (length, length));
            assert!(sums.iter().all(|sum| (sum - 1.0f32).abs() < 1e-6), "{length} {side} {overlap}");
        }
    }
}

#[test]
fn a_tile_as_large_as_the_frame_is_the_frame_to_the_byte() {
    let cvivit = CVivitConfig { patch: [2, 4, 4], width: 16, heads: 2, spatial: 1, temporal: 1, ..Default::default() };
    let configs: [&dyn TokenizerConfig; 2] = [&local(), &cvivit];
    for config in configs {
        let tokenizer = build(config);
        let clip = clip([9, 20, 28]);
        let whole = tokenizer.encode(&Media::Clip(clip.clone())).unwrap();
        let back = tokenizer.decode(&whole).unwrap().clip("it").unwrap().with_rate(clip.rate());
        for tiling in [None, Some(Tiling { tile: 32, overlap: 16 })] {
            assert_eq!(through(&*tokenizer, &clip, tiling, &[9]), (whole.clone(), back.clone()));
        }
    }
}

#[test]
fn tiles_that_see_enough_are_the_whole() {
    let tokenizer = build(&local());
    let clip = clip([7, 38, 70]);
    let (tokens, back) = through(&*tokenizer, &clip, None, &[1, 5, 7]);
    // An overlap of 16 places, of which the four next to an edge do not count.
    let tiling = Some(Tiling { tile: 64, overlap: 32 });
    for ends in [&[7][..], &[1, 3, 5, 7]] {
        let (tiled, made) = through(&*tokenizer, &clip, tiling, ends);
        assert_eq!(tiled, tokens);
        assert!(made.pixels().iter().zip(back.pixels()).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
    // And with too little they are not, or the test would say nothing.
    let (_, made) = through(&*tokenizer, &clip, Some(Tiling { tile: 8, overlap: 2 }), &[7]);
    assert!(made.pixels().iter().zip(back.pixels()).any(|(a, b)| a.abs_diff(*b) > 1));
}

#[test]
fn tilings_that_do_not_fit_are_told_what_does() {
    let hint = |tile, overlap| Tiling { tile, overlap }.error([4, 8, 8]).map(|error| (error.path, error.hint));
    assert_eq!(hint(256, 32), None);
    assert_eq!(hint(250, 32), Some(("tile".into(), "make it 256".into())));
    assert_eq!(hint(256, 30), Some(("overlap".into(), "make it 32".into())));
    assert_eq!(hint(64, 40), Some(("overlap".into(), "make the tile 80".into())));
    assert_eq!(hint(0, 0), Some(("tile".into(), "make it 8".into())));
    let tokenizer = build(&local());
    assert!(encoding(&*tokenizer, [20, 28], Some(Tiling { tile: 7, overlap: 0 })).is_err());
    assert!(encoding(&*tokenizer, [21, 28], None).is_err());
}

#[test]
fn frames_are_cut_where_they_would_take_too_much() {
    let light = Magvit2Config::default();
    assert_eq!(Tiling::automatic(&light, [720, 1280]), None);
    let stage = |channels, down| Stage { channels, blocks: 4, frames: 3, down };
    let large = Magvit2Config {
        patch: 1,
        stages: vec![stage(128, [1, 2, 2]), stage(256, [2, 2, 2]), stage(256, [2, 2, 2]), stage(512, [1; 3])],
        ..light
    };
    let tiling = Tiling::automatic(&large, [720, 1280]).unwrap();
    assert_eq!((tiling, tiling.error(large.spec().strides)), (Tiling { tile: 256, overlap: 32 }, None));
    assert_eq!(Tiling::automatic(&large, [128, 128]), None);
}

#[test]
fn automatic_tiles_are_whole_tokens_both_ways() {
    for patch in [[2, 4, 6], [2, 6, 4], [1, 12, 8], [1, 5, 7]] {
        let wide = CVivitConfig { patch, width: 2048, heads: 8, ..Default::default() };
        let tiling = Tiling::automatic(&wide, [840 * 4; 2]).unwrap();
        assert_eq!(tiling.error(patch), None, "{patch:?}: {tiling:?}");
    }
}

#[test]
fn as_many_frames_at_once_as_a_tile_allows() {
    let tokenizer = build(&local());
    let places = |grid, tile| frames_at_once(&*tokenizer, grid, tile);
    let tiling = Some(Tiling { tile: 16, overlap: 4 });
    // A tile of 16 pixels has 8 places a side, a grid that is smaller has its own.
    assert_eq!(places([100, 200], tiling), at_once(8 * 8));
    assert_eq!(places([3, 200], tiling), at_once(3 * 8));
    assert_eq!(places([100, 5], tiling), at_once(8 * 5));
    assert_eq!(places([10, 20], None), at_once(10 * 20));
    assert!(at_once(3 * 8) > at_once(8 * 8));
}
