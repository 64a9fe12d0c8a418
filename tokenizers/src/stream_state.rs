//! What lets a causal network work on a medium piece by piece.

use burn::tensor::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// What causal layers remember of the moments before the present piece, a slot a layer in the order in
/// which they run. Fresh, it stands at the start of a medium. Tensors are `[B, T, …, C]`: time is their
/// second dimension.
#[derive(Debug)]
pub struct StreamState<const D: usize> {
    slots: Vec<Tensor<D>>,
    next: usize,
    weights: PackedWeights<D>,
    next_weight: usize,
    started: bool,
    streaming: bool,
}

/// The weights of all layers of a network as the convolution reads them, laid out at a first piece. Clones
/// share them: what is remembered of many media needs them once.
#[derive(Clone, Debug, Default)]
pub struct PackedWeights<const D: usize>(Arc<Mutex<Vec<Tensor<D>>>>);

impl<const D: usize> StreamState<D> {
    /// At the start of a medium that comes whole: nothing will be remembered.
    pub fn none() -> Self {
        Self { streaming: false, ..Self::streaming() }
    }

    /// At the start of a medium that comes piece by piece.
    pub fn streaming() -> Self {
        Self::sharing(&PackedWeights::default())
    }

    /// At the start of a medium that comes piece by piece, with the weights that others have laid out.
    pub fn sharing(weights: &PackedWeights<D>) -> Self {
        let weights = weights.clone();
        Self { slots: Vec::new(), next: 0, weights, next_weight: 0, started: false, streaming: true }
    }

    /// Whether the medium comes piece by piece.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Whether there was a piece before.
    pub fn started(&self) -> bool {
        self.started
    }

    /// To be called after each piece.
    pub fn advance(&mut self) {
        self.started = true;
        (self.next, self.next_weight) = (0, 0);
    }

    /// A view of a layer's `weight` with its numbers in their order: of media that come in pieces they
    /// are moved once.
    pub fn packed(&mut self, weight: Tensor<D>) -> Tensor<D> {
        if !self.streaming {
            return weight;
        }
        let mut weights = self.weights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if weights.len() == self.next_weight {
            let shape = weight.dims();
            // Flattening a view moves its numbers.
            weights.push(weight.reshape([-1]).reshape(shape));
        }
        self.next_weight += 1;
        weights[self.next_weight - 1].clone()
    }

    /// Puts the last `before` moments in front of `x`, zeros at the start of a medium, and remembers
    /// what the next piece needs when the layer strides over `stride` moments at a time.
    pub fn prepend(&mut self, x: Tensor<D>, before: usize, stride: usize) -> Tensor<D> {
        let state = match self.started {
            true => self.slots[self.next].clone(),
            false => {
                let mut shape = x.dims();
                shape[1] = before;
                Tensor::zeros(shape, &x.device())
            }
        };
        let x = Tensor::cat(vec![state, x], 1);
        let moments = x.dims()[1];
        self.remember(x.clone().slice_dim(1, moments + stride - before - 1..moments));
        x
    }

    /// Puts the last moments in front of `x`, `most` of them or as many as there were, and remembers as
    /// many for the next piece.
    pub fn recall(&mut self, x: Tensor<D>, most: usize) -> Tensor<D> {
        if !self.streaming {
            return x;
        }
        let x = match self.started {
            true => Tensor::cat(vec![self.slots[self.next].clone(), x], 1),
            false => x,
        };
        let moments = x.dims()[1];
        self.remember(x.clone().slice_dim(1, moments.saturating_sub(most)..moments));
        x
    }

    fn remember(&mut self, moments: Tensor<D>) {
        match self.started {
            true => self.slots[self.next] = moments,
            false => self.slots.push(moments),
        }
        self.next += 1;
    }
}
