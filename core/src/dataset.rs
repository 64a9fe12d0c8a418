//! What training asks of data.

use crate::{Clip, Error, ErrorKind, Media, MediaShape, Modality, Result, Sound};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The number that every clip tells: frames a second.
pub const FPS: &str = "fps";

/// Samples that are held out at most; at least 8, where there are twice as many.
const HELD_OUT: Range<u64> = 8..64;
/// Where an endless dataset ends.
const ENDLESS: u64 = u64::MAX;

/// A clip, a sound or both, with their caption.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The clip, of the dataset's [`shape`](Dataset::shape); `None` where it has no clips.
    pub clip: Option<Clip>,
    /// The sound, of the dataset's [`shape`](Dataset::shape); `None` where it has no sounds.
    pub sound: Option<Sound>,
    /// What it shows; empty where the dataset has no captions. Of several captions the first.
    pub caption: String,
    /// Further captions of the same: training draws one of all of them at each step.
    pub more_captions: Vec<String>,
    /// Further streams by name, such as a depth map of the clip, where the dataset has any.
    pub streams: BTreeMap<String, Clip>,
    /// Numbers by name, such as how fast something moves, where the dataset knows any.
    pub numbers: BTreeMap<String, f64>,
    /// Where it comes from, for messages: a file and a window, a scene's number.
    pub id: String,
}

impl Sample {
    /// Its clip.
    ///
    /// # Errors
    /// Where it has none.
    pub fn into_clip(self) -> Result<Clip> {
        self.clip.ok_or_else(|| missing(&self.id, Modality::Video))
    }

    /// Its sound.
    ///
    /// # Errors
    /// Where it has none.
    pub fn into_sound(self) -> Result<Sound> {
        self.sound.ok_or_else(|| missing(&self.id, Modality::Audio))
    }
}

impl Sample {
    /// All its captions; at least one, which may be empty.
    pub fn captions(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.caption).chain(&self.more_captions).map(String::as_str)
    }

    /// The same with these captions.
    pub fn with_captions(mut self, captions: &[String]) -> Self {
        let (first, more) = captions.split_first().map_or((String::new(), &[][..]), |(f, more)| (f.clone(), more));
        (self.caption, self.more_captions) = (first, more.to_vec());
        self
    }

    /// The same with one of its captions alone, the one that a number draws.
    pub fn drawn(mut self, draw: u32) -> Self {
        let which = draw as usize % (1 + self.more_captions.len());
        if let Some(caption) = which.checked_sub(1).map(|at| self.more_captions.swap_remove(at)) {
            self.caption = caption;
        }
        self.more_captions.clear();
        self
    }

    /// A number that is known of it: one that the dataset tells, or `fps`, the frames a second of its clip.
    ///
    /// # Errors
    /// Where it is not known.
    pub fn number(&self, name: &str) -> Result<f64> {
        let fps = || self.clip.as_ref().filter(|_| name == FPS).map(|clip| clip.rate().as_f64());
        self.numbers
            .get(name)
            .copied()
            .or_else(fps)
            .ok_or_else(|| Error::new(ErrorKind::Data, &self.id, format!("the data do not tell the number `{name}`")))
    }

    /// The medium of a track of the canvas that holds the stream `from`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn medium(&self, from: &str) -> Result<Media> {
        let none = || missing(&self.id, Modality::Video);
        match from {
            "video" => self.clip.clone().map(Media::Clip).ok_or_else(none),
            "audio" => self.sound.clone().map(Media::Sound).ok_or_else(|| missing(&self.id, Modality::Audio)),
            "text" => Ok(Media::Text(self.caption.clone())),
            stream => self
                .streams
                .get(stream)
                .cloned()
                .map(Media::Clip)
                .ok_or_else(|| Error::new(ErrorKind::Data, &self.id, format!("the data have no stream `{stream}`"))),
        }
    }
}

fn missing(id: &str, modality: Modality) -> Error {
    Error::new(ErrorKind::Data, id, format!("the data have no {}", modality.plural()))
}

/// Samples by number.
///
/// # For the caller
/// `get(i)` is a pure function of `i`: two calls give the same sample, on every thread. Where
/// [`len`](Self::len) is `None` every number is a sample, otherwise those below it.
///
/// # For who implements it
/// All clips have one shape, and so have all sounds. A sample that turns out unreadable after the dataset was opened is an
/// error; [`Readable`] around the dataset leaves it out.
pub trait Dataset: Send + Sync {
    /// How many samples there are; `None`: endless.
    fn len(&self) -> Option<u64>;

