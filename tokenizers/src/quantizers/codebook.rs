//! A codebook that follows what is assigned to it by moving averages, not by gradients.
//!
//! Van den Oord et al., "Neural Discrete Representation Learning", 2017, appendix A.1. The averages are
//! of *shares* of a batch, not of counts: they mean the same for every batch size, never grow, and
//! survive in 16-bit weights. All state is parameters that no gradient moves, so that weights files
//! hold what decoding needs, and checkpoints all that going on needs.
//!
//! Sums over a batch are taken on the host in a fixed order: the same bytes whatever the thread count.

use super::unit;
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{Init, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Distances held at once while the nearest entries are looked for: 16 MiB.
const SCRATCH: usize = 1 << 22;

/// Steps of Lloyd's algorithm at the start.
const LLOYD: usize = 10;

/// What "nearest" means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// The length of the difference.
    #[default]
    Euclidean,
    /// The angle: latents and entries are scaled to length 1 first (Yu et al., "Vector-quantized Image
    /// Modeling with Improved VQGAN", 2022).
    Cosine,
}

/// How a codebook follows its batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Following {
    /// What "nearest" means.
    pub distance: Distance,
    /// What is left of the averages at each step.
    pub decay: f64,
    /// An entry that is used less than this part of its fair share, `1/K`, is dead and starts again
    /// at a latent of the batch.
    pub restart: f64,
}

/// `K` entries of `C` numbers, with the averages that they follow.
#[derive(Module, Debug)]
pub struct Codebook {
    entries: Param<Tensor<2>>,
    /// Share of the latents that each entry stands for, `[K]`; all zero before the start.
    usage: Param<Tensor<1>>,
    /// Sum of those latents as a share of the batch, `[K, C]`: entry = sum / usage.
    sums: Param<Tensor<2>>,
    #[module(skip)]
    following: Following,
}

impl Codebook {
    /// Random entries; the first batch replaces them by its k-means.
    pub fn new(entries: usize, channels: usize, following: Following, init: &Init) -> Self {
        let std = 1.0 / (channels as f32).sqrt();
        let book = Self {
            entries: init.part("entries").normal([entries, channels], std),
            usage: init.zeros([entries]),
            sums: init.zeros([entries, channels]),
            following,
        };
        book.no_grad()
    }

    /// How many numbers it consists of.
    pub fn parameters(entries: usize, channels: usize) -> usize {
        entries * (2 * channels + 1)
    }

    /// Latents as they are compared: on the unit sphere where the distance is the angle.
    pub fn place(&self, z: Tensor<2>) -> Tensor<2> {
        match self.following.distance {
            Distance::Euclidean => z,
            Distance::Cosine => unit(z),
        }
    }

    /// The entries, without autodiff: `[K, C]`. Placed again, since 16-bit weights leave the sphere.
    pub fn entries(&self) -> Tensor<2> {
        self.place(self.entries.val().inner())
    }

    /// The nearest entries of placed latents `[N, C]`, `[N]`; the lowest of several.
    pub fn nearest(&self, z: Tensor<2>) -> Tensor<1, Int> {
        let (z, entries) = (z.inner(), self.entries());
        let ([n, _], [k, _]) = (z.dims(), entries.dims());
        // ‖z - e‖² = ‖z‖² - 2·z·e + ‖e‖², whose first term is the same for all entries.
        let squares = entries.clone().square().sum_dim(1).transpose();
        let entries = entries.transpose();
        let rows = (SCRATCH / k).max(1);
        let pieces = (0..n).step_by(rows).map(|start| {
            let piece = z.clone().slice_dim(0, start..(start + rows).min(n));
            let distances = squares.clone() - piece.matmul(entries.clone()) * 2.0;
            distances.argmin(1).squeeze_dim(1)
        });
        Tensor::cat(pieces.collect(), 0)
    }

    /// The entries of codes `[N]`, without autodiff: `[N, C]`.
    pub fn look_up(&self, codes: Tensor<1, Int>) -> Tensor<2> {
        self.entries().select(0, codes)
    }

