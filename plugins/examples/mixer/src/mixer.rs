//! MLP-Mixer (Tolstikhin et al. 2021, section 2) as a diffusion model over token vectors: blocks that mix the tokens of
//! a channel by one matrix, then the channels of a token by a small network.
//!
//! What it reads besides: the prompt, by the sum of its words' vectors (a vector for each word at each place), and the
//! time, by sines and cosines.

use crate::matrix::*;
use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{
    Backbone, BackboneInput, BackboneSpec, Canvas, Content, Context, Error, InitRule, Parameter, Plugin, Result, Vjp,
};
use std::ops::Range;

/// Sines and cosines that a time is told by.
const TIMES: usize = 16;

/// What a recipe says of it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
pub struct Config {
    /// Width `D`.
    #[schemars(range(min = 1, max = 4096))]
    pub width: usize,
    /// Width of the network of a token.
    #[schemars(range(min = 1, max = 16384))]
    pub hidden: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 64))]
    pub depth: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { width: 64, hidden: 128, depth: 4 }
    }
}

/// The backbone.
pub struct Mixer(Config);

impl Plugin for Mixer {
    const ID: &'static str = "org.musiva.mixer";
    const VERSION: &'static str = "0.1.0";
    const SUMMARY: &'static str = "an MLP-Mixer over noisy token vectors";
    const LICENSE: &'static str = "MIT OR Apache-2.0";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

/// Where the parameters of a block lie in theta.
struct Block {
    norm1: Range<usize>,
    tokens: Range<usize>,
    norm2: Range<usize>,
    up: Range<usize>,
    up_bias: Range<usize>,
    down: Range<usize>,
}

/// Where all parameters lie in theta.
struct Layout {
    input: Range<usize>,
    places: Range<usize>,
    words: Range<usize>,
    time: Range<usize>,
    blocks: Vec<Block>,
    norm: Range<usize>,
    output: Range<usize>,
    bias: Range<usize>,
}

impl Mixer {
    /// Names, shapes and starts of the parameters, and where each lies.
    fn layout(&self, canvas: &Canvas) -> Result<(Vec<Parameter>, Layout)> {
        let c = canvas.channels.ok_or_else(|| Error::input("it reads vectors, this tokenizer makes none"))?;
        let Config { width: d, hidden: h, depth } = self.0;
        let l = canvas.length();
        let (mut all, mut end) = (Vec::new(), 0);
        let mut add = |name: String, shape: &[usize], init: InitRule| {
            let start = end;
            end += shape.iter().product::<usize>();
            all.push(Parameter { name, shape: shape.to_vec(), init });
            start..end
        };
        let normal = |inputs: usize| InitRule::Normal((inputs as f32).powf(-0.5));
        let layout = Layout {
            input: add("input".into(), &[c, d], normal(c)),
            places: add("places".into(), &[l, d], InitRule::Normal(0.02)),
            words: add("words".into(), &[canvas.prompt, canvas.words, d], InitRule::Normal(0.02)),
            time: add("time".into(), &[TIMES, d], normal(TIMES)),
            blocks: (0..depth)
                .map(|i| Block {
                    norm1: add(format!("blocks.{i}.norm1"), &[d], InitRule::Ones),
                    tokens: add(format!("blocks.{i}.tokens"), &[l, l], InitRule::Normal(0.5 / (l as f32).sqrt())),
                    norm2: add(format!("blocks.{i}.norm2"), &[d], InitRule::Ones),
                    up: add(format!("blocks.{i}.up"), &[d, h], normal(d)),
                    up_bias: add(format!("blocks.{i}.up_bias"), &[h], InitRule::Zeros),
                    down: add(format!("blocks.{i}.down"), &[h, d], InitRule::Normal(0.5 / (h as f32).sqrt())),
                })
                .collect(),
            norm: add("norm".into(), &[d], InitRule::Ones),
            output: add("output".into(), &[d, c], InitRule::Normal(0.02)),
            bias: add("bias".into(), &[c], InitRule::Zeros),
        };
        Ok((all, layout))
    }

