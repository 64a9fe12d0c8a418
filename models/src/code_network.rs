//! The network of both models of codes: embeddings of tokens and positions, blocks, logits.

use crate::transformer::{
    Attention, FeedForward, KvCache, Named, Numbers, PositionEmbedding, Positions, RmsNorm, Rotary, Tracks,
    TrunkConfig, of_tracks,
};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::canvas::{Conditioning, Route};
use musiva_core::{CanvasShape, Init, Layout, Result};
use musiva_kernels::Visible;

/// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
#[derive(Module, Debug)]
pub struct Block {
    pub(crate) norm1: RmsNorm,
    pub(crate) attention: Attention,
    pub(crate) norm2: RmsNorm,
    pub(crate) feed_forward: FeedForward,
}

impl Block {
    /// A block of such a trunk.
    pub fn new(init: &Init, trunk: &TrunkConfig) -> Self {
        // Residual branches start small, by the number of them (GPT-2, section 2.3).
        let gain = (2.0 * trunk.depth as f32).powf(-0.5);
        Self {
            norm1: RmsNorm::new(&init.part("norm1"), trunk.width),
            attention: Attention::new(&init.part("attention"), trunk, gain),
            norm2: RmsNorm::new(&init.part("norm2"), trunk.width),
            feed_forward: FeedForward::new(&init.part("feed_forward"), trunk, gain),
        }
    }

    /// `[B, n, D]` → the same shape; see [`Attention::forward`].
    pub fn forward(&self, x: Tensor<3>, rotary: &Rotary, visible: Visible, cache: Option<&mut KvCache>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x), rotary, visible, cache);
        x.clone() + self.feed_forward.forward(self.norm2.forward(x))
    }
}

/// What reads codes and predicts codes.
#[derive(Module, Debug)]
pub struct CodeNetwork {
    pub(crate) tracks: Tracks,
    /// What stands where there is no token: before the first of a language model, where one is masked of a masked model.
    pub(crate) vector: Param<Tensor<1>>,
    pub(crate) places: PositionEmbedding,
    pub(crate) numbers: Numbers,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: RmsNorm,
}

impl CodeNetwork {
    /// For such a canvas; `vector` is what weights files call the vector that stands where there is no token.
    pub fn new(
        init: &Init,
        trunk: &TrunkConfig,
        canvas: &CanvasShape,
        positions: Positions,
        vector: &str,
    ) -> Named<Self> {
        let width = trunk.width;
        let network = Self {
            tracks: Tracks::new(init, canvas, width),
            vector: init.part(vector).normal([width], 0.02),
            places: PositionEmbedding::new(&init.part("places"), canvas, width, positions),
            numbers: Numbers::new(init, canvas, width),
            blocks: (0..trunk.depth).map(|i| Block::new(&init.part(format!("blocks{i}")), trunk)).collect(),
            norm: RmsNorm::new(&init.part("norm"), width),
        };
        let mut names = of_tracks(canvas);
        names.push(("vector".into(), vector.into()));
        Named::new(network, names)
    }

    /// How many numbers it learns.
    pub fn parameters(trunk: &TrunkConfig, canvas: &CanvasShape, positions: Positions) -> usize {
        let d = trunk.width;
        let block = Attention::parameters(d, trunk.heads) + 8 * d * d + 5 * d + 2 * d;
        let places = PositionEmbedding::parameters(canvas, d, positions);
        Tracks::parameters(canvas, d) + d + places + Numbers::parameters(canvas, d) + trunk.depth * block + d
    }

    /// The vector that stands where there is no token, `[1, 1, D]`.
    pub fn vector(&self) -> Tensor<3> {
        self.vector.val().unsqueeze()
    }

    /// What stands before what is to be generated: the tokens of conditions and the context, `[B, G, D]`, nothing where there
    /// are none. And what is added to what is to be generated: the vectors of its positions, and of conditions, `[B or 1, L, D]`.
    ///
    /// # Errors
    /// As [`PositionEmbedding::of`].
    pub fn context(&self, conditioning: &Conditioning) -> Result<(Option<Tensor<3>>, Tensor<3>)> {
        let (positions, mut target) = self.places.of(&conditioning.layout)?;
        let mut context =
            self.tracks.context(conditioning).zip(positions).map(|(tokens, positions)| tokens + positions);
        let device = target.device();
        if let Some(added) = self.numbers.sum(Route::Add, conditioning, &device) {
            context = context.map(|context| context + added.clone());
            target = target + added;
        }
        let tokens = self.numbers.by(Route::Token, conditioning, &device);
        let all: Vec<Tensor<3>> = tokens.into_iter().chain(context).collect();
        Ok(((!all.is_empty()).then(|| Tensor::cat(all, 1)), target))
    }

    /// How wide it is.
    pub fn width(&self) -> usize {
        self.vector.dims()[0]
    }
}

/// By which routes it takes numbers in.
pub const ROUTES: &[Route] = &[Route::Add, Route::Token];

/// How many positions of a sequence are before what is to be generated, and how many that is.
pub fn lengths(layout: &Layout) -> [usize; 2] {
    [layout.canvas().condition_tokens() + layout.context().len(), layout.elements().len()]
}