    /// How large a number of the latents is: the mean, by use, of the entries' root mean squares; 1 before they start.
    /// Not the root of the mean square: where most is silence and some is loud, that would be the size of the loud alone.
    pub fn size(&self) -> f32 {
        let (usage, entries) = (to_vec(self.usage.val().inner()), to_vec(self.entries()));
        let channels = entries.len() / usage.len();
        let root = |entry: &[f32]| (entry.iter().map(|x| x * x).sum::<f32>() / channels as f32).sqrt();
        let all: f32 = entries.chunks(channels).zip(&usage).map(|(entry, usage)| root(entry) * usage).sum();
        let size = all / usage.iter().sum::<f32>();
        if size.is_normal() { size } else { 1.0 }
    }

    /// Whether a batch has been seen: before that the entries mean nothing.
    pub fn started(&self) -> bool {
        to_vec(self.usage.val().inner()).iter().any(|&usage| usage > 0.0)
    }

    /// Takes the means of the clusters of placed latents `[N, C]` for entries (k-means by Lloyd's
    /// algorithm from latents that are drawn; an empty cluster keeps its mean).
    pub fn start(&mut self, z: Tensor<2>, rng: &mut Stream) {
        let z = z.inner();
        let [n, c] = z.dims();
        let latents = to_vec(z.clone());
        let mut means = to_vec(self.entries());
        for (mean, i) in means.chunks_mut(c).zip(shuffled(n, rng)) {
            mean.copy_from_slice(&latents[i * c..][..c]);
        }
        let mut shares = Shares::default();
        for _ in 0..LLOYD {
            replace(&mut self.entries, means.clone());
            shares = Shares::of(&latents, &super::to_indices(self.nearest(z.clone())), means.len() / c, c);
            shares.means(&mut means);
        }
        self.set(means, shares);
    }

    /// One step of the averages towards placed latents `[N, C]` and their codes, then a new start for
    /// dead entries at latents that are drawn, those far from their entries before those near them: where most latents
    /// are alike, as silence is, entries would else start again among them and die again. An entry that started again has its fair share, so that
    /// it takes `ln(restart) / ln(decay)` unused steps to die.
    pub fn update_ema(&mut self, latents: &[f32], codes: &[usize], rng: &mut Stream) {
        let [k, c] = self.entries.dims();
        if codes.is_empty() {
            return;
        }
        let mut shares = Shares::of(latents, codes, k, c);
        let decay = self.following.decay as f32;
        let mix = |new: &mut [f32], old: Vec<f32>| {
            new.iter_mut().zip(old).for_each(|(new, old)| *new = decay * old + (1.0 - decay) * *new);
        };
        mix(&mut shares.usage, to_vec(self.usage.val().inner()));
        mix(&mut shares.sums, to_vec(self.sums.val().inner()));
        let mut entries = to_vec(self.entries());
        let order = far_first(latents, codes, &entries, c, rng);
        shares.means(&mut entries);

        let fair = 1.0 / k as f32;
        let least = self.following.restart as f32 * fair;
        let dead: Vec<usize> = (0..k).filter(|&entry| shares.usage[entry] < least).collect();
        for (entry, i) in dead.into_iter().zip(order) {
            let latent = &latents[i * c..][..c];
            shares.usage[entry] = fair;
            entries[entry * c..][..c].copy_from_slice(latent);
            shares.sums[entry * c..][..c].iter_mut().zip(latent).for_each(|(sum, &z)| *sum = z * fair);
        }
        self.set(entries, shares);
    }

    fn set(&mut self, entries: Vec<f32>, shares: Shares) {
        replace(&mut self.entries, entries);
        let placed = to_vec(self.entries());
        replace(&mut self.entries, placed);
        replace(&mut self.usage, shares.usage);
        replace(&mut self.sums, shares.sums);
    }
}

/// How a batch's latents share the entries.
#[derive(Default)]
struct Shares {
    usage: Vec<f32>,
    sums: Vec<f32>,
}

