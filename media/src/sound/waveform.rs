//! A sound as frames of a clip that last as long as it.

use musiva_core::{Clip, Rate, Result, Sound};

const PAPER: [u8; 3] = [16, 16, 20];
const INK: [u8; 3] = [120, 200, 255];

/// The waveform of the first channel over `frames` frames of `[height, width]` pixels: each shows the samples that are
/// heard while it is seen, each column from the lowest to the highest of its samples. The height is from `-peak` to `peak`.
/// So on a contact sheet a sound stands below its clip, moment below moment.
///
/// # Errors
/// Where one of the lengths is 0.
pub fn waveform(sound: &Sound, rate: Rate, [frames, height, width]: [usize; 3], peak: f32) -> Result<Clip> {
    let samples: Vec<f32> = sound.channel(0).collect();
    let a_frame = sound.rate().as_f64() / rate.as_f64();
    let mut pixels = PAPER.repeat(frames * height * width);
    // From the top; the middle is silence.
    let row =
        |value: f32| ((1.0 - (value / peak).clamp(-1.0, 1.0)) / 2.0 * height.saturating_sub(1) as f32).round() as usize;
    for column in 0..frames * width {
        let at = |column: usize| (column as f64 / width as f64 * a_frame) as usize;
        let Some(heard) = samples.get(at(column)..at(column + 1).max(at(column) + 1).min(samples.len())) else { break };
        let (low, high) = heard.iter().fold((0f32, 0f32), |(low, high), &value| (low.min(value), high.max(value)));
        for y in row(high)..=row(low) {
            let pixel = ((column / width * height + y) * width + column % width) * 3;
            pixels[pixel..pixel + 3].copy_from_slice(&INK);
        }
    }
    Clip::new([frames, height, width], rate, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_click_stands_in_the_frame_in_which_it_is_heard() {
        let mut samples = vec![0.0; 8000];
        // Half a second: frame 2 of 4 a second.
        samples[4000] = 0.5;
        let sound = Sound::new(1, Rate::whole(8000), samples).unwrap();
        let shape = [4, 9, 10];
        let picture = waveform(&sound, Rate::whole(4), shape, 0.5).unwrap();
        assert_eq!(picture.shape(), shape);
        let inked = |frame: usize, y: usize, x: usize| picture.frame(frame)[(y * 10 + x) * 3] == INK[0];
        for frame in 0..4 {
            for x in 0..10 {
                let ink = (0..9).filter(|&y| inked(frame, y, x)).count();
                assert_eq!(ink, if (frame, x) == (2, 0) { 5 } else { 1 }, "frame {frame}, column {x}");
                assert!(inked(frame, 4, x), "silence is a line in the middle");
            }
        }
    }

    #[test]
    fn what_ends_before_the_clip_leaves_the_rest_empty() {
        let sound = Sound::new(1, Rate::whole(8000), vec![0.5; 100]).unwrap();
        for shape in [[3, 1, 1], [2, 5, 300]] {
            assert_eq!(waveform(&sound, Rate::whole(24), shape, 1.0).unwrap().shape(), shape);
        }
    }
}
