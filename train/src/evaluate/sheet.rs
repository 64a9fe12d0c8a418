//! What is measured, to look at: held-out clips and sounds beside what became of them.

use super::Parts;
use super::baselines::Baselines;
use super::spread;
use super::video::bits_of;
use crate::sources::held_out_of;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Media, Result, Sound, TokenizerSpec};
use musiva_data::Dataset;
use musiva_media::{Opus, SheetRow, error_row, spectrogram_with_axes};

/// Clips on a sheet.
const CLIPS: u64 = 4;
/// Sounds on a sheet.
const SOUNDS: u64 = 8;

/// The rows of a sheet: of a few held-out clips the original, what came back and where it is wrong; of sounds the
/// spectrograms, next to each other, of the originals and of what came back with one level of tokens and with all.
/// `baselines` adds rows of other codecs with the same bits.
///
/// # Errors
/// What reading, tokenizing or the codecs return.
pub fn sheet(recipe: &Recipe, parts: &Parts, baselines: bool) -> Result<Vec<SheetRow>> {
    let data = held_out_of(recipe)?;
    let mut rows = Vec::new();
    if let Some(codec) = parts.video() {
        rows.extend(clips(codec, &*data, baselines)?);
    }
    if let Some(codec) = &parts.audio {
        rows.extend(sounds(codec, &*data, baselines)?);
    }
    Ok(rows)
}

fn clips(codec: &Codec, data: &dyn Dataset, baselines: bool) -> Result<Vec<SheetRow>> {
    let mut rows = Vec::new();
    let mut others = baselines.then(Baselines::new);
    for index in spread(data, CLIPS) {
        let sample = data.get(index)?;
        let name = format!("original: {}", sample.id);
        let before = sample.into_clip()?;
        let tokens = codec.encode(&Media::Clip(before.clone()))?;
        let after = codec.clip(&tokens)?;
        let error = error_row("error of the tokens", &before, &after)?;
        rows.extend([SheetRow::new(name, before.clone()), SheetRow::new("tokens", after), error]);
        if let (Some(others), Some(bits)) = (&mut others, bits_of(codec.tokenizer().spec().codes, &tokens)) {
            rows.extend(others.add(&before, bits)?.into_iter().map(|(name, clip)| SheetRow::new(name, clip)));
        }
    }
    Ok(rows)
}

fn sounds(codec: &Codec, data: &dyn Dataset, baselines: bool) -> Result<Vec<SheetRow>> {
    let &TokenizerSpec { kind, codes, .. } = codec.tokenizer().spec();
    let opus = baselines.then(Opus::find).flatten();
    let mut rows: Vec<(String, Vec<Clip>)> = Vec::new();
    let mut show = |row: usize, name: String, sound: &Sound| -> Result<()> {
        if rows.len() == row {
            rows.push((name, Vec::new()));
        }
        rows[row].1.push(spectrogram_with_axes(sound)?);
        Ok(())
    };
    for index in spread(data, SOUNDS) {
        let before = data.get(index)?.into_sound()?;
        let tokens = codec.encode(&Media::Sound(before.clone()))?;
        let again = |levels: usize| -> Result<Sound> {
            Ok(codec.decode(&tokens.coarse(levels))?.sound("tokenizer.audio")?.with_length(before.length()))
        };
        show(0, "original".into(), &before)?;
        let mut row = 1;
        if let Some(levels @ 2..) = kind.level_count() {
            show(row, "tokens, 1 level".into(), &again(1)?)?;
            show(row + 1, format!("tokens, {levels} levels"), &again(levels)?)?;
            row += 2;
        } else {
            show(row, "tokens".into(), &again(1)?)?;
            row += 1;
        }
        if let (Some(opus), Some(bits)) = (opus, bits_of(codes, &tokens)) {
            show(row, "Opus".into(), &opus.code(&before, (bits / 8.0) as usize)?.media)?;
        }
    }
    // Pictures of equally long sounds are frames of one clip.
    let row = |(name, pictures): (String, Vec<Clip>)| {
        let [_, height, width] = pictures[0].shape();
        let pixels: Vec<u8> = pictures.iter().flat_map(|picture| picture.pixels().iter().copied()).collect();
        Ok(SheetRow::new(name, Clip::new([pictures.len(), height, width], pictures[0].rate(), pixels)?))
    };
    rows.into_iter().map(row).collect()
}
