//! Walks the storage of Flex tensors block by block, in parallel.
//!
//! The blocks depend on the shape alone, never on the number of threads, and no block reads another: so neither does
//! the result.

use std::mem::MaybeUninit;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Bytes, DType, Shape};
use rayon::prelude::*;

use crate::simd::{Kernel, SummingKernel, run_vectorised, vectorised};

/// Elements in a block: 16 KiB, half of a small first-level cache, so that copy and kernel meet there.
pub(crate) const BLOCK: usize = 4096;

/// Elements below which waking a second thread costs more than it saves.
pub(crate) const PARALLEL: usize = 8 * BLOCK;

/// Rows that share one partial sum: a constant, so that the order of additions does not depend on the number of
/// threads; enough that the sums are less work than the rows.
pub(crate) const PART: usize = 64;

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

/// The elements of a tensor that came out of [`contiguous`], to write to; copies where somebody else holds the storage.
pub(crate) fn elements_mut(x: &mut FlexTensor) -> &mut [f32] {
    let (start, end) = x.layout().contiguous_offsets().expect("a tensor in row-major order");
    &mut x.storage_mut::<f32>()[start..end]
}

/// Applies `kernel` to `x` in blocks of `block` elements: in place where nobody else holds the storage, else on a
/// copy that is made block by block, while it is in the cache.
pub(crate) fn transform(x: FlexTensor, block: usize, kernel: &impl Kernel) -> FlexTensor {
    let shape = x.layout().shape().clone();
    let mut x = with_whole_rows(x);
    if shape.num_elements() == 0 {
        return x;
    }
    if let Some(values) = own(&mut x) {
        for_each_block(values, block, |start, block| run_vectorised(kernel, start, block));
        return x;
    }
    let source = Source::new(&x);
    fresh(shape, |room| {
        for_each_block(room, block, |start, room| run_vectorised(kernel, start, source.copy(start, room)));
    })
}

/// The elements of `x` to write to, if it is in row-major order and nobody else holds its storage.
fn own(x: &mut FlexTensor) -> Option<&mut [f32]> {
    let (start, end) = x.layout().contiguous_offsets()?;
    x.try_storage_mut::<f32>().map(|storage| &mut storage[start..end])
}

/// `x` with the elements of each row side by side; copies only where they are not.
fn with_whole_rows(x: FlexTensor) -> FlexTensor {
    if x.layout().strides().last() == Some(&1) { x } else { contiguous(x) }
}

/// A tensor to copy from, block by block: one that came out of [`with_whole_rows`].
struct Source<'a> {
    storage: &'a [f32],
    layout: &'a Layout,
    /// Elements that lie side by side: all, or those of a row.
    run: usize,
}

impl<'a> Source<'a> {
    fn new(x: &'a FlexTensor) -> Self {
        let run = if x.is_contiguous() { x.layout().num_elements() } else { row_width(x) };
        Self { storage: x.storage(), layout: x.layout(), run }
    }

    /// Copies the elements from `start` on into `room`.
    fn copy<'r>(&self, mut start: usize, room: &'r mut [MaybeUninit<f32>]) -> &'r mut [f32] {
        let mut rest = &mut *room;
        while !rest.is_empty() {
            let (row, column) = (start / self.run, start % self.run);
            let (part, after) = rest.split_at_mut((self.run - column).min(rest.len()));
            let from = self.start_of(row) + column;
            part.write_copy_of_slice(&self.storage[from..from + part.len()]);
            start += part.len();
            rest = after;
        }
        // SAFETY: the loop has written each element.
        unsafe { room.assume_init_mut() }
    }

    /// Where run `row` begins in the storage.
    fn start_of(&self, mut row: usize) -> usize {
        let (shape, strides) = (self.layout.shape(), self.layout.strides());
        let mut offset = self.layout.start_offset() as isize;
        for dim in (0..strides.len().saturating_sub(1)).rev() {
            offset += (row % shape[dim]) as isize * strides[dim];
            row /= shape[dim];
        }
        offset as usize
    }
}

