//! The kinds with one small interface each.

use super::{Kit, bytes, noise, words};
use crate::conditioner::{Embedding, Held as Conditioner};
use crate::dataset::HostedDataset;
use crate::instance::Instance;
use crate::metric::HostedMetric;
use crate::sampler::Held as Sampler;
use musiva_core::{Clip, Dataset, Metric, MetricSample, Modality, Output, Rate, Result};
use std::collections::BTreeMap;

/// Embeddings and mask of texts, as bytes, text by text.
fn embed(held: &Conditioner, texts: &[&str]) -> Result<Vec<Vec<u8>>> {
    let each = held.embed(texts)?.into_iter();
    Ok(each.map(|Embedding { vectors, mask }| [bytes(&vectors), mask].concat()).collect())
}

pub fn conditioner(kit: &mut Kit) {
    const TEXTS: [&str; 3] = ["a red ring moves left", "", "ein blaues Viereck, 赤"];
    let Ok(instance) = kit.instance() else { return };
    let held = match Conditioner::new(instance) {
        Ok(held) => held,
        Err(error) => {
            kit.run("describe", || Err(words(error)));
            return;
        }
    };
    let mut whole = Vec::new();
    kit.run("encode", || {
        whole = embed(&held, &TEXTS).map_err(words)?;
        Ok(format!("{} bytes a text", whole[0].len()))
    });
    kit.run("batch", || {
        for (text, whole) in TEXTS.iter().zip(&whole) {
            if embed(&held, &[text]).map_err(words)? != [whole.clone()] {
                return Err("a text's embedding depends on the texts beside it".into());
            }
        }
        Ok("a text is the same alone".into())
    });
    kit.common(&|instance| Ok(embed(&Conditioner::new(instance)?, &TEXTS)?.concat()));
}

pub fn sampler(kit: &mut Kit) {
    const SIDES: [usize; 3] = [2, 5, 3];
    fn fields(held: &Sampler, rows: std::ops::Range<usize>) -> Result<Vec<u8>> {
        let row = SIDES[1] * SIDES[2];
        let part = |which| noise(SIDES.iter().product(), which)[rows.start * row..rows.end * row].to_vec();
        let (mut x, mut all) = (part(1), Vec::new());
        for index in 0..held.times()?.len() - 1 {
            x = held.step(index, &x, &part(2 + index as u64), [rows.len(), SIDES[1], SIDES[2]])?;
            all.extend(bytes(&x));
        }
        Ok(all)
    }
    fn codes(held: &Sampler, rows: std::ops::Range<usize>) -> Result<Vec<u8>> {
        let uniform: Vec<f32> = rows.clone().map(|row| (row as f32 + 0.5) / 7.0).collect();
        let picked = held.pick(&noise(7 * 11, 1)[rows.start * 11..rows.end * 11], &uniform)?;
        Ok(picked.iter().flat_map(|code| code.to_le_bytes()).collect())
    }
    let Ok(instance) = kit.instance() else { return };
    let held = match Sampler::new(instance) {
        Ok(held) => held,
        Err(error) => {
            kit.run("describe", || Err(words(error)));
            return;
        }
    };
    match held.drives_field() {
        true => {
            kit.run("steps", || fields(&held, 0..2).map(|all| format!("{} bytes", all.len())).map_err(words));
            kit.run("batch", || {
                let (whole, alone) = (fields(&held, 0..2).map_err(words)?, fields(&held, 0..1).map_err(words)?);
                let row = SIDES[1] * SIDES[2] * 4;
                match whole.chunks(2 * row).zip(alone.chunks(row)).all(|(whole, alone)| whole[..row] == *alone) {
                    true => Ok("a sample is the same alone".into()),
                    false => Err("a sample depends on the batch around it".into()),
                }
            });
            kit.common(&|instance| fields(&Sampler::new(instance)?, 0..2));
        }
        false => {
            kit.run("pick", || codes(&held, 0..7).map(|_| String::new()).map_err(words));
            kit.run("batch", || {
                match codes(&held, 0..7).map_err(words)?[8..12] == codes(&held, 2..3).map_err(words)? {
                    true => Ok("a row is the same alone".into()),
                    false => Err("a row depends on the rows around it".into()),
                }
            });
            kit.common(&|instance| codes(&Sampler::new(instance)?, 0..7));
        }
    }
}

/// The numbers of pairs of clips, in the order given, and the instance again.
fn measure(instance: Instance, order: &[usize]) -> Result<(BTreeMap<String, f64>, Instance)> {
    let mut metric = HostedMetric::new(instance)?;
    const SHAPE: [usize; 3] = [3, 16, 16];
    for &pair in order {
        let clip = |which: usize| {
            let pixel = |i: usize| ((i * (2 * pair + 3) + which * i / 7) % 256) as u8;
            Clip::new(SHAPE, Rate::whole(8), (0..3 * SHAPE.iter().product::<usize>()).map(pixel).collect())
        };
        let (made, reference) = (clip(0)?.into(), clip(1 + pair)?.into());
        let (given, caption) = (Output::default(), "a red ring moves left");
        metric.update(MetricSample { made: &made, given: &given, reference: &reference, caption })?;
    }
    Ok((metric.result()?, metric.into_inner()))
}

pub fn metric(kit: &mut Kit) {
    let Ok(instance) = kit.instance() else { return };
    let (mut first, mut again) = (BTreeMap::new(), None);
    kit.run("result", || {
        let (found, instance) = measure(instance, &[0, 1, 2]).map_err(words)?;
        (first, again) = (found, Some(instance));
        Ok(first.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", "))
    });
    let Some(instance) = again else { return };
    kit.run("order", || {
        let (other, _) = measure(instance, &[2, 0, 1]).map_err(words)?;
        let close = |(a, b): (f64, f64)| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
        match first.keys().eq(other.keys()) && first.values().copied().zip(other.values().copied()).all(close) {
            true => Ok("another order, and after a reset: the same numbers".into()),
            false => Err("its numbers depend on the order of the pairs, or on what came before the reset".into()),
        }
    });
    kit.common(&|instance| Ok(format!("{:?}", measure(instance, &[0, 1, 2])?.0).into_bytes()));
}

pub fn dataset(kit: &mut Kit) {
    let Ok(instance) = kit.instance() else { return };
    let opened = match HostedDataset::new(instance) {
        Ok(opened) => opened,
        Err(error) => {
            kit.run("describe", || Err(words(error)));
            return;
        }
    };
    kit.run("describe", || {
        let shape = opened.shape(Modality::Video).map_or(String::new(), |shape| shape.to_string());
        Ok(format!("{shape}, {} samples", opened.len().map_or("endless".into(), |n| n.to_string())))
    });
    let last = opened.len().map_or(5, |length| length.saturating_sub(1).min(5));
    kit.run("read", || {
        let first = opened.get(0).map_err(words)?;
        for index in (0..=last).rev() {
            opened.get(index).map_err(words)?;
        }
        match opened.get(0).map_err(words)? == first {
            true => Ok(format!("{:?} of {}", first.caption, first.id)),
            false => Err("sample 0 is another one after others were read".into()),
        }
    });
    kit.common(&|instance| {
        let opened = HostedDataset::new(instance)?;
        let sample = opened.get(last)?;
        let pixels = sample.clip.as_ref().map_or(&[][..], Clip::pixels);
        Ok([pixels, sample.caption.as_bytes(), sample.id.as_bytes()].concat())
    });
}
