//! Tokenizers: shapes, round trips, causality, streams.

use super::{Checked, Kit, bytes, words};
use crate::ask::{Ask, View};
use crate::call::{Values, Wanted};
use crate::tokenizer::Held;
use musiva_core::{Modality, Result, TokenValues, Tokens};
use std::ops::Range;

pub fn check(kit: &mut Kit) {
    let held = match kit.instance().and_then(Held::new) {
        Ok(held) => held,
        Err(error) => {
            kit.run("describe", || Err(words(error)));
            return;
        }
    };
    kit.run("describe", || Ok(format!("{} of {:?}", held.spec.kind, held.spec.modality)));
    let Some((medium, sides)) = medium(&held) else {
        let message = "it takes none of the media that were tried: a few multiples of its strides";
        kit.run("shape", || Err(message.into()));
        return;
    };
    kit.run("shape", || Ok(format!("{sides:?}")));
    let mut tokens = None;
    kit.run("encode", || {
        let made = held.encode(medium.view(&sides), &sides).map_err(words)?;
        let said = format!("a grid of {:?}", made.grid());
        tokens = Some(made);
        Ok(said)
    });
    let Some(tokens) = tokens else { return };
    kit.run("encode again", || match held.encode(medium.view(&sides), &sides).map_err(words)? == tokens {
        true => Ok(String::new()),
        false => Err("one instance makes other tokens the second time".into()),
    });
    kit.run("decode", || {
        let made = held.decode(&tokens).map_err(words)?;
        let shape = format!("{:?}", made.shape);
        Ok(medium
            .distance(&made.values)
            .map_or(shape.clone(), |away| format!("{shape}, {away} away from the input on average")))
    });
    match held.spec.causal && held.spec.modality != Modality::Text && sides[0] > 1 && tokens.grid()[0] > 1 {
        true => _ = kit.run("causality", || causality(&held, &medium, &sides, &tokens)),
        false => kit.skip("causality", "it promises none, or there is one token in time"),
    }
    match held.instance.extras().streaming && held.spec.modality != Modality::Text {
        true => _ = kit.run("streaming", || streaming(&held, &medium, &sides, &tokens)),
        false => kit.skip("streaming", "it has no interface for it"),
    }
    let whole = |instance| {
        let held = Held::new(instance)?;
        let tokens = held.encode(medium.view(&sides), &sides)?;
        Ok([of(&tokens), raw(&held.decode(&tokens)?.values)].concat())
    };
    kit.common(&whole);
}

/// The numbers of a medium.
enum Medium {
    Bytes(Vec<u8>),
    Samples(Vec<f32>),
}

impl Medium {
    /// The whole.
    fn view(&self, sides: &[usize]) -> View<'_> {
        self.part(0..sides.iter().product(), sides)
    }

    /// A part, of these sides.
    fn part(&self, range: Range<usize>, sides: &[usize]) -> View<'_> {
        match self {
            Self::Bytes(bytes) => View::of(&bytes[range], sides),
            Self::Samples(samples) => View::of(&samples[range], sides),
        }
    }

    /// The same up to a place, and something else from there on.
    fn changed(&self, from: usize) -> Self {
        match self {
            Self::Bytes(bytes) => {
                Self::Bytes(bytes.iter().enumerate().map(|(i, &v)| if i < from { v } else { !v }).collect())
            }
            Self::Samples(samples) => {
                Self::Samples(samples.iter().enumerate().map(|(i, &v)| if i < from { v } else { 0.5 - v }).collect())
            }
        }
    }

    /// How far what was made of it is away on average, in parts of full scale, where the two are of one size.
    fn distance(&self, made: &Values) -> Option<String> {
        let mean = |sum: f64, count: usize| format!("{:.4}", sum / count.max(1) as f64);
        match (self, made) {
            (Self::Bytes(a), Values::U8(b)) if a.len() == b.len() => {
                Some(mean(a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b)) / 255.0).sum(), a.len()))
            }
            (Self::Samples(a), Values::F32(b)) if a.len() == b.len() => {
                Some(mean(a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum(), a.len()))
            }
            _ => None,
        }
    }
}

/// The bytes of numbers, to compare.
fn raw(values: &Values) -> Vec<u8> {
    match values {
        Values::F32(values) => bytes(values),
        Values::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Values::U8(values) => values.clone(),
    }
}

