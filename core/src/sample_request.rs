//! What a sampler is asked for: the positions, the tokens that are given, the seeds.

use crate::canvas::{CanvasShape, CanvasTokens, Conditioning, Layout, Values};
use crate::{Backbone, BackboneSpec, Result, RngKey};
use burn::tensor::{Device, Tensor};
use std::sync::Arc;

/// What a sampler is asked for.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// The positions of all samples.
    pub layout: Arc<Layout>,
    /// The tokens that are given, prompts among them, of each sample.
    pub context: Vec<Values>,
    /// Seed, and the number of each sample: the same sample comes out in whatever batch it is generated.
    pub keys: Vec<RngKey>,
    /// What stands at the positions that are to be generated before anything is; `None` for nothing.
    pub start: Option<Start>,
}

/// Tokens that a sampler goes on from instead of from nothing: editing by strength.
///
/// A sampler goes a way, from nothing to all. An edit walks the last part of it, a share `strength`, and begins where the
/// way would stand by then: a diffusion sampler with the tokens' vectors mixed with as much noise as is left there (SDEdit,
/// Meng et al. 2022), one of masked models with as many tokens masked as are masked there.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The tokens at the positions that are to be generated, of each sample.
    pub tokens: Vec<Values>,
    /// The share of the way, in `(0, 1]`: near 0 the tokens stay, at 1 nothing is left of them and what is generated is
    /// what is generated from nothing.
    pub strength: f64,
}

impl Start {
    /// The tokens as vectors `[B, L, C]`; `None` where codes have no bits.
    pub fn vectors(&self, layout: &Layout, device: &Device) -> Option<Tensor<3>> {
        crate::canvas::vectors(layout, &self.tokens, device)
    }
}

impl SampleRequest {
    /// Whole canvases from prompts of words alone.
    ///
    /// # Panics
    /// As [`CanvasShape::prompt`].
    pub fn prompts(prompts: &[Vec<u32>], keys: Vec<RngKey>, canvas: &Arc<CanvasShape>) -> Self {
        let context = prompts.iter().map(|words| canvas.prompt(words)).collect();
        Self { layout: Arc::new(Layout::whole(canvas)), context, keys, start: None }
    }

