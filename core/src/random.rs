//! Random numbers that are the same on every device and for every number of threads.
//!
//! A counter-based generator (Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011) keyed by *(seed, sample, step, purpose)*: a number depends on what it is for
//! and on nothing else, neither on the order of draws nor on the device, whose own generator is
//! never used.

/// What a stream of random numbers is for. Streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RngStream {
    /// Initial weights.
    Init = 1,
    /// What the data shows: attributes, crops, windows.
    Data = 2,
    /// The order of the data.
    Shuffle = 3,
    /// Diffusion noise.
    Noise = 4,
    /// Diffusion times.
    Time = 5,
    /// Dropping the condition for classifier-free guidance.
    Dropout = 6,
    /// Picking a token from its distribution.
    Pick = 7,
    /// Whether to self-condition.
    SelfCondition = 8,
    /// Which prompts are evaluated.
    Evaluate = 9,
    /// Where a codebook's entries start, and start again once dead.
    Codebook = 10,
    /// Which task a training step is of, and which region.
    Task = 14,
    /// Which of several tokens stay.
    Choice = 12,
    /// How many levels a residual quantizer uses of an example in training.
    Levels = 11,
    /// Which frames a loss looks at.
    Frames = 13,
    /// Which tokens of what is edited are hidden.
    Edit = 15,
    /// The noise behind a sound that is to be taken out of it again.
    Background = 17,
    /// How fast a sound is played to a tokenizer that learns.
    Speed = 18,
    /// Which sound goes under another, and how loudly.
    Mix = 19,
    /// Which of several lengths and sizes a training step is of.
    Bucket = 20,
    /// Which of its captions a sample has.
    Caption = 21,
}

/// The key of a stream: who draws, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RngKey {
    /// The user's seed.
    pub seed: u64,
    /// Which sample of a run or a batch.
    pub sample: u64,
    /// Which step of training or sampling.
    pub step: u64,
}

impl RngKey {
    /// The draws of `seed` for sample 0, step 0.
    pub fn new(seed: u64) -> Self {
        Self { seed, sample: 0, step: 0 }
    }

    /// The same seed and step for another sample.
    pub fn sample(self, sample: u64) -> Self {
        Self { sample, ..self }
    }

    /// The same seed and sample at another step.
    pub fn step(self, step: u64) -> Self {
        Self { step, ..self }
    }

    /// The stream of numbers for `purpose`.
    pub fn stream(self, purpose: RngStream) -> Stream {
        // 64 bits of seed are the key; (block, purpose·step, sample) are the counter. Step and
        // sample are folded to what is left: 40 bits of step, 32 of sample.
        Stream {
            key: [self.seed as u32, (self.seed >> 32) as u32],
            high: [
                (purpose as u32) << 24 ^ (self.step >> 32) as u32 & 0x00ff_ffff,
                self.step as u32,
                self.sample as u32,
            ],
            block: 0,
            buffer: [0; 4],
            left: 0,
        }
    }
}

/// An endless stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    high: [u32; 3],
    block: u32,
    buffer: [u32; 4],
    left: usize,
}

impl Stream {
    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.left == 0 {
            self.buffer = philox([self.block, self.high[0], self.high[1], self.high[2]], self.key);
            self.block = self.block.wrapping_add(1);
            self.left = 4;
        }
        self.left -= 1;
        self.buffer[3 - self.left]
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in `0..n`; `n` must be above zero (Lemire's multiplication; its bias is below 2⁻³²·n).
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "nothing lies below zero");
        ((u64::from(self.bits()) * n as u64) >> 32) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box and Muller), two for two uniforms.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(count + 1);
        while out.len() < count {
            // 1 - u lies in (0, 1], so that the logarithm is finite.
            let radius = (-2.0 * f64::from(1.0 - self.uniform()).ln()).sqrt();
            let angle = std::f64::consts::TAU * f64::from(self.uniform());
            out.push((radius * angle.cos()) as f32);
            out.push((radius * angle.sin()) as f32);
        }
        out.truncate(count);
        out
    }

    /// Puts `items` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        let a = u64::from(c[0]) * 0xD251_1F53;
        let b = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_vectors() {
        // Known-answer tests of Random123 1.14 (kat_vectors, philox4x32 10).
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_differ_by_every_part_of_their_key() {
        let key = RngKey::new(7);
        let first = |d: RngKey, p| d.stream(p).bits();
        let all = [
            first(key, RngStream::Noise),
            first(key, RngStream::Time),
            first(key.sample(1), RngStream::Noise),
            first(key.step(1), RngStream::Noise),
            first(key.step(1 << 32), RngStream::Noise),
            first(RngKey::new(8), RngStream::Noise),
            first(RngKey::new(7 + (1 << 32)), RngStream::Noise),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "stream {i} is not its own");
        }
    }

    #[test]
    fn no_chance_never_comes_and_certainty_always() {
        // The least and the greatest number that there are.
        for bits in [0, u32::MAX] {
            let stream = || Stream { buffer: [bits; 4], left: 4, ..RngKey::new(1).stream(RngStream::Noise) };
            assert!(!stream().chance(0.0) && stream().chance(1.0), "{bits}");
        }
    }

    #[test]
    fn moments_are_right() {
        let mut stream = RngKey::new(1).stream(RngStream::Noise);
        let n = 100_003;
        let x = stream.normals(n);
        let moment = |k: i32| x.iter().map(|v| f64::from(*v).powi(k)).sum::<f64>() / n as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.1);
        let mut counts = [0usize; 7];
        (0..70_000).for_each(|_| counts[stream.below(7)] += 1);
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 400), "{counts:?}");
    }
}
