//! Which place of the input meets which place of the output.

use std::ops::Range;

/// How a window moves along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Places from one window to the next; not zero.
    pub stride: usize,
    /// Places from one tap of a window to the next; not zero.
    pub dilation: usize,
    /// Zeros that stand before the first place.
    pub before: usize,
    /// Zeros that stand after the last place.
    pub after: usize,
}

impl Default for Axis {
    /// Stride 1, dilation 1, no zeros: only windows that lie wholly inside.
    fn default() -> Self {
        Self { stride: 1, dilation: 1, before: 0, after: 0 }
    }
}

impl Axis {
    /// This axis with windows `stride` places apart.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// This axis with taps `dilation` places apart; before [`causal`](Self::causal) and [`same`](Self::same).
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// This axis with `before` and `after` zeros at its ends.
    pub fn padding(self, before: usize, after: usize) -> Self {
        Self { before, after, ..self }
    }

    /// This axis with the zeros of a causal convolution of `taps`: all before, so that no window sees a later place.
    pub fn causal(self, taps: usize) -> Self {
        self.padding(self.reach(taps), 0)
    }

    /// This axis with the zeros that keep the length at stride 1, the odd one after.
    pub fn same(self, taps: usize) -> Self {
        let reach = self.reach(taps);
        self.padding(reach / 2, reach - reach / 2)
    }

    /// Windows over `length` places: `⌊(before + length + after - dilation·(taps - 1) - 1) / stride⌋ + 1`, 0 where not
    /// one fits.
    pub fn windows(self, length: usize, taps: usize) -> usize {
        let room = self.before + length + self.after;
        room.checked_sub(self.reach(taps) + 1).map_or(0, |room| room / self.stride + 1)
    }

    /// Places that `windows` windows cover, less the zeros: the length of the output of a transposed convolution.
    pub fn places(self, windows: usize, taps: usize) -> usize {
        let covered = windows.checked_sub(1).map_or(0, |last| last * self.stride + self.reach(taps) + 1);
        covered.saturating_sub(self.before + self.after)
    }

    /// From the first tap of a window to its last.
    fn reach(self, taps: usize) -> usize {
        self.dilation * taps.saturating_sub(1)
    }

    /// From the first tap of window 0 to place 0, for `tap`.
    fn offset(self, tap: usize) -> isize {
        (self.dilation * tap) as isize - self.before as isize
    }

    /// The windows among `windows` whose `tap` falls on one of `places` places.
    fn windows_inside(self, tap: usize, places: usize, windows: Range<usize>) -> Range<usize> {
        let (stride, offset) = (self.stride as isize, self.offset(tap));
        let first = (-offset).div_euclid(stride) + isize::from((-offset).rem_euclid(stride) != 0);
        let end = (places as isize - 1 - offset).div_euclid(stride) + 1;
        let start = windows.start.max(first.max(0) as usize);
        start..windows.end.min(end.max(0) as usize).max(start)
    }

    /// The windows on `places` places as a phase of one step.
    fn down(self, taps: usize) -> AxisPhase {
        let taps = (0..taps).map(|tap| (tap, self.offset(tap))).collect();
        AxisPhase { first: 0, step: 1, source_step: self.stride as isize, taps }
    }

    /// The places whose distance to a window's first tap is `first` modulo the stride: they meet the same taps.
    fn up(self, taps: usize, first: usize) -> AxisPhase {
        let stride = self.stride as isize;
        let meeting = (0..taps).map(|tap| (tap, first as isize - self.offset(tap)));
        let taps = meeting.filter(|(_, distance)| distance % stride == 0).map(|(tap, d)| (tap, d / stride)).collect();
        AxisPhase { first, step: self.stride, source_step: 1, taps }
    }
}

/// Outputs `first + step·j` of one axis, whose sources are `source_step·j + offset` for each tap.
struct AxisPhase {
    first: usize,
    step: usize,
    source_step: isize,
    taps: Vec<(usize, isize)>,
}

/// Outputs that meet the same taps, on three axes.
pub(crate) struct Phase {
    first: [usize; 3],
    step: [usize; 3],
    source_step: [isize; 3],
    pub taps: Vec<Tap>,
    /// The least and the most offsets of the taps.
    pub least: [isize; 3],
    pub most: [isize; 3],
}

/// One element of the window.
pub(crate) struct Tap {
    /// Its number in the weight.
    pub index: usize,
    /// What to add to the place of an output to find its source.
    pub offset: [isize; 3],
}

impl Phase {
    /// Calls `visit` with each output of the phase in `run`: its flat index and where its sources lie.
    pub fn for_each(&self, run: &Run, mut visit: impl FnMut(usize, [isize; 3])) {
        let index = |axis: usize, at: usize| {
            let past = at.checked_sub(self.first[axis])?;
            past.is_multiple_of(self.step[axis]).then_some(past / self.step[axis])
        };
        let (Some(t), Some(h)) = (index(0, run.t), index(1, run.h)) else { return };
        let (first, step) = (self.first[2], self.step[2]);
        let start = run.w.start.saturating_sub(first).div_ceil(step);
        for (j, w) in (start..).zip((first + start * step..run.w.end).step_by(step)) {
            let index = [t, h, j];
            visit(run.place + w - run.w.start, [0, 1, 2].map(|axis| index[axis] as isize * self.source_step[axis]));
        }
    }
}

