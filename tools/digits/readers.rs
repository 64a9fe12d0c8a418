//! Readers of digits, learnt from the originals: which digit does a clip show, which do its words say, and when?

use crate::originals::{Digits, NAMES, Recordings, SIDE, Split};
use musiva::burn::tensor::{Int, Tensor, activation};
use musiva::evaluate::{CaptionClassifier, EvaluateOptions, evaluate_all};
use musiva::{
    Clip, Component, ConfigError, Device, DeviceName, Hosted, Make, Metric, MetricConfig, MetricSample, Output,
    RecipeSource, Result, RngKey, RngStream, Sound,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A bounce that is seen and a word that is heard belong together within this many seconds: a frame.
const TOLERANCE: f32 = 0.125;

/// Both readers.
pub struct Readers {
    digits: DigitClassifier,
    words: CaptionClassifier,
    /// How many of the test splits' originals each reads.
    right: [f64; 2],
}

impl Readers {
    /// Learns from the training originals and reads the test originals.
    pub fn learn(mnist: &Path, recordings: &Path) -> Result<Self> {
        let digits = DigitClassifier::learn(&Digits::open(mnist, Split::Train)?);
        let tests = Digits::open(mnist, Split::Test)?;
        let seen = (0..tests.len()).filter(|&i| digits.read(&[tests.picture(i)]) == tests.label(i)).count();
        let classifier = CaptionClassifier::learn(&Recordings::open(recordings, Split::Train)?.named())?;
        let recordings = Recordings::open(recordings, Split::Test)?.named();
        let heard = recordings.iter().filter(|(sound, name)| classifier.read(sound) == name).count();
        let right = [seen as f64 / tests.len() as f64, heard as f64 / recordings.len() as f64];
        Ok(Self { digits, words: classifier, right })
    }

    /// How well they read originals.
    pub fn card(&self) -> String {
        let [seen, heard] = self.right.map(|share| 100.0 * share);
        format!("{seen:.1} % of the digits seen, {heard:.1} % of those heard")
    }
}

/// Reads pictures: a perceptron with one hidden layer, trained by stochastic gradient descent with momentum.
struct DigitClassifier {
    weights: [Tensor<2>; 2],
    biases: [Tensor<2>; 2],
}

impl DigitClassifier {
    const HIDDEN: usize = 384;
    const BATCH: usize = 128;
    const EPOCHS: usize = 8;
    const LEARNING_RATE: f32 = 0.1;
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
        let mut classifier = Self { weights, biases };
        let mut speeds =
            [&classifier.weights, &classifier.biases].map(|all| all.clone().map(|value| value.zeros_like()));
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
                let gradients = classifier.gradients(x, labels.one_hot::<2>(10).float());
                let rate = Self::LEARNING_RATE * (1.0 - step as f32 / steps as f32);
                for ((values, speeds), gradients) in
                    [&mut classifier.weights, &mut classifier.biases].into_iter().zip(&mut speeds).zip(gradients)
                {
                    for ((value, speed), gradient) in values.iter_mut().zip(speeds).zip(gradients) {
                        *speed = speed.clone() * Self::MOMENTUM + gradient;
                        *value = value.clone() - speed.clone() * rate;
                    }
                }
                step += 1;
            }
        }
        classifier
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

/// The picture moved by `dy` and `dx` pixels, 0 to 1.
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
        // Where it is in a frame, and how far it goes to the next one; a frame without ink is skipped.
        let at = |frame: usize| Some(centres[frame]?[axis]);
        let steps = (1..centres.len()).filter_map(|frame| Some((frame - 1, at(frame)? - at(frame - 1)?)));
        // From one clear direction to the other; the step in which it turns may be any.
        let mut before: Option<(usize, f32)> = None;
        for (i, step) in steps.filter(|(_, step)| step.abs() >= 0.6) {
            if let Some((j, last)) = before.filter(|(_, last)| last.signum() != step.signum())
                && let (Some(from), Some(to)) = (at(j + 1), at(i + 1))
            {
                // After step j it would go on at `last`, before the end of step i it came at `step`: where do the two lines meet?
                let (t0, t1) = ((j + 1) as f32, (i + 1) as f32);
                let meet = (to - from + last * t0 - step * t1) / (last - step);
                all.push(meet.clamp(t0 - 1.0, t1) / fps);
            }
            before = Some((i, step));
        }
    }
    all.sort_by(f32::total_cmp);
    // Both walls at once, in a corner, are one bounce.
    all.dedup_by(|b, a| *b - *a < TOLERANCE);
    all
}

/// The words of a sound, and when each starts in seconds: what is heard between silences of 0.12 seconds.
fn words(sound: &Sound) -> Result<Vec<(f32, Sound)>> {
    /// Seconds of a block, and blocks of silence between two words.
    const BLOCK: f32 = 0.01;
    const SILENCE: usize = 12;
    let rate = sound.rate().as_f64() as f32;
    let block = ((BLOCK * rate) as usize).max(1);
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
        ((first * block) as f32 / rate, sound.slice(first * block..((last + 2) * block).min(sound.length())))
    };
    Ok(words.into_iter().map(part).collect())
}

/// F1 of bounces that are seen and words that are heard, of all samples.
#[derive(Clone, Copy, Default)]
struct OnsetF1 {
    right: usize,
    all: usize,
}

