//! At most 256 colours that stand for many: exactly, where there are no more; by median cut
//! (P. Heckbert, "Color image quantization for frame buffer display", 1982) where there are.

use std::collections::{BTreeMap, HashMap};

/// A colour table and the way into it.
pub(crate) struct Palette {
    /// At most 256.
    pub colours: Vec<[u8; 3]>,
    known: HashMap<[u8; 3], u8>,
}

/// The colours of pixels `[.., 3]` with their numbers, in a fixed order.
pub(crate) fn count(pixels: &[u8]) -> BTreeMap<[u8; 3], u64> {
    let mut counts = HashMap::new();
    for pixel in pixels.chunks_exact(3) {
        *counts.entry([pixel[0], pixel[1], pixel[2]]).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

impl Palette {
    /// The palette that holds all of `counts` exactly, if there are 256 at most.
    pub(crate) fn exact(counts: &BTreeMap<[u8; 3], u64>) -> Option<Self> {
        if counts.len() > 256 {
            return None;
        }
        let colours: Vec<_> = counts.keys().copied().collect();
        let known = (0..=255).zip(&colours).map(|(index, &colour)| (colour, index)).collect();
        Some(Self { colours, known })
    }

    /// 256 colours that stand for `counts`, which are more.
    pub(crate) fn cut(counts: &BTreeMap<[u8; 3], u64>) -> Self {
        let mut boxes = vec![counts.iter().map(|(&colour, &number)| (colour, number)).collect::<Vec<_>>()];
        while boxes.len() < 256 {
            // Cut where the most is to be won: the widest side, weighed by how many pixels see it.
            let Some((index, channel, _)) = boxes
                .iter()
                .enumerate()
                .map(|(index, colours)| {
                    let (channel, width) = widest(colours);
                    let pixels: u64 = colours.iter().map(|&(_, number)| number).sum();
                    (index, channel, width.pow(2) * pixels)
                })
                .max_by_key(|&(index, _, gain)| (gain, std::cmp::Reverse(index)))
                .filter(|&(_, _, gain)| gain > 0)
            else {
                break;
            };
            let mut colours = boxes.swap_remove(index);
            colours.sort_unstable_by_key(|&(colour, _)| (colour[channel], colour));
            let half = colours.iter().map(|&(_, number)| number).sum::<u64>() / 2;
            let mut seen = 0;
            let middle = colours
                .iter()
                .position(|&(_, number)| {
                    seen += number;
                    seen > half
                })
                .unwrap_or(0)
                .clamp(1, colours.len() - 1);
            let upper = colours.split_off(middle);
            boxes.push(colours);
            boxes.push(upper);
        }
        Self { colours: boxes.iter().map(|colours| mean(colours)).collect(), known: HashMap::new() }
    }

    /// The index of the nearest colour of the palette.
    pub(crate) fn index(&mut self, colour: [u8; 3]) -> u8 {
        if let Some(&index) = self.known.get(&colour) {
            return index;
        }
        let distance =
            |other: &[u8; 3]| colour.iter().zip(other).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
        let nearest = (0..=255u8).zip(&self.colours).min_by_key(|(_, other)| distance(other));
        let index = nearest.map_or(0, |(index, _)| index);
        self.known.insert(colour, index);
        index
    }
}

fn widest(colours: &[([u8; 3], u64)]) -> (usize, u64) {
    let width = |channel: usize| {
        let codes = || colours.iter().map(|(colour, _)| colour[channel]);
        u64::from(codes().max().unwrap_or(0) - codes().min().unwrap_or(0))
    };
    // Green first: the eye sees it best.
    [1, 0, 2]
        .into_iter()
        .map(|channel| (channel, width(channel)))
        .rev()
        .max_by_key(|&(_, width)| width)
        .unwrap_or((1, 0))
}

fn mean(colours: &[([u8; 3], u64)]) -> [u8; 3] {
    let pixels: u64 = colours.iter().map(|&(_, number)| number).sum();
    [0, 1, 2].map(|channel| {
        let sum: u64 = colours.iter().map(|&(colour, number)| u64::from(colour[channel]) * number).sum();
        ((sum + pixels / 2) / pixels.max(1)) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_of_all_greys_and_a_rare_red_is_cut_well() {
        let mut pixels: Vec<u8> = (0..=255u8).flat_map(|grey| [[grey; 3]; 5].concat()).collect();
        pixels.extend([250, 0, 0, 251, 0, 0]);
        let counts = count(&pixels);
        assert!(Palette::exact(&counts).is_none());
        let mut palette = Palette::cut(&counts);
        assert_eq!(palette.colours.len(), 256);
        for &colour in counts.keys() {
            let index = palette.index(colour);
            let found = palette.colours[usize::from(index)];
            assert!(colour.iter().zip(found).all(|(&a, b)| a.abs_diff(b) <= 2), "{colour:?} became {found:?}");
        }
    }
}
