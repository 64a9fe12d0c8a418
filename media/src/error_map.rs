//! Where two clips differ, as a clip.

use crate::sheet::SheetRow;
use crate::sound::colour;
use musiva_core::{Clip, Error, ErrorKind, Result};

/// Difference in codes of 255 at which a pixel is brightest.
const MOST: f64 = 64.0;

fn error_map(a: &Clip, b: &Clip) -> Result<Clip> {
    if a.shape() != b.shape() {
        return Err(Error::new(ErrorKind::Media, "", format!("{a:?} and {b:?} cannot be compared")));
    }
    let pairs = a.pixels().chunks_exact(3).zip(b.pixels().chunks_exact(3));
    let pixel = |(a, b): (&[u8], &[u8])| {
        let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        colour(f64::from(sum) / 3.0 / MOST)
    };
    Clip::new(a.shape(), a.rate(), pairs.flat_map(pixel).collect())
}

/// Where two clips differ, as a row of a contact sheet: for each pixel the mean absolute difference over its colours, black where
/// there is none, brightest from 64 of 255 up, as a bar says.
///
/// # Errors
/// Where the clips have unlike shapes.
pub fn error_row(label: &str, a: &Clip, b: &Clip) -> Result<SheetRow> {
    Ok(SheetRow::new(label, error_map(a, b)?).with_colours(["0", &format!("{MOST} of 255 or more")]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    #[test]
    fn the_further_apart_the_brighter() {
        let grey = |greys: [u8; 4]| {
            Clip::new([1, 1, 4], Rate::whole(8), greys.iter().flat_map(|&grey| [grey; 3]).collect()).unwrap()
        };
        let map = error_map(&grey([100, 100, 100, 0]), &grey([100, 90, 130, 200])).unwrap();
        let light: Vec<u32> = map.pixels().chunks(3).map(|pixel| pixel.iter().map(|&x| u32::from(x)).sum()).collect();
        assert!(light.is_sorted() && light[0] < 10 && light[3] > 600, "{light:?}");
        assert!(error_map(&map, &grey([0; 4]).slice(0..1)).is_ok());
        let other = Clip::new([1, 4, 1], Rate::whole(8), vec![0; 12]).unwrap();
        assert!(error_map(&map, &other).is_err());
    }
}
