//! From a tokenizer of single frames to one of clips.

use super::Magvit2Config;
use burn::tensor::Device;
use musiva_core::parameters::Weight;
use musiva_core::{Error, ErrorKind, Init, Parameters, Result, Weights};

/// Central inflation of kernels from two dimensions to three (Carreira and Zisserman 2017; MAGVIT, section 3.1): zeros but
/// at one moment. Of a causal kernel that is its last, the present frame (MAGVIT-v2, section 3.2). What makes several
/// frames of one repeats the one. So each frame of a clip is treated as an image was, and time is there to be learned.
///
/// # Errors
/// Where `image` are not the weights of this configuration but for kernels of one frame and no stride over time.
pub fn inflated(config: &Magvit2Config, mut image: Weights) -> Result<Weights> {
    let mut video = Weights::new();
    let mut wrong = Vec::new();
    config.network(&Init::new(0, &Device::flex())).each(&mut |name, shape, _| {
        let one = image.remove(name).and_then(|one| widened(&one, shape, places(config, name)));
        match one {
            Some(weight) => drop(video.insert(name.to_owned(), weight)),
            None => wrong.push(name.to_owned()),
        }
    });
    wrong.extend(image.into_keys());
    match wrong.first() {
        None => Ok(video),
        Some(first) => {
            let message = format!("`{first}` does not fit, one of {} tensors that do not", wrong.len());
            Err(Error::new(ErrorKind::Weights, "train.start", message).hint(
                "name weights of the same recipe with `frames = 1` in all stages and no stride over frames in any `down`",
            ))
        }
    }
}

/// Rows and columns that the convolution `name` makes of one place, where it makes several: depth to space.
fn places(config: &Magvit2Config, name: &str) -> usize {
    let of_stage = |stage: &str| {
        let stage: usize =
            stage.strip_suffix(".up.conv.weight").or(stage.strip_suffix(".up.conv.bias"))?.parse().ok()?;
        let [_, h, w] = config.stages.iter().rev().nth(stage)?.down;
        Some(h * w)
    };
    name.strip_prefix("decoder.stages.").and_then(of_stage).unwrap_or(1)
}

/// `one` in a larger `shape`: rows repeated in groups of `places`, kernels of one frame at the last of several.
fn widened(one: &Weight, shape: &[usize], places: usize) -> Option<Weight> {
    if one.shape == shape {
        return Some(one.clone());
    }
    let (rows, from) = (*shape.first()?, *one.shape.first()?);
    let times = rows.checked_div(from).filter(|times| times * from == rows)?;
    let source = |row: usize| row / (times * places) * places + row % places;
    let (frames, inner, area) = match (shape, &one.shape[..]) {
        ([_], [_]) => (1, 1, 1),
        ([_, input, frames, h, w], [_, before, 1, y, x]) if [input, h, w] == [before, y, x] => (*frames, *input, h * w),
        _ => return None,
    };
    let mut values = Vec::with_capacity(shape.iter().product());
    for row in (0..rows).map(source) {
        for kernel in one.values[row * inner * area..][..inner * area].chunks(area) {
            values.resize(values.len() + (frames - 1) * area, 0.0);
            values.extend_from_slice(kernel);
        }
    }
    Some(Weight { shape: shape.to_vec(), values })
}

#[cfg(test)]
mod tests {
    use super::super::to_tensor;
    use super::*;
    use crate::stream_state::StreamState;
    use burn::tensor::Tensor;
    use musiva_core::parameters::to_vec;
    use musiva_core::{Clip, Rate, RngKey, RngStream};
    use serde_json::json;

    /// A tokenizer of clips, or with `time = 1` of single frames.
    fn config(time: usize, kernel: usize) -> Magvit2Config {
        let stage = |channels: usize, blocks: usize, down: [usize; 3]| json!({ "channels": channels, "blocks": blocks, "frames": kernel, "down": down });
        let stages =
            [stage(5, 1, [1, 2, 2]), stage(7, 1, [time, 2, 1]), stage(6, 1, [time, 1, 1]), stage(8, 2, [1; 3])];
        let quantizer = json!({ "kind": "kl", "channels": 3 });
        serde_json::from_value(json!({ "patch": 2, "stages": stages, "quantizer": quantizer })).unwrap()
    }

    fn again(config: &Magvit2Config, weights: &Weights, clip: Tensor<5>) -> Vec<f32> {
        let mut network = config.network(&Init::new(0, &Device::flex()));
        network.load(weights, "these").unwrap();
        let latents = network.encoder.forward(clip, &mut StreamState::none()).slice_dim(4, 0..3);
        to_vec(network.decoder.forward(latents, &mut StreamState::none()))
    }

    #[test]
    fn a_still_clip_becomes_the_image_it_is_of() {
        let (image, video) = (config(1, 1), config(2, 3));
        let mut weights = image.network(&Init::new(5, &Device::flex())).weights();
        // Biases are zeros at the start: not these.
        let mut stream = RngKey::new(6).stream(RngStream::Noise);
        weights.values_mut().for_each(|w| w.values.iter_mut().for_each(|w| *w += 0.1 * stream.normals(1)[0]));
        let pixels = (0..12 * 20 * 3).map(|_| stream.bits() as u8).collect();
        let frame = to_tensor(&[Clip::new([1, 12, 20], Rate::whole(8), pixels).unwrap()], &Device::flex());
        let one = again(&image, &weights, frame.clone());
        let all = again(&video, &inflated(&video, weights).unwrap(), frame.repeat_dim(1, 9));
        assert_eq!(all.len(), 9 * one.len());
        for made in all.chunks(one.len()) {
            let far = made.iter().zip(&one).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4, "{far}");
        }
    }

    #[test]
    fn weights_of_another_tokenizer_are_refused() {
        let video = config(2, 3);
        let other = Magvit2Config { patch: 4, ..config(1, 1) }.network(&Init::new(5, &Device::flex())).weights();
        let error = inflated(&video, other).unwrap_err().to_string();
        assert!(error.contains("does not fit") && error.contains("`frames = 1`"), "{error}");
        let mut more = config(1, 1).network(&Init::new(5, &Device::flex())).weights();
        more.insert("extra".into(), Weight { shape: vec![1], values: vec![0.0] });
        assert!(inflated(&video, more).unwrap_err().to_string().contains("`extra`"));
    }
}
