//! Decoding token by token.

use super::model::Model;
use super::pass::Pass;
use super::{in_words, words};
use crate::ask::{Ask, Element, Input, View};
use crate::call::Wanted;
use crate::instance::Instance;
use crate::op::escape;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::TokenBatch;
use musiva_core::parameters::to_vec;
use musiva_core::{Result, Session};
use std::sync::Arc;

/// Decoding step by step: by the plugin's own cache, or else by a whole pass for each token.
pub struct HostedSession {
    pass: Pass,
    theta: Vec<f32>,
    /// An instance of its own: its state is this session's.
    cached: Option<Instance>,
    /// `[B, K]` of the next token.
    logits: Vec<f32>,
    done: usize,
    device: Device,
}

impl HostedSession {
    /// After the prompts `[B, P]`.
    pub fn begin(model: &Arc<Model>, theta: &Tensor<1>, prompt: &TokenBatch, device: &Device) -> Result<Self> {
        let batch = prompt.size();
        let (theta, device) = (theta.clone().inner(), device.clone().inner());
        let codes = Some(vec![0; batch * model.canvas.tokens.length()]);
        let pass = Pass { model: model.clone(), batch, prompt: words(prompt), codes, times: None, guess: None };
        let mut this = Self { pass, theta: to_vec(theta), cached: None, logits: Vec::new(), done: 0, device };
        if model.held().extras().cache {
            this.cached = Some(model.library.create(&model.id, &model.config)?);
        }
        match &this.cached {
            Some(instance) => this.logits = this.cached_logits(instance, None)?,
            None => this.whole_pass()?,
        }
        Ok(this)
    }

    /// Of all predictions those of the next token: it sees no later code, so those that are not picked yet may be any.
    fn whole_pass(&mut self) -> Result<()> {
        let [batch, length, width] = self.pass.output();
        let all = self.pass.forward(&self.theta, &[])?;
        let row = |b: usize| &all[(b * length + self.done) * width..][..width];
        self.logits = (0..batch).flat_map(row).copied().collect();
        Ok(())
    }

    fn cached_logits(&self, instance: &Instance, codes: Option<&[i64]>) -> Result<Vec<f32>> {
        let [batch, _, width] = self.pass.output();
        let wanted = [Wanted::exact("the logits", Element::F32, &[batch, width])];
        let canvas = &self.pass.model.canvas;
        let input = Input {
            canvas: in_words(canvas),
            theta: View::of(&self.theta, &[self.theta.len()]),
            prompt: View::of(&self.pass.prompt, &[batch, canvas.prompt]),
            x: None,
            times: None,
            at: None,
            guess: None,
        };
        let ask = match codes {
            None => Ask::Begin(input),
            Some(codes) => Ask::Step(input, View::of(codes, &[batch])),
        };
        Ok(instance.run(ask, &wanted)?.output(0).f32())
    }

    fn go_on(&mut self, codes: &[u32]) -> Result<()> {
        let [batch, length, _] = self.pass.output();
        self.done += 1;
        if self.done >= length {
            return Ok(());
        }
        let picked: Vec<i64> = codes.iter().map(|&code| i64::from(code)).collect();
        if let Some(instance) = &self.cached {
            self.logits = self.cached_logits(instance, Some(&picked))?;
            return Ok(());
        }
        if let Some(codes) = &mut self.pass.codes {
            (0..batch).for_each(|b| codes[b * length + self.done - 1] = picked[b]);
        }
        self.whole_pass()
    }
}

impl Session for HostedSession {
    fn logits(&self, _: &[Vec<u32>]) -> Tensor<2> {
        let [batch, _, width] = self.pass.output();
        Tensor::from_data(TensorData::new(self.logits.clone(), [batch, width]), &self.device)
    }

    fn heads(&self) -> usize {
        1
    }

    fn push(&mut self, codes: &[u32]) {
        self.go_on(codes).unwrap_or_else(|error| escape(error));
    }
}