    /// Whether there is nothing to train on.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Sample `index`.
    ///
    /// # Errors
    /// Where `index` lies beyond the end, or its file has gone or changed.
    fn get(&self, index: u64) -> Result<Sample>;

    /// The captions of sample `index`, without its media where that is less work.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn captions(&self, index: u64) -> Result<Vec<String>> {
        Ok(self.get(index)?.captions().map(str::to_owned).collect())
    }

    /// The shape that media of this modality have in every sample, where samples have such.
    fn shape(&self, modality: Modality) -> Option<MediaShape>;

    /// What was found and what was dropped, and the range of the pixels.
    fn report(&self) -> DataReport;

    /// What turned out unreadable when it was asked for, so far, and was left out: in the order in which it was found.
    fn unreadable(&self) -> Vec<Unreadable> {
        Vec::new()
    }
}

/// Samples of one file that were left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub place: String,
    /// What is wrong with the first of them.
    pub why: String,
    /// How many.
    pub count: u64,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples = if self.count == 1 { "sample" } else { "samples" };
        write!(f, "{} {samples} of {}: {}", self.count, self.place, self.why)
    }
}

/// A dataset whose samples that cannot be read are left out: the next one that can be read stands in for each of them. So a
/// sample still follows from its number alone, whoever asks for it, and training that goes on is the same as training that
/// never stopped.
pub struct Readable {
    inner: Arc<dyn Dataset>,
    bad: Mutex<(BTreeSet<u64>, Vec<Unreadable>)>,
}

impl Readable {
    /// Around `inner`.
    pub fn new(inner: Arc<dyn Dataset>) -> Self {
        Self { inner, bad: Mutex::default() }
    }

    fn bad(&self) -> MutexGuard<'_, (BTreeSet<u64>, Vec<Unreadable>)> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, index: u64, error: &Error) {
        let (known, files) = &mut *self.bad();
        if !known.insert(index) {
            return;
        }
        match files.iter_mut().find(|file| file.place == error.place()) {
            Some(file) => file.count += 1,
            None => {
                let (place, why) = (error.place().to_owned(), error.message().to_owned());
                files.push(Unreadable { place, why, count: 1 });
            }
        }
    }
}

impl Dataset for Readable {
    fn len(&self) -> Option<u64> {
        self.inner.len()
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let Some(count) = self.len().filter(|&count| index < count) else { return self.inner.get(index) };
        for index in (index..count).chain(0..index) {
            if self.bad().0.contains(&index) {
                continue;
            }
            match self.inner.get(index) {
                Ok(sample) => return Ok(sample),
                Err(error) => self.note(index, &error),
            }
        }
        let example = self.bad().1.first().map_or(String::new(), |file| format!(", such as {file}"));
        Err(Error::new(ErrorKind::Data, "data", format!("none of its {count} samples can be read{example}"))
            .hint("convert the files to H.264 and AAC in MP4, or name another folder"))
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        self.inner.captions(index)
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.inner.shape(modality)
    }

    fn report(&self) -> DataReport {
        let mut report = self.inner.report();
        let files = self.unreadable();
        if let Some(first) = files.first() {
            let count = files.iter().map(|file| file.count).sum();
            let reason = "windows that cannot be read".to_owned();
            let example = format!("{}: {}", first.place, first.why);
            report.dropped.insert(0, Dropped { reason, count, example, others: Vec::new() });
        }
        report
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.bad().1.clone()
    }
}

/// Which part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To train on.
    Train,
    /// Never trained on.
    HeldOut,
}

/// A part of a dataset that has no split of its own. What is held out is the last twentieth (8 to 64), or of an endless
/// dataset the first 64. Of fewer than 16 nothing can be held out, and both parts are all of them.
pub fn part(data: Arc<dyn Dataset>, part: Part) -> Arc<dyn Dataset> {
    let (train, held_out) = match data.len() {
        None => (HELD_OUT.end..ENDLESS, 0..HELD_OUT.end),
        Some(count) if count < 2 * HELD_OUT.start => (0..count, 0..count),
        Some(count) => {
            let held_out = (count / 20).clamp(HELD_OUT.start, HELD_OUT.end);
            (0..count - held_out, count - held_out..count)
        }
    };
    Arc::new(Slice { inner: data, range: if part == Part::Train { train } else { held_out } })
}

