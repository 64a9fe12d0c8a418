//! Readers of digits, learnt from the originals: which digit does a clip show, which do its words say, and when?

use crate::originals::{Digits, NAMES, Recordings, SIDE, Split};
use musiva::burn::tensor::{Int, Tensor, activation};
use musiva::evaluate::{EvaluateOptions, Reader, evaluate_all};
use musiva::{
    Clip, Component, ConfigError, Device, DeviceName, Hosted, Make, Metric, MetricConfig, Output, RecipeSource, Result,
    RngKey, RngStream, Sound,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A bounce that is seen and a word that is heard belong together within this many seconds: a frame.
const TOGETHER: f32 = 0.125;

/// Both readers.
pub struct Readers {
    eye: Eye,
    ear: Reader,
    /// How many of the test splits' originals each reads.
    right: [f64; 2],
}

impl Readers {
    /// Learns from the training originals and reads the test originals.
    pub fn learn(mnist: &Path, recordings: &Path) -> Result<Self> {
        let eye = Eye::learn(&Digits::open(mnist, Split::Train)?);
        let tests = Digits::open(mnist, Split::Test)?;
        let seen = (0..tests.len()).filter(|&i| eye.read(&[tests.picture(i)]) == tests.label(i)).count();
        let named = |split| -> Result<Vec<(Sound, String)>> {
            let recordings = Recordings::open(recordings, split)?;
            Ok(recordings.all().iter().map(|one| (one.sound.clone(), NAMES[one.digit].to_owned())).collect())
        };
        let ear = Reader::learn(&named(Split::Train)?)?;
        let words = named(Split::Test)?;
        let heard = words.iter().filter(|(sound, name)| ear.read(sound) == name).count();
        let right = [seen as f64 / tests.len() as f64, heard as f64 / words.len() as f64];
        Ok(Self { eye, ear, right })
    }

    /// How well they read originals.
    pub fn card(&self) -> String {
        let [seen, heard] = self.right.map(|share| 100.0 * share);
        format!("{seen:.1} % of the digits seen, {heard:.1} % of those heard")
    }
}

/// Reads pictures: a perceptron with one hidden layer, trained by stochastic gradient descent with momentum.
struct Eye {
    weights: [Tensor<2>; 2],
    biases: [Tensor<2>; 2],
}

impl Eye {
    const HIDDEN: usize = 384;
    const BATCH: usize = 128;
    const EPOCHS: usize = 8;
    const RATE: f32 = 0.1;
    const MOMENTUM: f32 = 0.9;

    fn learn(digits: &Digits) -> Self {
        let device = Device::flex();
        let key = RngKey::new(0);
        let mut init = key.stream(RngStream::Init);
        let mut layer = |inputs: usize, outputs: usize| {
            let scale = (2.0 / inputs as f32).sqrt();
            let values = init.normals(inputs * outputs).iter().map(|x| scale * x).collect();
            tensor(values, [inputs, outputs], &device)
        };
        let weights = [layer(SIDE * SIDE, Self::HIDDEN), layer(Self::HIDDEN, 10)];
        let biases = [Self::HIDDEN, 10].map(|outputs| tensor(vec![0.0; outputs], [1, outputs], &device));
        let mut eye = Self { weights, biases };
        let mut speeds = [&eye.weights, &eye.biases].map(|all| all.clone().map(|value| value.zeros_like()));
        let mut order: Vec<usize> = (0..digits.len()).collect();
        let steps = Self::EPOCHS * (digits.len() / Self::BATCH);
        let mut step = 0;
        for epoch in 0..Self::EPOCHS {
            key.step(epoch as u64).stream(RngStream::Shuffle).shuffle(&mut order);
            let mut shifts = key.step(epoch as u64).stream(RngStream::Data);
            for some in order.chunks_exact(Self::BATCH) {
                // Up to a pixel aside, as what is read may be.
                let shifted = |&i: &usize| {
                    let [dy, dx] = [0, 1].map(|_| shifts.below(3) as isize - 1);
                    shift(digits.picture(i), dy, dx)
                };
                let x = tensor(some.iter().flat_map(shifted).collect(), [Self::BATCH, SIDE * SIDE], &device);
                let labels: Vec<i32> = some.iter().map(|&i| digits.label(i) as i32).collect();
                let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
                let gradients = eye.gradients(x, labels.one_hot::<2>(10).float());
                let rate = Self::RATE * (1.0 - step as f32 / steps as f32);
                for ((values, speeds), gradients) in
                    [&mut eye.weights, &mut eye.biases].into_iter().zip(&mut speeds).zip(gradients)
                {
                    for ((value, speed), gradient) in values.iter_mut().zip(speeds).zip(gradients) {
                        *speed = speed.clone() * Self::MOMENTUM + gradient;
                        *value = value.clone() - speed.clone() * rate;
                    }
                }
                step += 1;
            }
        }
        eye
    }

    /// The hidden layer and the logits of pictures `[n, 784]`, 0 to 1.
    fn forward(&self, x: Tensor<2>) -> [Tensor<2>; 2] {
        let hidden = activation::relu(x.matmul(self.weights[0].clone()) + self.biases[0].clone());
        [hidden.clone(), hidden.matmul(self.weights[1].clone()) + self.biases[1].clone()]
    }

    /// Of the mean cross entropy with these labels, `[n, 10]`: by the weights, and by the biases.
    fn gradients(&self, x: Tensor<2>, labels: Tensor<2>) -> [[Tensor<2>; 2]; 2] {
        let n = x.dims()[0] as f32;
        let [hidden, logits] = self.forward(x.clone());
        let by_logits = (activation::softmax(logits, 1) - labels) / n;
        let is_on = hidden.clone().greater_elem(0.0).float();
        let by_hidden = by_logits.clone().matmul(self.weights[1].clone().transpose()) * is_on;
        let weights = [x.transpose().matmul(by_hidden.clone()), hidden.transpose().matmul(by_logits.clone())];
        [weights, [by_hidden.sum_dim(0), by_logits.sum_dim(0)]]
    }

    /// The digit that several pictures of it show, `[28, 28]` each.
    fn read(&self, pictures: &[impl AsRef<[u8]>]) -> usize {
        let values = pictures.iter().flat_map(|picture| shift(picture.as_ref(), 0, 0)).collect();
        let [_, logits] = self.forward(tensor(values, [pictures.len(), SIDE * SIDE], &Device::flex()));
        let chances = activation::log_softmax(logits, 1).mean_dim(0).into_data();
        let chances: Vec<f32> = chances.try_to_vec().expect("logits are f32");
        (0..10).max_by(|&a, &b| chances[a].total_cmp(&chances[b])).unwrap_or(0)
    }
}

fn tensor(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::<1>::from_data(values.as_slice(), device).reshape(shape)
}

/// The picture moved by so many pixels, 0 to 1.
fn shift(picture: &[u8], dy: isize, dx: isize) -> impl Iterator<Item = f32> {
    (0..SIDE * SIDE).map(move |i| {
        let (y, x) = ((i / SIDE) as isize + dy, (i % SIDE) as isize + dx);
        let inside = (0..SIDE as isize).contains(&y) && (0..SIDE as isize).contains(&x);
        if inside { f32::from(picture[y as usize * SIDE + x as usize]) / 255.0 } else { 0.0 }
    })
}

/// Where the ink of a frame is, as its centre of mass `[y, x]`; `None` where there is none.
fn centre(clip: &Clip, frame: usize) -> Option<[f32; 2]> {
    let [_, height, width] = clip.shape();
    let pixels = clip.frame(frame);
    let (mut sum, mut at) = (0.0, [0.0; 2]);
    for y in 0..height {
        for x in 0..width {
            let grey = f32::from(pixels[(y * width + x) * 3]);
            // Faint noise over the whole picture is no ink.
            let ink = if grey < 48.0 { 0.0 } else { grey };
            sum += ink;
            at[0] += ink * y as f32;
            at[1] += ink * x as f32;
        }
    }
    (sum > 255.0).then(|| at.map(|value| value / sum))
}

/// The frames with ink as MNIST has its pictures: 28×28, the centre of mass in the middle.
fn pictures(clip: &Clip) -> Vec<Vec<u8>> {
    let [frames, height, width] = clip.shape();
    let picture = |frame: usize| {
        let [cy, cx] = centre(clip, frame)?;
        let corner = [cy, cx].map(|value| value.round() as isize - SIDE as isize / 2);
        let pixel = |i: usize| {
            let (y, x) = (corner[0] + (i / SIDE) as isize, corner[1] + (i % SIDE) as isize);
            let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
            if inside { clip.frame(frame)[(y as usize * width + x as usize) * 3] } else { 0 }
        };
        Some((0..SIDE * SIDE).map(pixel).collect())
    };
    (0..frames).filter_map(picture).collect()
}

/// When what is seen turns round along an axis, in seconds.
fn bounces(clip: &Clip) -> Vec<f32> {
    let fps = clip.rate().as_f64() as f32;
    let centres: Vec<_> = (0..clip.frames()).map(|frame| centre(clip, frame)).collect();
    let mut all = Vec::new();
    for axis in 0..2 {
        let at: Vec<f32> = centres.iter().map_while(|centre| Some(centre.as_ref()?[axis])).collect();
        let steps: Vec<f32> = at.windows(2).map(|two| two[1] - two[0]).collect();
        // From one clear direction to the other; the step in which it turns may be any.
        let mut before: Option<(usize, f32)> = None;
        for (i, &step) in steps.iter().enumerate() {
            if step.abs() < 0.6 {
                continue;
            }
            if let Some((j, last)) = before.filter(|(_, last)| last.signum() != step.signum()) {
                // Before step j it went on at `last`, after step i it goes on at `step`: where do the two lines meet?
                let (from, to) = (at[j + 1], at[i + 1]);
                let (t0, t1) = ((j + 1) as f32, (i + 1) as f32);
                let meet = (to - from + last * t0 - step * t1) / (last - step);
                all.push(meet.clamp(t0 - 1.0, t1) / fps);
            }
            before = Some((i, step));
        }
    }
    all.sort_by(f32::total_cmp);
    // Both walls at once, in a corner, are one bounce.
    all.dedup_by(|b, a| *b - *a < TOGETHER);
    all
}

/// The words of a sound, and when each starts in seconds: what is heard between silences of 0.12 seconds.
fn words(sound: &Sound) -> Result<Vec<(f32, Sound)>> {
    /// Seconds of a block, and blocks of silence between two words.
    const BLOCK: f32 = 0.01;
    const SILENCE: usize = 12;
    let block = (BLOCK * sound.rate().as_f64() as f32) as usize;
    let loud = |block: &[f32]| (block.iter().map(|x| x * x).sum::<f32>() / block.len() as f32).sqrt();
    let loud: Vec<f32> = sound.samples().chunks(block).map(loud).collect();
    let (mut words, mut current) = (Vec::<[usize; 2]>::new(), None::<[usize; 2]>);
    for (i, &loudness) in loud.iter().enumerate() {
        if loudness > 0.02 {
            current = Some([current.map_or(i, |[first, _]| first), i]);
        } else if let Some(word) = current.filter(|[_, last]| i - last > SILENCE) {
            words.push(word);
            current = None;
        }
    }
    words.extend(current);
    // A click is no word.
    words.retain(|[first, last]| last - first >= 8);
    let part = |[first, last]: [usize; 2]| {
        (first as f32 * BLOCK, sound.slice(first * block..((last + 2) * block).min(sound.length())))
    };
    Ok(words.into_iter().map(part).collect())
}

/// F1 of moments that are to be together, of all samples.
#[derive(Clone, Copy, Default)]
struct Together {
    right: usize,
    all: usize,
}

impl Together {
    fn add(&mut self, mut seen: Vec<f32>, heard: &[f32]) {
        self.all += seen.len() + heard.len();
        for at in heard {
            if let Some(i) = seen.iter().position(|other| (other - at).abs() <= TOGETHER) {
                seen.remove(i);
                self.right += 2;
            }
        }
    }

    fn f1(self) -> f64 {
        self.right as f64 / self.all.max(1) as f64
    }
}

/// What the readers find in samples.
#[derive(Default)]
struct Found {
    samples: [usize; 2],
    right: [usize; 2],
    together: Together,
}

impl Found {
    fn add(&mut self, readers: &Readers, output: &Output, caption: &str) -> Result<()> {
        if let Some(clip) = &output.clip {
            let pictures = pictures(clip);
            let read = (!pictures.is_empty()).then(|| NAMES[readers.eye.read(&pictures)]);
            self.samples[0] += 1;
            self.right[0] += usize::from(read == Some(caption));
        }
        if let Some(sound) = &output.sound {
            // All its words say the digit.
            let words = words(sound)?;
            let is_right = !words.is_empty() && words.iter().all(|(_, word)| readers.ear.read(word) == caption);
            self.samples[1] += 1;
            self.right[1] += usize::from(is_right);
            if let Some(clip) = &output.clip {
                let heard: Vec<f32> = words.iter().map(|(start, _)| *start).collect();
                self.together.add(bounces(clip), &heard);
            }
        }
        Ok(())
    }

    fn write(&self, who: &str, into: &mut BTreeMap<String, f64>) {
        for (what, (right, samples)) in ["seen", "heard"].into_iter().zip(self.right.into_iter().zip(self.samples)) {
            if samples > 0 {
                into.insert(format!("{what}{who}"), right as f64 / samples as f64);
            }
        }
        if self.together.all > 0 {
            into.insert(format!("onsets{who}"), self.together.f1());
        }
    }
}

/// `[[metric]] kind = "digits"`: `seen` and `heard` are the shares of the clips and of the sounds that are read as the caption,
/// `onsets` is the F1 of bounces and words. The same with `_real` is of the held-out samples themselves.
struct DigitMetric {
    readers: Arc<Readers>,
    made: Found,
    real: Found,
}

impl Metric for DigitMetric {
    fn update(&mut self, made: &Output, real: &Output, caption: &str) -> Result<()> {
        self.made.add(&self.readers, made, caption)?;
        self.real.add(&self.readers, real, caption)
    }

    fn result(&mut self) -> Result<BTreeMap<String, f64>> {
        let mut values = BTreeMap::new();
        self.made.write("", &mut values);
        self.real.write("_real", &mut values);
        Ok(values)
    }
}

struct DigitMetricConfig(Arc<Readers>);

impl MetricConfig for DigitMetricConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn build(&self) -> Result<Box<dyn Metric>> {
        Ok(Box::new(DigitMetric { readers: self.0.clone(), made: Found::default(), real: Found::default() }))
    }
}

