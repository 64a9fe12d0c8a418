//! Writes into weights files what they are by a recipe, for weights that do not say it themselves.
//!
//! `cargo run --release --example sign_weights -- recipes/world-lm.toml backbone` writes it into the weights of a part. From
//! then on `check`, `generate`, `evaluate`, `decode` and `train.start` refuse these weights where a recipe says otherwise.

use musiva::RecipeSource;
use musiva::recipe::Target;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, section] = &arguments[..] else { return Err("usage: sign_weights RECIPE SECTION".into()) };
    let recipe = RecipeSource::named(recipe).force_weights(true).open()?;
    let target = Target::of_section(section).ok_or("SECTION is one of tokenizer.video, tokenizer.audio, backbone")?;
    recipe.sign(target)?;
    for (key, value) in recipe.identity(target)? {
        println!("{key} = {value}");
    }
    Ok(())
}