/// Some of the samples of another dataset.
struct Slice {
    inner: Arc<dyn Dataset>,
    range: Range<u64>,
}

impl Slice {
    /// The number of a sample in the whole.
    fn at(&self, index: u64) -> Result<u64> {
        let at = self.range.start.saturating_add(index);
        if at >= self.range.end {
            let count = self.range.end - self.range.start;
            return Err(Error::new(ErrorKind::Data, "data", format!("sample {index} of {count}")));
        }
        Ok(at)
    }
}

impl Dataset for Slice {
    fn len(&self) -> Option<u64> {
        (self.range.end != ENDLESS).then(|| self.range.end - self.range.start)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        self.inner.get(self.at(index)?)
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        self.inner.captions(self.at(index)?)
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.inner.shape(modality)
    }

    fn report(&self) -> DataReport {
        DataReport { windows: self.len(), ..self.inner.report() }
    }
}

/// What a dataset found when it was opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataReport {
    /// Clips, images or sounds found, usable or not; `None`: endless.
    pub clips: Option<u64>,
    /// Windows to train on; `None`: endless.
    pub windows: Option<u64>,
    /// What was left out, by reason.
    pub dropped: Vec<Dropped>,
    /// The pixels of a few samples, spread over the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelRange>,
    /// The sounds of a few samples, spread over the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loudness: Option<Loudness>,
}

/// What was left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub example: String,
    /// The others.
    #[serde(skip)]
    pub others: Vec<String>,
}

impl Dropped {
    /// All of these, each a name and what is wrong with it.
    pub fn of(reason: &str, all: &[String]) -> Self {
        let (first, others) = all.split_first().map_or((String::new(), &[][..]), |(f, others)| (f.clone(), others));
        Self { reason: reason.to_owned(), count: all.len() as u64, example: first, others: others.to_vec() }
    }
}

/// Range and mean of pixel values, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PixelRange {
    /// The darkest.
    pub min: u8,
    /// The brightest.
    pub max: u8,
    /// The mean over all pixels and channels.
    pub mean: f64,
    /// How many samples were looked at.
    pub samples: usize,
}

/// How loud sounds are; full scale is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Loudness {
    /// The largest sample, without its sign.
    pub peak: f32,
    /// Root of the mean square over all samples.
    pub rms: f64,
    /// The part of the samples that are silent: below a thousandth of full scale.
    pub silent: f64,
    /// How many sounds were looked at.
    pub samples: usize,
}

impl Loudness {
    /// The loudness of `sounds`; of no sounds at all: zeros.
    pub fn of(sounds: impl IntoIterator<Item = Sound>) -> Self {
        let (mut peak, mut squares, mut silent, mut count, mut samples) = (0f32, 0f64, 0u64, 0u64, 0);
        for sound in sounds {
            for &value in sound.samples() {
                peak = peak.max(value.abs());
                squares += f64::from(value).powi(2);
                silent += u64::from(value.abs() < 1e-3);
            }
            count += sound.samples().len() as u64;
            samples += 1;
        }
        let count = count.max(1) as f64;
        Self { peak, rms: (squares / count).sqrt(), silent: silent as f64 / count, samples }
    }
}

