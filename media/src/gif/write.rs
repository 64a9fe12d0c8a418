//! A clip as a GIF that plays for ever: one table of colours where 256 suffice, else one a frame.

use super::palette::{Palette, count};
use crate::{
    fault::{Outcome, broken},
    metadata::Metadata,
};
use gif::{DisposalMethod, Encoder, EncodingError, Frame, Repeat};
use musiva_core::Clip;

fn refused(error: EncodingError) -> crate::fault::Fault {
    broken(format!("the GIF encoder refuses the clip: {error}"))
}

/// The file's bytes. Delays are whole hundredths, rounded so that the error does not add up; a frame
/// lasts two hundredths at least, since browsers slow down what is faster.
pub(crate) fn encode(clip: &Clip, metadata: &Metadata) -> Outcome<Vec<u8>> {
    let [frames, height, width] = clip.shape();
    let side = |side| u16::try_from(side).map_err(|_| broken("a GIF has 65,535 pixels a side at most"));
    let (height, width) = (side(height)?, side(width)?);
    let mut everything = Some(count(clip.frame(0)));
    for index in 1..frames {
        everything = everything.filter(|counts| counts.len() <= 256).map(|mut counts| {
            counts.append(&mut count(clip.frame(index)));
            counts
        });
    }
    let mut shared = everything.as_ref().and_then(Palette::exact);
    let table = shared.as_ref().map(|palette| palette.colours.concat()).unwrap_or_default();
    let mut encoder = Encoder::new(Vec::new(), width, height, &table).map_err(refused)?;
    encoder.set_repeat(Repeat::Infinite).map_err(refused)?;
    for (key, value) in metadata.iter() {
        let comment = format!("{key}={value}").into_bytes();
        let blocks: Vec<&[u8]> = comment.chunks(255).collect();
        encoder
            .write_raw_extension(gif::Extension::Comment.into(), &blocks)
            .map_err(|error| broken(error.to_string()))?;
    }
    let rate = clip.rate();
    let at = |frame: usize| {
        let hundredths = frame as u128 * 100 * u128::from(rate.denominator);
        (2 * hundredths + u128::from(rate.numerator)) / (2 * u128::from(rate.numerator))
    };
    for index in 0..frames {
        let pixels = clip.frame(index);
        let mut own = None;
        let palette = match &mut shared {
            Some(palette) => palette,
            None => {
                let counts = count(pixels);
                own.insert(Palette::exact(&counts).unwrap_or_else(|| Palette::cut(&counts)))
            }
        };
        let indices: Vec<u8> = pixels.chunks_exact(3).map(|rgb| palette.index([rgb[0], rgb[1], rgb[2]])).collect();
        let frame = Frame {
            delay: u16::try_from(at(index + 1) - at(index)).unwrap_or(u16::MAX).max(2),
            dispose: DisposalMethod::Keep,
            width,
            height,
            buffer: indices.into(),
            palette: own.as_ref().map(|palette| palette.colours.concat()),
            ..Frame::default()
        };
        encoder.write_frame(&frame).map_err(refused)?;
    }
    encoder.into_inner().map_err(refused)
}