    /// One sample's way through the blocks.
    fn run(&self, sample: &Sample, layout: &Layout, theta: &[f32]) -> Trace {
        let Config { width: d, hidden: h, .. } = self.0;
        let l = sample.x.len() / sample.channels;
        let mut x = theta[layout.places.clone()].to_vec();
        add_product(&mut x, sample.x, &theta[layout.input.clone()], sample.channels, d);
        let mut prompt = vec![0.0; d];
        for range in sample.words(d) {
            add_row(&mut prompt, &theta[layout.words.clone()][range]);
        }
        add_row(&mut x, &prompt);
        add_product(&mut x, &sample.times, &theta[layout.time.clone()], TIMES, d);
        let mut blocks = Vec::new();
        for block in &layout.blocks {
            let before = x.clone();
            let normed = rms_norm(&x, &theta[block.norm1.clone()]);
            // Tokens take the place of rows: [l, l] · [l, d].
            add_product(&mut x, &theta[block.tokens.clone()], &normed, l, d);
            let between = x.clone();
            let inner = rms_norm(&x, &theta[block.norm2.clone()]);
            let mut up = vec![0.0; l * h];
            add_row(&mut up, &theta[block.up_bias.clone()]);
            add_product(&mut up, &inner, &theta[block.up.clone()], d, h);
            let active: Vec<f32> = up.iter().map(|&x| silu(x)).collect();
            add_product(&mut x, &active, &theta[block.down.clone()], h, d);
            blocks.push(Kept { before, normed, between, inner, up, active });
        }
        Trace { blocks, last: x }
    }
}

/// What the backward pass of a block wants again.
struct Kept {
    before: Vec<f32>,
    normed: Vec<f32>,
    between: Vec<f32>,
    inner: Vec<f32>,
    up: Vec<f32>,
    active: Vec<f32>,
}

/// A forward pass.
struct Trace {
    blocks: Vec<Kept>,
    last: Vec<f32>,
}

/// One sample of a batch.
struct Sample<'a> {
    channels: usize,
    words: usize,
    x: &'a [f32],
    prompt: &'a [i64],
    /// `[L, TIMES]`.
    times: Vec<f32>,
}

impl<'a> Sample<'a> {
    fn all(input: &BackboneInput<'a>) -> Result<Vec<Self>> {
        let (Content::Field { values, times, at, .. }, Some(channels)) = (input.content, input.canvas.channels) else {
            return Err(Error::input("it reads vectors"));
        };
        let (batch, length) = (input.batch, input.canvas.length());
        let some = times.len() / batch.max(1);
        if input.prompt.iter().any(|&word| word < 0 || word as usize >= input.canvas.words)
            || at.iter().any(|&at| at < 0 || at as usize >= some)
        {
            return Err(Error::input("a word or a time is not among those that there are"));
        }
        let sample = |b: usize| Sample {
            channels,
            words: input.canvas.words,
            x: &values[b * length * channels..(b + 1) * length * channels],
            prompt: &input.prompt[b * input.canvas.prompt..(b + 1) * input.canvas.prompt],
            times: at.iter().flat_map(|&at| features(times[b * some + at as usize])).collect(),
        };
        Ok((0..batch).map(sample).collect())
    }

    /// Where the vectors of the prompt's words lie.
    fn words(&self, width: usize) -> impl Iterator<Item = Range<usize>> {
        self.prompt.iter().enumerate().map(move |(place, &word)| {
            let start = (place * self.words + word as usize) * width;
            start..start + width
        })
    }
}

fn features(time: f32) -> [f32; TIMES] {
    let half = TIMES / 2;
    std::array::from_fn(|i| {
        let angle = time * std::f32::consts::PI * (1 << (i % half)) as f32 / 2.0;
        if i < half { angle.sin() } else { angle.cos() }
    })
}

impl Backbone for Mixer {
    fn spec(&self, canvas: &Canvas) -> Result<BackboneSpec> {
        self.layout(canvas).map(|_| BackboneSpec::Field { self_conditioned: false })
    }

    fn parameters(&self, canvas: &Canvas) -> Result<Vec<Parameter>> {
        self.layout(canvas).map(|(parameters, _)| parameters)
    }

