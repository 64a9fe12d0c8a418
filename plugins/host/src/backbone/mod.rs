//! Backbones of plugins behind the contract: the host owns their parameters.

mod canvas;
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
use burn::tensor::{Int, Tensor};
use musiva_core::{BackboneSpec, Cost, Result};
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
fn describe(instance: &Instance, canvas: Canvas) -> Result<(BackboneSpec, Cost)> {
    let answer: Answer = instance.answer(Ask::DescribeOn(canvas))?;
    let bad = |message: &str| wrong(instance.id(), format!("describe: {message}"));
    let spec = match answer.predicts {
        Predicts::Codes if canvas.entries == 0 => {
            return Err(bad("it predicts codes of one codebook, the tokens are none"));
        }
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
fn parameters(instance: &Instance, canvas: Canvas) -> Result<Vec<Parameter>> {
    let all: Vec<Parameter> = instance.answer(Ask::Parameters(canvas))?;
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

/// Codes or words, on the host.
fn values_of(codes: &Tensor<3, Int>) -> Vec<i64> {
    codes.to_data().convert::<i64>().try_into_vec().expect("converted before")
}
