//! What lets a causal network work on a medium piece by piece.

use burn::tensor::Tensor;

/// What causal layers remember of the moments before the present piece, a slot a layer in the order in
/// which they run. Fresh, it stands at the start of a medium. Tensors are `[B, T, …, C]`: time is their
/// second dimension.
#[derive(Debug)]
pub struct Past<const D: usize> {
    slots: Vec<Tensor<D>>,
    next: usize,
    /// The weights of all layers as the convolution reads them, laid out at the first piece.
    weights: Vec<Tensor<D>>,
    next_weight: usize,
    started: bool,
    streaming: bool,
}

impl<const D: usize> Past<D> {
    /// At the start of a medium that comes whole: nothing will be remembered.
    pub fn none() -> Self {
        Self { slots: Vec::new(), next: 0, weights: Vec::new(), next_weight: 0, started: false, streaming: false }
    }

    /// At the start of a medium that comes piece by piece.
    pub fn streaming() -> Self {
        Self { streaming: true, ..Self::none() }
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

    /// A view of a layer's `weight` with its numbers in their order: of a medium that comes in pieces they
    /// are moved once.
    pub fn laid_out(&mut self, weight: Tensor<D>) -> Tensor<D> {
        if !self.streaming {
            return weight;
        }
        if !self.started {
            let shape = weight.dims();
            // Flattening a view moves its numbers.
            self.weights.push(weight.reshape([-1]).reshape(shape));
        }
        self.next_weight += 1;
        self.weights[self.next_weight - 1].clone()
    }

    /// Puts the last `before` moments in front of `x`, zeros at the start of a medium, and remembers
    /// what the next piece needs when the layer strides over `stride` moments at a time.
    pub fn prepend(&mut self, x: Tensor<D>, before: usize, stride: usize) -> Tensor<D> {
        let past = match self.started {
            true => self.slots[self.next].clone(),
            false => {
                let mut shape = x.dims();
                shape[1] = before;
                Tensor::zeros(shape, &x.device())
            }
        };
        let x = Tensor::cat(vec![past, x], 1);
        let moments = x.dims()[1];
        let keep = x.clone().slice_dim(1, moments + stride - before - 1..moments);
        match self.started {
            true => self.slots[self.next] = keep,
            false => self.slots.push(keep),
        }
        self.next += 1;
        x
    }
}