impl Shares {
    fn of(latents: &[f32], codes: &[usize], k: usize, c: usize) -> Self {
        let (mut counts, mut sums) = (vec![0.0f64; k], vec![0.0f64; k * c]);
        for (latent, &code) in latents.chunks(c).zip(codes) {
            counts[code] += 1.0;
            sums[code * c..][..c].iter_mut().zip(latent).for_each(|(sum, &z)| *sum += f64::from(z));
        }
        let share = |values: Vec<f64>| values.into_iter().map(|value| (value / codes.len() as f64) as f32).collect();
        Self { usage: share(counts), sums: share(sums) }
    }

    /// Sets the means of the entries that are in use.
    fn means(&self, means: &mut [f32]) {
        let c = self.sums.len() / self.usage.len();
        for ((mean, sum), &usage) in means.chunks_mut(c).zip(self.sums.chunks(c)).zip(&self.usage) {
            // A share so small that it is subnormal says nothing of its mean any more.
            if usage >= f32::MIN_POSITIVE {
                mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean = sum / usage);
            }
        }
    }
}

/// All latents in a random order in which each comes next with a probability proportional to its squared distance from
/// its entry (the seeding of k-means++, Arthur and Vassilvitskii 2007; drawn by exponential clocks, Efraimidis and Spirakis
/// 2006).
fn far_first(latents: &[f32], codes: &[usize], entries: &[f32], c: usize, rng: &mut Stream) -> Vec<usize> {
    let rings: Vec<f64> = latents
        .chunks(c)
        .zip(codes)
        .map(|(latent, &code)| {
            let apart = |(z, e): (&f32, &f32)| (f64::from(*z) - f64::from(*e)).powi(2);
            let distance: f64 = latent.iter().zip(&entries[code * c..]).map(apart).sum();
            -f64::from(1.0 - rng.uniform()).ln() / distance
        })
        .collect();
    let mut order: Vec<usize> = (0..codes.len()).collect();
    // What lies on its entry never rings; of equals the first.
    order.sort_by(|&a, &b| rings[a].total_cmp(&rings[b]));
    order
}

fn shuffled(n: usize, rng: &mut Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut order);
    order
}

