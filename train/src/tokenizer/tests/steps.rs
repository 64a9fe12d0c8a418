//! What a step is taken on, and what is looked at after some.

use super::*;
use crate::measure::psnr;
use musiva_core::{Media, TokenValues};
use musiva_tokenizers::settings::TokenizerLoss;

/// What each sample of a batch counts for by itself: no emphasis, no entropies over a batch.
fn plain(target: Target, accumulate: usize) -> TrainSettings {
    let loss = TokenizerLoss { entropy: 0.0, diversity: 0.0, diversity_end: 0.0, kl: 0.1, ..TokenizerLoss::default() };
    TrainSettings {
        steps: 3,
        batch: 8,
        accumulate,
        warmup: 0,
        clip: 0.1,
        ema: 0.0,
        tables: TrainTables::default().with(loss),
        ..settings(target)
    }
}

fn apart(one: &Weights, two: &Weights) -> f32 {
    assert!(one.keys().eq(two.keys()));
    let pairs = one.iter().flat_map(|(name, one)| one.values.iter().zip(&two[name].values));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Twice four samples, one after the other, teach what eight teach at once.
fn parts_are_the_whole<M: Medium>(target: Target, config: &dyn TokenizerConfig) {
    let weights = |accumulate| {
        let folder = tempfile::tempdir().unwrap();
        let (trainable, _, watch) = train::<M>(&plain(target, accumulate), config, folder.path(), false, u64::MAX);
        (trainable.parameters().weights(), watch.last("loss").unwrap())
    };
    let (start, whole) =
        (trainable::<M>(&plain(target, 1), config, &WeightInit::Seed(3)).parameters().weights(), weights(1));
    assert!(apart(&start, &whole.0) > 1e-3, "it learns something");
    for accumulate in [2, 8] {
        let parts = weights(accumulate);
        // The moments' denominators make differences in the last digits of small gradients large.
        let far = apart(&whole.0, &parts.0);
        assert!(far < 2e-4, "{accumulate} parts: {far}");
        assert!((whole.1 - parts.1).abs() < 1e-4 * whole.1.abs(), "{accumulate} parts: {} and {}", whole.1, parts.1);
    }
}

#[test]
fn parts_of_a_batch_of_clips_teach_what_the_batch_teaches() {
    parts_are_the_whole::<Clips>(Target::Video, &of_clips());
    let latents = Magvit2Config { quantizer: QuantizerConfig::Kl { channels: 3 }, ..of_clips() };
    parts_are_the_whole::<Clips>(Target::Video, &latents);
}

#[test]
fn parts_of_a_batch_of_sounds_teach_what_the_batch_teaches() {
    // Codebooks follow part by part; latents do not.
    let config = SoundStreamConfig { quantizer: QuantizerConfig::Kl { channels: 4 }, ..of_sounds() };
    parts_are_the_whole::<Sounds>(Target::Audio, &config);
}

#[test]
fn the_average_is_looked_at_not_the_weights_of_the_moment() {
    let config = of_clips();
    let settings = TrainSettings { tables: TrainTables::default(), ..settings(Target::Video) };
    let mut trainable = trainable::<Clips>(&settings, &config, &WeightInit::Seed(3));
    let built = |seed| config.build(&Device::flex(), &WeightInit::Seed(seed)).unwrap();
    let (now, other) = (trainable.parameters().weights(), built(8));
    let samples = trainable.sample(&other.learned().unwrap().weights(), 1).unwrap();
    let quality = |tokenizer: &dyn Tokenizer| {
        let clips: Vec<Clip> = (0..8).map(|i| Toys.get(i).unwrap().clip.unwrap()).collect();
        let made = clips.iter().map(|clip| {
            let tokens = tokenizer.encode(&Media::Clip(clip.clone())).unwrap();
            let codes = match tokens.values() {
                TokenValues::Codes { codes, .. } => codes.clone(),
                _ => panic!("codes"),
            };
            let made = tokenizer.decode(&tokens).unwrap().clip("it").unwrap().with_rate(clip.rate());
            (psnr(clip, &made).unwrap(), made, codes)
        });
        let made: Vec<_> = made.collect();
        let codes: std::collections::HashSet<u32> = made.iter().flat_map(|(.., codes)| codes.clone()).collect();
        let quality = made.iter().map(|(quality, ..)| quality).sum::<f64>() / 8.0;
        (quality, codes.len() as f64, made.into_iter().map(|(_, made, _)| made).collect::<Vec<_>>())
    };
    let (wanted, codes, made) = quality(&*other);
    let found = |name: &str| samples.measures.iter().find(|(other, _)| other == name).unwrap().1;
    assert!((found("psnr") - wanted).abs() < 1e-9);
    assert!((quality(&*built(3)).0 - wanted).abs() > 1e-3, "the two must differ for this to say anything");
    assert_eq!((found("codes_in_use"), found("codes")), (codes, 32.0));
    assert_eq!(samples.clips.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>(), made);
    assert_eq!(trainable.parameters().weights(), now, "training goes on where it was");
}
