//! Models: backbones on one [`transformer`] trunk, the [`objectives`] that train them, the noise [`schedules`] of some of
//! these, the [`samplers`] that draw from them and the [`programs`] that put pieces together.

#![forbid(unsafe_code)]

/// Panics where a tensor does not have this shape: a shape comment that is checked.
macro_rules! assert_shape {
    ($tensor:expr, [$($size:expr),+]) => {
        assert_eq!($tensor.dims(), [$($size),+], concat!("the shape of `", stringify!($tensor), "`"))
    };
}

mod code_network;
#[cfg(test)]
mod conditioning_tests;
pub mod dit;
pub mod lm;
pub mod masked;
pub mod objectives;
pub mod programs;
pub mod samplers;
pub mod schedules;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod transformer;

use musiva_core::schedule::{Cosine, Straight};
use musiva_core::{Component, Make, Registry, Result};
use programs::Continuation;
use serde_json::from_value;

/// Registers all components of this crate.
pub fn register(registry: &mut Registry) -> Result<()> {
    let mut add = |kind, summary, schema: schemars::Schema, learns, make| {
        registry.register(Component { kind, summary, origin: "built-in".into(), schema: schema.into(), learns, make })
    };
    use schemars::schema_for;
    add(
        "dit",
        "diffusion Transformer with a timestep per token",
        schema_for!(dit::DitConfig),
        true,
        Make::Backbone(|value| Ok(Box::new(from_value::<dit::DitConfig>(value)?))),
    )?;
    add(
        "lm",
        "decoder-only language model with prefix attention and a KV cache",
        schema_for!(lm::LmConfig),
        true,
        Make::Backbone(|value| Ok(Box::new(from_value::<lm::LmConfig>(value)?))),
    )?;
    add(
        "masked",
        "bidirectional Transformer that predicts masked tokens",
        schema_for!(masked::MaskedConfig),
        true,
        Make::Backbone(|value| Ok(Box::new(from_value::<masked::MaskedConfig>(value)?))),
    )?;
    add(
        "masked",
        "cross-entropy of masked tokens given the others",
        schema_for!(objectives::masked::MaskedTokens),
        false,
        Make::Objective(|value| Ok(Box::new(from_value::<objectives::masked::MaskedTokens>(value)?))),
    )?;
    add(
        "maskgit",
        "all masked tokens in parallel, of which the most confident or random ones are kept, in a few steps",
        schema_for!(samplers::maskgit::MaskGit),
        false,
        Make::Sampler(|value| Ok(Box::new(from_value::<samplers::maskgit::MaskGit>(value)?))),
    )?;
    add(
        "next-token",
        "cross-entropy of each token given those before it",
        schema_for!(objectives::next_token::NextToken),
        false,
        Make::Objective(|value| Ok(Box::new(from_value::<objectives::next_token::NextToken>(value)?))),
    )?;
    add(
        "rectified-flow",
        "straight lines from data to noise",
        schema_for!(objectives::diffusion::RectifiedFlow),
        false,
        Make::Objective(|value| Ok(Box::new(from_value::<objectives::diffusion::RectifiedFlow>(value)?))),
    )?;
    add(
        "ddpm",
        "variance-preserving noise, by the cosine schedule unless `[schedule]` names another one",
        schema_for!(objectives::diffusion::Ddpm),
        false,
        Make::Objective(|value| Ok(Box::new(from_value::<objectives::diffusion::Ddpm>(value)?))),
    )?;
    add(
        "straight",
        "straight: α = 1 - t, σ = t, rectified-flow's own",
        schemars::json_schema!({ "type": "object" }),
        false,
        Make::Schedule(|_| Ok(Box::new(Straight))),
    )?;
    add(
        "cosine",
        "variance-preserving: α = cos(πt/2), σ = sin(πt/2), ddpm's own",
        schemars::json_schema!({ "type": "object" }),
        false,
        Make::Schedule(|_| Ok(Box::new(Cosine))),
    )?;
    add(
        "linear",
        "variance-preserving: the variance of the noise added by a step rises linearly, as in DDPM",
        schema_for!(schedules::Linear),
        false,
        Make::Schedule(|value| Ok(Box::new(from_value::<schedules::Linear>(value)?))),
    )?;
    add(
        "shifted-cosine",
        "variance-preserving: the cosine schedule with more noise, for large pictures, or less",
        schema_for!(schedules::ShiftedCosine),
        false,
        Make::Schedule(|value| Ok(Box::new(from_value::<schedules::ShiftedCosine>(value)?))),
    )?;
    add(
        "autoregressive",
        "one token after the other, by temperature, top-k and top-p",
        schema_for!(samplers::autoregressive::Autoregressive),
        false,
        Make::Sampler(|value| Ok(Box::new(from_value::<samplers::autoregressive::Autoregressive>(value)?))),
    )?;
    add(
        "euler",
        "first-order steps along a straight schedule, such as that of rectified-flow",
        schema_for!(samplers::diffusion::Euler),
        false,
        Make::Sampler(|value| Ok(Box::new(from_value::<samplers::diffusion::Euler>(value)?))),
    )?;
    add(
        "heun",
        "second-order steps along a straight schedule, such as that of rectified-flow",
        schema_for!(samplers::diffusion::Heun),
        false,
        Make::Sampler(|value| Ok(Box::new(from_value::<samplers::diffusion::Heun>(value)?))),
    )?;
    add(
        "ddim",
        "deterministic steps along a variance-preserving schedule, such as that of ddpm",
        schema_for!(samplers::diffusion::Ddim),
        false,
        Make::Sampler(|value| Ok(Box::new(from_value::<samplers::diffusion::Ddim>(value)?))),
    )?;
    add(
        "once",
        "one piece, as long as the recipe's clips",
        schema_for!(programs::Once),
        false,
        Make::Program(|value| Ok(Box::new(Continuation::from(from_value::<programs::Once>(value)?)))),
    )?;
    add(
        "extend",
        "extends the clip from its last frames, piece by piece",
        schema_for!(programs::Extend),
        false,
        Make::Program(|value| Ok(Box::new(Continuation::from(from_value::<programs::Extend>(value)?)))),
    )?;
    add(
        "prompt-schedule",
        "extends the clip, with other prompts in time",
        schema_for!(programs::PromptSchedule),
        false,
        Make::Program(|value| Ok(Box::new(Continuation::from(from_value::<programs::PromptSchedule>(value)?)))),
    )
}

/// The page's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/add-a-backbone.md")]
pub struct AddABackbone;