    /// The context `rows` times over, the repetitions without a prompt: what guidance compares.
    ///
    /// # Errors
    /// As [`Conditioning::new`].
    pub fn conditioning(&self, backbone: &dyn Backbone, rows: usize) -> Result<Conditioning> {
        let canvas = self.layout.canvas();
        let without = self.context.iter().map(|values| canvas.without_prompt(values.clone()));
        let all: Vec<Values> = self.context.iter().cloned().chain(without).take(rows).collect();
        let vectors = matches!(backbone.spec(), BackboneSpec::Diffusion { .. });
        Conditioning::new(&self.layout, &all, vectors, &backbone.device())
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
    /// Where that does not fill the positions.
    pub fn tokens(&self, target: &[Values]) -> Result<Vec<CanvasTokens>> {
        self.context.iter().zip(target).map(|(context, target)| self.layout.tokens(context, target)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::{PAD, TokenBatch, TrackShape};
    use crate::parameters::to_vec;
    use crate::{TokenKind, TokenShape, TokenValues, Tokens};

    /// A clip of two tokens, and a prompt of three words of seven, or of three vectors.
    fn canvas(text: TokenKind) -> Arc<CanvasShape> {
        let kind = TokenKind::Codes { levels: 1, entries: 2, bits: Some(1) };
        let mut canvas = CanvasShape::new(3, 7, TokenShape { grid: [1, 1, 2], kind });
        canvas.tracks[1] = TrackShape::text("text", TokenShape { grid: [1, 1, 3], kind: text });
        Arc::new(canvas)
    }

    fn words() -> Arc<CanvasShape> {
        canvas(TokenKind::Codes { levels: 1, entries: 7, bits: None })
    }

    fn vectors() -> Arc<CanvasShape> {
        canvas(TokenKind::Vectors { channels: 2 })
    }

    /// What stands in the context where the tokens of a prompt are these.
    fn context(canvas: &Arc<CanvasShape>, text: Tokens) -> Result<Values> {
        let values = canvas.values(&CanvasTokens::from([("text", text)]))?;
        Ok(values.at(Layout::whole(canvas).context(), canvas))
    }

    fn said(length: usize, entries: usize) -> Tokens {
        Tokens::codes([1, 1, length], entries, vec![1; length]).unwrap()
    }

    fn meant(length: usize, channels: usize) -> Tokens {
        Tokens::vectors([1, 1, length], channels, vec![0.5; length * channels]).unwrap()
    }

    #[test]
    fn no_prompt_is_a_row_of_pads_or_of_zeros() {
        let (words, vectors, device) = (words(), vectors(), Device::flex());
        let prompt: Vec<f32> = (1..7).map(|i| i as f32).collect();
        let said_in_vectors = context(&vectors, Tokens::vectors([1, 1, 3], 2, prompt.clone()).unwrap()).unwrap();
        let without = vectors.without_prompt(said_in_vectors.clone());
        let layout = Arc::new(Layout::whole(&vectors));
        let told = Conditioning::new(&layout, &[said_in_vectors, without], false, &device).unwrap();
        let TokenBatch::Vectors(told) = told.of_track(1).unwrap().clone() else { panic!("vectors") };
        assert_eq!((told.dims(), to_vec(told)), ([2, 3, 2], [prompt, vec![0.0; 6]].concat()));

        let values = context(&words, said(3, 7)).unwrap();
        assert_eq!(words.without_prompt(values.clone()), words.prompt(&[PAD; 3]));
        // All that is no prompt stays.
        let whole = Values {
            numbers: Vec::new(),
            tracks: vec![TokenValues::Codes { levels: 1, entries: 2, codes: vec![1, 1] }, values.tracks[1].clone()],
        };
        assert_eq!(words.without_prompt(whole.clone()).tracks[0], whole.tracks[0]);
    }

    #[test]
    fn prompts_alone_are_asked_for_whole_canvases() {
        let canvas = words();
        let request = SampleRequest::prompts(&[vec![1, 2, 3], vec![4, 5, 6]], vec![RngKey::new(1); 2], &canvas);
        assert_eq!(request.context, [canvas.prompt(&[1, 2, 3]), canvas.prompt(&[4, 5, 6])]);
        assert_eq!((request.layout.context(), request.layout.target()), (&[2, 3, 4][..], &[0, 1][..]));
        // The clip comes out beside the prompt.
        let target = Values {
            numbers: Vec::new(),
            tracks: vec![
                TokenValues::Codes { levels: 1, entries: 2, codes: vec![1, 0] },
                TokenValues::Codes { levels: 1, entries: 7, codes: vec![] },
            ],
        };
        let tokens = request.tokens(&[target.clone(), target]).unwrap();
        assert_eq!(tokens[1].get("video").unwrap(), &Tokens::codes([1, 1, 2], 2, vec![1, 0]).unwrap());
        assert_eq!(tokens[1].get("text").unwrap().as_codes().unwrap(), [4, 5, 6]);
    }

    #[test]
    fn a_prompt_is_of_its_canvas() {
        let (words, vectors) = (words(), vectors());
        assert_eq!(context(&words, said(3, 7)).unwrap(), words.prompt(&[1; 3]));
        let TokenValues::Vectors { channels: 2, values } = &context(&vectors, meant(3, 2)).unwrap().tracks[1] else {
            panic!("vectors of 2 channels")
        };
        assert_eq!(*values, [0.5; 6]);
        for (canvas, tokens) in [
            (&words, said(2, 7)),
            (&words, said(3, 8)),
            (&words, meant(3, 2)),
            (&vectors, meant(2, 3)),
            (&vectors, meant(4, 2)),
            (&vectors, said(3, 7)),
        ] {
            assert!(context(canvas, tokens.clone()).is_err(), "{canvas:?} {tokens:?}");
        }
    }

    #[test]
    fn an_edit_walks_the_last_steps() {
        let request = |strength| {
            let start = Some(Start { tokens: Vec::new(), strength });
            SampleRequest { start, ..SampleRequest::prompts(&[], Vec::new(), &words()) }
        };
        assert_eq!(SampleRequest::prompts(&[], Vec::new(), &words()).left(7), (1.0, 7));
        for (strength, steps, left) in [
            (1.0, 60, 60),
            (0.6, 60, 36),
            (0.07, 100, 7),
            (0.5, 7, 4),
            (1e-6, 7, 1),
            (0.5, 50, 25),
            (0.01, 50, 1),
            (0.51, 50, 26),
        ] {
            assert_eq!(request(strength).left(steps), (strength, left));
        }
    }
}
