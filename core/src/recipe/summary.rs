//! What `check` prints: the road with its shapes, and what training and generating take.

use super::{Recipe, Target};
use crate::{BackboneSpec, Cost, MediaShape, TokenKind};
use serde::Serialize;

/// A number takes so many bytes on every device we compute on.
const FLOAT: f64 = 4.0;

/// One arrow of the road: what goes from one part to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The part that it leaves.
    pub from: &'static str,
    /// The part that it reaches.
    pub to: &'static str,
    /// The shape.
    pub shape: String,
    /// What the numbers are: range, entries, strides.
    pub meaning: String,
}

/// What a recipe takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Learned numbers of each part that has any.
    pub parameters: Vec<(&'static str, usize)>,
    /// What a training step takes, where the recipe says how to train.
    pub training: Option<Training>,
    /// What generating a clip takes, where the recipe can.
    pub generation: Option<Generation>,
}

/// What a training step takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Training {
    /// What learns.
    pub target: Target,
    /// Samples of a step.
    pub batch: usize,
    /// Floating-point operations of a step. The backward pass counts as two forward passes; forward
    /// passes without one (self-conditioning) count once; tokenizing ahead is not in it.
    pub flops_per_step: f64,
    /// Estimated peak of memory: weights, gradients, Adam's two moments and the running average, and
    /// the activations of the batch, at 4 bytes a number.
    pub memory_bytes: f64,
}

/// What generating one clip takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generation {
    /// Passes of the backbone over the whole canvas, guidance included.
    pub forwards: f64,
    /// Floating-point operations, the tokenizer's decoder included.
    pub flops_per_sample: f64,
    /// Estimated peak of memory for one clip at a time: the weights of backbone and tokenizer, and
    /// the larger working set of the two (of the backbone twice, for guidance).
    pub memory_bytes: f64,
}

impl Recipe {
    /// The road, arrow by arrow, as far as the recipe goes.
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut edge = |from, to, shape: String, meaning: String| edges.push(Edge { from, to, shape, meaning });
        let flow = &self.flow;
        if let Some(media) = flow.media {
            let range = self.video.as_ref().map(|video| video.component.spec().range);
            let meaning = match range {
                Some([low, high]) => format!("8-bit sRGB, read as [{low}, {high}]"),
                None => "8-bit sRGB".into(),
            };
            let to = if self.video.is_some() { "tokenizer.video" } else { "" };
            edge("data", to, media.to_string(), meaning);
        }
        if let (Some(tokens), Some(video)) = (flow.video, &self.video) {
            let spec = video.component.spec();
            let [t, h, w] = spec.strides;
            let causal = if spec.causal { ", causal" } else { "" };
            let to = if flow.canvas.is_some() { "canvas" } else { "" };
            edge("tokenizer.video", to, tokens.to_string(), format!("each {t}×{h}×{w} pixels{causal}"));
        }
        if let Some(text) = flow.text {
            let to = if flow.canvas.is_some() { "canvas" } else { "" };
            edge("tokenizer.text", to, format!("[{}] {}", text.length(), text.kind), "the prompt, padded".into());
        }
        if let Some(canvas) = flow.canvas.filter(|_| self.backbone.is_some()) {
            let [prompt, length] = [canvas.prompt, canvas.tokens.length()];
            let meaning = format!("{prompt} of the prompt, {length} of the clip");
            edge("canvas", "backbone", format!("[{}]", canvas.length()), meaning);
        }
        if let (Some(canvas), Some(spec)) = (flow.canvas, flow.backbone) {
            let length = canvas.tokens.length();
            let (shape, meaning) = match (spec, canvas.tokens.kind) {
                (BackboneSpec::NextToken, TokenKind::Codes { entries, .. }) => {
                    (format!("[{length}] logits of {entries} entries"), "of the next token".to_owned())
                }
                (BackboneSpec::NextToken, _) => (format!("[{length}] logits"), "of the next token".to_owned()),
                (BackboneSpec::Field { channels, .. }, _) => {
                    (format!("[{length}, {channels}]"), "a vector for each token".to_owned())
                }
            };
            if let Some(objective) = &self.objective {
                edge("backbone", "objective", shape.clone(), format!("{meaning}, against {}", objective.kind));
            }
            if let Some(sampler) = &self.sampler {
                let forwards = sampler.component.forwards(&canvas);
                edge("backbone", "sampler", shape, format!("{meaning}, {forwards} passes a clip"));
                edge("sampler", "tokenizer.video", canvas.tokens.to_string(), "to be decoded".into());
            }
        }
        edges
    }

    /// Parameters, work and memory.
    pub fn summary(&self) -> Summary {
        let mut parameters = Vec::new();
        if let Some(video) = &self.video {
            parameters.push(("tokenizer.video", video.component.parameters()));
        }
        if let Some(text) = self.text.as_ref().filter(|text| text.component.parameters() > 0) {
            parameters.push(("tokenizer.text", text.component.parameters()));
        }
        if let Some((backbone, canvas)) = self.backbone.as_ref().zip(self.flow.canvas) {
            parameters.push(("backbone", backbone.component.parameters(&canvas)));
        }
        let count = |section: &str| parameters.iter().find(|(other, _)| *other == section).map_or(0, |(_, n)| *n);
        let (backbone, video) = (count("backbone") as f64, count("tokenizer.video") as f64);
        let training = self.training(backbone, video);
        let generation = self.generation(backbone, video);
        Summary { parameters, training, generation }
    }

    fn training(&self, backbone: f64, video: f64) -> Option<Training> {
        let train = self.train.as_ref()?;
        let batch = train.batch as f64;
        let (learned, frozen, flops, activations) = match train.target {
            Target::Backbone => {
                let cost = self.backbone.as_ref()?.component.cost(&self.flow.canvas?);
                let forwards = self.objective.as_ref()?.component.forwards();
                (backbone, video, (forwards + 2.0) * cost.forward_flops, cost.activations)
            }
            Target::Video => {
                let media = match (self.flow.media?, train.frames) {
                    (MediaShape::Clip { height, width, rate, .. }, Some(frames)) => {
                        MediaShape::Clip { frames, height, width, rate }
                    }
                    (media, _) => media,
                };
                let [encode, decode] = self.video.as_ref()?.component.cost(&media);
                let flops = 3.0 * (encode.forward_flops + decode.forward_flops);
                (video, 0.0, flops, encode.activations + decode.activations)
            }
            Target::Text => return None,
        };
        // Weights, gradients, two moments, running average.
        let states = if train.ema > 0.0 { 5.0 } else { 4.0 };
        let numbers = states * learned + frozen + activations * batch / train.accumulate as f64;
        let flops_per_step = flops * batch;
        Some(Training { target: train.target, batch: train.batch, flops_per_step, memory_bytes: FLOAT * numbers })
    }

    fn generation(&self, backbone: f64, video: f64) -> Option<Generation> {
        let canvas = self.flow.canvas?;
        let pass: Cost = self.backbone.as_ref()?.component.cost(&canvas);
        let forwards = self.sampler.as_ref()?.component.forwards(&canvas);
        let [_, decode] = self.video.as_ref()?.component.cost(&self.flow.media?);
        Some(Generation {
            forwards,
            flops_per_sample: forwards * pass.forward_flops + decode.forward_flops,
            memory_bytes: FLOAT * (backbone + video + (2.0 * pass.working_set).max(decode.working_set)),
        })
    }
}
