//! Several datasets as one, each as often as its weight says.

use crate::dataset::{DataReport, Dataset, Dropped, Loudness, Part, PixelRange, Sample, Unreadable};
use musiva_core::{ConfigError, DatasetConfig, Error, ErrorKind, MediaShape, Modality, Result};
use serde_json::Value;
use std::{any::Any, path::Path, sync::Arc};

/// Samples after which the sources come in the same order again, at most.
const LONGEST: usize = 1000;
/// Samples of which a report is made.
const LOOKED_AT: u64 = 16;

/// A dataset of a mixture.
#[derive(Clone)]
pub struct Source {
    /// How often a sample comes from it, relative to the others.
    pub weight: f64,
    /// Its kind, for messages.
    pub kind: String,
    /// Its configuration.
    pub data: Arc<dyn DatasetConfig>,
}

/// Makes the configuration of a dataset from its JSON: its `kind`, and itself.
pub type MakeSource = fn(Value) -> serde_json::Result<(String, Box<dyn DatasetConfig>)>;

/// Several datasets whose samples have one shape.
#[derive(Clone)]
pub struct MixtureConfig {
    /// The datasets.
    pub sources: Vec<Source>,
}

impl MixtureConfig {
    /// From its JSON; `make` makes the configuration of a source from its own.
    ///
    /// # Errors
    /// Where a source is none.
    pub fn from_json(value: Value, make: MakeSource) -> serde_json::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Plain {
            weight: f64,
            data: Value,
        }
        #[derive(serde::Deserialize)]
        struct All {
            sources: Vec<Plain>,
        }
        let sources = serde_json::from_value::<All>(value)?.sources.into_iter().map(|Plain { weight, data }| {
            let (kind, data) = make(data)?;
            Ok(Source { weight, kind, data: data.into() })
        });
        Ok(Self { sources: sources.collect::<serde_json::Result<_>>()? })
    }

    fn first(&self) -> Option<&dyn DatasetConfig> {
        self.sources.first().map(|source| &*source.data)
    }

    /// What is wrong where a source has other media than the first.
    fn unlike(&self) -> Vec<ConfigError> {
        let Some(first) = self.first() else { return Vec::new() };
        let mut errors = Vec::new();
        for (i, source) in self.sources.iter().enumerate().skip(1) {
            for modality in [Modality::Video, Modality::Audio] {
                let [wanted, found] = [first, &*source.data].map(|data| data.shape(modality));
                if wanted == found {
                    continue;
                }
                let told = |shape: Option<MediaShape>| match shape {
                    Some(shape) => format!("{} of shape {shape}", modality.plural()),
                    None => format!("no {}", modality.plural()),
                };
                let message =
                    format!("`{}` has {}, and the first source has {}", source.kind, told(found), told(wanted));
                let hint = match modality {
                    Modality::Audio => "give all sources the same `sound`, or the same `rate` and `samples`",
                    _ => "give all sources the same `frames`, `size` and `fps`",
                };
                errors.push(ConfigError::new(format!("sources[{i}].data"), message, hint));
            }
        }
        errors
    }
}

/// The same error at a key of a source.
fn within(i: usize, error: ConfigError) -> ConfigError {
    let dot = if error.path.is_empty() { "" } else { "." };
    ConfigError { path: format!("sources[{i}].data{dot}{}", error.path), ..error }
}

