//! Steps of Euler along the straight path from noise to data.

use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Context, Drives, Error, Plugin, Result, Sampler, SamplerSpec, Tensor};

/// What a recipe says of it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
struct Config {
    /// How many steps.
    #[schemars(range(min = 1, max = 1000))]
    steps: usize,
    /// How strongly the prompt is followed; 1: as learnt.
    #[schemars(range(min = 0.0, max = 100.0))]
    guidance: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self { steps: 20, guidance: 1.5 }
    }
}

struct Euler(Config);

impl Euler {
    fn time(&self, step: usize) -> f32 {
        1.0 - step as f32 / self.0.steps as f32
    }
}

impl Plugin for Euler {
    const ID: &'static str = "org.example.new";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "steps of Euler";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl Sampler for Euler {
    fn spec(&self) -> SamplerSpec {
        SamplerSpec { drives: Drives::Field, guidance: self.0.guidance }
    }

    fn begin(&mut self) -> Result<Vec<f32>> {
        Ok((0..=self.0.steps).map(|step| self.time(step)).collect())
    }

    fn step(&mut self, cx: &mut Context, index: usize, x: Tensor, clean: Tensor) -> Result<()> {
        if index >= self.0.steps {
            return Err(Error::input(format!("there is no step {index}")));
        }
        let (time, next) = (self.time(index), self.time(index + 1));
        let out = cx.output::<f32>(0, x.shape())?;
        for ((out, x), clean) in out.iter_mut().zip(x.as_slice::<f32>()?).zip(clean.as_slice::<f32>()?) {
            *out = x + (x - clean) * ((next - time) / time);
        }
        Ok(())
    }
}

musiva_plugin::export_plugin!(Euler: Sampler);
