//! The peak signal-to-noise ratio over all pixels.

use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Error, Metric, Plugin, Result, Tensor};
use std::collections::BTreeMap;

/// What is said of it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
struct Config {}

#[derive(Default)]
struct Psnr {
    squares: u64,
    count: u64,
}

impl Plugin for Psnr {
    const ID: &'static str = "org.example.new";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "peak signal-to-noise ratio";
    type Config = Config;

    fn new(_: Config) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Metric for Psnr {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn update(&mut self, made: Tensor, reference: Tensor, _caption: &str) -> Result<()> {
        let (made, reference) = (made.as_slice::<u8>()?, reference.as_slice::<u8>()?);
        if made.len() != reference.len() {
            return Err(Error::input("the two clips have different shapes"));
        }
        self.squares += made.iter().zip(reference).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum::<u64>();
        self.count += made.len() as u64;
        Ok(())
    }

    fn result(&self) -> Result<BTreeMap<String, f64>> {
        let mean = self.squares as f64 / self.count.max(1) as f64;
        // Equal clips would be infinitely good, which JSON cannot say.
        let psnr = (10.0 * (255.0f64.powi(2) / mean.max(1e-5)).log10()).min(100.0);
        Ok(BTreeMap::from([("psnr".to_owned(), psnr)]))
    }
}

musiva_plugin::export_plugin!(Psnr: Metric);
