//! Tokenizers: shapes, round trips, causality, streams.

use super::{Checked, Kit, bytes, words};
use crate::ask::{Ask, Element, View};
use crate::call::Wanted;
use crate::tokenizer::{Held, lend_tokens};
use musiva_core::{Modality, Result, TokenValues, Tokens};

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
        let made = held.encode(&medium, &sides).map_err(words)?;
        let said = format!("a grid of {:?}", made.grid());
        tokens = Some(made);
        Ok(said)
    });
    let Some(tokens) = tokens else { return };
    kit.run("encode again", || match held.encode(&medium, &sides).map_err(words)? == tokens {
        true => Ok(String::new()),
        false => Err("one instance makes other tokens the second time".into()),
    });
    kit.run("decode", || {
        let (made, shape) = held.decode(&tokens).map_err(words)?;
        let distance: u64 = made.iter().zip(&medium).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
        match made.len() == medium.len() {
            true => Ok(format!(
                "{shape:?}, {:.2} of 255 away from the input on average",
                distance as f64 / made.len() as f64
            )),
            false => Ok(format!("{shape:?}")),
        }
    });
    match held.spec.causal && held.spec.modality == Modality::Video && sides[0] > 1 && tokens.grid()[0] > 1 {
        true => _ = kit.run("causality", || causality(&held, &medium, &sides, &tokens)),
        false => kit.skip("causality", "it promises none, or there is one token in time"),
    }
    match held.instance.extras().streaming && held.spec.modality == Modality::Video {
        true => _ = kit.run("streaming", || streaming(&held, &medium, &sides, &tokens)),
        false => kit.skip("streaming", "it has no interface for it"),
    }
    let whole = |instance| {
        let held = Held::new(instance)?;
        let tokens = held.encode(&medium, &sides)?;
        let mut all = of(&tokens);
        all.extend(held.decode(&tokens)?.0);
        Ok(all)
    };
    kit.common(&whole);
}

/// A medium that the tokenizer takes.
fn medium(held: &Held) -> Option<(Vec<u8>, Vec<usize>)> {
    if held.spec.modality == Modality::Text {
        let text = "a red ring moves left";
        return Some((text.into(), vec![text.len()]));
    }
    let [t, h, w] = held.spec.strides;
    let frames = [2 * t + 1, 3 * t, t, 1];
    let sides = frames.into_iter().flat_map(|frames| [[frames, 2 * h, 3 * w, 3], [frames, 8 * h, 8 * w, 3]]);
    let sides = sides.into_iter().find(|sides| held.grid(sides).is_ok())?;
    let count: usize = sides.iter().product();
    // Slopes with a pattern on top, that move.
    let pixel = |i: usize| {
        let (x, y, frame) = (i / 3 % sides[2], i / 3 / sides[2] % sides[1], i / 3 / sides[2] / sides[1]);
        ((x * 5 + y * 3 + frame * 7 + i % 3 * 40) % 256) as u8
    };
    Some(((0..count).map(pixel).collect(), sides.to_vec()))
}

fn of(tokens: &Tokens) -> Vec<u8> {
    match tokens.values() {
        TokenValues::Codes { codes, .. } | TokenValues::Levels { codes, .. } => {
            codes.iter().flat_map(|code| code.to_le_bytes()).collect()
        }
        TokenValues::Latents { values, .. } => bytes(values),
    }
}

/// Another last frame, and the tokens before the last ones stay.
fn causality(held: &Held, medium: &[u8], sides: &[usize], tokens: &Tokens) -> Checked {
    let mut changed = medium.to_vec();
    let frame = sides[1..].iter().product::<usize>();
    let last = medium.len() - frame;
    changed[last..].iter_mut().for_each(|value| *value = !*value);
    let (before, after) = (of(tokens), of(&held.encode(&changed, sides).map_err(words)?));
    let kept = before.len() / tokens.grid()[0] * (tokens.grid()[0] - 1);
    match before[..kept] == after[..kept] {
        true => Ok("another last frame changes the last tokens alone".into()),
        false => Err("another last frame changes earlier tokens".into()),
    }
}

/// Piece by piece, both ways, in pieces of several lengths.
fn streaming(held: &Held, medium: &[u8], sides: &[usize], tokens: &Tokens) -> Checked {
    let frame = sides[1..].iter().product::<usize>();
    let (whole_tokens, whole_media) = (of(tokens), held.decode(tokens).map_err(words)?.0);
    for piece in [1, 2, 3, sides[0]] {
        held.instance.run(Ask::Reset, &[]).map_err(words)?;
        let mut made = Vec::new();
        let pieces = medium.chunks(piece * frame);
        let count = pieces.len();
        for (i, frames) in pieces.enumerate() {
            let sides = [&[frames.len() / frame], &sides[1..]].concat();
            let ask = Ask::EncodeStep(View::of(frames, &sides), i + 1 == count);
            made.extend(step(held, ask).map_err(words)?);
        }
        if made != whole_tokens {
            return Err(format!("in pieces of {piece} frames it makes other tokens than of the whole"));
        }
        let mut made = Vec::new();
        let grid = tokens.grid();
        for start in (0..grid[0]).step_by(piece) {
            let end = (start + piece).min(grid[0]);
            let part = part(tokens, start, end).map_err(words)?;
            let out = lend_tokens(&part, |view| step(held, Ask::DecodeStep(view, end == grid[0])));
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
        false => (Element::U8, vec![None, None, None, Some(3)]),
    };
    let wanted = [Wanted { optional: true, ..Wanted::some("what is ready", element, &shape) }];
    let Some(output) = held.instance.run(ask, &wanted)?.optional(0) else { return Ok(Vec::new()) };
    match encodes {
        true => {
            let grid = [output.shape[0], output.shape[1], output.shape[2]];
            held.tokens(name, grid, output).map(|tokens| of(&tokens))
        }
        false => Ok(output.u8()),
    }
}

/// Tokens `start..end` in time.
fn part(tokens: &Tokens, start: usize, end: usize) -> Result<Tokens> {
    let [t, h, w] = tokens.grid();
    let grid = [end - start, h, w];
    match tokens.values() {
        TokenValues::Codes { entries, codes } => {
            let each = codes.len() / t;
            Tokens::codes(grid, *entries, codes[start * each..end * each].to_vec())
        }
        TokenValues::Levels { levels, entries, codes } => {
            let each = codes.len() / t;
            Tokens::levels(grid, *levels, *entries, codes[start * each..end * each].to_vec())
        }
        TokenValues::Latents { channels, values } => {
            let each = values.len() / t;
            Tokens::latents(grid, *channels, values[start * each..end * each].to_vec())
        }
    }
}
