//! Median times of the hot paths, at the sizes of the recipes that we ship: `cargo bench --bench hot_paths`.
//!
//! The weights are random. `--export` writes them with inputs, outputs and gradients, and `--serve` runs cases on
//! demand: with both, `benches/compare.sh` checks and times the same models in PyTorch, turn about.

mod backbones;
mod elementwise;
mod harness;
mod tokenizer;

use clap::Parser;
use harness::{Case, Group, median};
use musiva_core::Registry;
use musiva_core::parameters::{Precision, save_weights};
use musiva_core::recipe::Recipe;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
struct Arguments {
    /// Runs the cases whose name holds this text.
    #[arg(long, default_value = "")]
    filter: String,
    /// Writes the medians to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes what the reference has to read, to this folder.
    #[arg(long)]
    export: Option<PathBuf>,
    /// Reads names of cases, one a line, and answers each with a line of times in milliseconds.
    #[arg(long)]
    serve: bool,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut groups = groups()?;
    if let Some(folder) = &arguments.export {
        std::fs::create_dir_all(folder)?;
        for group in &groups {
            let path = folder.join(group.name).with_extension("safetensors");
            save_weights(&path, &(group.export)()?, Precision::F32, HashMap::new())?;
        }
    }
    let mut cases: Vec<Case> = groups.drain(..).flat_map(|group| group.cases).collect();
    if arguments.serve {
        return serve(&mut cases);
    }
    let threads = rayon::current_num_threads();
    println!("{threads} threads, f32, medians in milliseconds");
    let mut times = BTreeMap::new();
    for case in cases.iter_mut().filter(|case| case.name.contains(&arguments.filter)) {
        let runs = case.times(Duration::from_secs(2), 5);
        let count = runs.len();
        let time = median(runs);
        println!("{:<42} {time:>9.3}   {count} runs", case.name);
        times.insert(case.name.clone(), time);
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&json!({ "threads": threads, "milliseconds": times }))?)?;
    }
    Ok(())
}

fn groups() -> Result<Vec<Group>> {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry)?;
    musiva_tokenizers::register(&mut registry)?;
    musiva_models::register(&mut registry)?;
    let open = |name: &str| {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/recipes")).join(name);
        Recipe::open(&path, &[], &registry).map_err(|report| report.to_string())
    };
    Ok(vec![
        tokenizer::group(open("tokenizer-video.toml")?)?,
        backbones::dit(open("text-to-video-dit.toml")?)?,
        backbones::lm(open("text-to-video-lm.toml")?)?,
        elementwise::group(),
    ])
}

fn serve(cases: &mut [Case]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let hello = json!({
        "threads": rayon::current_num_threads(),
        "cases": cases.iter().map(|case| &case.name).collect::<Vec<_>>(),
    });
    writeln!(out, "{hello}")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let name = line?;
        let case = cases.iter_mut().find(|case| case.name == name).ok_or_else(|| format!("no case {name:?}"))?;
        writeln!(out, "{}", json!(case.times(Duration::from_millis(250), 2)))?;
        out.flush()?;
    }
    Ok(())
}
