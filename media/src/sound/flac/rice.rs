//! Residuals as Rice codes in partitions (RFC 9639 §9.2.7).

use super::bits::BitWriter;

/// Finest partitions: 2⁶ of them, 64 samples each in a whole block.
const FINEST: u32 = 6;

/// A residual with the partitions and parameters by which it is short.
pub(super) struct Residual {
    /// What prediction leaves, folded: 0, −1, 1, −2, 2, … are 0, 1, 2, 3, 4, …
    folded: Vec<u32>,
    /// One parameter for each partition.
    parameters: Vec<u32>,
    /// Samples in front of the residual, which the predictor starts from.
    order: usize,
    /// Bits that it takes, at most.
    pub(super) cost: u64,
}

impl Residual {
    /// The residual of a block whose first `order` samples are written as they are. `None` where a
    /// number is too large for FLAC, which wants 32 bits without the least one.
    pub(super) fn new(order: usize, residual: impl Iterator<Item = i64>) -> Option<Self> {
        let fold =
            |value: i64| i32::try_from(value).ok().filter(|&v| v != i32::MIN).map(|v| ((v << 1) ^ (v >> 31)) as u32);
        let folded = residual.map(fold).collect::<Option<Vec<u32>>>()?;
        let block = folded.len() + order;
        // A partition must be a whole part of the block and the first one longer than the order.
        let allowed = |level: &u32| block.is_multiple_of(1 << level) && block >> level > order;
        let finest = (0..=FINEST).rev().find(allowed).unwrap_or(0);
        let mut sums: Vec<u64> =
            partitions(&folded, order, finest).map(|part| part.iter().map(|&v| u64::from(v)).sum()).collect();
        let mut best: Option<(u64, Vec<u32>)> = None;
        for level in (0..=finest).rev() {
            let each = block >> level;
            let chosen: Vec<(u32, u64)> = sums
                .iter()
                .enumerate()
                .map(|(index, &sum)| parameter(sum, if index == 0 { each - order } else { each } as u64))
                .collect();
            let cost = chosen.iter().map(|(_, cost)| cost).sum();
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, chosen.into_iter().map(|(parameter, _)| parameter).collect()));
            }
            sums = sums.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        let (cost, parameters) = best?;
        Some(Self { folded, parameters, order, cost: cost + 6 })
    }

    pub(super) fn write(&self, out: &mut BitWriter) {
        let level = self.parameters.len().ilog2();
        // Parameters of four bits go up to 14; 15 says something else.
        let width = if self.parameters.iter().all(|&parameter| parameter < 15) { 4 } else { 5 };
        out.put(u64::from(width == 5), 2);
        out.put(level.into(), 4);
        for (part, &parameter) in partitions(&self.folded, self.order, level).zip(&self.parameters) {
            out.put(parameter.into(), width);
            for &value in part {
                out.put_unary(u64::from(value >> parameter));
                out.put(value.into(), parameter);
            }
        }
    }
}

/// The 2^level partitions of a block, of which the first lacks the `order` samples in front.
fn partitions(folded: &[u32], order: usize, level: u32) -> impl Iterator<Item = &[u32]> {
    let each = (folded.len() + order) >> level;
    (0..1usize << level).map(move |index| &folded[(index * each).saturating_sub(order)..(index + 1) * each - order])
}

/// The parameter by which `count` numbers that add up to `sum` are shortest, and the bits they take
/// at most: `sum` shifted as a whole is no less than the numbers shifted one by one.
fn parameter(sum: u64, count: u64) -> (u32, u64) {
    let cost = |parameter: u32| (parameter, 5 + count * u64::from(parameter + 1) + (sum >> parameter));
    // Near the logarithm of the mean.
    let near = (sum / count.max(1)).checked_ilog2().unwrap_or(0).min(30);
    (near.saturating_sub(1)..=(near + 1).min(30)).map(cost).min_by_key(|&(_, bits)| bits).unwrap_or((0, u64::MAX))
}
