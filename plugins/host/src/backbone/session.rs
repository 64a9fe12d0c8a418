//! Decoding token by token.

use super::model::Model;
use super::pass::Pass;
use crate::ask::{Ask, Element, Input, View};
use crate::call::Wanted;
use crate::instance::Instance;
use crate::wrong;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::Conditioning;
use musiva_core::parameters::to_vec;
use musiva_core::{Result, Session};
use std::ops::Range;
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
    /// After the prompts.
    pub fn begin(model: &Arc<Model>, theta: &Tensor<1>, prompts: &Conditioning, device: &Device) -> Result<Self> {
        let (batch, prompt) = (prompts.size, model.clip.prompts(&model.id, prompts)?);
        let (theta, device) = (theta.clone().inner(), device.clone().inner());
        let codes = Some(vec![0; batch * model.clip.length()]);
        let pass = Pass { model: model.clone(), batch, prompt, codes, times: None, guess: None };
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
        let clip = &self.pass.model.clip;
        let input = Input {
            canvas: clip.words,
            theta: View::of(&self.theta, &[self.theta.len()]),
            prompt: View::of(&self.pass.prompt, &[batch, clip.prompt()]),
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
    fn digits(&self) -> Range<usize> {
        0..1
    }

    fn logits(&self, _: &[Vec<u32>]) -> Result<Tensor<2>> {
        let [batch, _, width] = self.pass.output();
        Ok(Tensor::from_data(TensorData::new(self.logits.clone(), [batch, width]), &self.device))
    }

    fn push(&mut self, picked: &[Vec<u32>]) -> Result<()> {
        match picked {
            [codes] if codes.len() == self.pass.batch => self.go_on(codes),
            _ => Err(wrong(&self.pass.model.id, "it goes on by a code for each sample")),
        }
    }
}