impl OnsetF1 {
    fn add(&mut self, mut seen: Vec<f32>, heard: &[f32]) {
        self.all += seen.len() + heard.len();
        for at in heard {
            if let Some(i) = seen.iter().position(|other| (other - at).abs() <= TOLERANCE) {
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
struct Counts {
    samples: [usize; 2],
    right: [usize; 2],
    onsets: OnsetF1,
}

impl Counts {
    /// Reads what was made; of what was given it only looks when it bounces or speaks.
    fn add(&mut self, readers: &Readers, made: &Output, given: &Output, caption: &str) -> Result<()> {
        if let Some(clip) = &made.clip {
            let pictures = pictures(clip);
            let read = (!pictures.is_empty()).then(|| NAMES[readers.digits.read(&pictures)]);
            self.samples[0] += 1;
            self.right[0] += usize::from(read == Some(caption));
        }
        if let Some(sound) = &made.sound {
            // All its words say the digit.
            let words = words(sound)?;
            let is_right = !words.is_empty() && words.iter().all(|(_, word)| readers.words.read(word) == caption);
            self.samples[1] += 1;
            self.right[1] += usize::from(is_right);
        }
        if let (Some(clip), Some(sound)) =
            (made.clip.as_ref().or(given.clip.as_ref()), made.sound.as_ref().or(given.sound.as_ref()))
        {
            let heard: Vec<f32> = words(sound)?.iter().map(|(start, _)| *start).collect();
            self.onsets.add(bounces(clip), &heard);
        }
        Ok(())
    }

    fn write(&self, who: &str, into: &mut BTreeMap<String, f64>) {
        for (what, (right, samples)) in ["seen", "heard"].into_iter().zip(self.right.into_iter().zip(self.samples)) {
            if samples > 0 {
                into.insert(format!("{what}{who}"), right as f64 / samples as f64);
            }
        }
        if self.onsets.all > 0 {
            into.insert(format!("onsets{who}"), self.onsets.f1());
        }
    }
}

/// `[[metric]] kind = "digits"`: `seen` and `heard` are the shares of the clips and of the sounds that are read as the caption,
/// `onsets` is the F1 of bounces and words. The same with `_real` is of the held-out samples themselves.
struct DigitMetric {
    readers: Arc<Readers>,
    made: Counts,
    real: Counts,
}

impl Metric for DigitMetric {
    fn update(&mut self, MetricSample { made, given, reference, caption }: MetricSample) -> Result<()> {
        self.made.add(&self.readers, made, given, caption)?;
        self.real.add(&self.readers, reference, &Output::default(), caption)
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
        Ok(Box::new(DigitMetric { readers: self.0.clone(), made: Counts::default(), real: Counts::default() }))
    }
}

/// Prints what the readers find in what `recipe`, trained on the clips of `folder`, makes of its held-out samples.
pub fn evaluate(readers: &Arc<Readers>, recipe: &str, folder: &Path, prompts: usize) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::tests::{picture, sample};

    #[test]
    fn bounces_and_words_are_found_where_they_were_made() {
        let (mut all, mut swapped) = (OnsetF1::default(), OnsetF1::default());
        let mut before = Vec::new();
        for number in 0..40 {
            let (made, clip, sound) = sample(number);
            let heard: Vec<f32> = words(&sound).unwrap().iter().map(|(start, _)| *start).collect();
            assert_eq!(heard.len(), made.len(), "sample {number}");
            assert!(heard.iter().zip(&made).all(|(a, b)| (a - b).abs() < 0.02), "{heard:?}, made at {made:?}");
            all.add(bounces(&clip), &made);
            swapped.add(bounces(&clip), &before);
            before = heard;
        }
        assert!(all.f1() > 0.97, "{}", all.f1());
        assert!(swapped.f1() < 0.6, "words of others: {}", swapped.f1());
    }

    #[test]
    fn pictures_are_centred_as_mnist_is() {
        let (_, clip, _) = sample(3);
        let all = pictures(&clip);
        assert_eq!(all.len(), clip.frames());
        let centre = |picture: &[u8]| {
            let sum: f32 = picture.iter().map(|&x| f32::from(x)).sum();
            [SIDE, 1].map(|step| {
                let at = |i: usize| (i / step % SIDE) as f32;
                picture.iter().enumerate().map(|(i, &x)| at(i) * f32::from(x)).sum::<f32>() / sum
            })
        };
        assert!(centre(&picture()).iter().any(|at| (at - 14.0).abs() > 1.0), "it is not in the middle already");
        assert!(all.iter().all(|picture| centre(picture).iter().all(|at| (at - 14.0).abs() < 0.8)));
    }

    #[test]
    fn a_perceptron_learns_two_digits() {
        // A bar that stands is a one, a bar that lies is a seven.
        let bar = |stands: bool, at: usize| {
            (0..SIDE * SIDE).map(move |i| {
                let across = if stands { i % SIDE } else { i / SIDE };
                if across.abs_diff(at) < 2 { 255 } else { 0 }
            })
        };
        let all = (0..512).map(|i| (i % 2 == 0, 4 + i / 2 % 20));
        let pixels = all.clone().flat_map(|(stands, at)| bar(stands, at)).collect();
        let digits = Digits::of(pixels, all.map(|(stands, _)| if stands { 1 } else { 7 }).collect());
        let classifier = DigitClassifier::learn(&digits);
        let read = |stands| classifier.read(&[bar(stands, 13).collect::<Vec<_>>(), bar(stands, 14).collect()]);
        assert_eq!([read(true), read(false)], [1, 7]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_not_right() {
        assert!(words(&Sound::new(1, musiva::Rate::whole(8000), vec![0.0; 8000]).unwrap()).unwrap().is_empty());
        let black = Clip::new([3, 32, 32], musiva::Rate::whole(8), vec![0; 3 * 32 * 32 * 3]).unwrap();
        assert!(pictures(&black).is_empty() && bounces(&black).is_empty());
        let mut one = OnsetF1::default();
        one.add(vec![0.5], &[0.45, 0.55]);
        assert_eq!(one.f1(), 2.0 / 3.0);
    }
}
