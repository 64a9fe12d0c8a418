//! LPIPS as a measure of clips: `[[metric]] kind = "lpips"`.

use super::perceptual::FeatureNet;
use crate::magvit2::to_tensor;
use burn::tensor::Device;
use musiva_core::parameters::to_vec;
use musiva_core::{Clip, ConfigError, Error, ErrorKind, Metric, MetricConfig, MetricSample, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// VGG16 keeps some thousand numbers a pixel: frames are looked at few at a time.
const AT_ONCE: usize = 1 << 18;

/// What a recipe says of a `kind = "lpips"` metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LpipsConfig {
    /// LPIPS-VGG16's weights, a file that `tools/lpips_to_safetensors.py` writes.
    pub path: PathBuf,
}

impl MetricConfig for LpipsConfig {
    fn errors(&self) -> Vec<ConfigError> {
        match self.path.as_os_str().is_empty() {
            true => vec![ConfigError::new(
                "path",
                "LPIPS needs its weights",
                "name the file that tools/lpips_to_safetensors.py wrote",
            )],
            false => Vec::new(),
        }
    }

    fn build(&self) -> Result<Box<dyn Metric>> {
        let net = FeatureNet::lpips_vgg16(&self.path, &Device::flex())?;
        Ok(Box::new(Lpips { net, sum: 0.0, clips: 0 }))
    }
}

/// Mean over clips of the mean over their frames.
struct Lpips {
    net: FeatureNet,
    sum: f64,
    clips: usize,
}

impl Metric for Lpips {
    fn update(&mut self, sample: MetricSample) -> Result<()> {
        let (Some(made), Some(reference)) = (&sample.made.clip, &sample.reference.clip) else { return Ok(()) };
        let [frames, height, width] = reference.shape();
        if made.shape() != reference.shape() || height.min(width) < FeatureNet::SMALLEST {
            let message = format!("{made:?} and {reference:?} cannot be compared by LPIPS");
            return Err(Error::new(ErrorKind::Media, "metric", message)
                .hint(format!("compare clips of one shape, of at least {} rows and columns", FeatureNet::SMALLEST)));
        }
        let piece = (AT_ONCE / (height * width)).max(1);
        let mut sum = 0.0;
        for start in (0..frames).step_by(piece) {
            let frames = start..frames.min(start + piece);
            let pictures = |clip: &Clip| to_tensor(&[clip.slice(frames.clone())], &Device::flex()).squeeze_dim(0);
            let distances = to_vec(self.net.distance(pictures(made), pictures(reference)));
            sum += distances.into_iter().map(f64::from).sum::<f64>();
        }
        self.sum += sum / frames as f64;
        self.clips += 1;
        Ok(())
    }

    fn result(&mut self) -> Result<BTreeMap<String, f64>> {
        let mean = (self.clips > 0).then(|| ("lpips".to_owned(), self.sum / self.clips as f64));
        Ok(mean.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{Output, Rate};

    #[test]
    fn a_recipe_names_its_weights() {
        let paths = |path: &str| {
            let errors = LpipsConfig { path: path.into() }.errors();
            errors.into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        assert_eq!((paths(""), paths("vgg16.safetensors")), (vec!["path".to_owned()], vec![]));
    }

    #[test]
    fn clips_are_measured_frame_by_frame_and_one_by_one() {
        let clip = |seed: usize, frames: usize| {
            let pixels = (0..frames * 17 * 19 * 3).map(|i| ((i * seed) % 251) as u8).collect();
            Clip::new([frames, 17, 19], Rate::whole(8), pixels).unwrap()
        };
        let update = |metric: &mut Lpips, made: &Clip, reference: &Clip| {
            let [made, reference] = [made, reference].map(|clip| Output::from(clip.clone()));
            metric.update(MetricSample { made: &made, given: &Output::default(), reference: &reference, caption: "" })
        };
        let new = || Lpips { net: FeatureNet::random(&Device::flex()), sum: 0.0, clips: 0 };
        let alone = |made: &Clip, reference: &Clip| {
            let mut one = new();
            update(&mut one, made, reference).unwrap();
            one.result().unwrap()["lpips"]
        };
        let (a, b, c) = (clip(7, 3), clip(11, 3), clip(13, 3));
        let mut both = new();
        update(&mut both, &a, &b).unwrap();
        update(&mut both, &a, &c).unwrap();
        let mean = (alone(&a, &b) + alone(&a, &c)) / 2.0;
        assert!((both.result().unwrap()["lpips"] - mean).abs() < 1e-12 && mean > 0.0);
        let frames: f64 = (0..3).map(|t| alone(&a.slice(t..t + 1), &b.slice(t..t + 1))).sum();
        assert!((frames / 3.0 - alone(&a, &b)).abs() < 1e-6);
        assert!(update(&mut new(), &a, &clip(7, 2)).unwrap_err().to_string().contains("cannot be compared"));
        let mut none = new();
        let (nothing, real) = (Output::default(), Output::from(a));
        none.update(MetricSample { made: &nothing, given: &real, reference: &real, caption: "" }).unwrap();
        assert!(none.result().unwrap().is_empty(), "a clip that was given has no LPIPS");
    }
}
