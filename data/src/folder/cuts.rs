//! Where a film cuts from one shot to the next.

use super::{Probe, Reader, framing::Framing};
use musiva_core::{Rate, Result};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// Frames are compared at this size.
const SIZE: [usize; 2] = [16, 16];
/// By how much a frame differs from the one before it at a cut, at least: the mean over pixels and channels, of 255.
const LEAST: f32 = 24.0;
/// And how many times more than its neighbours do: what moves fast differs in each frame.
const TIMES: f32 = 3.0;
/// Files whose cuts are remembered: their frames are all decoded for it.
const REMEMBERED: usize = 1 << 16;

/// A file and the rate of its frames.
type Key = (PathBuf, Rate);
/// Its length and the time of its last change, where it is a file of its own.
type Stamp = Option<(u64, SystemTime)>;
/// The cuts of files that have been looked at.
type Known = HashMap<Key, (Stamp, Vec<usize>)>;

/// The frames with which new shots begin, ascending; the first frame is none of them.
///
/// # Errors
/// Where a frame cannot be read.
pub(super) fn cuts(reader: &dyn Reader, path: &Path, rate: Rate, probe: &Probe) -> Result<Vec<usize>> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let stamp = path.metadata().ok().and_then(|about| Some((about.len(), about.modified().ok()?)));
    let key = (path.to_owned(), rate);
    if let Some((then, cuts)) = known().get_or_insert_default().get(&key)
        && *then == stamp
    {
        return Ok(cuts.clone());
    }
    let framing = Framing::new(probe.size, SIZE);
    let (mut before, mut differences) = (Vec::new(), Vec::new());
    reader.frames(path, rate, 0..probe.frames, &mut |frame| {
        let mut small = Vec::new();
        // A frame of another size is told when its window is read.
        framing.apply(frame, &mut small);
        let sum: u32 = small.iter().zip(&before).map(|(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b))).sum();
        differences.push(sum as f32 / (SIZE[0] * SIZE[1] * 3) as f32);
        before = small;
    })?;
    let cuts = between(&differences);
    let mut known = known();
    let known = known.get_or_insert_default();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(key, (stamp, cuts.clone()));
    Ok(cuts)
}

/// Cuts by how much each frame differs from the one before it.
fn between(differences: &[f32]) -> Vec<usize> {
    let at = |k: Option<usize>| k.and_then(|k| differences.get(k)).copied().unwrap_or(0.0);
    let cut = |&k: &usize| {
        let neighbours = at(k.checked_sub(1)).max(at(k.checked_add(1)));
        differences[k] > LEAST && differences[k] > TIMES * neighbours
    };
    (1..differences.len()).filter(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_stands_alone() {
        assert_eq!(between(&[0.0, 1.0, 60.0, 2.0, 1.0, 0.5, 30.0]), [2, 6]);
        // What moves fast, a flash that comes and goes, and a slow fade.
        assert!(between(&[0.0, 40.0, 45.0, 50.0, 40.0]).is_empty());
        assert!(between(&[0.0, 1.0, 90.0, 90.0, 1.0]).is_empty());
        assert!(between(&[0.0, 8.0, 9.0, 8.0]).is_empty() && between(&[]).is_empty() && between(&[99.0]).is_empty());
    }
}
