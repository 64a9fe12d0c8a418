//! Median times of the hot paths, at the sizes of the recipes that we ship: `cargo bench --bench hot_paths`.
//!
//! The weights are random. `--export` writes them with inputs, outputs and gradients, and `--serve` runs cases on
//! demand: with both, `benches/compare.sh` checks and times the same models in PyTorch, turn about.

mod backbones;
mod elementwise;
mod harness;
mod limits;
mod scaling;
mod sound;
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
    /// Runs the cases whose name holds this text, or one of several with semicolons between them.
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
    // As the command does.
    musiva_kernels::keep_freed_memory();
    musiva_kernels::use_current_thread_in_pool();
    let mut groups = groups()?;
    if let Some(folder) = &arguments.export {
        std::fs::create_dir_all(folder)?;
        for group in &groups {
            let path = folder.join(group.name).with_extension("safetensors");
            if let Some(export) = &group.export {
                save_weights(&path, &export()?, Precision::F32, HashMap::new())?;
            }
        }
    }
    let mut cases: Vec<Case> = groups.drain(..).flat_map(|group| group.cases).collect();
    if arguments.serve {
        return serve(&mut cases);
    }
    let threads = rayon::current_num_threads();
    println!("{threads} threads, medians in milliseconds");
    let (mut times, mut lines) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    // The fastest that the processor was seen to do of each unit.
    let mut limits = HashMap::new();
    for case in cases.iter_mut().filter(|case| arguments.filter.split(';').any(|part| case.name.contains(part))) {
        let runs = case.times(Duration::from_secs(2), 5);
        let count = runs.len();
        let time = median(runs);
        let speed = case.work.map(|work| {
            let (amount, unit) = work.amount();
            let speed = amount / time / 1e6;
            if case.name.starts_with(limits::LIMIT) {
                limits.insert(unit, speed);
            }
            let share = limits.get(unit).map(|limit| format!(", {:.2} of the limit", speed / limit));
            format!("   {speed:.1} {unit}{}", share.unwrap_or_default())
        });
        println!("{:<58} {time:>9.3}   {count} runs{}", case.name, speed.unwrap_or_default());
        if let Some((line, x)) = case.point {
            lines.entry(line).or_default().push((x, time));
        }
        times.insert(case.name.clone(), time);
    }
    for (line, points) in lines {
        if let Some(exponent) = scaling::exponent(&points) {
            println!("{line}: time grows as x^{exponent:.2}");
        }
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
    let with = |name: &str, set: &[&str]| {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/recipes")).join(name);
        let set: Vec<String> = set.iter().map(|set| set.to_string()).collect();
        Recipe::open(&path, &set, &registry).map_err(|report| report.to_string())
    };
    let open = |name: &str| with(name, &[]);
    const BF16: &str = "backbone.precision=bf16";
    let large = |stored: &'static str| {
        let decode = format!("backbone.decode={stored}");
        let set = ["backbone.width=512", "backbone.depth=8", "backbone.heads=8", &decode];
        with("text-to-video-lm.toml", &set).map(|recipe| (stored, recipe))
    };
    Ok(vec![
        limits::group(),
        tokenizer::group(open("tokenizer-video.toml")?)?,
        sound::group(open("tokenizer-audio.toml")?)?,
        backbones::dit("dit", open("text-to-video-dit.toml")?)?,
        backbones::dit("dit bf16", with("text-to-video-dit.toml", &[BF16])?)?,
        backbones::sampling("dit sampling", open("text-to-video-dit.toml")?)?,
        backbones::lm("lm", open("text-to-video-lm.toml")?)?,
        backbones::lm("lm bf16", with("text-to-video-lm.toml", &[BF16])?)?,
        backbones::decoding("lm 26M", vec![large("f32")?, large("bf16")?, large("int8")?])?,
        elementwise::group(),
        scaling::group()?,
    ])
}

fn serve(cases: &mut [Case]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let hello = json!({
        "threads": rayon::current_num_threads(),
        "cases": cases.iter().map(|case| {
            let work = case.work.map(|work| work.amount());
            json!({ "name": case.name, "amount": work.map(|w| w.0), "unit": work.map(|w| w.1) })
        }).collect::<Vec<_>>(),
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
