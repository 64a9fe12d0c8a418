//! Median times of the kernels and of Burn's own operations on Flex: `cargo bench -p musiva-kernels`.

use std::hint::black_box;
use std::time::Instant;

use burn::nn::RmsNormConfig;
use burn::tensor::{Device, Distribution, Tensor, activation, module};

const SHAPE: [usize; 3] = [16, 332, 512];
const EPSILON: f64 = 1e-6;
const ROUNDS: usize = 15;

type Operation = Box<dyn Fn(Tensor<3>) -> Tensor<3>>;

fn main() {
    println!("{SHAPE:?}, f32, {} threads, median of {ROUNDS}, milliseconds", rayon::current_num_threads());
    println!(
        "{:<12} {:<18} {:>8} {:>8} {:>7}   {:>8} {:>8} {:>7}",
        "", "", "forward", "", "", "forward", "+backward", ""
    );
    println!(
        "{:<12} {:<18} {:>8} {:>8} {:>7}   {:>8} {:>8} {:>7}",
        "operation", "Burn's", "ours", "burn", "", "ours", "burn", ""
    );
    row("gelu", "gelu (erf)", Box::new(musiva_kernels::gelu), Box::new(activation::gelu));
    row("gelu", "gelu_approximate", Box::new(musiva_kernels::gelu), Box::new(activation::gelu_approximate));
    row("silu", "silu", Box::new(musiva_kernels::silu), Box::new(activation::silu));
    row(
        "rms_norm",
        "nn::RmsNorm",
        Box::new(|x| {
            let burns = RmsNormConfig::new(SHAPE[2]).with_epsilon(EPSILON).init(&x.device());
            musiva_kernels::rms_norm(x, burns.gamma.val(), EPSILON)
        }),
        Box::new(|x| RmsNormConfig::new(SHAPE[2]).with_epsilon(EPSILON).init(&x.device()).forward(x)),
    );
    row(
        "layer_norm",
        "module::layer_norm",
        Box::new(|x| musiva_kernels::layer_norm(x, EPSILON)),
        Box::new(|x| {
            let gamma = Tensor::ones([SHAPE[2]], &x.device());
            module::layer_norm(x, gamma, None, EPSILON)
        }),
    );
    row("softmax", "softmax", Box::new(musiva_kernels::softmax), Box::new(|x| activation::softmax(x, 2)));
}

fn row(name: &str, burns: &str, ours: Operation, burn: Operation) {
    let [mut forward, mut backward] = [[vec![], vec![]], [vec![], vec![]]];
    // The two take turns, so that a busy spell of the machine meets both.
    for _ in 0..ROUNDS {
        for (i, f) in [&ours, &burn].into_iter().enumerate() {
            forward[i].push(time_forward(f));
            backward[i].push(time_backward(f));
        }
    }
    let [a, b] = forward.map(median);
    let [c, d] = backward.map(median);
    println!("{name:<12} {burns:<18} {a:>8.2} {b:>8.2} {:>6.1}x   {c:>8.2} {d:>8.2} {:>6.1}x", b / a, d / c);
}

/// The input is held, as it is in a residual block: the output is a new tensor.
fn time_forward(f: &Operation) -> f64 {
    let x = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), &Device::flex());
    let start = Instant::now();
    black_box(f(x.clone()));
    start.elapsed().as_secs_f64() * 1e3
}

/// The incoming gradient is a tensor of full size, made by a product with one.
fn time_backward(f: &Operation) -> f64 {
    let device = Device::flex().autodiff();
    let x = Tensor::<3>::random(SHAPE, Distribution::Normal(0.0, 1.0), &device).require_grad();
    let start = Instant::now();
    let grads = f(x.clone()).sum().backward();
    black_box(x.grad(&grads));
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
