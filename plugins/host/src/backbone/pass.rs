//! A forward pass and its gradients, on the host's memory.

use super::config::gradients;
use super::model::Model;
use crate::ask::{Ask, Element, Input, View};
use crate::call::Wanted;
use crate::wrong;
use musiva_core::Result;
use std::sync::Arc;

/// One forward pass: everything but what gradients flow to.
#[derive(Debug)]
pub struct Pass {
    pub(super) model: Arc<Model>,
    pub(super) batch: usize,
    pub(super) prompt: Vec<i64>,
    pub(super) codes: Option<Vec<i64>>,
    /// Times, how many a sample has, and which of them each position stands at.
    pub(super) times: Option<(Vec<f32>, usize, Vec<i64>)>,
    pub(super) guess: Option<Vec<f32>>,
}

impl Pass {
    /// Sides of the predictions.
    pub fn output(&self) -> [usize; 3] {
        [self.batch, self.model.clip.length(), self.model.width()]
    }

    fn input<'a>(&'a self, theta: &'a [f32], x: &'a [f32]) -> Input<View<'a>> {
        let (batch, length) = (self.batch, self.model.clip.length());
        let field = [batch, length, self.model.width()];
        Input {
            canvas: self.model.clip.words,
            theta: View::of(theta, &[theta.len()]),
            prompt: View::of(&self.prompt, &[batch, self.model.clip.prompt()]),
            x: Some(match &self.codes {
                Some(codes) => View::of(codes, &field[..2]),
                None => View::of(x, &field),
            }),
            times: self.times.as_ref().map(|(times, count, _)| View::of(times, &[batch, *count])),
            at: self.times.as_ref().map(|(_, _, at)| View::of(at, &[length])),
            guess: self.guess.as_ref().map(|guess| View::of(guess, &field)),
        }
    }

    /// The predictions, flat.
    pub fn forward(&self, theta: &[f32], x: &[f32]) -> Result<Vec<f32>> {
        let wanted = [Wanted::exact("the predictions", Element::F32, &self.output())];
        Ok(self.model.held().run(Ask::Forward(self.input(theta, x)), &wanted)?.output(0).f32())
    }

    /// The gradients by theta and x, flat.
    pub fn vjp(&self, theta: &[f32], x: &[f32], dy: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let held = self.model.held();
        if !held.extras().vjp {
            return Err(wrong(&self.model.id, format!("it has no gradients ({})", gradients())));
        }
        let mut wanted = vec![Wanted::exact("the gradient by theta", Element::F32, &[theta.len()])];
        if self.codes.is_none() {
            wanted.push(Wanted::exact("the gradient by x", Element::F32, &self.output()));
        }
        let ask = Ask::Vjp(self.input(theta, x), View::of(dy, &self.output()));
        let mut returned = held.run(ask, &wanted)?;
        let by_theta = returned.output(0).f32();
        let by_x = if self.codes.is_none() { returned.output(1).f32() } else { vec![0.0; x.len()] };
        Ok((by_theta, by_x))
    }
}
