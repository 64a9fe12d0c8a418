//! Sounds through a tokenizer as they come.
//!
//! Sound is 16-bit little-endian samples of one channel at the recipe's rate, as `ffmpeg -f s16le`
//! writes and reads them; tokens are JSON Lines, an array of the codes of all levels each.

use musiva_core::pipeline::Codec;
use musiva_core::{Error, ErrorKind, Media, Modality, Rate, Result, Sound, TokenKind, TokenValues, Tokens};
use std::fmt;
use std::io::{self, BufRead, ErrorKind as Io, Read, Write};
use std::time::{Duration, Instant};

/// A line of tokens is never longer.
const LONGEST_LINE: u64 = 1 << 16;
/// Full scale of 16-bit samples.
const FULL: f32 = 32_768.0;

/// How fast it went.
pub struct Pace {
    computing: Duration,
    slowest: Duration,
    samples: usize,
    hop: usize,
    rate: Rate,
}

impl Pace {
    fn new(hop: usize, rate: Rate) -> Self {
        Self { computing: Duration::ZERO, slowest: Duration::ZERO, samples: 0, hop, rate }
    }

    fn time<T>(&mut self, samples: usize, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        let took = start.elapsed();
        self.computing += took;
        self.slowest = self.slowest.max(took);
        self.samples += samples;
        done
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sound = self.samples as f64 / self.rate.as_f64();
        let hop = 1000.0 * self.hop as f64 / self.rate.as_f64();
        write!(
            f,
            "{sound:.2} s of sound in {:.2} s: {:.1} times real time; latency {hop:.1} ms a token and {:.1} ms to compute it at most",
            self.computing.as_secs_f64(),
            sound / self.computing.as_secs_f64().max(1e-9),
            1000.0 * self.slowest.as_secs_f64()
        )
    }
}

/// Samples in, tokens out, each as soon as it is heard; until the input ends, or nobody reads the output any more.
///
/// # Errors
/// Where the tokenizer cannot work piece by piece, or reading or writing fails.
pub fn encode(codec: &Codec, mut input: impl Read, mut output: impl Write) -> Result<Pace> {
    let mut encoding = codec.tokenizer().encoding().ok_or_else(cannot)?;
    let (hop, rate) = (codec.tokenizer().spec().strides[0], codec.rate());
    let mut bytes = vec![0u8; 2 * hop];
    let mut pace = Pace::new(hop, rate);
    loop {
        let filled = fill(&mut input, &mut bytes)?;
        if filled == 0 {
            break;
        }
        // Silence after the end fills the last token.
        bytes[filled..].fill(0);
        let samples = bytes.as_chunks::<2>().0.iter().map(|&two| f32::from(i16::from_le_bytes(two)) / FULL);
        let sound = Media::Sound(Sound::new(1, rate, samples.collect())?);
        let tokens = pace.time(hop, || encoding.push(&sound))?;
        let line = match tokens.values() {
            TokenValues::Codes { codes, .. } => format!("{codes:?}\n"),
            TokenValues::Vectors { values, .. } => format!("{values:?}\n"),
        };
        // Each token at once: somebody may be listening.
        if !written(output.write_all(line.as_bytes()).and_then(|()| output.flush()))? {
            break;
        }
    }
    Ok(pace)
}

/// Tokens in, samples out, as [`encode`].
///
/// # Errors
/// As [`encode`]; and where a line is no token of the tokenizer's.
pub fn decode(codec: &Codec, mut input: impl BufRead, mut output: impl Write) -> Result<Pace> {
    let mut decoding = codec.tokenizer().decoding().ok_or_else(cannot)?;
    let (spec, rate) = (codec.tokenizer().spec(), codec.rate());
    let mut pace = Pace::new(spec.strides[0], rate);
    for number in 1.. {
        let mut line = Vec::new();
        (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            break;
        }
        let tokens = parse(&line, spec.kind).map_err(|found| {
            Error::new(ErrorKind::Weights, format!("standard input, line {number}"), found)
                .hint("write an array of a token's codes or numbers on each line, as `musiva tokenize --stream` does")
        })?;
        let sound = pace.time(spec.strides[0], || decoding.push(&tokens))?.sound("tokenizer.audio")?;
        let bytes: Vec<u8> = sound.samples().iter().flat_map(|x| ((x * FULL).round() as i16).to_le_bytes()).collect();
        if !written(output.write_all(&bytes).and_then(|()| output.flush()))? {
            break;
        }
    }
    Ok(pace)
}

/// A line as the tokens of one step.
fn parse(line: &[u8], kind: TokenKind) -> std::result::Result<Tokens, String> {
    let grid = [1; 3];
    let tokens = match kind {
        TokenKind::Vectors { channels } => {
            let values: Vec<f32> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            Tokens::vectors(grid, channels, values)
        }
        TokenKind::Codes { levels, entries, .. } => {
            let codes: Vec<u32> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            if codes.len() > levels {
                return Err(format!("{} codes, the tokenizer makes {kind}", codes.len()));
            }
            Tokens::levels(grid, codes.len(), entries, codes)
        }
    };
    tokens.map_err(|error| error.message().to_owned())
}

/// Fills `bytes` as far as the input goes.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == Io::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(filled)
}

/// Whether somebody still reads what is written.
fn written(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Io::BrokenPipe => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "standard input or output", "cannot be read or written").caused_by(error)
}

fn cannot() -> Error {
    Error::new(ErrorKind::Unsupported, Modality::Audio.section(), "this tokenizer cannot work piece by piece")
}