pub(super) fn replace<const D: usize>(param: &mut Param<Tensor<D>>, values: Vec<f32>) {
    *param = param.clone().map(|old| {
        let new = Tensor::from_data(TensorData::new(values, old.dims()), &old.device());
        new.set_require_grad(false)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantizers::tests::normals;
    use crate::quantizers::{CodeUse, to_indices};
    use burn::tensor::Device;
    use musiva_core::{Parameters, RngKey, RngStream};

    const FOLLOWING: Following = Following { distance: Distance::Euclidean, decay: 0.9, restart: 0.1 };

    fn book(k: usize, c: usize, following: Following) -> Codebook {
        Codebook::new(k, c, following, &Init::new(1, &Device::flex()))
    }

    fn rng(step: u64) -> Stream {
        RngKey::new(3).step(step).stream(RngStream::Codebook)
    }

    #[test]
    fn nearest_is_nearest() {
        for distance in [Distance::Euclidean, Distance::Cosine] {
            let book = book(37, 5, Following { distance, ..FOLLOWING });
            let z = book.place(normals([211, 5], 4, &Device::flex()));
            let found = to_indices(book.nearest(z.clone()));
            let entries = to_vec(book.entries());
            for (z, found) in to_vec(z).chunks(5).zip(found) {
                let distance = |entry: &[f32]| -> f64 {
                    entry.iter().zip(z).map(|(e, z)| (f64::from(*e) - f64::from(*z)).powi(2)).sum()
                };
                let least = entries.chunks(5).map(distance).fold(f64::MAX, f64::min);
                assert!(distance(&entries[found * 5..][..5]) < least + 1e-6);
            }
        }
    }

    #[test]
    fn many_latents_are_looked_up_in_pieces() {
        // More than fit the scratch at once, and no whole number of pieces.
        let book = book(65_537, 1, FOLLOWING);
        let z = normals([131, 1], 4, &Device::flex());
        let whole = to_indices(book.nearest(z.clone()));
        let alone: Vec<usize> =
            (0..131).flat_map(|i| to_indices(book.nearest(z.clone().slice_dim(0, i..i + 1)))).collect();
        assert_eq!(whole, alone);
    }

    #[test]
    fn a_k_means_start_finds_clusters_and_uses_its_entries() {
        // Seven tight clusters, far from each other, and far from the random entries.
        let (k, n) = (7, 7 * 31);
        let noise = to_vec(normals([n, 3], 8, &Device::flex()));
        let latents: Vec<f32> =
            noise.iter().enumerate().map(|(i, z)| z * 0.01 + 40.0 + ((i / 3 % k) * (i % 3 + 1)) as f32).collect();
        let z = Tensor::from_data(TensorData::new(latents, [n, 3]), &Device::flex());
        let mut book = book(2 * k, 3, FOLLOWING);
        assert!(!book.started());
        let before = CodeUse::of(to_indices(book.nearest(z.clone())).into_iter(), 2 * k);
        book.start(z.clone(), &mut rng(0));
        assert!(book.started());
        let codes = to_indices(book.nearest(z.clone()));
        let after = CodeUse::of(codes.iter().copied(), 2 * k);
        assert!(after.utilisation() > 0.7 && before.utilisation() < 0.3, "{before:?} {after:?}");
        let error = to_vec((z - book.entries().select(0, ints(&codes))).square().mean())[0];
        assert!(error < 0.5, "{error}");
    }

    fn ints(codes: &[usize]) -> Tensor<1, Int> {
        let codes: Vec<i64> = codes.iter().map(|&code| code as i64).collect();
        let n = codes.len();
        Tensor::from_data(TensorData::new(codes, [n]), &Device::flex())
    }

    #[test]
    fn the_averages_are_those_of_counts() {
        // The textbook's averages of counts and sums in double precision, with batches of one size.
        let (k, c, n, decay) = (5, 3, 47, 0.9f64);
        let mut book = book(k, c, Following { restart: 0.0, ..FOLLOWING });
        book.start(normals([n, c], 0, &Device::flex()), &mut rng(0));
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        let (mut counts, mut sums) = (wide(to_vec(book.usage.val())), wide(to_vec(book.sums.val())));
        counts.iter_mut().chain(&mut sums).for_each(|value| *value *= n as f64);
        for step in 1..9 {
            let z = normals([n, c], step, &Device::flex());
            let codes = to_indices(book.nearest(z.clone()));
            book.update_ema(&to_vec(z.clone()), &codes, &mut rng(step));
            counts.iter_mut().chain(&mut sums).for_each(|value| *value *= decay);
            for (z, &code) in to_vec(z).chunks(c).zip(&codes) {
                counts[code] += 1.0 - decay;
                (0..c).for_each(|i| sums[code * c + i] += (1.0 - decay) * f64::from(z[i]));
            }
        }
        for (i, entry) in to_vec(book.entries()).into_iter().enumerate() {
            assert!((f64::from(entry) - sums[i] / counts[i / c]).abs() < 1e-5);
        }
    }

    #[test]
    fn a_dead_entry_starts_again_and_lives() {
        let (k, n) = (11, 301);
        let mut book = book(k, 2, FOLLOWING);
        let batch = |step| normals([n, 2], step, &Device::flex());
        book.start(batch(0), &mut rng(0));
        // One entry goes where no latent ever comes.
        let mut weights = book.weights();
        weights.get_mut("entries").unwrap().values[6..8].fill(1e4);
        book.load(&weights, "the test").unwrap();
        let used = |book: &Codebook, step| to_indices(book.nearest(batch(step))).iter().filter(|&&c| c == 3).count();
        assert_eq!(used(&book, 99), 0);
        // ln(0.1) / ln(0.9) is 21.9, from a usage that is some times the fair one.
        for step in 1..60 {
            let z = batch(step);
            let codes = to_indices(book.nearest(z.clone()));
            book.update_ema(&to_vec(z), &codes, &mut rng(step));
        }
        assert!(used(&book, 99) > 0);
    }

    #[test]
    fn dead_entries_start_again_at_a_latent_each() {
        let mut book = book(3, 2, Following { restart: 0.5, ..FOLLOWING });
        let mut weights = book.weights();
        weights.get_mut("entries").unwrap().values = vec![0.0, 0.0, 50.0, 60.0, 70.0, 80.0];
        weights.get_mut("usage").unwrap().values = vec![1.0, 0.0, 0.0];
        book.load(&weights, "the test").unwrap();
        // Two of fifty latents lie off the entry that is used.
        let mut latents = vec![0.0; 100];
        latents[20..22].copy_from_slice(&[1.0, 2.0]);
        latents[70..72].copy_from_slice(&[3.0, 4.0]);
        book.update_ema(&latents, &[0; 50], &mut rng(0));
        let (entries, sums) = (to_vec(book.entries()), to_vec(book.sums.val()));
        let mut again = [entries[2..4].to_vec(), entries[4..].to_vec()];
        again.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert_eq!(again, [[1.0, 2.0], [3.0, 4.0]]);
        // As if a third of all latents had been theirs.
        assert_eq!(to_vec(book.usage.val())[1..], [1.0f32 / 3.0; 2]);
        assert!(sums[2..].iter().zip(&entries[2..]).all(|(sum, entry)| (sum * 3.0 - entry).abs() < 1e-6));
        // The entry that is used goes a tenth of the way to the mean of its latents.
        assert!((entries[0] - 0.1 * 4.0 / 50.0).abs() < 1e-6 && (entries[1] - 0.1 * 6.0 / 50.0).abs() < 1e-6);
    }

    #[test]
    fn dead_entries_start_again_where_latents_are_far_from_theirs() {
        // Of a thousand latents a hundredth is loud; all others lie on an entry.
        let mut book = book(9, 1, Following { restart: 0.5, ..FOLLOWING });
        let mut weights = book.weights();
        weights.get_mut("entries").unwrap().values = vec![0.0, 50.0, 51.0, 52.0, 53.0, 54.0, 55.0, 56.0, 57.0];
        weights.get_mut("usage").unwrap().values = vec![1.0; 1].into_iter().chain(vec![0.0; 8]).collect();
        book.load(&weights, "the test").unwrap();
        let latents: Vec<f32> = (0..1000).map(|i| if i % 100 == 7 { 1.0 + i as f32 / 1000.0 } else { 0.0 }).collect();
        let z = Tensor::from_data(TensorData::new(latents.clone(), [1000, 1]), &Device::flex());
        let codes = to_indices(book.nearest(z.clone()));
        book.update_ema(&latents, &codes, &mut rng(0));
        let entries = to_vec(book.entries());
        assert!(entries[1..].iter().all(|&entry| (1.0..2.0).contains(&entry)), "{entries:?}");
    }

    #[test]
    fn gradients_do_not_move_it_and_its_state_is_named() {
        let init = Init::new(1, &Device::flex().autodiff());
        let mut book = Codebook::new(3, 2, FOLLOWING, &init);
        let mut names = Vec::new();
        book.update_ema(&[1.0, 2.0], &[1], &mut rng(0));
        book.each(&mut |name, shape, _| names.push((name.to_owned(), shape.to_vec())));
        let named = [("entries", vec![3, 2]), ("usage", vec![3]), ("sums", vec![3, 2])];
        assert_eq!(names, named.map(|(name, shape)| (name.to_owned(), shape)));
        assert_eq!(book.count(), Codebook::parameters(3, 2));
        assert!(!book.entries.val().is_require_grad() && book.entries.val().is_autodiff());
        assert!(!book.sums.val().is_require_grad());
    }
}
