//! `inspect`: what a file says about itself.

use crate::output::{print, say, table};
use musiva_core::{Error, ErrorKind, Result, TokenShape, TokenValues, Tokens};
use musiva_media::{SoundReader, VideoReader, read_metadata};
use musiva_tokenizers::quantizers::CodeUse;
use safetensors::tensor::Metadata;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A header of a safetensors file is never longer: its count of bytes is not to be trusted with memory.
const LONGEST_HEADER: u64 = 100 << 20;

/// Say what a clip, a sound, a tokens file or a weights file holds and where it comes from
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
    match header(&args.file)? {
        Some(header) => tensors(&args.file, &header),
        None => media(&args.file),
    }
}

fn media(path: &Path) -> Result<()> {
    match VideoReader::open(path) {
        Ok(reader) => say!("{}: {}", path.display(), reader.info()),
        Err(no_pictures) => {
            let Ok(reader) = SoundReader::open(path) else { return Err(no_pictures) };
            let info = reader.info();
            let lasts = info.length.map_or(String::new(), |n| format!(", {:.2} s", n as f64 / info.rate.as_f64()));
            say!("{}: {}, {} channels, {} Hz{lasts}", path.display(), info.codec, info.channels, info.rate);
        }
    }
    // Other formats hold none of ours.
    if let Ok(metadata) = read_metadata(path) {
        keys(metadata.iter());
    }
    Ok(())
}

/// The header of a safetensors file; `None`: it is another file.
fn header(path: &Path) -> Result<Option<Metadata>> {
    let failed = |error| Error::io(path, "read it", error);
    let broken =
        |found: &str| Error::new(ErrorKind::Weights, path.display().to_string(), found).hint("fetch or make it again");
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut start = Vec::new();
    (&mut file).take(9).read_to_end(&mut start).map_err(failed)?;
    let (Some(length), Some(b'{')) = (start.first_chunk().map(|length| u64::from_le_bytes(*length)), start.get(8))
    else {
        return Ok(None);
    };
    if length > LONGEST_HEADER || length > size.saturating_sub(8) {
        return Err(broken("a safetensors file that is cut off in its header"));
    }
    let mut header = vec![b'{'];
    file.take(length.saturating_sub(1)).read_to_end(&mut header).map_err(failed)?;
    let head: Metadata = serde_json::from_slice(&header)
        .map_err(|error| broken("the header is not that of a safetensors file").caused_by(error))?;
    match (8 + length).checked_add(head.data_len() as u64) {
        Some(wanted) if wanted == size => Ok(Some(head)),
        _ => Err(broken(&format!("a safetensors file that is cut off: {size} bytes are not what its header promises"))),
    }
}

fn tensors(path: &Path, head: &Metadata) -> Result<()> {
    let all: BTreeMap<_, _> = head.tensors().into_iter().collect();
    let metadata = head.metadata().clone().unwrap_or_default();
    if all.len() == 1 && (all.contains_key("codes") || all.contains_key("latents")) {
        return tokens(path);
    }
    let count: usize = all.values().map(|info| info.shape.iter().product::<usize>()).sum();
    say!("{}: {} tensors, {count} numbers", path.display(), all.len());
    said(&metadata);
    let rows =
        all.iter().map(|(name, info)| vec![name.clone(), format!("{:?}", info.dtype), format!("{:?}", info.shape)]);
    print(&table(&rows.collect::<Vec<_>>()));
    Ok(())
}

fn tokens(path: &Path) -> Result<()> {
    let (tokens, metadata) = Tokens::open(path)?;
    let shape = TokenShape { grid: tokens.grid(), kind: tokens.values().kind() };
    match tokens.values() {
        TokenValues::Codes { levels, codes, .. } => {
            let bits = shape.length() as f64 * shape.kind.information().unwrap_or_default();
            say!("{}: {shape}, {bits:.0} bits", path.display());
            if *levels == 1 {
                frequent(codes);
            } else {
                for (level, its) in CodeUse::of_tokens(std::slice::from_ref(&tokens)).iter().enumerate() {
                    say!("level {}: {} different codes, perplexity {:.1}", level + 1, its.used, its.perplexity());
                }
            }
        }
        TokenValues::Vectors { values, .. } => {
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
            say!("{}: {shape}, {low:.3} to {high:.3}", path.display());
        }
    }
    said(&metadata);
    Ok(())
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

fn said(metadata: &HashMap<String, String>) {
    let ordered: BTreeMap<_, _> = metadata.iter().collect();
    keys(ordered.into_iter().map(|(key, value)| (key.as_str(), value.as_str())));
}

fn keys<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    for (key, value) in pairs {
        // A checkpoint holds its whole recipe: of long values, the first line.
        let line = value.lines().next().unwrap_or_default();
        let more = if line.len() < value.len() { " …" } else { "" };
        say!("  {key} = {line}{more}");
    }
}