/// Prints what the readers find in what `recipe`, trained on the clips of `folder`, makes of its held-out samples.
pub fn evaluate(readers: &Arc<Readers>, recipe: &str, folder: &str, prompts: usize) -> Result<()> {
    let readers = readers.clone();
    let schema = serde_json::json!({ "type": "object", "properties": {} });
    let make = Hosted::Metric(Arc::new(move |_| Ok(Box::new(DigitMetricConfig(readers.clone())))));
    let metric = Component {
        kind: "digits",
        summary: "which digit is seen and heard, and when",
        origin: "tools/digits".to_owned(),
        schema,
        learns: false,
        make: Make::Hosted(make),
    };
    let source = RecipeSource::named(recipe).component(metric).data(folder);
    let recipe = source.set(r#"metric=[{ kind = "digits" }]"#).open()?;
    let options = EvaluateOptions { prompts: Some(prompts), ..EvaluateOptions::default() };
    for evaluation in evaluate_all(&[recipe], &options, &DeviceName::Cpu.open()?, &mut ())?.each {
        println!("{}, {prompts} held-out samples:", evaluation.recipe);
        for measured in evaluation.metrics {
            let values: Vec<String> =
                measured.values.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
            println!("  {}: {}", measured.samples, values.join(", "));
        }
    }
    Ok(())
}
