use burn::backend::DType;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::{Visible, attention};
use crate::testing::{self, assert_near, device, noise, values};

const ALL: [Visible; 9] = [
    Visible::Full,
    Visible::Causal,
    Visible::Prefix(0),
    Visible::Prefix(7),
    Visible::Prefix(83),
    Visible::Prefix(usize::MAX),
    Visible::Window(1),
    Visible::Window(29),
    Visible::Window(usize::MAX),
];

/// B, n, m, H, G, d.
const SHAPES: [[usize; 6]; 10] = [
    [1, 1, 1, 1, 1, 1],
    [2, 1, 37, 3, 1, 5],
    [3, 5, 7, 2, 2, 3],
    [2, 17, 17, 6, 2, 7],
    [1, 61, 61, 1, 1, 16],
    [1, 64, 64, 2, 1, 32],
    [2, 67, 131, 4, 2, 32],
    [1, 131, 131, 5, 5, 13],
    [1, 83, 89, 3, 3, 64],
    [1, 211, 211, 2, 1, 37],
];

fn random(shape: [usize; 4], seed: u64, dtype: DType, device: &Device) -> Tensor<4> {
    let x: Vec<f32> = noise(shape.iter().product(), seed).iter().map(|x| 3.0 * x).collect();
    Tensor::from_data(TensorData::new(x, shape), (device, dtype))
}

/// Whether query i sees key j, by the definition.
fn sees(visible: Visible, i: usize, j: usize, n: usize, m: usize) -> bool {
    let place = (i + m).wrapping_sub(n);
    match visible {
        Visible::Full => true,
        Visible::Causal => j <= place,
        Visible::Prefix(p) => j <= place || j < p && place < p,
        Visible::Window(w) => j <= place && place - j < w,
    }
}

/// Attention with a mask tensor and repeated key-value heads, differentiated by Burn.
fn reference(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, visible: Visible) -> Tensor<4> {
    let ([batch, n, heads, width], [_, m, shared, _]) = (q.dims(), k.dims());
    let repeated = |x: Tensor<4>| {
        let x = x.swap_dims(1, 2).unsqueeze_dim::<5>(2).expand([batch, shared, heads / shared, m, width]);
        x.reshape([batch, heads, m, width])
    };
    let mask: Vec<i32> = (0..n * m).map(|i| i32::from(!sees(visible, i / m, i % m, n, m))).collect();
    let mask = Tensor::<2, Int>::from_data(TensorData::new(mask, [n, m]), &q.device());
    let mask: Tensor<4, Bool> = mask.equal_elem(1).unsqueeze::<4>().expand([batch, heads, n, m]);
    // Not a division: Burn's gradient of a division by a number rounds to f32.
    let scores = q.swap_dims(1, 2).matmul(repeated(k).transpose()) * (1.0 / (width as f64).sqrt());
    let exponentials = scores.mask_fill(mask, f64::NEG_INFINITY).exp();
    let probabilities = exponentials.clone() / exponentials.sum_dim(3);
    probabilities.matmul(repeated(v)).swap_dims(1, 2)
}

type Operation = fn(Tensor<4>, Tensor<4>, Tensor<4>, Visible) -> Tensor<4>;
type View = fn(Tensor<4>) -> Tensor<4>;

/// The value of `f` on views of random tensors, and the gradients by them of its product with noise.
fn all(f: Operation, view: View, sizes: [usize; 6], visible: Visible, dtype: DType) -> [Vec<f64>; 4] {
    let [batch, n, m, heads, shared, width] = sizes;
    let device = device().autodiff();
    let shapes = [[batch, n, heads, width], [batch, m, shared, width], [batch, m, shared, width]];
    let operands: [Tensor<4>; 3] = std::array::from_fn(|i| {
        // These views are their own inverses.
        let shape = view(Tensor::zeros(shapes[i], &device)).dims();
        random(shape, i as u64, dtype, &device).require_grad()
    });
    let [q, k, v] = operands.clone().map(view);
    let y = f(q, k, v, visible);
    let weights = random(y.dims(), 5, dtype, &y.device());
    let grads = (y.clone() * weights).sum().backward();
    let [q, k, v] = operands.map(|x| values(x.grad(&grads).unwrap()));
    [values(y), q, k, v]
}

fn same(x: Tensor<4>) -> Tensor<4> {
    x
}

