//! A twin of the example's mixer (`plugins/examples/mixer`) as a built-in: the same mathematics by Burn's own operations
//! and gradients, the same names, so the same initial weights.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, Prediction, TokenBatch};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Init, Parameters, Result, Session,
    TokenKind, WeightInit,
};
use serde::Deserialize;
use std::sync::Arc;

/// Sines and cosines that a time is told by.
const TIMES: usize = 16;

/// What a recipe says of it, with the keys of the plugin.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct TwinConfig {
    pub width: usize,
    pub hidden: usize,
    pub depth: usize,
}

#[derive(Module, Debug)]
struct Block {
    norm1: Param<Tensor<1>>,
    tokens: Param<Tensor<2>>,
    norm2: Param<Tensor<1>>,
    up: Param<Tensor<2>>,
    up_bias: Param<Tensor<1>>,
    down: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Network {
    input: Param<Tensor<2>>,
    places: Param<Tensor<2>>,
    words: Param<Tensor<3>>,
    time: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: Param<Tensor<1>>,
    output: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl TwinConfig {
    fn network(&self, canvas: &CanvasShape, init: &Init) -> Network {
        let Self { width: d, hidden: h, depth } = *self;
        let [clip, text] = ["video", "text"].map(|name| canvas.track(name).unwrap().tokens);
        let (l, c) = (clip.length(), clip.kind.channels().unwrap());
        let TokenKind::Codes { entries: words, .. } = text.kind else { panic!("words") };
        let deviation = |inputs: usize| (inputs as f32).powf(-0.5);
        let block = |i: usize| {
            let part = |name: &str| init.part(format!("blocks.{i}.{name}"));
            Block {
                norm1: part("norm1").ones([d]),
                tokens: part("tokens").normal([l, l], 0.5 / (l as f32).sqrt()),
                norm2: part("norm2").ones([d]),
                up: part("up").normal([d, h], deviation(d)),
                up_bias: part("up_bias").zeros([h]),
                down: part("down").normal([h, d], 0.5 / (h as f32).sqrt()),
            }
        };
        Network {
            input: init.part("input").normal([c, d], deviation(c)),
            places: init.part("places").normal([l, d], 0.02),
            words: init.part("words").normal([text.length(), words, d], 0.02),
            time: init.part("time").normal([TIMES, d], deviation(TIMES)),
            blocks: (0..depth).map(block).collect(),
            norm: init.part("norm").ones([d]),
            output: init.part("output").normal([d, c], 0.02),
            bias: init.part("bias").zeros([c]),
        }
    }
}

impl BackboneConfig for TwinConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        let channels = canvas.channels().ok_or_else(|| ConfigError::new("", "it reads vectors", ""))?;
        Ok(BackboneSpec::Diffusion { channels, self_conditioned: false })
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        self.network(canvas, &Init::new(0, &Device::flex())).count()
    }

    fn cost(&self, _: &CanvasShape) -> Cost {
        Cost::default()
    }

    fn build(&self, canvas: &Arc<CanvasShape>, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        let mut network = self.network(canvas, &weight_init.init(device));
        weight_init.load(&mut network)?;
        Ok(Box::new(Twin { network, canvas: canvas.clone(), device: device.clone() }))
    }
}

/// The twin with its parameters.
struct Twin {
    network: Network,
    canvas: Arc<CanvasShape>,
    device: Device,
}

impl Twin {
    /// `[B, P] -> [B, 1, D]`: the sum of the words' vectors, a table of them at each place.
    fn prompt(&self, prompt: &Tensor<2, Int>) -> Tensor<3> {
        let [batch, length] = prompt.dims();
        let [_, words, width] = self.network.words.dims();
        let starts = (0..length).map(|place| (place * words) as i64).collect::<Vec<_>>();
        let starts = Tensor::<2, Int>::from_data(TensorData::new(starts, [1, length]), &prompt.device());
        let rows = (prompt.clone() + starts).reshape([batch * length]);
        let table = self.network.words.val().reshape([length * words, width]);
        table.select(0, rows).reshape([batch, length, width]).sum_dim(1)
    }
}

/// `[B, L, TIMES]` of the times `[B, S]` and of which each position stands at.
fn features(times: &Tensor<2>, at: &[usize]) -> Tensor<3> {
    let ([batch, some], half) = (times.dims(), TIMES / 2);
    let all = to_vec(times.clone());
    let feature = |time: f32, i: usize| {
        let angle = time * std::f32::consts::PI * (1 << (i % half)) as f32 / 2.0;
        if i < half { angle.sin() } else { angle.cos() }
    };
    let mut values = Vec::new();
    for b in 0..batch {
        for &at in at {
            values.extend((0..TIMES).map(|i| feature(all[b * some + at], i)));
        }
    }
    Tensor::from_data(TensorData::new(values, [batch, at.len(), TIMES]), &times.device())
}

fn norm(x: Tensor<3>, weight: &Param<Tensor<1>>) -> Tensor<3> {
    let mean = (x.clone() * x.clone()).mean_dim(2);
    x / (mean + 1e-6).sqrt() * weight.val().reshape([1, 1, -1])
}

fn wide(matrix: &Param<Tensor<2>>) -> Tensor<3> {
    matrix.val().unsqueeze()
}

impl Backbone for Twin {
    fn spec(&self) -> BackboneSpec {
        let channels = self.canvas.channels().unwrap();
        BackboneSpec::Diffusion { channels, self_conditioned: false }
    }

    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Result<Prediction> {
        let ModelInput::NoisyVectors(field) = &batch.input else { panic!("a field") };
        let text = self.canvas.index("text").unwrap();
        let Some(TokenBatch::Codes(prompt)) = batch.conditioning.of_track(text) else { panic!("words") };
        let prompt = prompt.clone().squeeze_dim(2);
        let net = &self.network;
        let mut x = field.values.clone().matmul(wide(&net.input))
            + wide(&net.places)
            + self.prompt(&prompt)
            + features(&field.times, &field.at).matmul(wide(&net.time));
        for block in &net.blocks {
            // Tokens take the place of rows: [L, L] · [L, D].
            x = x.clone() + wide(&block.tokens).matmul(norm(x, &block.norm1));
            let up = norm(x.clone(), &block.norm2).matmul(wide(&block.up)) + block.up_bias.val().reshape([1, 1, -1]);
            x = x + activation::silu(up).matmul(wide(&block.down));
        }
        let y = norm(x, &net.norm).matmul(wide(&net.output)) + net.bias.val().reshape([1, 1, -1]);
        Ok(Prediction::Vector(y))
    }

    fn session(&self, _: Conditioning) -> Result<Option<Box<dyn Session>>> {
        Ok(None)
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.network
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.network
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        let network = self.network.valid();
        Box::new(Self { network, canvas: self.canvas.clone(), device: self.device.clone().inner() })
    }
}
