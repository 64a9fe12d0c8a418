//! Texts as bags of letters.

use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Conditioner, ConditionerSpec, Context, Plugin, Result};

/// What a recipe says of it.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
struct Config {
    /// Length of the embeddings.
    #[schemars(range(min = 1, max = 4096))]
    channels: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { channels: 26 }
    }
}

struct Letters {
    channels: usize,
}

impl Plugin for Letters {
    const ID: &'static str = "org.example.new";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "a bag of letters";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { channels: config.channels })
    }
}

impl Conditioner for Letters {
    fn spec(&self) -> ConditionerSpec {
        ConditionerSpec { length: 1, channels: self.channels }
    }

    fn encode(&mut self, cx: &mut Context, texts: &[&str]) -> Result<()> {
        let embeddings = cx.output::<f32>(0, &[texts.len(), 1, self.channels])?;
        let mask = cx.output::<u8>(1, &[texts.len(), 1])?;
        for ((text, embedding), mask) in texts.iter().zip(embeddings.chunks_mut(self.channels)).zip(mask) {
            *mask = u8::from(!text.is_empty());
            for letter in text.bytes() {
                embedding[usize::from(letter) % self.channels] += 1.0 / text.len() as f32;
            }
        }
        Ok(())
    }
}

musiva_plugin::export_plugin!(Letters: Conditioner);
