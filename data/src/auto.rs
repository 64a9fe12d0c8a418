//! Buckets by the files themselves: `shapes = "auto"`.

use crate::FolderConfig;
use crate::buckets::ClipShape;
use crate::folder::Reader;
use crate::scan::Found;
use musiva_core::Rate;
use std::sync::{Arc, OnceLock};

/// A bucket with a smaller share of the windows than this goes to the one that is most like it.
const LEAST: f64 = 0.02;
/// Buckets at most, but for one of each length that is shorter than all of these.
const MOST: usize = 12;
/// How wide or high a bucket may be.
const WIDEST: f64 = 4.0;
/// Sides are whole multiples of this, or of 8 where the recipe's own are not.
const SIDE: usize = 16;

/// The buckets of `shapes = "auto"`, and which of them data are of: each file is in the one that is most like it. The default
/// takes all files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByFiles {
    /// The buckets, once the files have been asked.
    pub(crate) found: Arc<OnceLock<Arc<[ClipShape]>>>,
    /// The buckets, and the number of the one that data are of.
    pick: Option<(Arc<[ClipShape]>, usize)>,
}

impl ByFiles {
    /// One of these buckets.
    pub(crate) fn of(buckets: &Arc<[ClipShape]>, number: usize) -> Self {
        Self { pick: Some((buckets.clone(), number)), ..Self::default() }
    }

    /// Whether a file with this number of frames, height and width belongs to the bucket.
    pub(crate) fn takes(&self, frames: usize, size: [usize; 2]) -> bool {
        self.pick.as_ref().is_none_or(|(buckets, number)| nearest(buckets, frames, size) == Some(*number))
    }
}

/// The buckets of files: each has as many pixels as the recipe's frames, in the shape of files, and as many frames as the
/// recipe's windows or as fit into shorter files. None where no file can be read.
pub(crate) fn buckets(config: &FolderConfig, reader: &dyn Reader, files: &[Found]) -> Vec<ClipShape> {
    let probes = files.iter().filter_map(|file| reader.probe(&file.path, Rate::whole(config.fps)).ok());
    let files: Vec<(usize, [usize; 2])> =
        probes.filter(|probe| !probe.size.contains(&0)).map(|probe| (probe.frames, probe.size)).collect();
    of_sizes(config.frames, config.size, &files)
}

/// The same of the frames, heights and widths of files.
fn of_sizes(frames: usize, own: [usize; 2], files: &[(usize, [usize; 2])]) -> Vec<ClipShape> {
    let mut all: Vec<ClipShape> = Vec::new();
    for &(lasts, size) in files {
        let Some(frames) = lengths(frames).into_iter().find(|&frames| frames <= lasts) else { continue };
        let (size, windows) = (sides(own, size), (lasts / frames) as f64);
        match all.iter_mut().find(|bucket| (bucket.frames, bucket.size) == (frames, size)) {
            Some(bucket) => bucket.weight += windows,
            None => all.push(ClipShape { frames, size, weight: windows }),
        }
    }
    // The largest first; of equals always the same.
    all.sort_by(|a, b| b.weight.total_cmp(&a.weight).then((b.frames, b.size).cmp(&(a.frames, a.size))));
    let total: f64 = all.iter().map(|bucket| bucket.weight).sum();
    let mut kept: Vec<ClipShape> = Vec::new();
    for bucket in all {
        let rare = bucket.weight < LEAST * total || kept.len() >= MOST;
        let other = nearest(&kept, bucket.frames, bucket.size).filter(|_| rare);
        match other {
            Some(other) => kept[other].weight += bucket.weight,
            None => kept.push(bucket),
        }
    }
    let total: f64 = kept.iter().map(|bucket| bucket.weight).sum();
    kept.iter_mut().for_each(|bucket| bucket.weight = (1e3 * bucket.weight / total).round().max(1.0) / 1e3);
    kept
}

/// The frames of windows and of those for shorter files, each half of the steps of the one before: 17, 9, 5, 1.
fn lengths(frames: usize) -> Vec<usize> {
    let mut all = vec![frames];
    let mut steps = frames - frames.min(1);
    while steps >= 8 && steps.is_multiple_of(2) {
        steps /= 2;
        all.push(steps + 1);
    }
    if frames > 1 {
        all.push(1);
    }
    all
}

/// Height and width in the shape of a file, of about as many pixels as `own` has.
fn sides(own: [usize; 2], [height, width]: [usize; 2]) -> [usize; 2] {
    let side = if own.iter().all(|side| side.is_multiple_of(SIDE)) { SIDE } else { SIDE / 2 };
    let aspect = (width as f64 / height as f64).clamp(1.0 / WIDEST, WIDEST);
    let whole = |length: f64| ((length / side as f64).round() as usize).max(1) * side;
    let height = ((own[0] * own[1]) as f64 / aspect).sqrt();
    // What both cover is no more than the recipe's own: that is what memory was estimated for.
    let [mut height, mut width] = [whole(height), whole(height * aspect)];
    while height * width > own[0] * own[1] && height.max(width) > side {
        *(if height > width { &mut height } else { &mut width }) -= side;
    }
    [height, width]
}

