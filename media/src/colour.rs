//! Between planes of luma and halved chroma (YUV 4:2:0) and red, green, blue.
//!
//! Chroma samples sit where MPEG-2 and H.264 put them by default: on every other column of luma,
//! half-way between two rows. Reading interpolates them linearly; writing averages with the mirror
//! image of those weights. All in integers, so that equal files give equal pixels everywhere.

use crate::info::{Matrix, Range};

/// One picture, 4:2:0, 8 bits. Chroma planes have half the sides, rounded up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    pub height: usize,
    pub width: usize,
    pub y: Vec<u8>,
    pub u: Vec<u8>,
    pub v: Vec<u8>,
}

/// Share of red and of blue in luma.
fn shares(matrix: Matrix) -> (f64, f64) {
    match matrix {
        Matrix::Bt709 | Matrix::Rgb => (0.2126, 0.0722),
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt2020 => (0.2627, 0.0593),
    }
}

/// Code of black, and the spans of luma and chroma, in codes.
fn spans(range: Range) -> (i32, f64, f64) {
    match range {
        Range::Limited => (16, 219.0, 224.0),
        Range::Full => (0, 255.0, 255.0),
    }
}

fn fixed(value: f64) -> i32 {
    (value * f64::from(1 << 16)).round() as i32
}

/// Appends the picture's pixels `[H, W, 3]` to `out`.
pub(crate) fn planes_to_rgb(planes: &Planes, matrix: Matrix, range: Range, out: &mut Vec<u8>) {
    let (red, blue) = shares(matrix);
    let green = 1.0 - red - blue;
    let (black, luma, chroma) = spans(range);
    // Chroma arrives in eighths of a code, hence the division by eight.
    let gain = 255.0 / chroma / 8.0;
    let by_luma = fixed(255.0 / luma);
    let v_to_red = fixed(2.0 * (1.0 - red) * gain);
    let u_to_blue = fixed(2.0 * (1.0 - blue) * gain);
    let u_to_green = fixed(-2.0 * (1.0 - blue) * blue / green * gain);
    let v_to_green = fixed(-2.0 * (1.0 - red) * red / green * gain);

    let Planes { height, width, .. } = *planes;
    let half = width.div_ceil(2);
    let rows = height.div_ceil(2);
    let (mut us, mut vs) = (vec![0i32; half + 1], vec![0i32; half + 1]);
    out.reserve(height * width * 3);
    for row in 0..height {
        // The nearer row of chroma weighs three quarters, the one on the other side a quarter.
        let near = row / 2;
        let far = if row % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(rows - 1) };
        for (plane, line) in [(&planes.u, &mut us), (&planes.v, &mut vs)] {
            let (near, far) = (&plane[near * half..][..half], &plane[far * half..][..half]);
            for ((sum, &near), &far) in line.iter_mut().zip(near).zip(far) {
                *sum = 3 * i32::from(near) + i32::from(far);
            }
            line[half] = line[half - 1];
        }
        for (column, &y) in planes.y[row * width..][..width].iter().enumerate() {
            let (at, next) = (column / 2, column.div_ceil(2));
            let u = us[at] + us[next] - 8 * 128;
            let v = vs[at] + vs[next] - 8 * 128;
            let y = (i32::from(y) - black) * by_luma + (1 << 15);
            let code = |sum: i32| (sum >> 16).clamp(0, 255) as u8;
            out.extend_from_slice(&[
                code(y + v * v_to_red),
                code(y + u * u_to_green + v * v_to_green),
                code(y + u * u_to_blue),
            ]);
        }
    }
}

