//! Walks the storage of Flex tensors block by block, in parallel.
//!
//! The blocks depend on the shape alone, never on the number of threads, and no block reads another: so neither does
//! the result.

use std::mem::MaybeUninit;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Bytes, DType, Shape};
use rayon::prelude::*;

use crate::simd::{Kernel, run_vectorised};

/// Elements in a block: 16 KiB, half of a small first-level cache, so that copy and kernel meet there.
pub(crate) const BLOCK: usize = 4096;

/// Elements below which waking a second thread costs more than it saves.
const PARALLEL: usize = 8 * BLOCK;

/// Whole rows of `width` elements that make about a block: the block to give for row-wise kernels.
pub(crate) fn block_of_rows(width: usize) -> usize {
    (BLOCK / width.max(1)).max(1) * width
}

/// The length of the last dimension.
pub(crate) fn row_width(x: &FlexTensor) -> usize {
    x.layout().shape().last().copied().unwrap_or(1)
}

/// `x` with its elements in row-major order; copies only where they are not.
pub(crate) fn contiguous(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() { x } else { x.to_contiguous() }
}

/// The elements of a tensor that came out of [`contiguous`].
pub(crate) fn elements(x: &FlexTensor) -> &[f32] {
    x.as_slice().expect("an f32 tensor in row-major order")
}

/// Applies `kernel` to `x` in blocks of `block` elements: in place where nobody else holds the storage, else on a
/// copy that is made block by block, while it is in the cache.
pub(crate) fn transform(x: FlexTensor, block: usize, kernel: &impl Kernel) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let mut x = contiguous(x);
    if shape.num_elements() == 0 {
        return x;
    }
    if x.is_unique() {
        let (start, end) = x.layout().contiguous_offsets().expect("a tensor in row-major order");
        let storage = x.storage_mut::<f32>();
        for_each_block(&mut storage[start..end], block, |start, block| run_vectorised(kernel, start, block));
        return x;
    }
    from_copy(elements(&x), shape, block, kernel)
}

/// A new tensor of `shape`, zeros to which `kernel` is applied in blocks of `block` elements.
pub(crate) fn generate(shape: Shape, block: usize, kernel: &impl Kernel) -> FlexTensor {
    transform(FlexTensor::zeros(shape, DType::F32), block, kernel)
}

fn from_copy(source: &[f32], shape: Shape, block: usize, kernel: &impl Kernel) -> FlexTensor {
    let mut values = Vec::<f32>::with_capacity(source.len());
    let room = &mut values.spare_capacity_mut()[..source.len()];
    for_each_block(room, block, |start, block: &mut [MaybeUninit<f32>]| {
        let block = block.write_copy_of_slice(&source[start..start + block.len()]);
        run_vectorised(kernel, start, block);
    });
    // SAFETY: the capacity is at least `source.len()`, and the blocks, which cover the first `source.len()` elements,
    // have each been written.
    unsafe { values.set_len(source.len()) };
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// Calls `work` with the place and the elements of each block of `values`.
pub(crate) fn for_each_block<T: Send>(values: &mut [T], block: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if values.len() < PARALLEL {
        values.chunks_mut(block).enumerate().for_each(|(i, values)| work(i * block, values));
    } else {
        values.par_chunks_mut(block).enumerate().for_each(|(i, values)| work(i * block, values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::TensorData;

    /// Adds its place to each element.
    struct AddPlace;

    impl Kernel for AddPlace {
        #[inline(always)]
        fn run(&self, start: usize, block: &mut [f32]) {
            for (i, x) in block.iter_mut().enumerate() {
                *x += (start + i) as f32;
            }
        }
    }

    fn tensor(values: Vec<f32>) -> FlexTensor {
        let n = values.len();
        FlexTensor::from_data(TensorData::new(values, [n]))
    }

    #[test]
    fn every_element_is_visited_once_and_knows_its_place() {
        for n in [0, 1, BLOCK - 1, BLOCK + 1, PARALLEL + 13] {
            let expected: Vec<f32> = (0..n).map(|i| 0.5 + i as f32).collect();
            let x = tensor(vec![0.5; n]);
            let held = x.clone();
            assert_eq!(elements(&transform(x, BLOCK, &AddPlace)), expected);
            assert_eq!(elements(&held), vec![0.5; n], "a shared tensor must not change");
            assert_eq!(elements(&transform(held, 97, &AddPlace)), expected);
        }
    }

    #[test]
    fn a_lone_tensor_keeps_its_storage() {
        let x = tensor(vec![1.0; 101]);
        let storage = elements(&x).as_ptr();
        assert_eq!(elements(&transform(x, BLOCK, &AddPlace)).as_ptr(), storage);
    }

    #[test]
    fn a_slice_is_changed_within_its_bounds() {
        let x = tensor(vec![1.0; 10]).narrow(0, 3, 4);
        let y = transform(x, BLOCK, &AddPlace);
        assert_eq!(elements(&y), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(y.storage::<f32>()[7..], [1.0; 3]);
    }

    #[test]
    fn a_transposed_tensor_is_read_in_its_own_order() {
        let x = FlexTensor::from_data(TensorData::new(vec![0.0f32, 10.0, 20.0, 30.0, 40.0, 50.0], [2, 3]));
        let y = transform(x.transpose(0, 1), BLOCK, &AddPlace);
        assert_eq!(elements(&y), [0.0, 31.0, 12.0, 43.0, 24.0, 55.0]);
    }
}
