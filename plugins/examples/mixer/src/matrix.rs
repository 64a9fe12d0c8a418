//! Products of small matrices, row by row, each with its gradients. Every sum is taken in one order.

/// `out[n, k] += x[n, m] · w[m, k]`.
pub fn add_product(out: &mut [f32], x: &[f32], w: &[f32], m: usize, k: usize) {
    for (out, x) in out.chunks_exact_mut(k).zip(x.chunks_exact(m)) {
        for (&x, w) in x.iter().zip(w.chunks_exact(k)) {
            out.iter_mut().zip(w).for_each(|(out, w)| *out += x * w);
        }
    }
}

/// `dx[n, m] += dy[n, k] · w[m, k]ᵀ`.
pub fn add_by_input(dx: &mut [f32], dy: &[f32], w: &[f32], m: usize, k: usize) {
    for (dx, dy) in dx.chunks_exact_mut(m).zip(dy.chunks_exact(k)) {
        for (dx, w) in dx.iter_mut().zip(w.chunks_exact(k)) {
            *dx += dy.iter().zip(w).map(|(dy, w)| dy * w).sum::<f32>();
        }
    }
}

/// `dw[m, k] += x[n, m]ᵀ · dy[n, k]`.
pub fn add_by_weight(dw: &mut [f32], x: &[f32], dy: &[f32], m: usize, k: usize) {
    for (x, dy) in x.chunks_exact(m).zip(dy.chunks_exact(k)) {
        for (&x, dw) in x.iter().zip(dw.chunks_exact_mut(k)) {
            dw.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += x * dy);
        }
    }
}

/// `out[n, k] += row[k]` for every row.
pub fn add_row(out: &mut [f32], row: &[f32]) {
    for out in out.chunks_exact_mut(row.len()) {
        out.iter_mut().zip(row).for_each(|(out, row)| *out += row);
    }
}

/// `out[k] += Σ rows[n, k]`.
pub fn add_sum(out: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(out.len()) {
        out.iter_mut().zip(row).for_each(|(out, row)| *out += row);
    }
}

const EPSILON: f32 = 1e-6;

/// `x / √(mean(x²) + ε) · weight`, each row by itself.
pub fn rms_norm(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let width = weight.len();
    let mut out = Vec::with_capacity(x.len());
    for x in x.chunks_exact(width) {
        let scale = inverse(x);
        out.extend(x.iter().zip(weight).map(|(x, weight)| x * scale * weight));
    }
    out
}

fn inverse(x: &[f32]) -> f32 {
    1.0 / (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32 + EPSILON).sqrt()
}

/// Adds the gradients of [`rms_norm`] by `x` and by `weight`.
pub fn add_rms_norm_gradients(dx: &mut [f32], dweight: &mut [f32], x: &[f32], weight: &[f32], dy: &[f32]) {
    let width = weight.len();
    for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)) {
        let scale = inverse(x);
        let along: f32 = (0..width).map(|i| dy[i] * weight[i] * x[i]).sum::<f32>() * scale * scale / width as f32;
        for i in 0..width {
            dx[i] += scale * (dy[i] * weight[i] - x[i] * along);
            dweight[i] += dy[i] * x[i] * scale;
        }
    }
}

/// `x / (1 + exp(-x))`.
pub fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// Its slope.
pub fn silu_slope(x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    sigmoid * (1.0 + x * (1.0 - sigmoid))
}