/// A convolution's windows: which of the `fine` places each of the `coarse` windows covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub axes: [Axis; 3],
    pub taps: [usize; 3],
    /// Places under the windows: the input of a convolution, the output of a transposed one.
    pub fine: [usize; 3],
    /// Windows: the output of a convolution, the input of a transposed one.
    pub coarse: [usize; 3],
    /// Whether the convolution is a transposed one.
    pub up: bool,
}

impl Map {
    /// Whether no place meets a window.
    pub fn is_empty(&self) -> bool {
        self.fine.contains(&0) || self.coarse.contains(&0)
    }

    /// The map of the gradient by the input.
    pub fn adjoint(self) -> Self {
        Self { up: !self.up, ..self }
    }

    pub fn source(&self) -> [usize; 3] {
        if self.up { self.coarse } else { self.fine }
    }

    pub fn output(&self) -> [usize; 3] {
        if self.up { self.fine } else { self.coarse }
    }

    /// The outputs, sorted by the taps that they meet; each tap is in one phase.
    pub fn phases(&self) -> Vec<Phase> {
        let [t, h, w] = [0, 1, 2].map(|i| -> Vec<AxisPhase> {
            let (axis, taps) = (self.axes[i], self.taps[i]);
            if self.up {
                (0..axis.stride.min(self.fine[i])).map(|first| axis.up(taps, first)).collect()
            } else {
                vec![axis.down(taps)]
            }
        });
        let mut phases = Vec::with_capacity(t.len() * h.len() * w.len());
        for t in &t {
            for h in &h {
                phases.extend(w.iter().map(|w| self.phase([t, h, w])));
            }
        }
        phases
    }

    fn phase(&self, [t, h, w]: [&AxisPhase; 3]) -> Phase {
        let mut taps = Vec::with_capacity(t.taps.len() * h.taps.len() * w.taps.len());
        for t in &t.taps {
            for h in &h.taps {
                taps.extend(
                    w.taps.iter().map(|w| Tap {
                        index: (t.0 * self.taps[1] + h.0) * self.taps[2] + w.0,
                        offset: [t.1, h.1, w.1],
                    }),
                );
            }
        }
        Phase {
            first: [t.first, h.first, w.first],
            step: [t.step, h.step, w.step],
            source_step: [t.source_step, h.source_step, w.source_step],
            least: [0, 1, 2].map(|axis| taps.iter().map(|tap| tap.offset[axis]).min().unwrap_or(0)),
            most: [0, 1, 2].map(|axis| taps.iter().map(|tap| tap.offset[axis]).max().unwrap_or(0)),
            taps,
        }
    }

    /// Fills `pairs` with the flat indices of the fine place and the coarse window that meet in `tap`, for a range of
    /// the coarse windows of all clips.
    pub fn meetings(&self, tap: usize, coarse: Range<usize>, pairs: &mut Vec<(usize, usize)>) {
        pairs.clear();
        let tap = [tap / (self.taps[1] * self.taps[2]), tap / self.taps[2] % self.taps[1], tap % self.taps[2]];
        let fine = |axis: usize, window: usize| {
            let place = (window * self.axes[axis].stride) as isize + self.axes[axis].offset(tap[axis]);
            usize::try_from(place).ok().filter(|&place| place < self.fine[axis])
        };
        for_each_run(self.coarse, coarse, |run| {
            let (Some(t), Some(h)) = (fine(0, run.t), fine(1, run.h)) else { return };
            let line = ((run.clip * self.fine[0] + t) * self.fine[1] + h) * self.fine[2];
            let windows = self.axes[2].windows_inside(tap[2], self.fine[2], run.w.clone());
            let Some(first) = fine(2, windows.start) else { return };
            let places = (line + first..).step_by(self.axes[2].stride);
            pairs.extend(places.zip(windows.map(|w| run.place + w - run.w.start)));
        });
    }
}

/// Places of one line.
pub(crate) struct Run {
    pub clip: usize,
    pub t: usize,
    pub h: usize,
    pub w: Range<usize>,
    /// The flat index of the first place.
    pub place: usize,
}

/// Calls `visit` with the lines that make up a range of the places of all clips, each of size `[T, H, W]`.
pub(crate) fn for_each_run([t, h, w]: [usize; 3], places: Range<usize>, mut visit: impl FnMut(Run)) {
    let mut place = places.start;
    while place < places.end {
        let (line, start) = (place / w, place % w);
        let end = (start + places.end - place).min(w);
        visit(Run { clip: line / h / t, t: line / h % t, h: line % h, w: start..end, place });
        place += end - start;
    }
}
