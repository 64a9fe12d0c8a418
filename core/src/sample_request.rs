//! What a sampler is asked for: prompts, the tokens that are given, the places of those to be made.

use crate::canvas::{CanvasShape, CanvasTokens, Conditioning, Layout, TokenBatch, Values};
use crate::{Backbone, BackboneSpec, Result, RngKey};
use burn::tensor::{Device, Tensor};
use std::sync::Arc;

/// What a sampler is asked for.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// The prompt of each sample, padded.
    pub prompt: Vec<Values>,
    /// The places of all samples.
    pub layout: Arc<Layout>,
    /// The tokens that are given, of each sample.
    pub context: Vec<Values>,
    /// Seed, and the number of each sample: the same sample comes out in whatever batch it is made.
    pub keys: Vec<RngKey>,
    /// What stands at the places that are to be made before anything is; `None` for nothing.
    pub start: Option<Start>,
}

/// Tokens that a sampler goes on from instead of from nothing: editing by strength.
///
/// A sampler goes a way, from nothing to all. An edit walks the last part of it, a share `strength`, and begins where the
/// way would stand by then: a diffusion sampler with the tokens' vectors mixed with as much noise as is left there (SDEdit,
/// Meng et al. 2022), one of masked models with as many tokens hidden as are hidden there.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The tokens at the places that are to be made, of each sample.
    pub tokens: Vec<Values>,
    /// The share of the way, in `(0, 1]`: near 0 the tokens stay, at 1 nothing is left of them and what is made is what
    /// is made from nothing.
    pub strength: f64,
}

impl Start {
    /// The tokens as vectors `[B, L, C]`; `None` where codes have no bits.
    pub fn vectors(&self, canvas: &CanvasShape, positions: &[usize], device: &Device) -> Option<Tensor<3>> {
        let each: Option<Vec<_>> = self.tokens.iter().map(|values| values.vectors(canvas, positions, device)).collect();
        each.map(|each| Tensor::cat(each, 0))
    }
}

impl SampleRequest {
    /// Whole canvases from prompts alone.
    pub fn prompts(prompt: Vec<impl Into<Values>>, keys: Vec<RngKey>, canvas: &CanvasShape) -> Self {
        let prompt = prompt.into_iter().map(Into::into).collect();
        Self { prompt, layout: Arc::new(Layout::whole(canvas)), context: Vec::new(), keys, start: None }
    }

    /// Prompts and given tokens `rows` times over, the repetitions without a prompt: what guidance compares.
    pub fn conditioning(&self, backbone: &dyn Backbone, rows: usize) -> Conditioning {
        let (canvas, device) = (backbone.canvas(), backbone.device());
        let mut prompt = self.prompt.clone();
        prompt.resize_with(rows, || canvas.no_prompt());
        let positions = self.layout.context();
        let tokens = (!positions.is_empty()).then(|| {
            let all = || self.context.iter().cycle().take(rows);
            match backbone.spec() {
                BackboneSpec::Diffusion { .. } => {
                    let each: Option<Vec<_>> = all().map(|values| values.vectors(canvas, positions, &device)).collect();
                    each.map(|each| TokenBatch::Vectors(Tensor::cat(each, 0)))
                }
                _ => {
                    let each: Option<Vec<_>> = all().map(|values| values.codes(1, &device)).collect();
                    each.map(|each| TokenBatch::Codes(Tensor::cat(each, 0)))
                }
            }
        });
        let prompt = canvas.prompts(&Values::concat(&prompt), rows, &device);
        Conditioning { prompt, layout: self.layout.clone(), tokens: tokens.flatten() }
    }

    /// The share of a sampler's way that is to be walked, and in how many of its `steps`: at least one.
    pub fn left(&self, steps: usize) -> (f64, usize) {
        let share = self.start.as_ref().map_or(1.0, |start| start.strength);
        // A product such as 0.07 · 100 is a little more than it is.
        (share, ((share * steps as f64 - 1e-9).ceil() as usize).clamp(1, steps))
    }

    /// The tokens of each sample once this was `target`.
    ///
    /// # Errors
    /// Where that does not fill the places.
    pub fn tokens(&self, canvas: &CanvasShape, target: &[Values]) -> Result<Vec<CanvasTokens>> {
        let whole = |(i, target): (usize, &Values)| match self.context.get(i) {
            Some(context) => canvas.tokens(&self.layout, context, target),
            None => canvas.tokens(&self.layout, &target.empty(), target),
        };
        target.iter().enumerate().map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::{PAD, PromptKind};
    use crate::parameters::to_vec;
    use crate::{TokenKind, TokenShape, Tokens};

    #[test]
    fn no_prompt_is_a_row_of_pads_or_of_zeros() {
        let kind = TokenKind::Codes { levels: 1, entries: 2, bits: Some(1) };
        let words = CanvasShape::new(3, 7, TokenShape { grid: [1, 1, 2], kind });
        let vectors = CanvasShape { text: PromptKind::Vectors(2), ..words };
        let device = Device::flex();
        let prompt: Vec<f32> = (1..7).map(|i| i as f32).collect();
        let rows = vec![Values::Vectors(prompt.clone()), vectors.no_prompt()];
        let TokenBatch::Vectors(told) = vectors.prompts(&Values::concat(&rows), 2, &device) else { panic!("vectors") };
        assert_eq!((told.dims(), to_vec(told)), ([2, 3, 2], [prompt, vec![0.0; 6]].concat()));
        assert_eq!(words.no_prompt(), Values::Codes(vec![PAD; 3]));
    }

    #[test]
    fn a_prompt_is_of_its_canvas() {
        let kind = TokenKind::Codes { levels: 1, entries: 2, bits: Some(1) };
        let words = CanvasShape::new(3, 7, TokenShape { grid: [1, 1, 2], kind });
        let vectors = CanvasShape { text: PromptKind::Vectors(2), ..words };
        let said = |length, entries| Tokens::codes([1, 1, length], entries, vec![1; length]).unwrap();
        let meant = |length, channels| Tokens::vectors([1, 1, length], channels, vec![0.5; length * channels]).unwrap();
        assert_eq!(words.prompt_of(&said(3, 7)).unwrap(), Values::Codes(vec![1; 3]));
        assert_eq!(vectors.prompt_of(&meant(3, 2)).unwrap(), Values::Vectors(vec![0.5; 6]));
        for (canvas, tokens) in [
            (words, said(2, 7)),
            (words, said(3, 8)),
            (words, meant(3, 2)),
            (vectors, meant(2, 3)),
            (vectors, meant(4, 2)),
            (vectors, said(3, 7)),
        ] {
            assert!(canvas.prompt_of(&tokens).is_err(), "{canvas:?} {tokens:?}");
        }
    }

    #[test]
    fn an_edit_walks_the_last_steps() {
        let kind = TokenKind::Codes { levels: 1, entries: 2, bits: Some(1) };
        let canvas = CanvasShape::new(1, 2, TokenShape { grid: [1, 1, 3], kind });
        let request = |strength| {
            let start = Some(Start { tokens: Vec::new(), strength });
            SampleRequest { start, ..SampleRequest::prompts(Vec::<Values>::new(), Vec::new(), &canvas) }
        };
        assert_eq!(SampleRequest::prompts(Vec::<Values>::new(), Vec::new(), &canvas).left(7), (1.0, 7));
        for (strength, steps, left) in [(1.0, 60, 60), (0.6, 60, 36), (0.07, 100, 7), (0.5, 7, 4), (1e-6, 7, 1)] {
            assert_eq!(request(strength).left(steps), (strength, left));
        }
    }
}
