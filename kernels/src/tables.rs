//! Tables of conditions, whose rows stand at positions of a sequence: what the blocks of a diffusion transformer scale,
//! shift and gate by (Peebles and Xie, arXiv 2212.09748, section 3.2), with as many rows as there are times in the
//! sequence, be it one or one for each token.

use burn::backend::tensor::{FloatTensor, IndexingUpdateOp, IntTensor};
use burn::backend::{Backend, Shape, TensorData, TensorMetadata};
use burn::tensor::Tensor;

use crate::blocks::{PART, Walk, block_of_rows};

/// What a kernel knows of its tables, each `[B, S, D]`, beside their elements.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// The row of the table for each position, `[N]`.
    pub at: &'a [usize],
    /// S, the rows of a table.
    pub rows: usize,
    /// D, the width of a row.
    pub width: usize,
}

impl Places<'_> {
    /// The elements of a table that belong to row `row` of `[B·N, D]`.
    #[inline(always)]
    pub fn of<'t>(&self, table: &'t [f32], row: usize) -> &'t [f32] {
        let (batch, position) = (row / self.at.len(), row % self.at.len());
        &table[(batch * self.rows + self.at[position]) * self.width..][..self.width]
    }

    /// The sums that belong to row `row` of `[B·N, D]`, in a table of the row's own batch.
    #[inline(always)]
    pub fn sums<'t>(&self, table: &'t mut [f32], row: usize) -> &'t mut [f32] {
        &mut table[self.at[row % self.at.len()] * self.width..][..self.width]
    }

    /// How to walk `[B, N, D]` for the sums of `tables` tables.
    pub fn walk(&self, batches: usize, tables: usize) -> Walk {
        Walk {
            segments: batches,
            // Not below the rows of a table: to clear its sums is then no more work than to make them.
            part: PART.max(self.rows) * self.width.max(1),
            block: block_of_rows(self.width),
            sums: tables * self.rows * self.width,
        }
    }
}

/// Checks what is common to the operations with tables.
pub(crate) fn check(x: &Tensor<3>, tables: &[&Tensor<3>], at: &[usize]) {
    let [batches, positions, width] = x.dims();
    assert_eq!(at.len(), positions, "a row of the tables for each position");
    let rows = tables[0].dims()[1];
    for table in tables {
        assert_eq!(table.dims(), [batches, rows, width], "a table has the batch and the width of x, and rows");
    }
    if let Some(beyond) = at.iter().find(|&&at| at >= rows) {
        panic!("position {beyond} is not in tables of {rows} rows");
    }
}

/// `[B, S, D]` spread over the positions: `[B, N, D]`.
pub(crate) fn composed_spread<B: Backend>(table: FloatTensor<B>, at: &[usize]) -> FloatTensor<B> {
    let at = indices::<B>(&table, at);
    B::float_select(table, 1, at)
}

/// `[B, N, D]` summed over the positions that stand at each of `rows` rows: `[B, S, D]`.
pub(crate) fn composed_gather<B: Backend>(terms: FloatTensor<B>, at: &[usize], rows: usize) -> FloatTensor<B> {
    let shape = terms.shape();
    let zeros = B::float_zeros(Shape::new([shape[0], rows, shape[2]]), &terms.device(), terms.dtype().into());
    let at = indices::<B>(&terms, at);
    B::float_select_assign(zeros, 1, at, terms, IndexingUpdateOp::Add)
}

fn indices<B: Backend>(beside: &FloatTensor<B>, at: &[usize]) -> IntTensor<B> {
    let indices: Vec<i32> = at.iter().map(|&at| at as i32).collect();
    B::int_from_data(TensorData::new(indices, [at.len()]), &beside.device())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{self, device, noise};
    use burn::backend::DType;
    use burn::tensor::Int;

    /// The rows of the tables of the tests.
    const ROWS: usize = 5;

    type Operation = fn([Tensor<3>; 3], &[usize]) -> Tensor<3>;

    /// Places of `n` positions in a table, in no order.
    pub fn at(n: usize) -> Vec<usize> {
        (0..n).map(|i| i * i % 7 % ROWS).collect()
    }

    pub fn indices(at: &[usize]) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(at.iter().map(|&at| at as i64).collect(), [at.len()]), &device())
    }

    /// Noise `[B, S, parts·D]` for an x of `[B, N, D]`, of its type and device.
    pub fn table(x: &Tensor<3>, parts: usize) -> Tensor<3> {
        let [batches, _, width] = x.dims();
        let shape = [batches, ROWS, parts * width];
        Tensor::from_data(TensorData::new(noise(shape.iter().product(), 7), shape), (&x.device(), x.dtype()))
    }

    /// Part `i` of six of a table, as a view.
    pub fn row(table: &Tensor<3>, i: usize) -> Tensor<3> {
        match table.dims()[2] / 6 {
            0 => table.clone(),
            width => table.clone().narrow(2, i * width, width),
        }
    }

    /// The value, then the gradients by two tensors `[B, N, D]` and by conditions `[B, S, 6·D]`.
    fn all(f: Operation, shape: [usize; 3], dtype: DType) -> Vec<Vec<f64>> {
        let tensor = |seed| {
            let data = TensorData::new(noise(shape.iter().product(), seed), shape);
            Tensor::<3>::from_data(data, (&device().autodiff(), dtype))
        };
        let inputs = [tensor(1), tensor(2), table(&tensor(1), 6)].map(Tensor::require_grad);
        let y = f(inputs.clone(), &at(shape[1]));
        let grads = (y.clone() * tensor(3)).sum().backward();
        let gradients = inputs.map(|x| testing::values(x.grad(&grads).expect("a gradient")));
        [vec![testing::values(y)], gradients.to_vec()].concat()
    }

    /// Values and gradients agree with those that Burn makes of the reference in double precision.
    pub fn gradients(ours: Operation, reference: Operation) {
        for shape in [[1, 1, 2], [2, 7, 13], [3, 2, 5], [1, 1031, 7], [2, 331, 37], [1, 257, 131]] {
            let expected = all(reference, shape, DType::F64);
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-11)] {
                for (found, expected) in all(ours, shape, dtype).iter().zip(&expected) {
                    testing::assert_near(found, expected, tolerance);
                }
            }
        }
    }

    pub fn same_for_any_thread_count(f: Operation) {
        testing::same_for_any_thread_count(|| all(f, [2, 523, 61], DType::F32).concat());
    }
}
