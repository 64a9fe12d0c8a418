//! The parameters of a plugin's backbone: one tensor, seen part by part.

use super::{Parameter, Rule};
use burn::tensor::{Gradients, Tensor};
use musiva_core::parameters::learning;
use musiva_core::{Init, Parameters};
use std::sync::Arc;

/// All parameters as one tensor, the way they cross the ABI.
#[derive(Clone, Debug)]
pub struct Theta {
    pub parameters: Arc<[Parameter]>,
    pub value: Tensor<1>,
}

impl Theta {
    pub fn new(parameters: Arc<[Parameter]>, init: &Init) -> Self {
        let parts = parameters.iter().map(|one| {
            let (init, count) = (init.part(&one.name), [one.count()]);
            match one.init {
                Rule::Normal(deviation) => init.normal(count, deviation),
                Rule::Zeros => init.zeros(count),
                Rule::Ones => init.ones(count),
            }
            .val()
            .inner()
        });
        let value = match parameters.is_empty() {
            true => Tensor::zeros([0], &init.device().clone().inner()),
            false => Tensor::cat(parts.collect(), 0),
        };
        Self { parameters, value: learning(value, init.device(), true) }
    }

    /// Each parameter with its part of a flat tensor.
    fn parts(&self, flat: &Tensor<1>, see: &mut dyn FnMut(&Parameter, Tensor<1>)) {
        let mut start = 0;
        for one in &*self.parameters {
            see(one, flat.clone().slice_dim(0, start..start + one.count()));
            start += one.count();
        }
    }
}

impl Parameters for Theta {
    fn each(&self, see: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.parts(&self.value.clone().inner(), &mut |one, part| see(&one.name, &one.shape, part));
    }

    fn update(&mut self, map: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        let mut parts = Vec::new();
        self.parts(&self.value.clone().inner(), &mut |one, part| parts.push(map(&one.name, &one.shape, part)));
        if parts.is_empty() {
            return;
        }
        let (device, learns) = (self.value.device(), self.value.is_require_grad());
        self.value = learning(Tensor::cat(parts, 0), &device, learns);
    }

    fn gradients(&self, gradients: &mut Gradients, see: &mut dyn FnMut(&str, Tensor<1>)) {
        if let Some(gradient) = self.value.grad_remove(gradients) {
            self.parts(&gradient, &mut |one, part| see(&one.name, part));
        }
    }
}
