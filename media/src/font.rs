//! A typeface of eight by eight dots for labels: Latin with its accents, Greek, hiragana (the crate font8x8).

use font8x8::{BASIC_FONTS, GREEK_FONTS, HIRAGANA_FONTS, LATIN_FONTS, UnicodeFonts};

/// Height of a line and width of a letter, in pixels.
pub(crate) const HEIGHT: usize = 8;
/// What stands for a letter that the typeface does not have: a frame.
const UNKNOWN: [u8; 8] = [0x00, 0x7e, 0x42, 0x42, 0x42, 0x42, 0x7e, 0x00];

/// The rows of a letter from the top, the left dot in the lowest bit.
fn glyph(letter: char) -> [u8; 8] {
    let latin = || BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter));
    latin().or_else(|| GREEK_FONTS.get(letter)).or_else(|| HIRAGANA_FONTS.get(letter)).unwrap_or(UNKNOWN)
}

/// The letters of a text: what is no letter of its own, such as an accent that follows one, is left out.
fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
    let joins =
        |letter: &char| matches!(letter, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}');
    text.chars().filter(move |letter| !joins(letter)).map(|letter| if letter.is_whitespace() { ' ' } else { letter })
}

/// How many pixels wide `text` is.
pub(crate) fn width(text: &str) -> usize {
    letters(text).count() * HEIGHT
}

/// Draws `text` into `pixels` `[H, W, 3]` of `size` from `[top, left]` on; what does not fit is cut off.
pub(crate) fn draw(text: &str, pixels: &mut [u8], size: [usize; 2], [top, left]: [usize; 2], ink: u8) {
    for (index, letter) in letters(text).enumerate() {
        for (y, row) in glyph(letter).into_iter().enumerate() {
            for x in (0..8).filter(|x| row >> x & 1 == 1) {
                let (y, x) = (top + y, left + index * HEIGHT + x);
                if y < size[0] && x < size[1] {
                    pixels[(y * size[1] + x) * 3..][..3].fill(ink);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_their_own_dots() {
        // Two cases, accents, another alphabet.
        let known = "aAeéèêEÉoöOÖßñçæøΩλあ0+";
        let glyphs: std::collections::HashSet<_> = known.chars().map(glyph).collect();
        assert_eq!(glyphs.len(), known.chars().count());
        assert!(!glyphs.contains(&UNKNOWN));
        // Others are all one frame, and take their room.
        assert!("中Ж😀".chars().all(|letter| glyph(letter) == UNKNOWN));
        assert_eq!((width("a\tb"), width("中!")), (24, 16));
        // An accent that follows its letter takes none.
        assert_eq!(width("e\u{301}"), 8);
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut pixels = vec![0; 4 * 10 * 3];
        draw("HH", &mut pixels, [4, 10], [1, 1], 200);
        assert!(pixels.contains(&200));
        draw("H", &mut pixels, [4, 10], [9, 30], 100);
        assert!(!pixels.contains(&100));
    }
}
