//! What a recipe is and takes, as a value.

use crate::memory;
use musiva_core::recipe::{Diagnostic, Edge, Recipe, Report, Summary, Target};
use musiva_train::tokenizer::summary;
use serde::Serialize;
use serde_json::{Value, json};

/// What a checked recipe is and takes; serializes to what `musiva check --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Whether its data are there and its weights are usable, as far as what it is for takes them.
    pub ok: bool,
    /// What is not there otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// Its name.
    pub recipe: String,
    /// [`Recipe::hash`].
    pub sha256: String,
    /// The road, arrow by arrow.
    pub edges: Vec<Edge>,
    /// Parameters, work and memory.
    pub summary: Summary,
    /// The program with its settings.
    pub program: Value,
    /// Notes on the recipe, and what is to be said of its data and weights: a mistake only where the recipe could not be
    /// used for what it is for, training its target or else generating.
    pub report: Report,
}

/// What a recipe names that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The data to train on.
    Data,
    /// Weights, or weights that fit.
    Weights,
}

/// Looks at a recipe and at the headers of its weights files. A recipe that is itself wrong never gets here: see
/// [`RecipeSource::check`](crate::RecipeSource::check).
pub fn check(recipe: &Recipe) -> CheckReport {
    let needed = recipe.train.as_ref().map_or(&Target::ALL[..], |train| train.target.needs());
    let (notes, data, weights) = (recipe.notes().clone(), recipe.check_data(), recipe.check_weights(needed));
    let missing = match (data.failed(), weights.failed()) {
        (true, _) => Some(Missing::Data),
        (false, true) => Some(Missing::Weights),
        (false, false) => None,
    };
    let summary = summary(recipe);
    let memory = summary.training.as_ref().and_then(|training| memory::too_much(training.memory_bytes));
    let memory = memory.map(|message| Diagnostic::error("train.batch", message).hint(memory::HINT).note());
    let report = Report([notes.0, data.0, weights.0, memory.into_iter().collect()].concat()).sorted();
    let program = recipe.program.as_ref().map_or_else(
        || json!({ "kind": "once" }),
        |part| {
            let mut program = json!({ "kind": part.kind });
            if let (Some(all), Some(own)) = (program.as_object_mut(), part.config.as_object()) {
                all.extend(own.clone());
            }
            program
        },
    );
    CheckReport {
        ok: missing.is_none(),
        missing,
        recipe: recipe.name.clone(),
        sha256: recipe.hash(),
        edges: recipe.edges(),
        summary,
        program,
        report,
    }
}