#[test]
fn value_and_gradients_agree_with_the_composed_form_in_double_precision() {
    for sizes in SHAPES {
        for visible in ALL {
            let expected = all(reference, same, sizes, visible, DType::F64);
            for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-11), (DType::BF16, 0.15)] {
                let found = all(attention, same, sizes, visible, dtype);
                for (found, expected) in found.iter().zip(&expected) {
                    assert_near(found, expected, tolerance);
                }
            }
        }
    }
}

#[test]
fn views_are_read_as_they_lie() {
    let views: [View; 6] = [
        |x| x.swap_dims(1, 2),
        |x| x.swap_dims(0, 1),
        |x| x.swap_dims(2, 3),
        |x| x.swap_dims(0, 3),
        |x| x.flip([1]),
        |x| x.flip([3, 2]),
    ];
    for view in views {
        for visible in [Visible::Full, Visible::Window(29)] {
            let sizes = [2, 67, 71, 6, 2, 19];
            let expected = all(reference, view, sizes, visible, DType::F64);
            for (found, expected) in all(attention, view, sizes, visible, DType::F32).iter().zip(&expected) {
                assert_near(found, expected, 5e-6);
            }
        }
    }
}

#[test]
fn slices_of_one_packed_tensor_are_read_as_they_lie() {
    let packed = |dtype, f: Operation| {
        let x = random([2, 73, 10, 23], 1, dtype, &device().autodiff()).require_grad();
        let part = |heads: std::ops::Range<usize>, from: usize| x.clone().slice([0..2, from..71, heads, 2..21]);
        let y = f(part(0..6, 5), part(6..8, 1), part(8..10, 1), Visible::Causal);
        let weights = random(y.dims(), 5, dtype, &y.device());
        let grads = (y.clone() * weights).sum().backward();
        [values(y), values(x.grad(&grads).unwrap())].concat()
    };
    assert_near(&packed(DType::F32, attention), &packed(DType::F64, reference), 5e-6);
}

#[test]
fn an_expanded_head_is_a_shared_head() {
    let [q, k, v] = [6, 2, 2].map(|heads| random([2, 31, heads, 8], heads as u64, DType::F32, &device()));
    let repeated = |x: Tensor<4>| x.unsqueeze_dim::<5>(3).expand([2, 31, 2, 3, 8]).reshape([2, 31, 6, 8]);
    let shared = attention(q.clone(), k.clone(), v.clone(), Visible::Causal);
    let expanded = attention(q, repeated(k), repeated(v), Visible::Causal);
    assert_eq!(values(shared), values(expanded));
}

#[test]
fn gradients_agree_with_finite_differences() {
    const STEP: f64 = 1e-5;
    let sizes @ [batch, n, m, heads, shared, width] = [1, 3, 5, 2, 1, 3];
    let visible = Visible::Prefix(3);
    let operands = [[batch, n, heads, width], [batch, m, shared, width], [batch, m, shared, width]];
    let operands: [Tensor<4>; 3] = std::array::from_fn(|i| random(operands[i], i as u64, DType::F64, &device()));
    let weights = random([batch, n, heads, width], 5, DType::F64, &device());
    let loss = |operands: [Tensor<4>; 3]| {
        let [q, k, v] = operands;
        values((reference(q, k, v, visible) * weights.clone()).sum())[0]
    };
    let found = all(attention, same, sizes, visible, DType::F32);
    for operand in 0..3 {
        let moved = |place: usize, step: f64| {
            let mut operands = operands.clone();
            let mut x = values(operands[operand].clone());
            x[place] += step;
            let dims = operands[operand].dims();
            operands[operand] = Tensor::from_data(TensorData::new(x, dims), (&device(), DType::F64));
            loss(operands)
        };
        let slope = |place| (moved(place, STEP) - moved(place, -STEP)) / (2.0 * STEP);
        let expected: Vec<f64> = (0..operands[operand].shape().num_elements()).map(slope).collect();
        assert_near(&found[operand + 1], &expected, 5e-6);
    }
}

#[test]
fn what_is_visible_has_several_names() {
    for sizes in [[1, 83, 131, 2, 1, 8], [2, 97, 97, 3, 3, 5]] {
        let run = |visible| all(attention, same, sizes, visible, DType::F32);
        assert_eq!(run(Visible::Prefix(0)), run(Visible::Causal));
        assert_eq!(run(Visible::Window(sizes[2])), run(Visible::Causal));
        assert_eq!(run(Visible::Prefix(sizes[2])), run(Visible::Full));
    }
}

