//! A sound as a picture.

use musiva_core::{Clip, Error, ErrorKind, Rate, Result, Sound};
use realfft::RealFftPlanner;

/// Rows of the picture: frequencies from 0, at the bottom, to half of the sample rate.
const ROWS: usize = 128;
/// Columns at most.
const MOST_COLUMNS: usize = 1024;
/// Columns that a picture has if windows can be close enough together.
const WANTED_COLUMNS: usize = 256;
/// Samples of a window: 256 frequencies, two of them a row. From one to the next it moves by a sixteenth at least, and by a
/// quarter at most, or by more where 1,024 columns would not reach.
const WINDOW: usize = 512;
/// Decibels below full scale that are black.
pub(super) const RANGE: f64 = 80.0;
/// From the quietest to full scale.
const COLOURS: [[f64; 3]; 5] =
    [[0.0, 0.0, 4.0], [80.0, 18.0, 123.0], [182.0, 54.0, 121.0], [251.0, 136.0, 97.0], [252.0, 253.0, 191.0]];

/// The spectrogram of the first channel as a picture of one frame, 128 pixels high and up to 1024 wide:
/// time to the right, frequency up, from 0 to half of the sample rate; brightness is the magnitude in Hann
/// windows of 512 samples, in decibels from -80 to full scale.
///
/// # Errors
/// For more than 2³⁰ samples.
pub(super) fn spectrogram(sound: &Sound) -> Result<Clip> {
    if sound.length() > 1 << 30 {
        return Err(Error::new(ErrorKind::Media, "", format!("{} samples are too many to be drawn", sound.length()))
            .hint("cut the sound"));
    }
    let samples: Vec<f32> = sound.channel(0).collect();
    let (hop, columns) = (hop(samples.len()), columns(samples.len()));
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(WINDOW);
    let (mut input, mut output) = (transform.make_input_vec(), transform.make_output_vec());
    let hann = |i: usize| 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / WINDOW as f64).cos();
    let mut pixels = vec![0u8; ROWS * columns * 3];
    for column in 0..columns {
        let start = column * hop;
        for (i, value) in input.iter_mut().enumerate() {
            // Centred on its column.
            let at = (start + i).checked_sub(WINDOW / 2);
            *value = at.and_then(|at| samples.get(at)).map_or(0.0, |&sample| f64::from(sample)) * hann(i);
        }
        transform.process(&mut input, &mut output).expect("the lengths that it made itself");
        for row in 0..ROWS {
            // A sine of full scale has magnitude 1; the louder of two frequencies counts.
            let magnitude = |bin: usize| output[bin].norm() * 4.0 / WINDOW as f64;
            let decibels = 20.0 * magnitude(2 * row).max(magnitude(2 * row + 1)).max(1e-9).log10();
            let pixel = ((ROWS - 1 - row) * columns + column) * 3;
            pixels[pixel..pixel + 3].copy_from_slice(&colour(1.0 + decibels / RANGE));
        }
    }
    Clip::new([1, ROWS, columns], Rate::whole(1), pixels)
}

/// Samples from one column to the next.
fn hop(length: usize) -> usize {
    length.div_ceil(WANTED_COLUMNS).clamp(WINDOW / 16, WINDOW / 4).max(length.div_ceil(MOST_COLUMNS))
}

/// Columns of the picture of a sound with `length` samples.
pub(super) fn columns(length: usize) -> usize {
    length.div_ceil(hop(length))
}

/// The colour of a brightness from 0 to 1; darker and brighter ones are its ends.
pub(crate) fn colour(brightness: f64) -> [u8; 3] {
    let place = brightness.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let below = (place as usize).min(COLOURS.len() - 2);
    let part = place - below as f64;
    std::array::from_fn(|i| (COLOURS[below][i] + part * (COLOURS[below + 1][i] - COLOURS[below][i])).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_is_a_bright_line_at_its_height() {
        let sine = |i: usize| (std::f64::consts::TAU * 2000.0 * i as f64 / 16_000.0).sin() as f32;
        let sound = Sound::new(1, Rate::whole(16_000), (0..8000).map(sine).collect()).unwrap();
        let picture = spectrogram(&sound).unwrap();
        let [_, rows, columns] = picture.shape();
        assert_eq!([rows, columns], [128, 8000usize.div_ceil(32)]);
        let light = |row: usize, column: usize| picture.pixels()[(row * columns + column) * 3 + 1];
        // A window reaches over eight columns to each side.
        for column in 9..columns - 9 {
            let brightest = (0..rows).max_by_key(|&row| light(row, column)).unwrap();
            // 2000 of 8000 Hz: a quarter of the height, from the bottom.
            assert!(brightest.abs_diff(127 - 32) <= 1, "row {brightest}");
            assert_eq!(light(10, column), 0);
        }
    }

    #[test]
    fn any_length_has_a_picture() {
        for (length, wanted) in [(1, 1), (33, 2), (128, 4), (8192, 256), (16_000, 254), (32_769, 257), (300_000, 1024)]
        {
            let sound = Sound::new(2, Rate::whole(8000), vec![0.1; 2 * length]).unwrap();
            let [frames, rows, columns] = spectrogram(&sound).unwrap().shape();
            assert_eq!([frames, rows, columns], [1, 128, wanted], "{length} samples");
        }
    }

    #[test]
    fn colours_rise() {
        let light = |i: usize| colour(i as f64 / 100.0).map(u32::from).iter().sum::<u32>();
        assert!((0..100).all(|i| light(i) <= light(i + 1)));
        assert_eq!((colour(-1.0), colour(2.0)), ([0, 0, 4], [252, 253, 191]));
    }
}
