use super::*;
use burn::tensor::Device;
use musiva_core::{Parameters, Rate, RngKey, RngStream};

const CONFIG: DiscriminatorConfig = DiscriminatorConfig { channels: 4, widest: 16, blocks: 3, window: 128 };

fn noise<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = RngKey::new(seed).stream(RngStream::Noise).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn built(modality: Modality, device: &Device) -> Discriminator {
    Discriminator::new(&CONFIG, modality, &Init::new(1, device).part("discriminator"))
}

#[test]
fn sizes_are_known_without_building() {
    let clip = MediaShape::Clip { frames: 5, height: 20, width: 12, rate: Rate::whole(8) };
    let sound = MediaShape::Sound { samples: 1100, channels: 1, rate: Rate::whole(8000) };
    for (modality, media) in [(Modality::Video, clip), (Modality::Audio, sound)] {
        assert_eq!(CONFIG.size(&media).parameters, built(modality, &Device::flex()).count(), "{modality:?}");
        assert!(CONFIG.size(&media).flops > 0.0 && CONFIG.size(&media).activations > 0.0);
    }
}

#[test]
fn clips_of_any_size_and_images_are_judged_place_by_place() {
    let judge = built(Modality::Video, &Device::flex());
    // Three halvings, rounded up.
    for (clip, places) in [([9, 20, 12], 2 * 3 * 2), ([1, 16, 16], 4), ([17, 7, 5], 3)] {
        let [t, h, w] = clip;
        let heads = judge.forward(noise([2, t, h, w, 3], 2, &Device::flex()));
        assert_eq!(heads.len(), 1);
        assert_eq!(heads[0].logits.dims(), [2, places]);
        // Of the stem, each block, and the layer before the logits.
        assert_eq!(heads[0].features.len(), 2 + CONFIG.blocks);
    }
}

#[test]
fn sounds_are_judged_by_three_rates_and_by_their_spectrum() {
    let judge = built(Modality::Audio, &Device::flex());
    let samples = 1031;
    let heads = judge.forward(noise([2, samples, 1, 1, 1], 3, &Device::flex()));
    let places: Vec<usize> = heads.iter().map(|head| head.logits.dims()[1]).collect();
    // A logit for 256 samples at each rate; of 29 moments every eighth.
    assert_eq!(places, [samples.div_ceil(256), samples.div_ceil(512), samples.div_ceil(1024), 29usize.div_ceil(8)]);
    assert!(heads.iter().all(|head| head.features.len() >= 6));
}

#[test]
fn each_sample_is_judged_by_itself() {
    for (modality, shape) in [(Modality::Video, [3, 5, 11, 7, 3]), (Modality::Audio, [3, 700, 1, 1, 1])] {
        let judge = built(modality, &Device::flex());
        let media = noise(shape, 4, &Device::flex());
        let together = to_vec(judge.score(media.clone()));
        // The mean of the heads' means.
        let means = |row: usize| {
            let heads = judge.forward(media.clone().slice_dim(0, row..row + 1));
            let count = heads.len() as f32;
            heads.into_iter().map(|head| to_vec(head.logits.mean())[0]).sum::<f32>() / count
        };
        assert!(together.iter().enumerate().all(|(row, score)| (means(row) - score).abs() < 1e-5), "{modality:?}");
        for (i, together) in together.into_iter().enumerate() {
            let alone = to_vec(judge.score(media.clone().slice_dim(0, i..i + 1)))[0];
            assert!((alone - together).abs() < 1e-5, "{modality:?}");
        }
    }
}

#[test]
fn gradients_go_through_a_frozen_one_to_the_media_alone() {
    let device = Device::flex().autodiff();
    for (modality, shape) in [(Modality::Video, [1, 5, 11, 7, 3]), (Modality::Audio, [1, 700, 1, 1, 1])] {
        let judge = built(modality, &device);
        let media = noise(shape, 5, &device).require_grad();
        let gradients = judge.frozen().score(media.clone()).sum().backward();
        assert!(to_vec(media.grad(&gradients).unwrap()).iter().any(|slope| *slope != 0.0));
        let mut gradients = judge.score(media.detach()).sum().backward();
        let mut learned = Vec::new();
        judge.gradients(&mut gradients, &mut |name, _| learned.push(name.to_owned()));
        let mut all = Vec::new();
        judge.each(&mut |name, _, _| all.push(name.to_owned()));
        all.retain(|name| name != "anchors");
        assert_eq!(learned, all, "{modality:?}");
    }
}

#[test]
fn anchors_start_at_the_first_step_and_follow_slowly() {
    let mut judge = built(Modality::Audio, &Device::flex());
    let step = |value: f32| -> Vec<Judgement> {
        let logits = |k| Tensor::full([2, 3], value + k as f32, &Device::flex());
        (0..4).map(|k| Judgement { logits: logits(k), features: Vec::new() }).collect()
    };
    judge.update_ema(&step(1.0), &step(-1.0), 0);
    assert_eq!(to_vec(judge.anchors()), [1.0, -1.0, 2.0, 0.0, 3.0, 1.0, 4.0, 2.0]);
    judge.update_ema(&step(2.0), &step(-1.0), 100_000);
    assert!((to_vec(judge.anchors())[0] - 1.01).abs() < 1e-6);
    assert_eq!(judge.weights()["anchors"].shape, [4, 2]);
}
