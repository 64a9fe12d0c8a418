//! `check`: what a recipe is and takes, or what is wrong with it.

use super::args::RecipeArgs;
use super::print::{print, say, table};
use musiva::recipe::{Recipe, Summary};
use musiva::{CheckReport, Error, ErrorKind, Missing, Modality, Result, check};
use serde_json::json;

/// Check a recipe: shapes, parameters, memory and FLOPs, without loading a weight
///
/// Prints all errors at once, each with its line and a hint: the smallest edit that fixes it.
///
///   musiva check my-recipe.toml
///   musiva check text-to-video --set backbone.width=256 --json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = match args.recipe.source()?.check()?.0 {
        Ok(recipe) => recipe,
        Err(report) => {
            if args.json {
                say!("{:#}", json!({ "ok": false, "report": report }));
            }
            return Err(report.into());
        }
    };
    let checked = check(&recipe);
    if args.json {
        say!("{:#}", json!(checked));
    } else {
        print(&text(&recipe, &checked));
        if !checked.report.0.is_empty() {
            say!("\n{}", checked.report);
        }
    }
    // The recipe is sound; what it names is missing.
    let (kind, message) = match checked.missing {
        None => return Ok(()),
        Some(Missing::Data) => (ErrorKind::Data, "its data are missing"),
        Some(Missing::Weights) => (ErrorKind::Weights, "its weights are not usable"),
    };
    Err(Error::new(kind, recipe.path.display().to_string(), message).hint("see what is said above, key by key"))
}

fn text(recipe: &Recipe, checked: &CheckReport) -> String {
    let mut text = format!("{}  sha256 {}\n", checked.recipe, &checked.sha256[..16]);
    if !recipe.description.is_empty() {
        text.push_str(&format!("{}\n", recipe.description));
    }
    let edges = checked.edges.iter().map(|edge| {
        let to = if edge.to.is_empty() { "·" } else { &edge.to };
        [&edge.from, "→", to, &edge.shape, &edge.meaning].map(str::to_owned).to_vec()
    });
    text.push_str(&format!("\n{}\n", table(&edges.collect::<Vec<_>>())));
    let mut rows = rows(&checked.summary);
    for bucket in &recipe.buckets {
        let canvas = format!("{} tokens, weight {}", bucket.canvas.length(), bucket.weight);
        let shape = bucket.data.shape(Modality::Video).map_or(String::new(), |shape| shape.to_string());
        rows.push(vec![format!("trains on {shape}"), canvas]);
    }
    for condition in checked_conditions(recipe) {
        rows.push(condition);
    }
    if recipe.sampler.is_some() {
        rows.push(vec!["program".to_owned(), musiva::program_of(recipe).summary()]);
    }
    text.push_str(&table(&rows));
    text
}

/// The numbers that the backbone is conditioned on.
fn checked_conditions(recipe: &Recipe) -> Vec<Vec<String>> {
    let canvas = recipe.flow().canvas.as_ref();
    let conditions = canvas.iter().flat_map(|canvas| &canvas.conditions);
    let said = conditions.map(|condition| {
        let [low, high] = condition.range;
        let (route, dropout) = (condition.route.word(), condition.dropout);
        let how = format!("{}, {low} to {high}, route \"{route}\", dropout {dropout}", condition.from);
        vec![format!("condition {}", condition.name), how]
    });
    said.collect()
}

fn rows(summary: &Summary) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |cells: [String; 2]| rows.push(cells.to_vec());
    for (section, count) in &summary.parameters {
        row([format!("parameters of {section}"), short(*count as f64, 1000.0)]);
    }
    if let Some(training) = &summary.training {
        let work = format!("{}FLOP a step of {} samples", short(training.flops_per_step, 1000.0), training.batch);
        row([format!("training {}", training.target), work]);
        row(["  memory, estimated peak".into(), format!("{}B", short(training.memory_bytes, 1024.0))]);
    }
    if let Some(generation) = &summary.generation {
        let work =
            format!("{}FLOP a clip, {:.0} passes", short(generation.flops_per_sample, 1000.0), generation.forwards);
        row(["generating".into(), work]);
        row(["  memory, estimated peak".into(), format!("{}B", short(generation.memory_bytes, 1024.0))]);
    }
    rows
}

/// `1.23 M`, by thousands or by 1024s (`1.23 Mi`).
fn short(number: f64, base: f64) -> String {
    let binary = if base == 1024.0 { "i" } else { "" };
    let mut rest = number;
    for unit in ["", "k", "M", "G", "T", "P", "E"] {
        if rest < base || unit == "E" {
            let unit = if unit == "k" && base == 1024.0 { "K" } else { unit };
            let suffix = if unit.is_empty() { String::new() } else { format!("{unit}{binary}") };
            return if unit.is_empty() { format!("{rest:.0} ") } else { format!("{rest:.2} {suffix}") };
        }
        rest /= base;
    }
    unreachable!("the last unit takes all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(999.0, 1000.0), "999 ");
        assert_eq!(short(1_234_000.0, 1000.0), "1.23 M");
        assert_eq!(short(1_572_864.0, 1024.0), "1.50 Mi");
        assert_eq!(short(2048.0, 1024.0), "2.00 Ki");
    }
}
