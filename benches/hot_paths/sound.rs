//! The audio tokenizer: encoding and decoding a sound, and a training step without its losses' spectra and its optimizer.

use super::Result;
use super::harness::{Case, Export, Group, Work, export_learned, insert, noise, stir};
use burn::tensor::{Device, Gradients, Tensor};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::recipe::Recipe;
use musiva_core::{
    Media, MediaShape, Modality, RngKey, Sound, TokenValues, Tokenizer, TokenizerConfig, WeightInit, Weights,
};
use std::hint::black_box;
use std::sync::Arc;

pub fn group(recipe: Recipe) -> Result<Group> {
    let config = Arc::new(recipe.need_tokenizer(Modality::Audio)?.component.clone());
    let media = recipe.need_media(Modality::Audio)?;
    let MediaShape::Sound { samples, rate, .. } = media else { return Err("the world sounds".into()) };
    let train = recipe.need_train()?;
    let shape = [train.batch, train.samples.unwrap_or(samples), 1, 1, 1];
    let sound = Sound::new(1, rate, to_vec(noise(1, [samples], &Device::flex()) * 0.2))?;
    let [encoding, decoding] = config.cost(&media);
    let whole = config.cost(&MediaShape::Sound { samples: shape[1], channels: 1, rate });

    let frozen = build(&**config, &Device::flex())?;
    let tokens = frozen.encode(&Media::Sound(sound.clone()))?;
    let (encoder, heard) = (build(&**config, &Device::flex())?, Media::Sound(sound.clone()));
    let (decoder, codes) = (build(&**config, &Device::flex())?, tokens.clone());
    let mut step = Step::new(&**config, shape)?;
    let cases = vec![
        Case::new("soundstream encode", move || {
            black_box(encoder.encode(&heard).expect("it did before"));
        })
        .work(Work::F32(encoding.forward_flops)),
        Case::new("soundstream decode", move || {
            black_box(decoder.decode(&codes).expect("its own codes"));
        })
        .work(Work::F32(decoding.forward_flops)),
        Case::new("soundstream forward+backward", move || {
            black_box(step.run());
        })
        .work(Work::F32(3.0 * shape[0] as f64 * (whole[0].forward_flops + whole[1].forward_flops))),
    ];
    let export: Export = Box::new(move || {
        let mut exports = Weights::new();
        let weight = |shape, values| Weight { shape, values };
        exports.insert("inputs.sound".into(), weight(vec![samples], sound.samples().to_vec()));
        let TokenValues::Codes { levels, codes, .. } = tokens.values() else { return Err("rvq makes codes".into()) };
        let codes: Vec<f32> = codes.iter().map(|&code| code as f32).collect();
        exports.insert("outputs.codes".into(), weight(vec![codes.len() / levels, *levels], codes));
        let made = frozen.decode(&tokens)?.sound("tokenizer.audio")?;
        exports.insert("outputs.sound".into(), weight(vec![made.samples().len()], made.samples().to_vec()));

        let mut step = Step::new(&**config, shape)?;
        insert(&mut exports, "inputs.batch", step.sounds.clone().reshape([shape[0], shape[1]]));
        let (loss, gradients) = step.run();
        insert(&mut exports, "outputs.loss", loss);
        export_learned(&mut exports, step.tokenizer.learned().ok_or("soundstream learns")?, gradients);
        Ok(exports)
    });
    Ok(Group { name: "soundstream", cases, export: Some(export) })
}

/// Forward past the quantizer, the mean square of the error, and backward, at the size of the recipe's training.
struct Step {
    tokenizer: Box<dyn Tokenizer>,
    sounds: Tensor<5>,
}

impl Step {
    fn new(config: &dyn TokenizerConfig, shape: [usize; 5]) -> Result<Self> {
        let device = Device::flex().autodiff();
        Ok(Self { tokenizer: build(config, &device)?, sounds: noise(2, shape, &device) * 0.2 })
    }

    fn run(&mut self) -> (Tensor<1>, Gradients) {
        let trainable = self.tokenizer.trainable().expect("soundstream trains");
        let made = trainable.reconstruct(self.sounds.clone(), false, RngKey::new(1)).media;
        let loss = (made - self.sounds.clone()).square().mean();
        let gradients = loss.backward();
        (loss, gradients)
    }
}

fn build(config: &dyn TokenizerConfig, device: &Device) -> Result<Box<dyn Tokenizer>> {
    let mut tokenizer = config.build(device, &WeightInit::Seed(1))?;
    stir(tokenizer.trainable().ok_or("soundstream trains")?.parameters_mut());
    Ok(tokenizer)
}