impl DatasetConfig for MixtureConfig {
    fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if !self.sources.iter().any(|source| source.weight > 0.0) {
            let hint = "write `sources = [{ weight = 0.7, data = { kind = \"folder\", path = \"clips\" } }, …]`";
            errors.push(ConfigError::new("sources", "nothing is ever drawn", hint));
        }
        for (i, source) in self.sources.iter().enumerate() {
            if !(0.0..=1e6).contains(&source.weight) {
                let message = format!("{} is not between 0 and 1000000", source.weight);
                errors.push(ConfigError::new(format!("sources[{i}].weight"), message, "set `weight = 1.0`"));
            }
            errors.extend(source.data.errors().into_iter().map(|error| within(i, error)));
        }
        // What is flawed may not be able to tell its shape.
        if errors.is_empty() {
            errors.extend(self.unlike());
        }
        errors
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.first()?.shape(modality)
    }

    fn enable(&self, modality: Modality) -> Option<String> {
        (modality == Modality::Audio).then(|| "set `sound = 16000` in each of `data.sources`".to_owned())
    }

    fn stream(&self, name: &str) -> Result<MediaShape, ConfigError> {
        let mut shape = None;
        for (i, source) in self.sources.iter().enumerate() {
            let found = source.data.stream(name).map_err(|error| within(i, error))?;
            if *shape.get_or_insert(found) != found {
                let message = format!("its stream `{name}` has another shape than that of the first source");
                return Err(ConfigError::new(format!("sources[{i}].data"), message, "give all the same shape"));
            }
        }
        shape.ok_or_else(|| ConfigError::new("sources", "there are none", "name a source"))
    }

    fn numbers(&self) -> &'static [&'static str] {
        let first = self.first().map_or(&[][..], DatasetConfig::numbers);
        // What only some of them tell is not known of every sample.
        if self.sources.iter().all(|source| source.data.numbers() == first) { first } else { &[] }
    }

    fn buckets(&self) -> Vec<(f64, Arc<dyn DatasetConfig>)> {
        let mut all = Vec::new();
        for Source { weight, data, .. } in self.sources.iter().filter(|source| source.weight > 0.0) {
            let own = data.buckets();
            let total: f64 = own.iter().map(|(weight, _)| weight).sum();
            if own.is_empty() {
                all.push((*weight, data.clone()));
            }
            all.extend(own.into_iter().map(|(share, data)| (weight * share / total, data)));
        }
        all
    }

    fn missing(&self) -> Option<ConfigError> {
        let missing = self.sources.iter().enumerate().find_map(|(i, source)| Some(within(i, source.data.missing()?)));
        missing.map(|error| ConfigError { hint: "name it by `path` in this source".into(), ..error })
    }

    fn remote(&self) -> Vec<String> {
        self.sources.iter().flat_map(|source| source.data.remote()).collect()
    }

    fn fetched(&self, folder: &Path) -> Option<Arc<dyn DatasetConfig>> {
        let fetched = |source: &Source| {
            let data = source.data.fetched(folder).unwrap_or_else(|| source.data.clone());
            Source { data, ..source.clone() }
        };
        let is_remote = !self.remote().is_empty();
        is_remote.then(|| Arc::new(Self { sources: self.sources.iter().map(fetched).collect() }) as _)
    }

    fn open(&self, part: Part) -> Result<Arc<dyn Dataset>> {
        if let Some(ConfigError { path, message, hint }) = self.errors().into_iter().next() {
            return Err(Error::new(ErrorKind::Recipe, path, message).hint(hint));
        }
        let drawn: Vec<_> = self.sources.iter().filter(|source| source.weight > 0.0).collect();
        let sources = drawn.iter().map(|source| source.data.open(part)).collect::<Result<_>>()?;
        Ok(Arc::new(Mixture::new(sources, &drawn.iter().map(|source| source.weight).collect::<Vec<_>>())))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Samples of several datasets. They come in turns, the turns of a round in numbers by the weights; it ends where each
/// dataset was seen as a whole, so that the samples of those with fewer, or with more weight, come again until then.
pub struct Mixture {
    sources: Vec<Arc<dyn Dataset>>,
    /// Of each turn of a round the source, and how many turns it had before in the round.
    turns: Vec<(usize, u64)>,
    /// How many turns of a round each source has.
    counts: Vec<u64>,
    rounds: Option<u64>,
}

impl Mixture {
    /// Of datasets with these weights, each above 0; at least one.
    pub fn new(sources: Vec<Arc<dyn Dataset>>, weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let whole = |length: &usize| {
            shares.iter().all(|share| {
                let turns = share * *length as f64;
                (turns - turns.round()).abs() < 1e-6 && turns.round() > 0.0
            })
        };
        let length = (1..=LONGEST).find(whole).unwrap_or(LONGEST);
        let mut counts: Vec<u64> = shares.iter().map(|share| ((share * length as f64).round() as u64).max(1)).collect();
        let length: u64 = counts.iter().sum();
        let wanted = counts.clone();
        counts.fill(0);
        // Whoever is furthest behind comes next.
        let turns = (1..=length).map(|turn| {
            let behind = |i: usize| (wanted[i] * turn) as i64 - (counts[i] * length) as i64;
            let next =
                (0..sources.len()).filter(|&i| counts[i] < wanted[i]).max_by_key(|&i| (behind(i), usize::MAX - i));
            let next = next.unwrap_or_default();
            counts[next] += 1;
            (next, counts[next] - 1)
        });
        let turns = turns.collect();
        let rounds = sources.iter().zip(&counts).map(|(source, turns)| Some(source.len()?.div_ceil(*turns)));
        // Without an end, where one of them has none.
        let rounds = rounds.collect::<Option<Vec<_>>>().map(|rounds| rounds.into_iter().max().unwrap_or(0));
        let empty = sources.iter().any(|source| source.is_empty());
        Self { sources, turns, counts, rounds: if empty { Some(0) } else { rounds } }
    }

    /// The source of a sample, and its number there.
    fn place(&self, index: u64) -> Result<(&dyn Dataset, u64)> {
        let length = self.turns.len() as u64;
        if let Some(count) = self.len().filter(|&count| index >= count) {
            return Err(Error::new(ErrorKind::Data, "data", format!("sample {index} of {count}")));
        }
        let (source, before) = self.turns[(index % length) as usize];
        let number = (index / length).saturating_mul(self.counts[source]).saturating_add(before);
        let data = &*self.sources[source];
        Ok((data, data.len().map_or(number, |count| number % count.max(1))))
    }
}

impl Dataset for Mixture {
    fn len(&self) -> Option<u64> {
        self.rounds.map(|rounds| rounds.saturating_mul(self.turns.len() as u64))
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let (data, number) = self.place(index)?;
        data.get(number)
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        let (data, number) = self.place(index)?;
        data.captions(number)
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.sources.first()?.shape(modality)
    }

    fn report(&self) -> DataReport {
        let reports: Vec<_> = self.sources.iter().map(|source| source.report()).collect();
        let sum = |of: fn(&DataReport) -> Option<u64>| reports.iter().map(of).sum::<Option<u64>>();
        let dropped = (1..).zip(&reports).flat_map(|(number, report)| {
            let named = move |dropped: &Dropped| {
                let name = |example: &String| format!("source {number}: {example}");
                let others = dropped.others.iter().map(name).collect();
                Dropped { example: name(&dropped.example), others, ..dropped.clone() }
            };
            report.dropped.iter().map(named)
        });
        let count = self.len().map_or(LOOKED_AT, |count| count.min(LOOKED_AT));
        let spread = |i: u64| self.len().map_or(i, |len| i * len / count);
        let samples: Vec<_> = (0..count).filter_map(|i| self.get(spread(i)).ok()).collect();
        let has = |modality| self.shape(modality).is_some();
        DataReport {
            clips: sum(|report| report.clips),
            windows: sum(|report| report.windows),
            dropped: dropped.collect(),
            pixels: has(Modality::Video).then(|| PixelRange::of(samples.iter().filter_map(|s| s.clip.clone()))),
            loudness: has(Modality::Audio).then(|| Loudness::of(samples.iter().filter_map(|s| s.sound.clone()))),
        }
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.sources.iter().flat_map(|source| source.unreadable()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many samples with a letter and their numbers as captions.
    struct Letters(char, Option<u64>);

    impl Dataset for Letters {
        fn len(&self) -> Option<u64> {
            self.1
        }
        fn get(&self, index: u64) -> Result<Sample> {
            assert!(self.1.is_none_or(|count| index < count));
            Ok(Sample { caption: format!("{}{index}", self.0), ..Sample::default() })
        }
        fn shape(&self, _: Modality) -> Option<MediaShape> {
            None
        }
        fn report(&self) -> DataReport {
            let dropped = vec![Dropped::of("broken", &[format!("{}.mp4", self.0)])];
            DataReport { clips: self.1, windows: self.1, dropped, pixels: None, loudness: None }
        }
    }

    fn mixture(sources: &[(char, Option<u64>, f64)]) -> Mixture {
        let weights: Vec<_> = sources.iter().map(|(_, _, weight)| *weight).collect();
        Mixture::new(sources.iter().map(|&(c, len, _)| Arc::new(Letters(c, len)) as _).collect(), &weights)
    }

    #[test]
    fn samples_come_as_often_as_the_weights_say_until_all_were_seen() {
        let data = mixture(&[('a', Some(3), 0.7), ('b', Some(20), 0.3)]);
        // Rounds of ten: seven rounds show all of b.
        assert_eq!(data.len(), Some(70));
        let all: Vec<_> = (0..70).map(|i| data.get(i).unwrap().caption).collect();
        let of = |letter: char| all.iter().filter(|c| c.starts_with(letter)).cloned().collect::<Vec<_>>();
        assert_eq!([of('a').len(), of('b').len()], [49, 21]);
        assert_eq!(of('a')[..4], ["a0", "a1", "a2", "a0"]);
        assert_eq!(of('b')[18..], ["b18", "b19", "b0"]);
        // No long run of one of them.
        assert!(all.windows(5).all(|five| five.iter().any(|caption| caption.starts_with('b'))), "{all:?}");
        assert!(data.get(70).is_err());
        assert_eq!(data.captions(69).unwrap(), [all[69].clone()]);
        let report = data.report();
        assert_eq!((report.clips, report.windows, report.dropped.len()), (Some(23), Some(23), 2));
        assert_eq!(report.dropped[1].example, "source 2: b.mp4");
        let few = mixture(&[('a', Some(2), 1.0), ('b', Some(2), 1.0)]);
        assert_eq!(few.len(), Some(4));
        let odd = mixture(&[('a', Some(5), 1e6), ('b', Some(5), 1.0)]);
        assert!((0..odd.turns.len() as u64).any(|i| odd.get(i).unwrap().caption == "b0"), "rare, yet seen");
    }

    #[test]
    fn endless_sources_make_an_endless_mixture() {
        let data = mixture(&[('a', None, 1.0), ('b', Some(2), 3.0)]);
        assert_eq!(data.len(), None);
        let captions: Vec<_> = (0..8).map(|i| data.get(i).unwrap().caption).collect();
        assert_eq!(captions.iter().filter(|c| c.starts_with('a')).collect::<Vec<_>>(), ["a0", "a1"]);
        assert!(data.get(u64::MAX - 1).is_ok());
    }
}
