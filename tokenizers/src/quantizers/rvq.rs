//! Residual vector quantization: each codebook takes what those before it left over.
//!
//! Zeghidour et al., "SoundStream: An End-to-End Neural Audio Codec", 2021, algorithm 1 and section
//! III-C. Kept as [vectors](RvqTokens::Vectors) its tokens are the quantized latents of a latent diffusion model,
//! scaled to about unit size (Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022,
//! section 3.1 and appendix G).

use super::codebook::{Codebook, Following};
use super::snap::Sums;
use super::{Quantizer, RvqTokens, other, squared_gap, straight_through, to_codes, to_ints};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{Init, Quantized, Result, RngKey, RngStream, TokenKind, TokenValues, Tokens};

/// `Q` codebooks of `K` vectors, coarse to fine. The first ones alone stand for the whole: tokens of
/// fewer levels decode too.
#[derive(Module, Debug)]
pub struct Rvq {
    levels: Vec<Codebook>,
    #[module(skip)]
    entries: usize,
    #[module(skip)]
    channels: usize,
    #[module(skip)]
    dropout: f64,
    #[module(skip)]
    kept: RvqTokens,
}

impl Rvq {
    /// `levels` codebooks that the first batch starts. In training each example goes with probability
    /// `dropout` through a random number of them, 1 to all alike, so that every number of levels is
    /// learned.
    pub fn new([levels, entries, channels]: [usize; 3], following: Following, dropout: f64, init: &Init) -> Self {
        let book = |level| Codebook::new(entries, channels, following, &init.part("levels").part(level));
        Self { levels: (0..levels).map(book).collect(), entries, channels, dropout, kept: RvqTokens::Codes }
    }

    /// The same with its codes kept as these.
    pub fn keeping(self, kept: RvqTokens) -> Self {
        Self { kept, ..self }
    }

    /// What its codes stand for.
    fn sums(&self) -> Sums {
        Sums::new(self.levels.iter().map(|book| to_vec(book.entries())).collect(), self.channels)
    }

    /// How many levels each example goes through.
    fn kept(&self, examples: usize, key: RngKey) -> Vec<usize> {
        let keep = |example| {
            let mut rng = key.sample(example as u64).stream(RngStream::Levels);
            match rng.chance(self.dropout as f32) {
                true => 1 + rng.below(self.levels.len()),
                false => self.levels.len(),
            }
        };
        (0..examples).map(keep).collect()
    }
}

impl Quantizer for Rvq {
    fn kind(&self) -> TokenKind {
        match self.kept {
            RvqTokens::Codes => TokenKind::residual(self.levels.len(), self.entries),
            RvqTokens::Vectors => TokenKind::Vectors { channels: self.channels },
        }
    }

    fn forward(&self, moments: Tensor<2>, examples: usize, key: RngKey) -> Quantized {
        let [n, _] = moments.dims();
        let kept = self.kept(examples, key);
        let mut vectors = Tensor::zeros(moments.shape(), &moments.device().inner());
        let mut commitment = Tensor::zeros([1], &moments.device().inner());
        let mut codes = Vec::new();
        for (level, book) in self.levels.iter().enumerate() {
            let residual = moments.clone() - vectors.clone();
            let found = book.nearest(residual.clone());
            let entries = book.look_up(found.clone());
            // 1 for the latents of the examples that go through this level.
            let goes = kept.iter().flat_map(|&kept| std::iter::repeat_n(i64::from(kept > level), n / examples));
            let goes = TensorData::new(goes.collect::<Vec<i64>>(), [n, 1]);
            let goes = Tensor::<2, Int>::from_data(goes, &entries.device());
            commitment = commitment + (squared_gap(residual, entries.clone()) * goes.clone().float()).mean();
            vectors = vectors + entries * goes.clone().float();
            codes.push((found.unsqueeze_dim::<2>(1) + 1) * goes - 1);
        }
        Quantized {
            vectors: straight_through(moments.clone(), vectors),
            latents: moments,
            log_variance: None,
            codes: Some(Tensor::cat(codes, 1)),
            commitment: Some(commitment),
            bits: None,
        }
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        let mut residual = latents.inner();
        let mut codes = Vec::new();
        for book in &self.levels {
            let found = book.nearest(residual.clone());
            residual = residual - book.look_up(found.clone());
            codes.push(found.unsqueeze_dim::<2>(1));
        }
        let codes = to_codes(Tensor::cat(codes, 1));
        match self.kept {
            RvqTokens::Codes => Tokens::levels(grid, self.levels.len(), self.entries, codes),
            RvqTokens::Vectors => {
                let sums = self.sums();
                let scale = self.levels[0].size();
                let vectors = sums.of(&codes, self.levels.len()).into_iter().map(|value| value / scale);
                Tokens::vectors(grid, self.channels, vectors.collect())
            }
        }
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        let sums = self.sums();
        match (self.kept, tokens.values()) {
            (RvqTokens::Codes, TokenValues::Codes { levels, entries, codes })
                if *levels <= self.levels.len() && *entries == self.entries =>
            {
                Ok(sums.of(codes, *levels))
            }
            (RvqTokens::Vectors, TokenValues::Vectors { channels, values }) if *channels == self.channels => {
                let scale = self.levels[0].size();
                let snap = |vector: &[f32]| sums.nearest(&vector.iter().map(|value| value * scale).collect::<Vec<_>>());
                let codes: Vec<u32> = values.chunks(self.channels).flat_map(snap).collect();
                Ok(sums.of(&codes, self.levels.len()))
            }
            _ => Err(other(self.kind(), tokens)),
        }
    }

    fn update_ema(&mut self, made: &Quantized, key: RngKey) {
        let Some(codes) = &made.codes else { return };
        let mut residual = made.latents.clone().inner();
        let [n, channels] = residual.dims();
        for (level, book) in self.levels.iter_mut().enumerate() {
            let rng = &mut key.sample(level as u64).stream(RngStream::Codebook);
            if !book.started() {
                // All latents start a level, also those of examples that left it out; the levels below
                // it start from what the fresh entries leave over.
                book.start(residual.clone(), rng);
                let entries = book.look_up(book.nearest(residual.clone()));
                residual = residual - entries;
                continue;
            }
            let codes = codes.clone().slice_dim(1, level..level + 1);
            let found = to_ints(codes.clone());
            let rows: Vec<usize> = (0..n).filter(|&row| found[row] >= 0).collect();
            let used: Vec<usize> = rows.iter().map(|&row| found[row] as usize).collect();
            let values = to_vec(residual.clone());
            let latents: Vec<f32> =
                rows.iter().flat_map(|&row| &values[row * channels..][..channels]).copied().collect();
            // Before the entries move: what this level left over is what it left over in `made`.
            let entries = book.look_up(codes.clone().clamp_min(0).squeeze_dim(1));
            residual = residual - entries * codes.greater_equal_elem(0).float();
            book.update_ema(&latents, &used, rng);
        }
    }
}