impl PixelRange {
    /// The range over `clips`; of no clips at all: zeros.
    pub fn of(clips: impl IntoIterator<Item = Clip>) -> Self {
        let (mut min, mut max, mut sum, mut count, mut samples) = (u8::MAX, u8::MIN, 0u64, 0u64, 0);
        for clip in clips {
            for &value in clip.pixels() {
                (min, max, sum) = (min.min(value), max.max(value), sum + u64::from(value));
            }
            count += clip.pixels().len() as u64;
            samples += 1;
        }
        Self { min: min.min(max), max, mean: sum as f64 / count.max(1) as f64, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    /// So many samples, whose captions are their numbers, of which some cannot be read.
    struct Damaged(u64, fn(u64) -> bool);

    impl Dataset for Damaged {
        fn len(&self) -> Option<u64> {
            Some(self.0)
        }
        fn get(&self, index: u64) -> Result<Sample> {
            match index < self.0 && self.1(index) {
                true => Ok(Sample { caption: index.to_string(), ..Sample::default() }),
                false => Err(Error::new(ErrorKind::Media, format!("{}.mp4", index / 3), "it is damaged")),
            }
        }
        fn shape(&self, _: Modality) -> Option<MediaShape> {
            None
        }
        fn report(&self) -> DataReport {
            DataReport { clips: None, windows: self.len(), dropped: Vec::new(), pixels: None, loudness: None }
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_whatever_is_asked_for_first() {
        let readable = || Readable::new(Arc::new(Damaged(7, |index| ![2, 3, 6].contains(&index))));
        let wanted = ["0", "1", "4", "4", "4", "5", "0"];
        for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 2, 5, 1, 4]] {
            let data = readable();
            for index in order {
                assert_eq!(data.get(index).unwrap().caption, wanted[index as usize]);
            }
            let mut files = data.unreadable();
            files.sort_by(|a, b| a.place.cmp(&b.place));
            let told: Vec<_> = files.iter().map(|file| (file.place.as_str(), file.count)).collect();
            assert_eq!(told, [("0.mp4", 1), ("1.mp4", 1), ("2.mp4", 1)]);
            assert_eq!(data.report().dropped[0].count, 3);
            assert!(data.get(7).is_err(), "beyond the end");
        }
        let nothing = Readable::new(Arc::new(Damaged(7, |_| false)));
        let error = nothing.get(3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.message().contains("none of its 7 samples can be read, such as"), "{error}");
        assert_eq!(nothing.unreadable().iter().map(|file| file.count).sum::<u64>(), 7);
    }

    #[test]
    fn loudness_and_range_are_those_of_all_values() {
        let sound = |samples: &[f32]| Sound::new(1, Rate::whole(8), samples.to_vec()).unwrap();
        // Of five samples two lie below a thousandth; one that is a thousandth does not.
        let heard = Loudness::of([sound(&[0.5, -0.75, 0.001]), sound(&[0.0, -0.0005])]);
        let rms = ((0.25 + 0.5625 + 0.001f64.powi(2) + 0.0005f64.powi(2)) / 5.0).sqrt();
        assert_eq!((heard.peak, heard.silent, heard.samples), (0.75, 0.4, 2));
        assert!((heard.rms - rms).abs() < 1e-6, "{heard:?}");
        let clip = |pixels: [u8; 6]| Clip::new([1, 1, 2], Rate::whole(8), pixels.to_vec()).unwrap();
        let seen = PixelRange::of([clip([10, 20, 30, 40, 50, 60]), clip([0, 0, 0, 0, 0, 90])]);
        assert_eq!(seen, PixelRange { min: 0, max: 90, mean: 25.0, samples: 2 });
        assert_eq!(PixelRange::of([]), PixelRange { min: 0, max: 0, mean: 0.0, samples: 0 });
        assert_eq!(Loudness::of([]), Loudness { peak: 0.0, rms: 0.0, silent: 0.0, samples: 0 });
    }

    #[test]
    fn an_endless_dataset_holds_out_its_first_samples_and_a_long_one_its_last() {
        struct Many(Option<u64>);
        impl Dataset for Many {
            fn len(&self) -> Option<u64> {
                self.0
            }
            fn get(&self, index: u64) -> Result<Sample> {
                Ok(Sample { caption: index.to_string(), ..Sample::default() })
            }
            fn shape(&self, _: Modality) -> Option<MediaShape> {
                None
            }
            fn report(&self) -> DataReport {
                DataReport { clips: None, windows: None, dropped: Vec::new(), pixels: None, loudness: None }
            }
        }
        // A twentieth, 8 at least and 64 at most; too few to share are used for both.
        for (count, train, held_out) in [
            (None, 64..ENDLESS, 0..64),
            (Some(15), 0..15, 0..15),
            (Some(16), 0..8, 8..16),
            (Some(200), 0..190, 190..200),
            (Some(10_000), 0..9_936, 9_936..10_000),
        ] {
            for (which, range) in [(Part::Train, train), (Part::HeldOut, held_out)] {
                let part = part(Arc::new(Many(count)), which);
                assert_eq!(part.get(3).unwrap().caption, (range.start + 3).to_string());
                if range.end < ENDLESS {
                    assert_eq!(part.len(), Some(range.end - range.start));
                    assert!(part.get(range.end - range.start).is_err());
                }
            }
        }
    }
}
