//! What `check` prints: the road with its shapes, and what training and generating take.

use super::{Recipe, Target};
use crate::canvas::TrackShape;
use crate::{BackboneSpec, Cost, MediaShape, Modality, Task, TokenKind};
use serde::Serialize;

/// A number takes so many bytes on every device we compute on.
const FLOAT: f64 = 4.0;
/// Bytes of the program with all that is not the model's: measured.
const PROGRAM: f64 = 24.0 * 1024.0 * 1024.0;

/// One arrow of the road: what goes from one part to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The part that it leaves.
    pub from: String,
    /// The part that it reaches.
    pub to: String,
    /// The shape.
    pub shape: String,
    /// What the numbers are: range, entries, strides.
    pub meaning: String,
}

/// What a recipe takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Learned numbers of each part that has any.
    pub parameters: Vec<(String, usize)>,
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
    /// Floating-point operations of a step, the mean over the tasks by their weights. The backward pass counts as two forward
    /// passes; forward passes without one (self-conditioning) count once; tokenizing ahead is not in it.
    pub flops_per_step: f64,
    /// Estimated peak of memory: the program; weights, gradients, Adam's two moments and the running average;
    /// and the activations of the batch, at 4 bytes a number. `gradient_checkpointing` takes less than it says.
    pub memory_bytes: f64,
}

/// What generating one clip takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generation {
    /// Passes of the backbone over the whole canvas, guidance included.
    pub forwards: f64,
    /// Floating-point operations, the tokenizer's decoder included.
    pub flops_per_sample: f64,
    /// Estimated peak of memory for one clip at a time: the weights of backbone and tokenizers, and
    /// the larger working set of the two (of the backbone twice, for guidance).
    pub memory_bytes: f64,
}

