//! A recipe's datasets: what training sees, and what it never sees.

use musiva_core::dataset::Part;
use musiva_core::recipe::Recipe;
use musiva_core::{Dataset, Result};
use musiva_data::{World, WorldConfig};
use std::sync::Arc;

/// What `recipe` trains on.
///
/// # Errors
/// Where the recipe has no `[data]`, or it cannot be opened.
pub fn dataset_of(recipe: &Recipe) -> Result<Arc<dyn Dataset>> {
    recipe.need_data()?.component.open(Part::Train)
}

/// What training on [`dataset_of`] never sees; of fewer than 16 samples, all of them.
///
/// # Errors
/// As [`dataset_of`].
pub fn held_out_of(recipe: &Recipe) -> Result<Arc<dyn Dataset>> {
    recipe.need_data()?.component.open(Part::HeldOut)
}

/// The procedural world of `recipe`, where its data are that: only there are oracles.
///
/// # Errors
/// Where the recipe has no `[data]`, or its configuration is flawed.
pub fn world_of(recipe: &Recipe) -> Result<Option<World>> {
    match recipe.need_data()?.component.as_any().downcast_ref::<WorldConfig>() {
        Some(config) => World::open(config).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Registry;
    use musiva_data::world::Attributes;
    use std::path::Path;

    #[test]
    fn combinations_that_are_held_out_are_tested_and_never_trained_on() {
        let mut registry = Registry::default();
        musiva_data::register(&mut registry).unwrap();
        musiva_tokenizers::register(&mut registry).unwrap();
        // A recipe needs some part that learns; it is none of the datasets' business.
        let text = "schema = 1\ntokenizer.text.kind = \"bpe\"\n[data]\nkind = \"world\"\nsize = [16, 16]\nframes = 2\n\
                    held_out = [\"blue ring up\", \"red square left\"]";
        let recipe = Recipe::parse(text, Path::new("r.toml"), &[], &registry).unwrap();
        let held_out = |data: &dyn Dataset| {
            let asked = (0..1500).map(|i| Attributes::parse(&data.get(i).unwrap().caption).unwrap());
            let held = [("blue", "ring", "up"), ("red", "square", "left")];
            let words = asked.map(|a| (a.colour.unwrap().word(), a.shape.unwrap().word(), a.direction.unwrap().word()));
            words.filter(|words| held.contains(words)).count()
        };
        // Two of 48 combinations, give or take four deviations.
        let tested = held_out(&*held_out_of(&recipe).unwrap());
        assert_eq!(held_out(&*dataset_of(&recipe).unwrap()), 0);
        assert!((30..=95).contains(&tested), "{tested}");
        assert_eq!(world_of(&recipe).unwrap().unwrap().config().held_out.len(), 2);
    }
}
