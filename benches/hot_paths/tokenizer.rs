//! The video tokenizer: encoding and decoding a whole clip, and a training step without its optimizer.

use super::Result;
use super::harness::{Case, Export, Group, Work, export_learned, insert, stir};
use burn::tensor::{Device, Gradients, Tensor};
use musiva_core::parameters::Weight;
use musiva_core::recipe::Recipe;
use musiva_core::{
    Clip, Media, MediaShape, Modality, Rate, RngKey, RngStream, Tokenizer, TokenizerConfig, Tokens, WeightInit, Weights,
};
use musiva_tokenizers::losses::{LossWeights, Target, tokenizer_loss};
use musiva_tokenizers::settings::TokenizerLoss;
use std::hint::black_box;
use std::sync::Arc;

pub fn group(recipe: Recipe) -> Result<Group> {
    let tokenizer = Arc::new(recipe.need_tokenizer(Modality::Video)?.component.clone());
    let MediaShape::Clip { frames, height, width, .. } = recipe.need_media(Modality::Video)? else {
        return Err("the world makes clips".into());
    };
    let clip = clip(1, [frames, height, width])?;
    let frozen = build(&**tokenizer, &Device::flex())?;
    let tokens = frozen.encode(&Media::Clip(clip.clone()))?;
    let mut step = Step::new(&recipe)?;
    let [encoding, decoding] = tokenizer.cost(&recipe.need_media(Modality::Video)?);
    let MediaShape::Clip { rate, .. } = recipe.need_media(Modality::Video)? else { unreachable!("asked above") };
    let [batch, t, h, w, _] = step.target.clips.dims();
    let both = tokenizer.cost(&MediaShape::Clip { frames: t, height: h, width: w, rate });
    let both = both.iter().map(|cost| cost.forward_flops).sum::<f64>();

    let (encoder, media) = (build(&**tokenizer, &Device::flex())?, Media::Clip(clip.clone()));
    let (decoder, codes) = (build(&**tokenizer, &Device::flex())?, tokens.clone());
    let cases = vec![
        Case::new("tokenizer encode", move || {
            black_box(encoder.encode(&media).expect("it did before"));
        })
        .work(Work::F32(encoding.forward_flops)),
        Case::new("tokenizer decode", move || {
            black_box(decoder.decode(&codes).expect("its own codes"));
        })
        .work(Work::F32(decoding.forward_flops)),
        Case::new("tokenizer forward+backward", move || {
            black_box(step.run());
        })
        .work(Work::F32(3.0 * batch as f64 * both)),
    ];
    let export: Export = Box::new(move || {
        let mut exports = Weights::new();
        insert_clip(&mut exports, "inputs.clip", &clip);
        insert_codes(&mut exports, "outputs.codes", &tokens);
        let Media::Clip(made) = frozen.decode(&tokens)? else { return Err("clips become clips".into()) };
        insert_clip(&mut exports, "outputs.clip", &made);

        let mut step = Step::new(&recipe)?;
        insert(&mut exports, "inputs.clips", step.target.clips.clone().permute([0, 4, 1, 2, 3]));
        insert(&mut exports, "inputs.pixels", step.target.pixels.clone().permute([0, 4, 1, 2, 3]));
        insert(&mut exports, "inputs.tokens", step.target.tokens.clone());
        let (loss, gradients) = step.run();
        insert(&mut exports, "outputs.loss", loss);
        export_learned(&mut exports, step.tokenizer.learned().ok_or("magvit2 learns")?, gradients);
        Ok(exports)
    });
    Ok(Group { name: "tokenizer", cases, export: Some(export) })
}

/// Forward, loss and backward, at the size and with the weights of the recipe's training.
struct Step {
    tokenizer: Box<dyn Tokenizer>,
    target: Target,
    weights: LossWeights,
}

impl Step {
    fn new(recipe: &Recipe) -> Result<Self> {
        let train = recipe.need_train()?;
        let MediaShape::Clip { frames, height, width, .. } = recipe.need_media(Modality::Video)? else {
            return Err("the world makes clips".into());
        };
        let device = Device::flex().autodiff();
        let tokenizer = build(&*recipe.need_tokenizer(Modality::Video)?.component, &device)?;
        let shape = [train.frames.unwrap_or(frames), height, width];
        let clips = (0..train.batch as u64).map(|seed| clip(seed, shape)).collect::<Result<Vec<_>>>()?;
        let l = train.tables.get::<TokenizerLoss>().copied().unwrap_or_default();
        let weights = LossWeights {
            l1: l.l1 as f32,
            l2: l.l2 as f32,
            foreground: l.foreground as f32,
            entropy: l.entropy as f32,
            diversity: l.diversity as f32,
            temperature: l.temperature as f32,
            commitment: l.commitment as f32,
            kl: l.kl as f32,
        };
        Ok(Self { target: Target::new(&clips, tokenizer.spec().strides, &device), tokenizer, weights })
    }

    fn run(&mut self) -> (Tensor<1>, Gradients) {
        let trainable = self.tokenizer.trainable().expect("magvit2 trains");
        let made = trainable.reconstruct(self.target.clips.clone(), true, RngKey::new(1));
        let loss = tokenizer_loss(&self.target, made, &self.weights).total;
        let gradients = loss.backward();
        (loss, gradients)
    }
}

fn build(config: &dyn TokenizerConfig, device: &Device) -> Result<Box<dyn Tokenizer>> {
    let mut tokenizer = config.build(device, &WeightInit::Seed(1))?;
    stir(tokenizer.trainable().ok_or("magvit2 trains")?.parameters_mut());
    Ok(tokenizer)
}

/// Noise in the upper third, a plain background below it.
fn clip(seed: u64, [frames, height, width]: [usize; 3]) -> Result<Clip> {
    let mut stream = RngKey::new(seed).stream(RngStream::Data);
    let plain = height * width * 3 / 3;
    let pixels = (0..frames * height * width * 3).map(|i| match i % (height * width * 3) < plain {
        true => stream.bits() as u8,
        false => 20,
    });
    Ok(Clip::new([frames, height, width], Rate::whole(8), pixels.collect())?)
}

fn insert_clip(exports: &mut Weights, name: &str, clip: &Clip) {
    let [t, h, w] = clip.shape();
    let values = clip.pixels().iter().map(|&byte| f32::from(byte)).collect();
    exports.insert(name.to_owned(), Weight { shape: vec![t, h, w, 3], values });
}

fn insert_codes(exports: &mut Weights, name: &str, tokens: &Tokens) {
    let codes = tokens.as_codes().expect("lfq makes codes");
    let values = codes.iter().map(|&code| code as f32).collect();
    exports.insert(name.to_owned(), Weight { shape: vec![codes.len()], values });
}
