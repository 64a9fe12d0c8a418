//! Backbones of plugins behind the contract: the host owns their parameters.

mod config;
mod model;
mod pass;
mod session;
mod theta;

pub use config::HostedBackboneConfig;
pub use pass::Pass;

use crate::ask::{Ask, Canvas};
use crate::instance::Instance;
use crate::wrong;
use musiva_core::canvas::{PromptKind, TokenBatch};
use musiva_core::{BackboneSpec, CanvasShape, Cost, Result, TokenKind};
use serde::Deserialize;
use std::collections::BTreeSet;

/// No plugin has more parameters.
const MOST: usize = 1 << 36;

/// What `describe` answers.
#[derive(Deserialize)]
struct Answer {
    predicts: Predicts,
    #[serde(default)]
    self_conditioned: bool,
    #[serde(default)]
    forward_flops: f64,
    #[serde(default)]
    activations: f64,
    #[serde(default)]
    working_set: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Predicts {
    Codes,
    Field,
}

/// What `parameters` answers, one of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameter {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Rule,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    Normal(f32),
    Zeros,
    Ones,
}

impl Parameter {
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What the instance is on this canvas.
fn describe(instance: &Instance, canvas: &CanvasShape) -> Result<(BackboneSpec, Cost)> {
    let canvas = in_words(canvas);
    let answer: Answer = instance.answer(Ask::DescribeOn(canvas))?;
    let bad = |message: &str| wrong(instance.id(), format!("describe: {message}"));
    let spec = match answer.predicts {
        Predicts::Codes if canvas.entries == 0 => return Err(bad("it predicts codes, the tokens are none")),
        Predicts::Codes => BackboneSpec::NextToken,
        Predicts::Field if canvas.channels == 0 => return Err(bad("it predicts vectors, the tokens have none")),
        Predicts::Field => {
            BackboneSpec::Diffusion { channels: canvas.channels as usize, self_conditioned: answer.self_conditioned }
        }
    };
    let numbers = [answer.forward_flops, answer.activations, answer.working_set];
    if numbers.iter().any(|number| !number.is_finite() || *number < 0.0) {
        return Err(bad("its work and memory are no numbers"));
    }
    let [forward_flops, activations, working_set] = numbers;
    Ok((spec, Cost { forward_flops, activations, working_set }))
}

/// What the instance learns on this canvas.
fn parameters(instance: &Instance, canvas: &CanvasShape) -> Result<Vec<Parameter>> {
    let all: Vec<Parameter> = instance.answer(Ask::Parameters(in_words(canvas)))?;
    let bad = |message: String| Err(wrong(instance.id(), format!("parameters: {message}")));
    let (mut names, mut sum) = (BTreeSet::new(), 0usize);
    for one in &all {
        if !names.insert(&one.name) {
            return bad(format!("there are two called `{}`", one.name));
        }
        if one.name.is_empty() || one.name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return bad(format!("{:?} is no name", one.name));
        }
        if matches!(one.init, Rule::Normal(deviation) if !deviation.is_finite() || deviation < 0.0) {
            return bad(format!("`{}` starts with no deviation", one.name));
        }
        let count = one.shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
        match count.and_then(|count| sum.checked_add(count)).filter(|&sum| sum <= MOST) {
            Some(count) if one.count() > 0 => sum = count,
            _ => {
                return bad(format!("`{}` is {:?}: no size, or beyond {MOST} numbers in all", one.name, one.shape));
            }
        }
    }
    Ok(all)
}

/// How many words there are in the prompts of a canvas; `None` where these are vectors, which the ABI has none of.
fn vocabulary(canvas: &CanvasShape) -> Option<usize> {
    match canvas.text {
        PromptKind::Words(words) => Some(words),
        PromptKind::Vectors(_) => None,
    }
}

/// Prompts `[B, P]`, row after row.
fn words(prompt: &TokenBatch) -> Vec<i64> {
    let TokenBatch::Codes(words) = prompt else {
        panic!("the recipe's checker let vectors through to a plugin's backbone")
    };
    words.to_data().convert::<i64>().try_into_vec().expect("converted before")
}

/// The canvas in the words of the ABI.
fn in_words(canvas: &CanvasShape) -> Canvas {
    let entries = match canvas.tokens.kind {
        TokenKind::Codes { levels: 1, entries, .. } => entries,
        // The ABI knows codes of one codebook.
        TokenKind::Codes { .. } | TokenKind::Vectors { .. } => 0,
    };
    Canvas {
        prompt: canvas.prompt as i64,
        words: vocabulary(canvas).unwrap_or(0) as i64,
        grid: canvas.tokens.grid.map(|side| side as i64),
        entries: entries as i64,
        channels: canvas.tokens.kind.channels().unwrap_or(0) as i64,
    }
}