    fn forward(&self, cx: &mut Context, input: &BackboneInput) -> Result<()> {
        let (_, layout) = self.layout(&input.canvas)?;
        let (samples, theta, d) = (Sample::all(input)?, input.theta, self.0.width);
        let channels = input.canvas.channels.unwrap_or(0);
        let out = cx.output::<f32>(0, &[input.batch, input.canvas.length(), channels])?;
        for (sample, out) in samples.iter().zip(out.chunks_exact_mut(input.canvas.length() * channels)) {
            cx.go_on()?;
            let last = self.run(sample, &layout, theta).last;
            add_row(out, &theta[layout.bias.clone()]);
            let normed = rms_norm(&last, &theta[layout.norm.clone()]);
            add_product(out, &normed, &theta[layout.output.clone()], d, channels);
        }
        Ok(())
    }
}

impl Vjp for Mixer {
    fn vjp(&self, cx: &mut Context, input: &BackboneInput, dy: &[f32]) -> Result<()> {
        let (_, layout) = self.layout(&input.canvas)?;
        let (samples, theta) = (Sample::all(input)?, input.theta);
        let Config { width: d, hidden: h, .. } = self.0;
        let (c, l) = (input.canvas.channels.unwrap_or(0), input.canvas.length());
        let grad = cx.output::<f32>(0, &[theta.len()])?;
        let by_x = cx.output::<f32>(1, &[input.batch, l, c])?;
        for ((sample, dy), by_x) in samples.iter().zip(dy.chunks_exact(l * c)).zip(by_x.chunks_exact_mut(l * c)) {
            cx.go_on()?;
            let trace = self.run(sample, &layout, theta);
            let (norm, output) = (&theta[layout.norm.clone()], &theta[layout.output.clone()]);
            add_sum(&mut grad[layout.bias.clone()], dy);
            add_by_weight(&mut grad[layout.output.clone()], &rms_norm(&trace.last, norm), dy, d, c);
            let mut dnormed = vec![0.0; l * d];
            add_by_input(&mut dnormed, dy, output, d, c);
            let mut dx = vec![0.0; l * d];
            add_rms_norm_gradients(&mut dx, &mut grad[layout.norm.clone()], &trace.last, norm, &dnormed);
            for (block, kept) in layout.blocks.iter().zip(&trace.blocks).rev() {
                add_by_weight(&mut grad[block.down.clone()], &kept.active, &dx, h, d);
                let mut dup = vec![0.0; l * h];
                add_by_input(&mut dup, &dx, &theta[block.down.clone()], h, d);
                dup.iter_mut().zip(&kept.up).for_each(|(dup, &up)| *dup *= silu_slope(up));
                add_sum(&mut grad[block.up_bias.clone()], &dup);
                add_by_weight(&mut grad[block.up.clone()], &kept.inner, &dup, d, h);
                let mut dinner = vec![0.0; l * d];
                add_by_input(&mut dinner, &dup, &theta[block.up.clone()], d, h);
                let weight = &theta[block.norm2.clone()];
                add_rms_norm_gradients(&mut dx, &mut grad[block.norm2.clone()], &kept.between, weight, &dinner);
                // x += tokens · normed: by the matrix dx · normedᵀ, by what it mixes tokensᵀ · dx.
                add_by_input(&mut grad[block.tokens.clone()], &dx, &kept.normed, l, d);
                let mut dnormed = vec![0.0; l * d];
                add_by_weight(&mut dnormed, &theta[block.tokens.clone()], &dx, l, d);
                let weight = &theta[block.norm1.clone()];
                add_rms_norm_gradients(&mut dx, &mut grad[block.norm1.clone()], &kept.before, weight, &dnormed);
            }
            add_row(&mut grad[layout.places.clone()], &dx);
            add_by_weight(&mut grad[layout.input.clone()], sample.x, &dx, c, d);
            add_by_input(by_x, &dx, &theta[layout.input.clone()], c, d);
            add_by_weight(&mut grad[layout.time.clone()], &sample.times, &dx, TIMES, d);
            let mut prompt = vec![0.0; d];
            add_sum(&mut prompt, &dx);
            for range in sample.words(d) {
                add_row(&mut grad[layout.words.clone()][range], &prompt);
            }
        }
        Ok(())
    }
}