impl Recipe {
    /// The road, arrow by arrow, as far as the recipe goes.
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut edge = |from: &str, to: &str, shape: String, meaning: String| {
            edges.push(Edge { from: from.into(), to: to.into(), shape, meaning })
        };
        let flow = &self.flow;
        let media = [(Modality::Video, flow.clip, "8-bit sRGB"), (Modality::Audio, flow.sound, "samples")];
        for (modality, media, unit) in media {
            let Some(media) = media else { continue };
            let tokenizer = self.tokenizer(modality);
            // What the data have beside what is read is not on the road.
            if tokenizer.is_none() && self.tokenizers().next().is_some() {
                continue;
            }
            let meaning = match tokenizer.map(|part| part.component.spec().range) {
                Some([low, high]) => format!("{unit}, read as [{low}, {high}]"),
                None => unit.to_owned(),
            };
            edge("data", tokenizer.map_or("", |part| part.section), media.to_string(), meaning);
        }
        if let (Some(tokens), Some(video)) = (flow.video, &self.video) {
            let spec = video.component.spec();
            let [t, h, w] = spec.strides;
            let causal = if spec.causal { ", causal" } else { "" };
            let to = if flow.canvas.is_some() { "canvas" } else { "" };
            edge("tokenizer.video", to, tokens.to_string(), format!("each {t}×{h}×{w} pixels{causal}"));
        }
        if let (Some(tokens), Some(audio), Some(MediaShape::Sound { rate, .. })) = (flow.audio, &self.audio, flow.sound)
        {
            let spec = audio.component.spec();
            let (hop, causal) = (spec.strides[0], if spec.causal { ", causal" } else { "" });
            let second = rate.as_f64() / hop as f64;
            let heard = flow.canvas.as_ref().is_some_and(|canvas| canvas.track(Modality::Audio.track()).is_some());
            let to = if heard { "canvas" } else { "" };
            edge("tokenizer.audio", to, tokens.to_string(), format!("each {hop} samples, {second} a second{causal}"));
        }
        if let Some(text) = flow.text {
            let to = if flow.canvas.is_some() { "canvas" } else { "" };
            let (shape, meaning) = match (text.kind, &self.text) {
                (TokenKind::Vectors { channels }, Some(part)) => {
                    (format!("[{}, {channels}] vectors", text.length()), format!("the prompt, by {}", part.kind))
                }
                _ => (format!("[{}] {}", text.length(), text.kind), "the prompt, padded".to_owned()),
            };
            edge("tokenizer.text", to, shape, meaning);
        }
        for track in flow.canvas.iter().flat_map(|canvas| &canvas.tracks) {
            if self.tracks.get(&track.name).is_some_and(|settings| settings.from.is_some())
                || ![Modality::Video, Modality::Audio, Modality::Text].map(Modality::track).contains(&&*track.name)
            {
                let own = self.further.get(&track.name);
                let section = own.map_or(track.modality.section(), |part| &part.path);
                let by = if own.is_some() { "by its own tokenizer" } else { "by the same tokenizer" };
                edge(section, "canvas", track.tokens.to_string(), format!("`{}`, {by}", track.name));
            }
        }
        if let Some(canvas) = flow.canvas.as_ref().filter(|_| self.backbone.is_some()) {
            let clip = canvas.track(Modality::Video.track()).is_some();
            let of = |track: &TrackShape| match &*track.name {
                "text" => "the prompt".to_owned(),
                "video" => "the clip".to_owned(),
                "audio" if clip => "its sound".to_owned(),
                "audio" => "the sound".to_owned(),
                other => format!("`{other}`"),
            };
            // The prompt comes first.
            let (text, media): (Vec<_>, Vec<_>) =
                canvas.tracks.iter().partition(|track| track.modality == Modality::Text);
            let count = |track: &&TrackShape| format!("{} of {}", track.elements(track.tokens.length()), of(track));
            let meaning: Vec<String> = text.iter().chain(&media).map(count).collect();
            edge("canvas", "backbone", format!("[{}]", canvas.length()), meaning.join(", "));
        }
        if let (Some(canvas), Some(spec)) = (&flow.canvas, flow.backbone) {
            let target: Vec<&TrackShape> = canvas.tracks.iter().filter(|track| track.target).collect();
            let length = canvas.target_elements();
            let of = match spec {
                BackboneSpec::NextToken => "of the next token",
                BackboneSpec::Masked => "of the masked tokens",
                BackboneSpec::Diffusion { .. } => "a vector for each token",
            };
            let (first, others) = target.split_first().map_or((None, &[][..]), |(first, others)| (Some(first), others));
            let shape = match (spec, first.map(|track| track.tokens.kind)) {
                (BackboneSpec::Diffusion { channels, .. }, _) => format!("[{length}, {channels}]"),
                (_, Some(TokenKind::Codes { levels: 1, entries, .. })) => {
                    format!("[{length}] logits of {entries} entries")
                }
                _ => format!("[{length}] logits"),
            };
            let others = others.iter().filter(|_| !matches!(spec, BackboneSpec::Diffusion { .. }));
            let others = others.map(|track| match &*track.name {
                "audio" => format!("; of sound, {}", track.tokens.kind),
                other => format!("; of {other}, {}", track.tokens.kind),
            });
            let meaning = format!("{of}{}", others.collect::<String>());
            if let Some(objective) = &self.objective {
                edge("backbone", "objective", shape.clone(), format!("{meaning}, against {}", objective.kind));
            }
            if let Some(sampler) = &self.sampler {
                let forwards = sampler.component.forwards(canvas);
                edge("backbone", "sampler", shape, format!("{meaning}, {forwards} passes a sample"));
                for track in target {
                    let section = self.tokenizer_of_track(&track.name).map_or("", |part| &part.path);
                    edge("sampler", section, track.tokens.to_string(), "to be decoded".into());
                }
            }
        }
        edges
    }

    /// Parameters, work and memory.
    pub fn summary(&self) -> Summary {
        let mut parameters = Vec::new();
        for part in self.tokenizers() {
            let count = part.component.parameters();
            if count > 0 || part.section != Modality::Text.section() {
                parameters.push((part.path.clone(), count));
            }
        }
        if let Some((backbone, canvas)) = self.backbone.as_ref().zip(self.flow.canvas.as_ref()) {
            parameters.push(("backbone".to_owned(), backbone.component.parameters(canvas)));
        }
        let count = |section: &str| parameters.iter().find(|(other, _)| *other == section).map_or(0, |(_, n)| *n);
        let [backbone, video, audio] =
            ["backbone", "tokenizer.video", "tokenizer.audio"].map(|section| count(section) as f64);
        let all = parameters.iter().map(|(_, count)| *count as f64).sum::<f64>();
        let training = self.training([backbone, video, audio], all - backbone);
        let generation = self.generation(all);
        Summary { parameters, training, generation }
    }

    /// What training takes, of the numbers of backbone and tokenizers, and of all tokenizers together.
    fn training(&self, [backbone, video, audio]: [f64; 3], tokenizers: f64) -> Option<Training> {
        let train = self.train.as_ref()?;
        let batch = train.batch as f64;
        let (learned, frozen, flops, activations) = match train.target {
            Target::Backbone => {
                let canvas = self.flow.canvas.as_ref()?;
                let model = &self.backbone.as_ref()?.component;
                let cost = model.cost(canvas);
                let weights: f64 = self.tasks.iter().map(|task| task.weight).sum();
                let of_task = |task: &Task| task.weight / weights * model.cost(&task.part_of(canvas)).forward_flops;
                let forward = match self.tasks.is_empty() {
                    true => cost.forward_flops,
                    false => self.tasks.iter().map(of_task).sum(),
                };
                let forwards = self.objective.as_ref()?.component.forwards();
                // A forward pass before the one that is learned from, of self-conditioning.
                let before = if forwards > 1.0 { cost.working_set } else { 0.0 };
                (backbone, tokenizers, (forwards + 2.0) * forward, cost.activations + before)
            }
            Target::Video | Target::Audio => {
                let (learned, part, media, window) = match train.target {
                    Target::Video => (video, &self.video, self.flow.clip, train.frames),
                    _ => (audio, &self.audio, self.flow.sound, train.samples),
                };
                let media = media?;
                let media = window.map_or(media, |window| media.window(window));
                let [encode, decode] = part.as_ref()?.component.cost(&media);
                let flops = 3.0 * (encode.forward_flops + decode.forward_flops);
                (learned, 0.0, flops, encode.activations + decode.activations)
            }
            Target::Text => return None,
        };
        // Weights, gradients, two moments, running average.
        let states = if train.ema > 0.0 { 5.0 } else { 4.0 };
        let numbers = states * learned + frozen + activations * batch / train.accumulate as f64;
        let flops_per_step = flops * batch;
        let memory_bytes = PROGRAM + FLOAT * numbers;
        Some(Training { target: train.target, batch: train.batch, flops_per_step, memory_bytes })
    }

    /// What generating takes, of the numbers of all parts.
    fn generation(&self, parameters: f64) -> Option<Generation> {
        let canvas = self.flow.canvas.as_ref()?;
        let pass: Cost = self.backbone.as_ref()?.component.cost(canvas);
        let forwards = self.sampler.as_ref()?.component.forwards(canvas);
        let media = [(&self.video, self.flow.clip), (&self.audio, self.flow.sound)];
        let decode = media.into_iter().find_map(|(part, media)| Some(part.as_ref()?.component.cost(&media?)[1]));
        let decode = decode.unwrap_or_default();
        Some(Generation {
            forwards,
            flops_per_sample: forwards * pass.forward_flops + decode.forward_flops,
            memory_bytes: PROGRAM + FLOAT * (parameters + (2.0 * pass.working_set).max(decode.working_set)),
        })
    }
}
