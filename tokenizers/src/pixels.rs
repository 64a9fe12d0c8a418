//! `pixels`: pixels themselves as tokens. Nothing is learned and nothing is lost of what it keeps, so that what a model pays
//! for its tokens is what it pays for the picture: a likelihood that can be compared with that of papers that prepare pixels alike.

use musiva_core::tokens::{code_of, signs};
use musiva_core::{
    Clip, ConfigError, Cost, ErrorKind, Media, MediaShape, Modality, Rate, Result, TokenKind, TokenShape, Tokenizer,
    TokenizerConfig, TokenizerSpec, Tokens, WeightInit,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is kept of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pixels {
    /// Black or white: whether its luma (ITU-R BT.601) is 128 or more. A token is the bits of a patch, row by row, the first
    /// one the lowest.
    Binary,
    /// Red, green and blue, each of 256 values: three codes a pixel, one after the other as of a residual quantizer.
    Rgb,
}

/// What a recipe says of `kind = "pixels"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PixelsConfig {
    /// What is kept of a pixel.
    pub pixels: Pixels,
    /// Height and width of the patch that a token stands for, of 16 pixels at most; `[1, 1]` of `rgb`.
    pub patch: [usize; 2],
}

impl Default for PixelsConfig {
    fn default() -> Self {
        Self { pixels: Pixels::Binary, patch: [1, 1] }
    }
}

/// Bits of a token at most.
const MOST_BITS: usize = 16;

impl PixelsConfig {
    /// Pixels of a patch, which are the bits of a binary token.
    fn area(&self) -> usize {
        self.patch[0].saturating_mul(self.patch[1])
    }

    fn kind(&self) -> TokenKind {
        match self.pixels {
            Pixels::Binary => {
                let bits = self.area().clamp(1, MOST_BITS);
                TokenKind::Codes { levels: 1, entries: 1 << bits, bits: Some(bits) }
            }
            Pixels::Rgb => TokenKind::residual(3, 256),
        }
    }
}

impl TokenizerConfig for PixelsConfig {
    fn errors(&self) -> Vec<ConfigError> {
        let [height, width] = self.patch;
        let wrong = |message: String| vec![ConfigError::new("patch", message, "set `patch = [1, 1]`")];
        match self.pixels {
            _ if height == 0 || width == 0 => wrong("a patch has a pixel at least".to_owned()),
            Pixels::Rgb if self.patch != [1, 1] => wrong(format!("{height}×{width} pixels; of rgb each is a token")),
            Pixels::Binary if self.area() > MOST_BITS => {
                wrong(format!("{height}×{width} pixels; a token has {MOST_BITS} bits at most"))
            }
            _ => Vec::new(),
        }
    }

    fn spec(&self) -> TokenizerSpec {
        let [height, width] = self.patch;
        let kind = self.kind();
        let strides = [1, height, width];
        TokenizerSpec { modality: Modality::Video, kind, codes: kind, strides, causal: true, range: [0.0, 1.0] }
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        let MediaShape::Clip { frames, height, width, .. } = *media else {
            return Err(ConfigError::new("", "pixels are of clips and images", "name data with clips"));
        };
        let [rows, columns] = self.patch;
        if !height.is_multiple_of(rows) || !width.is_multiple_of(columns) {
            let whole = |length: usize, side: usize| length.next_multiple_of(side);
            let message = format!("{height} × {width} pixels are no whole number of patches of {rows} × {columns}");
            let hint = format!("set `size = [{}, {}]`", whole(height, rows), whole(width, columns));
            return Err(ConfigError::new("size", message, hint));
        }
        Ok(TokenShape { grid: [frames, height / rows, width / columns], kind: self.kind() })
    }

    fn parameters(&self) -> usize {
        0
    }

    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [Cost::default(); 2]
    }

    fn trains(&self) -> Result<(), ConfigError> {
        Err(ConfigError::new("kind", "pixels learn nothing", "train the backbone: set `train.target = \"backbone\"`"))
    }

    fn build(&self, _: &burn::tensor::Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        Ok(Box::new(PixelTokenizer { config: *self, spec: self.spec() }))
    }
}

struct PixelTokenizer {
    config: PixelsConfig,
    spec: TokenizerSpec,
}

/// The luma of a pixel, 0 to 255.
fn luma(pixel: &[u8]) -> f32 {
    0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2])
}

impl PixelTokenizer {
    /// Where the pixels of each token begin in a clip `[T, H, W, 3]`, token by token, a patch row by row.
    fn places(&self, [frames, rows, columns]: [usize; 3]) -> impl Iterator<Item = usize> + use<> {
        let [height, width] = self.config.patch;
        let wide = columns * width;
        (0..frames * rows * columns).flat_map(move |token| {
            let (row, column) = (token / columns, token % columns);
            (0..height * width).map(move |i| ((row * height + i / width) * wide + column * width + i % width) * 3)
        })
    }
}

