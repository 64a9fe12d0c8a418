//! A vector for each position: a matrix times the noisy one, plus a bias. It learns, if little.

use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{
    Backbone, BackboneInput, BackboneSpec, Canvas, Content, Context, Error, InitRule, Parameter, Plugin, Result, Vjp,
};

/// What a recipe says of it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
struct Config {}

struct Linear;

impl Plugin for Linear {
    const ID: &'static str = "org.example.new";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "one matrix";
    type Config = Config;

    fn new(_: Config) -> Result<Self> {
        Ok(Self)
    }
}

/// Length of the vectors, and the noisy ones.
fn field<'a>(input: &BackboneInput<'a>) -> Result<(usize, &'a [f32])> {
    match (input.content, input.canvas.channels) {
        (Content::Field { values, .. }, Some(channels)) => Ok((channels, values)),
        _ => Err(Error::input("it reads vectors")),
    }
}

impl Backbone for Linear {
    fn spec(&self, canvas: &Canvas) -> Result<BackboneSpec> {
        match canvas.channels {
            Some(_) => Ok(BackboneSpec::Field { self_conditioned: false }),
            None => Err(Error::input("it reads vectors, this tokenizer makes none")),
        }
    }

    fn parameters(&self, canvas: &Canvas) -> Result<Vec<Parameter>> {
        let c = canvas.channels.unwrap_or(0);
        Ok(vec![
            Parameter { name: "weight".into(), shape: vec![c, c], init: InitRule::Normal(0.02) },
            Parameter { name: "bias".into(), shape: vec![c], init: InitRule::Zeros },
        ])
    }

    fn forward(&self, cx: &mut Context, input: &BackboneInput) -> Result<()> {
        let (c, x) = field(input)?;
        let (weight, bias) = input.theta.split_at(c * c);
        let out = cx.output::<f32>(0, &[input.batch, input.canvas.length(), c])?;
        for (y, x) in out.chunks_mut(c).zip(x.chunks(c)) {
            for (j, y) in y.iter_mut().enumerate() {
                *y = bias[j] + (0..c).map(|i| x[i] * weight[i * c + j]).sum::<f32>();
            }
        }
        Ok(())
    }
}

impl Vjp for Linear {
    fn vjp(&self, cx: &mut Context, input: &BackboneInput, dy: &[f32]) -> Result<()> {
        let (c, x) = field(input)?;
        let by_theta = cx.output::<f32>(0, &[input.theta.len()])?;
        let by_x = cx.output::<f32>(1, &[input.batch, input.canvas.length(), c])?;
        for ((x, dy), dx) in x.chunks(c).zip(dy.chunks(c)).zip(by_x.chunks_mut(c)) {
            for i in 0..c {
                for j in 0..c {
                    by_theta[i * c + j] += x[i] * dy[j];
                    dx[i] += input.theta[i * c + j] * dy[j];
                }
                by_theta[c * c + i] += dy[i];
            }
        }
        Ok(())
    }
}

musiva_plugin::export_plugin!(Linear: Backbone + Vjp);
