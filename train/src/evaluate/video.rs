//! How well a video tokenizer makes held-out clips again.

use super::baselines::{Baseline, Baselines};
use super::{Measured, Metrics, Progress, spread};
use crate::measure::{flicker, psnr, ssim};
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Media, Result, RngKey, TokenKind, Tokens};
use musiva_data::world::{PartialAttributes, Scores, Split, VideoOracle, score};
use musiva_data::{Dataset, World};
use musiva_tokenizers::quantizers::CodeUse;
use serde::Serialize;

/// How well a tokenizer makes held-out clips again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reconstructed {
    /// How many clips.
    pub n: usize,
    /// Bits of the tokens a pixel; `None` of continuous tokens.
    pub bits_per_pixel: Option<f64>,
    /// Means over the clips.
    #[serde(flatten)]
    pub figures: Figures,
    /// The part of the codebook's entries that occurred, 0 to 1; `None` of continuous tokens.
    pub codebook_use: Option<f64>,
    /// How many entries would, used evenly, have the entropy of the codes that occurred, for each level; empty of
    /// continuous tokens.
    pub perplexity: Vec<f64>,
    /// The same clips with the same bits by other ways; empty where they were not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<Baseline>,
    /// What the oracle still sees in the reconstructions; `None` where there is no oracle.
    pub seen: Option<Scores>,
    /// The part of the reconstructions with as many bounces as the scene has.
    pub bounces: Option<f64>,
}

/// How like clips are to what they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Peak signal-to-noise ratio in dB.
    pub psnr: f64,
    /// Structural similarity, 1 for equal clips.
    pub ssim: f64,
    /// How unsteady the error is from frame to frame, in codes of 255: [`flicker`].
    pub flicker: f64,
}

impl Figures {
    /// Of `made` against what it should be, a clip of the same shape.
    ///
    /// # Errors
    /// Where the shapes are unlike.
    pub fn of(wanted: &Clip, made: &Clip) -> Result<Self> {
        Ok(Self { psnr: psnr(wanted, made)?, ssim: ssim(wanted, made)?, flicker: flicker(wanted, made)? })
    }
}

/// The mean of figures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    n: usize,
    sum: Figures,
}