impl Tokenizer for PixelTokenizer {
    fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        let shape = self.config.shape(&media.shape());
        let grid = shape.map_err(|error| error.into_error(ErrorKind::Unsupported, Modality::Video.section()))?.grid;
        let clip = media.clone().clip("pixels")?;
        let pixels = clip.pixels();
        let of = |at: usize| &pixels[at..at + 3];
        let places = self.places(grid);
        match self.config.pixels {
            Pixels::Rgb => {
                let codes = places.flat_map(|at| of(at).iter().map(|&value| u32::from(value))).collect();
                Tokens::levels(grid, 3, 256, codes)
            }
            Pixels::Binary => {
                let signs: Vec<f32> = places.map(|at| if luma(of(at)) >= 128.0 { 1.0 } else { -1.0 }).collect();
                let area = self.config.area();
                Tokens::codes(grid, 1 << area, signs.chunks(area).map(code_of).collect())
            }
        }
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        let [frames, rows, columns] = tokens.grid();
        let [height, width] = self.config.patch;
        let codes = tokens.as_codes()?;
        let mut pixels = vec![0; frames * rows * height * columns * width * 3];
        let values: Vec<[u8; 3]> = match self.config.pixels {
            Pixels::Rgb => codes.chunks_exact(3).map(|three| [0, 1, 2].map(|i| three[i] as u8)).collect(),
            Pixels::Binary => {
                let bits = codes.iter().flat_map(|&code| signs(code, self.config.area()));
                bits.map(|bit| if bit > 0.0 { [255; 3] } else { [0; 3] }).collect()
            }
        };
        for (at, value) in self.places([frames, rows, columns]).zip(values) {
            pixels[at..at + 3].copy_from_slice(&value);
        }
        // Tokens do not say at what rate; the canvas does.
        Clip::new([frames, rows * height, columns * width], Rate::whole(1), pixels).map(Media::Clip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokenizer(pixels: Pixels, patch: [usize; 2]) -> Box<dyn Tokenizer> {
        let config = PixelsConfig { pixels, patch };
        assert!(config.errors().is_empty());
        config.build(&burn::tensor::Device::flex(), &WeightInit::Seed(0)).unwrap()
    }

    proptest! {
        #[test]
        fn nothing_is_lost_of_what_is_kept(
            grid in [1usize..4, 1usize..5, 1usize..5],
            patch in [1usize..5, 1usize..5],
            bytes in prop::collection::vec(any::<u8>(), 3 * 4 * 16 * 16),
        ) {
            let shape = [grid[0], grid[1] * patch[0], grid[2] * patch[1]];
            let pixels = bytes[..3 * shape.iter().product::<usize>()].to_vec();
            let clip = Clip::new(shape, Rate::whole(1), pixels).unwrap();
            let rgb = tokenizer(Pixels::Rgb, [1, 1]);
            let tokens = rgb.encode(&Media::Clip(clip.clone())).unwrap();
            prop_assert_eq!(rgb.decode(&tokens).unwrap(), Media::Clip(clip.clone()));
            let binary = tokenizer(Pixels::Binary, patch);
            let tokens = binary.encode(&Media::Clip(clip.clone())).unwrap();
            prop_assert_eq!(tokens.grid(), grid);
            let Media::Clip(made) = binary.decode(&tokens).unwrap() else { panic!("a clip") };
            for (real, made) in clip.pixels().chunks(3).zip(made.pixels().chunks(3)) {
                prop_assert_eq!(made, if luma(real) >= 128.0 { [255; 3] } else { [0; 3] });
            }
            // What is black or white already comes back as it is.
            let tokens = binary.encode(&Media::Clip(made.clone())).unwrap();
            prop_assert_eq!(binary.decode(&tokens).unwrap(), Media::Clip(made));
        }
    }

    #[test]
    fn the_first_pixel_of_a_patch_is_the_lowest_bit() {
        let mut pixels = vec![0; 2 * 4 * 3];
        // The second pixel of the first patch's first row, the first one of its second row.
        pixels[3..6].fill(255);
        pixels[12..15].fill(200);
        let clip = Clip::new([1, 2, 4], Rate::whole(1), pixels).unwrap();
        let tokens = tokenizer(Pixels::Binary, [2, 2]).encode(&Media::Clip(clip)).unwrap();
        assert_eq!(tokens.as_codes().unwrap(), [0b0110, 0]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let errors = |pixels, patch| PixelsConfig { pixels, patch }.errors().len();
        assert_eq!(
            [errors(Pixels::Binary, [4, 4]), errors(Pixels::Binary, [4, 5]), errors(Pixels::Binary, [0, 1])],
            [0, 1, 1]
        );
        assert_eq!([errors(Pixels::Rgb, [1, 1]), errors(Pixels::Rgb, [2, 1])], [0, 1]);
        let media = MediaShape::Clip { frames: 1, height: 28, width: 30, rate: Rate::whole(1) };
        let config = PixelsConfig { pixels: Pixels::Binary, patch: [2, 4] };
        assert_eq!(config.shape(&media).unwrap_err().hint, "set `size = [28, 32]`");
        let sound = MediaShape::Sound { samples: 9, channels: 1, rate: Rate::whole(1) };
        assert!(config.shape(&sound).is_err());
        assert!(config.trains().is_err());
    }
}