/// The planes of pixels `[H, W, 3]`; both sides even.
pub(crate) fn rgb_to_planes(pixels: &[u8], [height, width]: [usize; 2], matrix: Matrix, range: Range) -> Planes {
    assert!(height % 2 == 0 && width % 2 == 0 && pixels.len() == height * width * 3, "an even picture");
    let (red, blue) = shares(matrix);
    let green = 1.0 - red - blue;
    let (black, luma, chroma) = spans(range);
    let by_luma = [red, green, blue].map(|share| fixed(share * luma / 255.0));
    // A chroma sample is a weighted sum of six pixels; the weights add up to eight.
    let gain = chroma / 255.0 / 8.0;
    let to_u = [-red, -green, 1.0 - blue].map(|share| fixed(share / (2.0 * (1.0 - blue)) * gain));
    let to_v = [1.0 - red, -green, -blue].map(|share| fixed(share / (2.0 * (1.0 - red)) * gain));
    let dot = |weights: [i32; 3], rgb: [i32; 3]| weights[0] * rgb[0] + weights[1] * rgb[1] + weights[2] * rgb[2];

    let y = pixels
        .chunks_exact(3)
        .map(|rgb| {
            let sum = dot(by_luma, [rgb[0].into(), rgb[1].into(), rgb[2].into()]) + (1 << 15);
            ((sum >> 16) + black) as u8
        })
        .collect();
    let (mut u, mut v) = (Vec::with_capacity(height * width / 4), Vec::with_capacity(height * width / 4));
    for row in (0..height).step_by(2) {
        for column in (0..width).step_by(2) {
            let mut sum = [0i32; 3];
            for line in [row, row + 1] {
                for (column, weight) in [(column.saturating_sub(1), 1), (column, 2), (column + 1, 1)] {
                    let at = (line * width + column) * 3;
                    for (sum, &code) in sum.iter_mut().zip(&pixels[at..at + 3]) {
                        *sum += weight * i32::from(code);
                    }
                }
            }
            let code = |weights| (((dot(weights, sum) + (1 << 15)) >> 16) + 128).clamp(0, 255) as u8;
            u.push(code(to_u));
            v.push(code(to_v));
        }
    }
    Planes { height, width, y, u, v }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(rgb: [u8; 3], matrix: Matrix, range: Range) -> [u8; 3] {
        let planes = rgb_to_planes(&rgb.repeat(4 * 6), [4, 6], matrix, range);
        let mut out = Vec::new();
        planes_to_rgb(&planes, matrix, range, &mut out);
        assert!(out.chunks_exact(3).all(|pixel| pixel == &out[..3]), "a flat picture stays flat");
        [out[0], out[1], out[2]]
    }

    proptest! {
        #[test]
        fn flat_colours_come_back(rgb: [u8; 3], full: bool, matrix in 0usize..3) {
            let matrix = [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020][matrix];
            let range = if full { Range::Full } else { Range::Limited };
            let back = flat(rgb, matrix, range);
            for (before, after) in rgb.iter().zip(back) {
                prop_assert!(before.abs_diff(after) <= 3, "{:?} became {:?}", rgb, back);
            }
        }
    }

    #[test]
    fn primaries_have_the_codes_of_the_standards() {
        // BT.601 and BT.709 colour bars at 100 %, limited range, as published.
        let codes = |rgb: [u8; 3], matrix| {
            let planes = rgb_to_planes(&[rgb; 4].concat(), [2, 2], matrix, Range::Limited);
            [planes.y[0], planes.u[0], planes.v[0]]
        };
        assert_eq!(codes([255, 255, 255], Matrix::Bt709), [235, 128, 128]);
        assert_eq!(codes([0, 0, 0], Matrix::Bt601), [16, 128, 128]);
        assert_eq!(codes([255, 0, 0], Matrix::Bt601), [81, 90, 240]);
        assert_eq!(codes([0, 255, 0], Matrix::Bt601), [145, 54, 34]);
        assert_eq!(codes([0, 0, 255], Matrix::Bt601), [41, 240, 110]);
        assert_eq!(codes([255, 0, 0], Matrix::Bt709), [63, 102, 240]);
        assert_eq!(codes([0, 255, 0], Matrix::Bt709), [173, 42, 26]);
        assert_eq!(codes([0, 0, 255], Matrix::Bt709), [32, 240, 118]);
    }

    #[test]
    fn odd_sides_are_read() {
        let planes = Planes { height: 3, width: 5, y: vec![126; 15], u: vec![128; 6], v: vec![128; 6] };
        let mut out = Vec::new();
        planes_to_rgb(&planes, Matrix::Bt601, Range::Limited, &mut out);
        assert_eq!(out, [128; 45]);
    }
}
