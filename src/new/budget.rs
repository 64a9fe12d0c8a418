//! How large, and how long: what fits into some hours on this machine.

use crate::RecipeSource;
use burn::tensor::{Device, Distribution, Tensor};
use musiva_core::parameters::to_vec;
use musiva_core::recipe::Summary;
use musiva_core::{Error, ErrorKind, Result};
use musiva_train::tokenizer::summary;
use std::path::Path;
use std::time::{Duration, Instant};

/// Steps that a larger one has to have time for.
const ENOUGH: usize = 4000;
/// Steps at least and at most.
const STEPS: [usize; 2] = [100, 30_000];
/// A sample is seen no more often than this, beyond the first thousand steps.
const EPOCHS: usize = 400;
/// The part of the speed of matrix products alone that training reaches on a processor: 0.38 to 0.48 with the shipped
/// `tokenizer-video`, `tokenizer-audio` and `text-to-video-{lm,masked,dit}` on two cores, 0.32 where clips are decoded from
/// animated WebP of 256×256 pixels.
const REACHED: f64 = 0.4;
/// Side of the matrices, and how long they are multiplied.
const SIDE: usize = 512;
const MEASURED: Duration = Duration::from_millis(400);

/// How fast this machine trains.
pub struct Budget {
    /// Floating-point operations a second in training.
    speed: f64,
}

/// What was chosen.
pub struct Chosen<T> {
    /// How large.
    pub size: T,
    /// How long.
    pub steps: usize,
    /// Both, in words.
    pub note: String,
}

impl Budget {
    /// Of a device.
    pub fn measure(device: &Device) -> Self {
        Self { speed: REACHED * products(device) }
    }

    /// The largest of the `sizes`, in ascending order, that can be trained for [`ENOUGH`] steps within `hours`; the smallest,
    /// for as many steps as it can, where none can. `recipe` writes the recipe that trains a size for a number of steps; its
    /// paths are relative to `folder`. There are `windows` to train on.
    ///
    /// # Errors
    /// Where a recipe is invalid.
    pub fn largest<T: Copy>(
        &self,
        sizes: &[T],
        hours: f64,
        windows: usize,
        folder: &Path,
        recipe: impl Fn(T, usize) -> String,
    ) -> Result<Chosen<T>> {
        let mut chosen = None;
        for &size in sizes {
            let opened = RecipeSource::text(recipe(size, ENOUGH), folder).open()?;
            let Summary { parameters, training: Some(training), .. } = summary(&opened) else { continue };
            let seconds = training.flops_per_step / self.speed;
            let in_time = (3600.0 * hours / seconds) as usize;
            if chosen.is_some() && in_time < ENOUGH {
                break;
            }
            let [least, most] = STEPS;
            let seen = (EPOCHS * windows / training.batch).max(1000);
            let steps = in_time.min(seen).clamp(least, most);
            let steps = steps / 10 * 10;
            let section = training.target.section();
            let numbers = parameters.iter().find(|(name, _)| *name == section).map_or(0, |(_, count)| *count);
            let note = format!(
                "{section}: {:.1} M parameters, {steps} steps of about {seconds:.2} s, {}",
                numbers as f64 / 1e6,
                lasts(steps as f64 * seconds)
            );
            chosen = Some(Chosen { size, steps, note });
        }
        chosen.ok_or_else(|| Error::new(ErrorKind::Recipe, folder.display().to_string(), "no size of it trains"))
    }
}

fn lasts(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} seconds"),
        90.0..5400.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{:.1} hours", seconds / 3600.0),
    }
}

/// Floating-point operations a second of large matrix products.
fn products(device: &Device) -> f64 {
    let random = || Tensor::<2>::random([SIDE, SIDE], Distribution::Default, device);
    let (a, b) = (random(), random());
    let multiply = || to_vec(a.clone().matmul(b.clone()).sum());
    // The first one loads and tunes what it needs.
    multiply();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < MEASURED {
        multiply();
        count += 1;
    }
    2.0 * (SIDE as f64).powi(3) * f64::from(count) / start.elapsed().as_secs_f64()
}
