//! The sound that goes with a clip: as long as the clip is, to the sample.

use musiva_core::{ConfigError, MediaShape, Rate, Timing};

/// Samples of a sound at most: 64 MB.
const LONGEST: u64 = 1 << 24;

/// The shape of a mono sound of `rate` samples a second that goes with so many frames, `fps` a second.
pub(crate) fn shape(frames: usize, fps: u32, rate: u32) -> MediaShape {
    // Rates of zero are errors that the configurations report; the shape of what is flawed is never used.
    let [fps, rate] = [fps, rate].map(|rate| Rate::whole(rate.max(1)));
    MediaShape::Sound { samples: Timing::new(fps, rate).samples(0..frames).end, channels: 1, rate }
}

/// What is wrong with such a sound.
pub(crate) fn wrong(frames: usize, fps: u32, rate: u32) -> Option<ConfigError> {
    if !(8_000..=192_000).contains(&rate) {
        let message = format!("{rate} samples per second; 8000 to 192000 are possible");
        return Some(ConfigError::new("sound", message, "set `sound = 16000`"));
    }
    (frames as u64).saturating_mul(rate.into()).gt(&(LONGEST * u64::from(fps))).then(|| {
        let message = format!("a sound of {frames} frames has more than {LONGEST} samples");
        ConfigError::new("sound", message, "set `sound = 16000`, or fewer frames")
    })
}