/// A new tensor, every element of which `fill` writes.
fn fresh(shape: Shape, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> FlexTensor {
    let length = shape.num_elements();
    let mut values = Vec::<f32>::with_capacity(length);
    fill(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: the capacity is at least `length`, and the walks of this module, which alone fill, write each element.
    unsafe { values.set_len(length) };
    from_values(values, shape)
}

/// A tensor of `shape` that holds `values`.
pub(crate) fn from_values(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// How a tensor is walked by [`transform_and_sum`].
pub(crate) struct Walk {
    /// The number of equal segments, each of which has its own sums.
    pub segments: usize,
    /// Elements after which a segment begins a new partial sum. A matter of the shape alone, so that the order of
    /// additions is; and the unit of parallel work.
    pub part: usize,
    /// Elements that the kernel gets at once; part of a part.
    pub block: usize,
    /// The number of sums of a segment.
    pub sums: usize,
}

/// As [`transform`], with a kernel that adds to sums: returns these too, `[segments, sums]`.
pub(crate) fn transform_and_sum(x: FlexTensor, walk: &Walk, kernel: &impl SummingKernel) -> (FlexTensor, Vec<f32>) {
    let shape = x.layout().shape().clone();
    let length = shape.num_elements();
    let mut x = with_whole_rows(x);
    if length == 0 {
        return (x, vec![0.0; walk.segments * walk.sums]);
    }
    let parts = (length / walk.segments).div_ceil(walk.part);
    let mut partial = vec![0.0; walk.segments * parts * walk.sums];
    if let Some(values) = own(&mut x) {
        for_each_part(values, &mut partial, walk, |start, block, sums| vectorised((kernel, start, block, sums)));
    } else {
        let source = Source::new(&x);
        x = fresh(shape, |room| {
            for_each_part(room, &mut partial, walk, |start, room, sums| {
                vectorised((kernel, start, source.copy(start, room), sums));
            });
        });
    }
    (x, add_parts(partial, parts * walk.sums, walk.sums))
}

/// Calls `work` with the place and the elements of each block of `values` and with the sums of its part; blocks of
/// one part one after the other.
fn for_each_part<T: Send>(
    values: &mut [T],
    partial: &mut [f32],
    walk: &Walk,
    work: impl Fn(usize, &mut [T], &mut [f32]) + Sync,
) {
    let (length, segment) = (values.len(), values.len() / walk.segments);
    let parts = values.chunks_mut(segment).enumerate().flat_map(|(i, values)| {
        values.chunks_mut(walk.part).enumerate().map(move |(j, values)| (i * segment + j * walk.part, values))
    });
    let jobs: Vec<_> = parts.zip(partial.chunks_mut(walk.sums)).collect();
    let run = |((start, values), sums): ((usize, &mut [T]), &mut [f32])| {
        values.chunks_mut(walk.block).enumerate().for_each(|(i, block)| work(start + i * walk.block, block, sums));
    };
    if length < PARALLEL {
        jobs.into_iter().for_each(run);
    } else {
        jobs.into_par_iter().for_each(run);
    }
}

/// The sum, in their order, of the runs of `width` numbers within each `segment`.
fn add_parts(mut partial: Vec<f32>, segment: usize, width: usize) -> Vec<f32> {
    if segment == width {
        return partial;
    }
    let mut totals = Vec::with_capacity(partial.len() / segment * width);
    for segment in partial.chunks_mut(segment) {
        let (total, rest) = segment.split_at_mut(width);
        for part in rest.chunks(width) {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        totals.extend_from_slice(total);
    }
    totals
}

/// Numbers of which each is made by `kernel` from `cost` elements of another tensor: zeros to which it is applied in
/// blocks of `block` numbers.
pub(crate) fn reduce(length: usize, block: usize, cost: usize, kernel: &impl Kernel) -> Vec<f32> {
    let mut values = vec![0.0; length];
    for_each_costly_block(&mut values, block, cost, |start, block| run_vectorised(kernel, start, block));
    values
}

/// Calls `work` with the place and the elements of each block of `values`.
pub(crate) fn for_each_block<T: Send>(values: &mut [T], block: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    for_each_costly_block(values, block, 1, work);
}

/// As [`for_each_block`], where an element is as much work as `cost` elements elsewhere.
fn for_each_costly_block<T: Send>(values: &mut [T], block: usize, cost: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if values.len() * cost < PARALLEL {
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
    fn rows_of_a_view_are_read_where_they_lie() {
        let x = tensor((0..210).map(|i| i as f32).collect());
        let x = x.reshape(Shape::new([5, 6, 7])).permute(&[1, 0, 2]).narrow(2, 2, 4).narrow(1, 1, 3);
        let flipped = x.layout().flip(&[0]);
        let x = x.with_layout(flipped);
        let expected: Vec<f32> = elements(&x.to_contiguous()).iter().enumerate().map(|(i, x)| x + i as f32).collect();
        for block in [1, 3, 4, 8, 100] {
            let y = transform(x.clone(), block, &AddPlace);
            assert_eq!(y.layout().shape().as_slice(), [6, 3, 4]);
            assert_eq!(elements(&y), expected, "blocks of {block}");
        }
    }

    /// Adds its place to each element, and to the sums the elements and their number.
    struct CountAndAddPlace;

    impl SummingKernel for CountAndAddPlace {
        #[inline(always)]
        fn run(&self, start: usize, block: &mut [f32], sums: &mut [f32]) {
            sums[0] += block.iter().sum::<f32>();
            sums[1] += block.len() as f32;
            AddPlace.run(start, block);
        }
    }

    #[test]
    fn each_segment_has_its_sums() {
        for (segments, segment, part, block) in [(1, 7, 100, 3), (3, 10, 4, 2), (5, 20_011, 4096, 1000)] {
            let x = tensor((0..segments * segment).map(|i| (i / segment) as f32).collect());
            let walk = Walk { segments, part, block, sums: 2 };
            let expected: Vec<f32> = (0..segments).flat_map(|i| [(i * segment) as f32, segment as f32]).collect();
            for x in [x.clone(), x] {
                let first = elements(&x).to_vec();
                let (y, sums) = transform_and_sum(x, &walk, &CountAndAddPlace);
                assert_eq!(sums, expected);
                assert!(elements(&y).iter().zip(first).enumerate().all(|(i, (y, x))| *y == x + i as f32));
            }
        }
    }

    #[test]
    fn a_transposed_tensor_is_read_in_its_own_order() {
        let x = FlexTensor::from_data(TensorData::new(vec![0.0f32, 10.0, 20.0, 30.0, 40.0, 50.0], [2, 3]));
        let y = transform(x.transpose(0, 1), BLOCK, &AddPlace);
        assert_eq!(elements(&y), [0.0, 31.0, 12.0, 43.0, 24.0, 55.0]);
    }
}
