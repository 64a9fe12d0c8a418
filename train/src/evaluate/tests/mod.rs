//! Evaluation of a recipe of the test's own parts, of which is known how good they are.

mod parts;

use super::*;
use musiva_core::{Clip, MediaShape};
use musiva_data::{DataReport, Sample};
use parts::{config, darker, recipe};

fn measured(n: usize, batch: usize) -> Evaluation {
    let recipe = recipe();
    let parts = Parts::build(&recipe, &Device::flex()).unwrap();
    let amount = EvalConfig { n, seed: 5, batch, tokenizers: true, baselines: false, bits: true, tasks: &[] };
    evaluate(&recipe, &parts, &amount, &mut |_, _, _| Ok(())).unwrap()
}

/// The test's scenes, with their captions.
fn scenes(split: Split, n: u64) -> Vec<(musiva_data::world::Scene, String)> {
    let world = World::new(config()).unwrap();
    let keys = (0..n).map(|i| RngKey::new(5).sample(i));
    keys.map(|key| (world.scene(key, split), key)).map(|(scene, key)| (scene.clone(), scene.caption(key))).collect()
}

#[test]
fn what_prompts_ask_for_counts_once_for_each_of_them() {
    // Of every four clips the sampler makes three as they are asked for, and leaves the last one black. Whatever the
    // batches, of ten that are eight.
    for batch in [1, 3, 4, 10, 64] {
        let generation = measured(10, batch).generation;
        let sets: Vec<&str> = generation.iter().map(|set| set.prompts).collect();
        assert_eq!(sets, ["all combinations", "combinations never trained on"]);
        for (set, split) in generation.iter().zip([Split::Test, Split::HeldOut]) {
            let Scores { colour, shape, direction, speed, all, n } = set.seen;
            assert_eq!((n, colour, shape, direction, all), (10, Some(0.8), Some(0.8), Some(0.8), Some(0.8)), "{batch}");
            // Speeds count where a prompt says one.
            let asks = |caption: &str| Attributes::parse(caption).unwrap().speed.is_some();
            let asked: Vec<bool> = scenes(split, 10).iter().map(|(_, caption)| asks(caption)).collect();
            let right = (0..10).filter(|i| asked[*i] && i % 4 != 3).count();
            let asked = asked.iter().filter(|&&asked| asked).count();
            assert_eq!(speed, Some(right as f64 / asked as f64));
        }
    }
}

#[test]
fn reconstructions_are_measured_by_the_means_over_the_clips() {
    let n = 7;
    let found = measured(n, 4).reconstruction.unwrap();
    let oracle = VideoOracle::new(&config());
    let (mut sums, mut bounces, mut coloured) = ([0.0; 3], 0, 0);
    for (scene, _) in scenes(Split::Test, n as u64) {
        let (before, after) = (scene.render(), darker(&scene.render()));
        let figures = [
            crate::measure::psnr(&before, &after).unwrap(),
            crate::measure::ssim(&before, &after).unwrap(),
            crate::measure::flicker(&before, &after).unwrap(),
        ];
        sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
        let reading = oracle.read(&after);
        bounces += usize::from(reading.bounces == Some(scene.events().len()));
        coloured += usize::from(reading.colour == Some(scene.attributes.colour));
    }
    for (found, sum) in [found.figures.psnr, found.figures.ssim, found.figures.flicker].into_iter().zip(sums) {
        assert!((found - sum / n as f64).abs() < 1e-9 && found > 0.0, "{found}, not {}", sum / n as f64);
    }
    let seen = found.seen.unwrap();
    assert_eq!((found.n, seen.n, seen.colour), (n, n, Some(coloured as f64 / n as f64)));
    assert_eq!(found.bounces, Some(bounces as f64 / n as f64));
    // Of latents there are no bits, and no codebook.
    assert_eq!((found.bits_per_pixel, found.codebook_use, found.perplexity.len()), (None, None, 0));
}

/// A dataset that has a length and no samples.
pub(super) struct Many(pub Option<u64>);

impl Dataset for Many {
    fn len(&self) -> Option<u64> {
        self.0
    }
    fn get(&self, _: u64) -> Result<Sample> {
        unreachable!("only their number counts")
    }
    fn shape(&self, _: Modality) -> Option<MediaShape> {
        None
    }
    fn report(&self) -> DataReport {
        unreachable!("only their number counts")
    }
}

#[test]
fn samples_are_spread_over_the_data() {
    assert_eq!(spread(&Many(Some(10)), 3), [0, 3, 6]);
    assert_eq!(spread(&Many(Some(10)), 10), (0..10).collect::<Vec<u64>>());
    assert_eq!(spread(&Many(Some(4)), 9), [0, 1, 2, 3]);
    assert_eq!(spread(&Many(None), 3), [0, 1, 2]);
    assert!(spread(&Many(Some(0)), 3).is_empty());
}

#[test]
fn a_darker_clip_is_what_the_tokenizer_makes() {
    // What the expectations above rest on.
    let clip = Clip::new([1, 1, 2], musiva_core::Rate::whole(8), vec![0, 100, 200, 255, 7, 50]).unwrap();
    assert_eq!(darker(&clip).pixels(), [0, 80, 160, 204, 5, 40]);
}
