//! `inspect`: what a file says about itself.

use super::print::{print, say, table};
use musiva::inspect::{Contents, inspect};
use musiva::tokenizers::quantizers::CodeUse;
use musiva::{Result, TokenShape, TokenValues, Tokens};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Print what a clip, a sound, a tokens file or a weights file holds and where it comes from
///
///   musiva inspect out.mp4
///   musiva inspect out.tokens.safetensors
///   musiva inspect runs/first/weights.safetensors
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let path = &args.file;
    let found = inspect(path)?;
    match &found.contents {
        Contents::Pictures(info) => say!("{}: {info}", path.display()),
        Contents::Sound { codec, channels, rate, length } => {
            let lasts = length.map_or(String::new(), |n| format!(", {:.2} s", n as f64 / rate.as_f64()));
            say!("{}: {codec}, {channels} channels, {rate} Hz{lasts}", path.display());
        }
        Contents::Tokens(its) => tokens(path, its),
        Contents::Tensors(all) => {
            let count: usize = all.values().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            say!("{}: {} tensors, {count} numbers", path.display(), all.len());
        }
    }
    keys(found.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    if let Contents::Tensors(all) = &found.contents {
        let rows = all.iter().map(|(name, (dtype, shape))| vec![name.clone(), dtype.clone(), format!("{shape:?}")]);
        print(&table(&rows.collect::<Vec<_>>()));
    }
    Ok(())
}

fn tokens(path: &Path, tokens: &Tokens) {
    let shape = TokenShape { grid: tokens.grid(), kind: tokens.values().kind() };
    match tokens.values() {
        TokenValues::Codes { levels, codes, .. } => {
            let bits = shape.length() as f64 * shape.kind.information().unwrap_or_default();
            say!("{}: {shape}, {bits:.0} bits", path.display());
            if *levels == 1 {
                frequent(codes);
            } else {
                for (level, its) in CodeUse::of_tokens(std::slice::from_ref(tokens)).iter().enumerate() {
                    say!("codebook {}: {} different codes, perplexity {:.1}", level + 1, its.used, its.perplexity());
                }
            }
        }
        TokenValues::Vectors { values, .. } => {
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
            say!("{}: {shape}, {low:.3} to {high:.3}", path.display());
        }
    }
}

/// The codes that occur most often.
fn frequent(codes: &[u32]) {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    codes.iter().for_each(|&code| *counts.entry(code).or_default() += 1);
    let mut often: Vec<_> = counts.iter().map(|(&code, &count)| (count, code)).collect();
    often.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let most: Vec<_> = often.iter().take(5).map(|(count, code)| format!("{code} ({count}×)")).collect();
    say!("{} different codes; most often {}", often.len(), most.join(", "));
}

fn keys<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    for (key, value) in pairs {
        // What weights are is a table: a line for each key.
        if let Ok(serde_json::Value::Object(table)) = serde_json::from_str(value) {
            say!("  {key}:");
            table.iter().for_each(|(key, value)| say!("    {key} = {value}"));
            continue;
        }
        // A checkpoint holds its whole recipe: of long values, the first line.
        let line = value.lines().next().unwrap_or_default();
        let more = if line.len() < value.len() { " …" } else { "" };
        say!("  {key} = {line}{more}");
    }
}