/// A medium that the tokenizer takes.
fn medium(held: &Held) -> Option<(Medium, Vec<usize>)> {
    let [t, h, w] = held.spec.strides;
    let lengths = [2 * t + 1, 3 * t, t, 1];
    let fits = |sides: &Vec<usize>| held.grid(sides).is_ok();
    match held.spec.modality {
        Modality::Text => {
            let text = "a red ring moves left";
            Some((Medium::Bytes(text.into()), vec![text.len()]))
        }
        Modality::Audio => {
            let sides = lengths.into_iter().flat_map(|length| [vec![length, 1], vec![length, 2]]).find(fits)?;
            // Two tones, of which one grows.
            let sample = |i: usize| 0.3 * (0.9 * i as f32).sin() + 0.001 * (i % 300) as f32 * (0.17 * i as f32).sin();
            Some((Medium::Samples((0..sides.iter().product()).map(sample).collect()), sides))
        }
        Modality::Video => {
            let sides = lengths.into_iter().flat_map(|n| [vec![n, 2 * h, 3 * w, 3], vec![n, 8 * h, 8 * w, 3]]);
            let sides = { sides }.find(fits)?;
            // Slopes with a pattern on top, that move.
            let pixel = |i: usize| {
                let (x, y, frame) = (i / 3 % sides[2], i / 3 / sides[2] % sides[1], i / 3 / sides[2] / sides[1]);
                ((x * 5 + y * 3 + frame * 7 + i % 3 * 40) % 256) as u8
            };
            Some((Medium::Bytes((0..sides.iter().product()).map(pixel).collect()), sides))
        }
    }
}

fn of(tokens: &Tokens) -> Vec<u8> {
    match tokens.values() {
        TokenValues::Codes { codes, .. } => codes.iter().flat_map(|code| code.to_le_bytes()).collect(),
        TokenValues::Vectors { values, .. } => bytes(values),
    }
}

/// Another last frame or sample, and the tokens before the last ones stay.
fn causality(held: &Held, medium: &Medium, sides: &[usize], tokens: &Tokens) -> Checked {
    let frame = sides[1..].iter().product::<usize>();
    let changed = medium.changed((sides[0] - 1) * frame);
    let (before, after) = (of(tokens), of(&held.encode(changed.view(sides), sides).map_err(words)?));
    let kept = before.len() / tokens.grid()[0] * (tokens.grid()[0] - 1);
    match before[..kept] == after[..kept] {
        true => Ok("another last frame changes the last tokens alone".into()),
        false => Err("another last frame changes earlier tokens".into()),
    }
}

/// Piece by piece, both ways, in pieces of several lengths.
fn streaming(held: &Held, medium: &Medium, sides: &[usize], tokens: &Tokens) -> Checked {
    let frame = sides[1..].iter().product::<usize>();
    let (whole_tokens, whole_media) = (of(tokens), raw(&held.decode(tokens).map_err(words)?.values));
    for piece in [1, 2, 3, sides[0]] {
        held.instance.run(Ask::Reset, &[]).map_err(words)?;
        let mut made = Vec::new();
        for start in (0..sides[0]).step_by(piece) {
            let end = (start + piece).min(sides[0]);
            let part = medium.part(start * frame..end * frame, &[&[end - start], &sides[1..]].concat());
            made.extend(step(held, Ask::EncodeStep(part, end == sides[0])).map_err(words)?);
        }
        if made != whole_tokens {
            return Err(format!("in pieces of {piece} frames it makes other tokens than of the whole"));
        }
        let mut made = Vec::new();
        let [t, h, w] = tokens.grid();
        for start in (0..t).step_by(piece) {
            let end = (start + piece).min(t);
            let part = tokens.crop([start..end, 0..h, 0..w]);
            let out = held.lend(&part, |view| step(held, Ask::DecodeStep(view, end == t)));
            made.extend(out.map_err(words)?);
        }
        if made != whole_media {
            return Err(format!("in pieces of {piece} tokens it makes other frames than of the whole"));
        }
    }
    Ok("the same bytes as of the whole, in pieces of any length".into())
}

/// One step of a stream, and the bytes that it gives.
fn step(held: &Held, ask: Ask<View>) -> Result<Vec<u8>> {
    let (name, encodes) = (ask.name(), matches!(ask, Ask::EncodeStep(..)));
    let (element, shape) = match encodes {
        true => held.layout([None; 3]),
        false => (held.media().0, held.media().1.to_vec()),
    };
    let wanted = [Wanted { optional: true, ..Wanted::some("what is ready", element, &shape) }];
    let Some(output) = held.instance.run(ask, &wanted)?.optional(0) else { return Ok(Vec::new()) };
    match encodes {
        true => {
            let grid = [output.shape[0], output.shape[1], output.shape[2]];
            held.tokens(name, grid, output).map(|tokens| of(&tokens))
        }
        false => Ok(raw(&output.values)),
    }
}