/// Of the buckets that are no longer than a file the one of its shape, and of these the longest; `None` where all are longer.
fn nearest(buckets: &[ClipShape], frames: usize, [height, width]: [usize; 2]) -> Option<usize> {
    let aspect = |[height, width]: [usize; 2]| (width as f64 / height as f64).clamp(1.0 / WIDEST, WIDEST).ln();
    let apart = |bucket: &ClipShape| (aspect(bucket.size) - aspect([height, width])).abs();
    let fits = buckets.iter().enumerate().filter(|(_, bucket)| bucket.frames <= frames);
    let best = fits.min_by(|(_, a), (_, b)| apart(a).total_cmp(&apart(b)).then(b.frames.cmp(&a.frames)));
    best.map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(frames: usize, size: [usize; 2], weight: f64) -> ClipShape {
        ClipShape { frames, size, weight }
    }

    #[test]
    fn files_of_two_shapes_and_lengths_are_as_many_buckets() {
        let files =
            [(40, [480, 640]), (34, [480, 640]), (10, [480, 640]), (40, [640, 480]), (3, [480, 640]), (1, [480, 640])];
        let found = of_sizes(17, [64, 64], &files);
        // Two windows of each of the first two, one of the third, two upright ones, three and one of a single frame.
        assert_eq!(
            found,
            [
                shape(17, [48, 80], 0.364),
                shape(1, [48, 80], 0.364),
                shape(17, [80, 48], 0.182),
                shape(9, [48, 80], 0.091),
            ]
        );
        assert_eq!(nearest(&found, 40, [480, 640]), Some(0));
        assert_eq!(nearest(&found, 8, [480, 640]), Some(1));
        assert_eq!(nearest(&found, 40, [1000, 700]), Some(2));
        assert_eq!(nearest(&found[..1], 16, [480, 640]), None);
    }

    #[test]
    fn a_rare_shape_goes_to_the_one_most_like_it() {
        let mut files = vec![(17, [64, 64]); 99];
        files.push((17, [64, 80]));
        assert_eq!(of_sizes(17, [64, 64], &files), [shape(17, [64, 64], 1.0)]);
    }

    #[test]
    fn of_more_shapes_than_buckets_those_that_are_most_like_each_other_share_one() {
        // All lengths of fourteen shapes, the shortest one the rarest.
        let sides = (0..14).map(|i| (400 + 100 * i, 1000));
        let files: Vec<_> = sides
            .flat_map(|(height, width)| [(5, [height, width]), (17, [height, width]), (17, [height, width])])
            .chain([(1, [400, 1000])])
            .collect();
        let found = of_sizes(17, [512, 512], &files);
        assert_eq!(found.iter().filter(|bucket| bucket.frames == 17).count(), MOST);
        assert_eq!(found.len(), MOST + 2, "one of each shorter length: {found:?}");
    }

    #[test]
    fn windows_are_halved_for_shorter_files() {
        assert_eq!(lengths(17), [17, 9, 5, 1]);
        assert_eq!(lengths(33), [33, 17, 9, 5, 1]);
        assert_eq!(lengths(5), [5, 1]);
        assert_eq!(lengths(8), [8, 1]);
        assert_eq!(lengths(1), [1]);
    }

    proptest! {
        #[test]
        fn every_file_that_has_a_frame_is_in_one_bucket_within_the_budget(
            files in prop::collection::vec((1usize..100, [8usize..2000, 8usize..2000]), 1..60),
            own in [1usize..20, 1usize..20],
            frames in 1usize..40,
        ) {
            let own = own.map(|side| side * 8);
            let found = of_sizes(frames, own, &files);
            prop_assert!(!found.is_empty() && found.len() <= MOST + lengths(frames).len(), "{} buckets", found.len());
            for bucket in &found {
                let pixels = bucket.size[0] * bucket.size[1];
                prop_assert!(pixels <= own[0] * own[1], "{bucket:?}");
                prop_assert!(bucket.frames <= frames && bucket.weight > 0.0);
            }
            let buckets: Arc<[ClipShape]> = found.into();
            for (lasts, size) in files {
                let takes = |number| ByFiles::of(&buckets, number).takes(lasts, size);
                prop_assert!((0..buckets.len()).filter(|&number| takes(number)).count() == 1, "{lasts} {size:?}");
            }
        }
    }
}