#[test]
fn decoding_step_by_step_is_decoding_at_once() {
    let n = 71;
    let [q, k, v] = [4, 2, 2].map(|heads| random([2, n, heads, 16], heads as u64, DType::F32, &device()));
    for visible in [Visible::Causal, Visible::Prefix(1), Visible::Window(13)] {
        let at_once = attention(q.clone(), k.clone(), v.clone(), visible);
        for step in [1, 3, 5] {
            for to in (step..=n).step_by(step) {
                let [q, k, v] = [(&q, to - step), (&k, 0), (&v, 0)].map(|(x, from)| x.clone().slice([0..2, from..to]));
                let expected = values(at_once.clone().slice([0..2, to - step..to]));
                assert_near(&values(attention(q, k, v, visible)), &expected, 2e-6);
            }
        }
    }
}

#[test]
fn more_queries_than_keys_where_all_is_visible() {
    let sizes = [2, 131, 37, 2, 2, 8];
    let expected = all(reference, same, sizes, Visible::Full, DType::F64);
    for (found, expected) in all(attention, same, sizes, Visible::Full, DType::F32).iter().zip(&expected) {
        assert_near(found, expected, 5e-6);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let [q, k, v] = [1, 2, 3].map(|seed| random([1, 67, 1, 4], seed, DType::F32, &device()));
    let found = attention(q * 1e15, k * 1e15, v.clone(), Visible::Causal);
    assert!(values(found).iter().all(|y| y.is_finite()));
}

#[test]
fn a_nan_spoils_the_queries_that_see_it() {
    let (n, width) = (149, 5);
    let [q, k, v] = [1, 2, 3].map(|seed| random([1, n, 1, width], seed, DType::F32, &device()));
    let spoilt = |x: &Tensor<4>, row: usize| {
        let nan = Tensor::full([1, 1, 1, 1], f32::NAN, &device());
        x.clone().slice_assign([0..1, row..row + 1, 0..1, 0..1], nan)
    };
    let rows = |y: Tensor<4>| values(y).chunks(width).map(<[f64]>::to_vec).collect::<Vec<_>>();
    let sound = rows(attention(q.clone(), k.clone(), v.clone(), Visible::Causal));
    let found = rows(attention(spoilt(&q, 70), k.clone(), v.clone(), Visible::Causal));
    for (i, (found, sound)) in found.iter().zip(&sound).enumerate() {
        assert!(if i == 70 { found.iter().all(|y| y.is_nan()) } else { found == sound }, "{i}");
    }
    for found in [
        attention(q.clone(), spoilt(&k, 70), v.clone(), Visible::Causal),
        attention(q.clone(), k.clone(), spoilt(&v, 70), Visible::Causal),
    ] {
        for (i, row) in rows(found).iter().enumerate() {
            assert!(i < 70 || row[0].is_nan(), "{i}");
        }
    }
}

#[test]
fn an_empty_batch_has_an_empty_value() {
    let x = |shape| Tensor::<4>::zeros(shape, &device());
    for [batch, n, heads] in [[0, 3, 2], [2, 0, 2]] {
        let y = attention(x([batch, n, heads, 5]), x([batch, 3, 1, 5]), x([batch, 3, 1, 5]), Visible::Causal);
        assert_eq!(y.dims(), [batch, n, heads, 5]);
    }
}

#[test]
fn the_same_bytes_for_any_thread_count() {
    for sizes in [[3, 131, 131, 6, 2, 32], [2, 1, 4099, 4, 4, 32]] {
        for visible in [Visible::Full, Visible::Prefix(12)] {
            testing::same_for_any_thread_count(|| all(attention, same, sizes, visible, DType::F32).concat());
        }
    }
}

#[test]
#[should_panic(expected = "3 queries have no place among 2 keys")]
fn more_queries_than_keys_have_no_causal_order() {
    let x = |n| Tensor::<4>::zeros([1, n, 1, 4], &device());
    attention(x(3), x(2), x(2), Visible::Causal);
}

#[test]
#[should_panic(expected = "6 heads cannot share 4 key-value heads")]
fn heads_that_do_not_divide_are_a_bug() {
    let x = |heads| Tensor::<4>::zeros([1, 2, heads, 4], &device());
    attention(x(6), x(4), x(4), Visible::Full);
}