impl Mean {
    pub fn add(&mut self, figures: Figures) {
        self.n += 1;
        self.sum.psnr += figures.psnr;
        self.sum.ssim += figures.ssim;
        self.sum.flicker += figures.flicker;
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn mean(&self) -> Figures {
        let n = self.n.max(1) as f64;
        Figures { psnr: self.sum.psnr / n, ssim: self.sum.ssim / n, flicker: self.sum.flicker / n }
    }
}

/// All that is measured of reconstructions.
struct Sums<'a> {
    codec: &'a Codec,
    recipe: &'a Recipe,
    mean: Mean,
    bits_per_pixel: Option<f64>,
    baselines: Option<Baselines>,
    /// `[[metric]]`, of the reconstructions and then of each baseline.
    metrics: Vec<(&'static str, Metrics)>,
    tokens: Vec<Tokens>,
}

impl<'a> Sums<'a> {
    fn new(codec: &'a Codec, recipe: &'a Recipe, baselines: bool) -> Self {
        let baselines = baselines.then(Baselines::new);
        Self {
            codec,
            recipe,
            mean: Mean::default(),
            bits_per_pixel: None,
            baselines,
            metrics: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// The clip made again.
    fn add(&mut self, before: &Clip, caption: &str) -> Result<Clip> {
        let tokens = self.codec.encode(&Media::Clip(before.clone()))?;
        let after = self.codec.clip(&tokens)?;
        self.mean.add(Figures::of(before, &after)?);
        let mut all = vec![("reconstructed", after)];
        if let Some(bits) = bits_of(self.codec.tokenizer().spec().codes, &tokens) {
            self.bits_per_pixel = Some(bits / before.shape().iter().product::<usize>() as f64);
            if let Some(baselines) = &mut self.baselines {
                all.extend(baselines.add(before, bits)?);
            }
        }
        self.tokens.push(tokens);
        for (i, (name, clip)) in all.iter().enumerate() {
            if i == self.metrics.len() {
                self.metrics.push((name, Metrics::new(self.recipe)?));
            }
            self.metrics[i].1.compare(clip, before, caption)?;
        }
        Ok(all.swap_remove(0).1)
    }

    fn results(self) -> Result<(Reconstructed, Vec<Measured>)> {
        let codebook_use = CodeUse::in_use(&self.tokens).map(|(used, codes)| used as f64 / codes as f64);
        let measured = self.metrics.into_iter().map(|(name, metrics)| metrics.results(name));
        let measured = measured.collect::<Result<Vec<_>>>()?.concat();
        let reconstructed = Reconstructed {
            n: self.mean.n(),
            bits_per_pixel: self.bits_per_pixel,
            figures: self.mean.mean(),
            codebook_use,
            perplexity: CodeUse::of_tokens(&self.tokens).iter().map(CodeUse::perplexity).collect(),
            baselines: self.baselines.map(Baselines::rows).unwrap_or_default(),
            seen: None,
            bounces: None,
        };
        Ok((reconstructed, measured))
    }
}

/// What tokens of a kind take when all codes are alike; `None` of vectors.
pub(super) fn bits_of(kind: TokenKind, tokens: &Tokens) -> Option<f64> {
    Some(kind.information()? * tokens.grid().iter().product::<usize>() as f64)
}

/// Test scenes of the world.
pub(super) fn reconstruct_world(
    codec: &Codec,
    world: &World,
    [n, seed]: [u64; 2],
    recipe: &Recipe,
    baselines: bool,
    progress: &mut Progress,
) -> Result<(Reconstructed, Vec<Measured>)> {
    let oracle = VideoOracle::new(world.config());
    let (mut sums, mut scores, mut bounces) = (Sums::new(codec, recipe, baselines), Vec::new(), 0);
    for i in 0..n {
        progress("reconstruct", i as usize, n as usize)?;
        let key = RngKey::new(seed).sample(i);
        let scene = world.scene(key, Split::Test);
        let before = scene.render();
        let reading = oracle.read(&sums.add(&before, &scene.caption(key))?);
        scores.push(score(PartialAttributes::from(scene.attributes).within(before.frames()), &reading));
        bounces += usize::from(reading.bounces == Some(scene.events().len()));
    }
    progress("reconstruct", n as usize, n as usize)?;
    let (seen, bounces) = (Some(scores.into_iter().collect()), Some(bounces as f64 / n.max(1) as f64));
    let (reconstructed, measured) = sums.results()?;
    Ok((Reconstructed { seen, bounces, ..reconstructed }, measured))
}

/// `n` clips, spread over `data`.
pub(super) fn reconstruct_data(
    codec: &Codec,
    data: &dyn Dataset,
    n: u64,
    recipe: &Recipe,
    baselines: bool,
    progress: &mut Progress,
) -> Result<(Reconstructed, Vec<Measured>)> {
    let which = spread(data, n);
    let n = which.len();
    let mut sums = Sums::new(codec, recipe, baselines);
    for (at, i) in which.into_iter().enumerate() {
        progress("reconstruct", at, n)?;
        let sample = data.get(i)?;
        let caption = sample.caption.clone();
        sums.add(&sample.into_clip()?, &caption)?;
    }
    progress("reconstruct", n, n)?;
    sums.results()
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    #[test]
    fn figures_of_many_are_their_means() {
        let figures = |psnr, ssim, flicker| Figures { psnr, ssim, flicker };
        let mut mean = Mean::default();
        assert_eq!((mean.n(), mean.mean()), (0, Figures::default()));
        [figures(20.0, 0.5, 1.0), figures(30.0, 1.0, 3.0), figures(34.0, 0.75, 5.0)]
            .into_iter()
            .for_each(|f| mean.add(f));
        assert_eq!((mean.n(), mean.mean()), (3, figures(28.0, 0.75, 3.0)));
    }

    #[test]
    fn figures_are_each_of_its_own_measure() {
        // A still picture, and one that is 4 too bright in its second frame: a mean square of 8, a change of 4.
        let clip =
            |second: u8| Clip::new([2, 8, 8], Rate::whole(8), [vec![100; 192], vec![second; 192]].concat()).unwrap();
        let found = Figures::of(&clip(100), &clip(104)).unwrap();
        assert!((found.psnr - 10.0 * (255.0f64 * 255.0 / 8.0).log10()).abs() < 1e-9);
        let means = (2.0 * 100.0 * 104.0 + 6.5025) / (100.0 * 100.0 + 104.0 * 104.0 + 6.5025);
        assert!((found.ssim - (1.0 + means) / 2.0).abs() < 1e-9);
        assert!((found.flicker - 4.0).abs() < 1e-12);
    }

    #[test]
    fn tokens_take_the_bits_of_their_codes() {
        let grid = [2, 3, 4];
        let codes = TokenKind::Codes { levels: 1, entries: 1024, bits: None };
        assert_eq!(bits_of(codes, &Tokens::codes(grid, 1024, vec![0; 24]).unwrap()), Some(240.0));
        let levels = TokenKind::residual(3, 32);
        assert_eq!(bits_of(levels, &Tokens::levels(grid, 3, 32, vec![0; 72]).unwrap()), Some(360.0));
        let latents = TokenKind::Vectors { channels: 2 };
        assert_eq!(bits_of(latents, &Tokens::vectors(grid, 2, vec![0.0; 48]).unwrap()), None);
        // Vectors that stand for codes are counted as these.
        assert_eq!(bits_of(levels, &Tokens::vectors(grid, 2, vec![0.0; 48]).unwrap()), Some(360.0));
    }
}
