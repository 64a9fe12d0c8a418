//! What the codecs in everyday use make of a clip or a sound at few bits, by the `ffmpeg` on the PATH: tokens are compared
//! with them.

use crate::fault::{Outcome, broken};
use musiva_core::{Clip, Error, ErrorKind, Result, Sound};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

/// Bytes that ffmpeg may hand back beyond those that are expected.
const SLACK: u64 = 1 << 20;

/// Media that went through a codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coded<T> {
    /// What came back.
    pub media: T,
    /// What it took, in bytes: the coded pictures or sound alone, without headers and containers, which a long film
    /// carries but once.
    pub bytes: usize,
}

/// H.264 by x264, as well as it can: `veryslow`, tuned for PSNR, 4:2:0.
#[derive(Clone, Copy, Debug)]
pub struct H264(());

impl H264 {
    /// It, where there is an ffmpeg with x264.
    pub fn find() -> Option<Self> {
        has_encoder("libx264").then_some(Self(()))
    }

    /// The clip at the best quality (constant rate factor, in halves) that takes no more than `bytes`; at the worst there
    /// is, 51, where even that takes more.
    ///
    /// # Errors
    /// Where ffmpeg fails.
    pub fn code(self, clip: &Clip, bytes: usize) -> Result<Coded<Clip>> {
        let mut best = None;
        // Halves of the factor, of which the first that fits is looked for.
        let (mut low, mut high) = (0, 102);
        while low < high {
            let middle = (low + high) / 2;
            let stream = self.encode(clip, middle)?;
            match slices(&stream) <= bytes {
                true => (high, best) = (middle, Some(stream)),
                false => low = middle + 1,
            }
        }
        let stream = match best {
            Some(stream) => stream,
            None => self.encode(clip, high)?,
        };
        let media = self.decode(&stream, clip)?;
        Ok(Coded { media, bytes: slices(&stream) })
    }

    fn encode(self, clip: &Clip, halves: u32) -> Result<Vec<u8>> {
        // Chroma of half the size wants even sides.
        let [_, height, width] = clip.shape();
        let chroma = if height % 2 + width % 2 == 0 { "yuv420p" } else { "yuv444p" };
        let factor = (f64::from(halves) / 2.0).to_string();
        let coding = ["-c:v", "libx264", "-preset", "veryslow", "-tune", "psnr", "-threads", "1", "-crf", &factor];
        let args = [&pictures(clip)[..], &["-i", "-"].map(str::to_owned)].concat();
        let out = [&coding[..], &["-pix_fmt", chroma, "-sws_flags", SCALING, "-f", "h264", "-"]].concat();
        through(&args, &out, clip.pixels(), clip.pixels().len() as u64 + SLACK).map_err(|fault| failed("x264", &fault))
    }

    fn decode(self, stream: &[u8], like: &Clip) -> Result<Clip> {
        let rate = format!("{}/{}", like.rate().numerator, like.rate().denominator);
        let args = ["-r", &rate, "-f", "h264", "-i", "-"].map(str::to_owned);
        let out = ["-sws_flags", SCALING, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
        let most = like.pixels().len() as u64 + SLACK;
        let pixels = through(&args, &out, stream, most).map_err(|fault| failed("ffmpeg's H.264 decoder", &fault))?;
        Clip::new(like.shape(), like.rate(), pixels)
    }
}

/// Opus by libopus for speech, in packets of 60 ms.
#[derive(Clone, Copy, Debug)]
pub struct Opus(());

impl Opus {
    /// It, where there is an ffmpeg with libopus.
    pub fn find() -> Option<Self> {
        has_encoder("libopus").then_some(Self(()))
    }

    /// The sound at the lowest bit rate that takes `bytes` or more, up to 128,000 bits a second: at least as many, because
    /// below a few thousand bits a second Opus gives silence.
    ///
    /// # Errors
    /// Where the sound has not one channel at a whole number of samples a second, or ffmpeg fails.
    pub fn code(self, sound: &Sound, bytes: usize) -> Result<Coded<Sound>> {
        let rate = sound.rate();
        if sound.channels() != 1 || rate.denominator != 1 {
            return Err(Error::new(ErrorKind::Unsupported, "", format!("{sound:?} is not coded by Opus here"))
                .hint("use one channel at a whole number of samples a second"));
        }
        let samples: Vec<u8> = sound.samples().iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let shape = ["-f", "f32le", "-ar", &rate.numerator.to_string(), "-ac", "1"].map(str::to_owned);
        let most = samples.len() as u64 + SLACK;
        let encode = |hundreds: u32| {
            let bits = (100 * hundreds).to_string();
            let coding = ["-c:a", "libopus", "-b:a", &bits, "-frame_duration", "60", "-application", "voip"];
            let args = [&shape[..], &["-i", "-"].map(str::to_owned)].concat();
            through(&args, &[&coding[..], &["-f", "ogg", "-"]].concat(), &samples, most)
                .and_then(|stream| Ok((packets(&stream)?, stream)))
                .map_err(|fault| failed("libopus", &fault))
        };
        let (mut low, mut high) = (5, 1280);
        let mut best = None;
        while low < high {
            let middle = (low + high) / 2;
            let made = encode(middle)?;
            match made.0 >= bytes {
                true => (high, best) = (middle, Some(made)),
                false => low = middle + 1,
            }
        }
        let (taken, stream) = match best {
            Some(made) => made,
            None => encode(high)?,
        };
        let out: Vec<&str> = shape.iter().map(String::as_str).chain(["-"]).collect();
        let decoded = through(&["-i", "-"].map(str::to_owned), &out, &stream, most)
            .map_err(|fault| failed("ffmpeg's Opus decoder", &fault))?;
        let values = decoded.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let media = Sound::new(1, rate, values)?.with_length(sound.length());
        Ok(Coded { media, bytes: taken })
    }
}

/// How ffmpeg turns RGB into luma and chroma and back.
const SCALING: &str = "bicubic+accurate_rnd+full_chroma_int";

/// What tells ffmpeg that `clip` comes as it is.
fn pictures(clip: &Clip) -> Vec<String> {
    let [_, height, width] = clip.shape();
    let rate = format!("{}/{}", clip.rate().numerator, clip.rate().denominator);
    ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &format!("{width}x{height}"), "-r", &rate].map(str::to_owned).to_vec()
}

fn has_encoder(name: &str) -> bool {
    let asked = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-h", &format!("encoder={name}")])
        .stdin(Stdio::null())
        .output();
    asked.is_ok_and(|said| said.stdout.starts_with(format!("Encoder {name} ").as_bytes()))
}

/// Runs ffmpeg on `input`; at most `most` bytes come out.
fn through(args: &[String], out: &[&str], input: &[u8], most: u64) -> Outcome<Vec<u8>> {
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(args)
        .args(out)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Err(broken("it has no pipes")) };
    let mut output = Vec::new();
    thread::scope(|scope| {
        // It closes its input where it has had enough; whether it is content, its exit says.
        scope.spawn(move || stdin.write_all(input));
        stdout.take(most).read_to_end(&mut output)
    })?;
    match child.wait()?.success() && (output.len() as u64) < most {
        true => Ok(output),
        false => Err(broken("it gives up on this")),
    }
}

fn failed(who: &str, fault: &impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Media, who, fault.to_string())
        .hint("see that `ffmpeg -version` works, or leave the baselines out")
}

/// Bytes of the slices of an H.264 stream in Annex B: neither start codes nor parameter sets nor SEI.
fn slices(stream: &[u8]) -> usize {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(i, _)| i + 3).collect();
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([stream.len()]);
    let units = starts.iter().zip(ends).map(|(&start, end)| &stream[start..end]);
    let slice = |unit: &&[u8]| unit.first().is_some_and(|header| (1..=5).contains(&(header & 31)));
    units.filter(slice).map(|unit| unit.len() - unit.iter().rev().take_while(|&&byte| byte == 0).count()).sum()
}

/// Bytes of the packets of an Ogg stream of Opus but for its two headers (RFC 3533, section 6; RFC 7845, section 3).
fn packets(stream: &[u8]) -> Outcome<usize> {
    let (mut at, mut packet, mut number, mut total) = (0, 0, 0, 0);
    while at < stream.len() {
        let header = stream.get(at..at + 27).filter(|page| page.starts_with(b"OggS"));
        let count = usize::from(header.ok_or_else(|| broken("its output is no Ogg"))?[26]);
        let lengths = stream.get(at + 27..at + 27 + count).ok_or_else(|| broken("its output is cut off"))?;
        for &length in lengths {
            packet += usize::from(length);
            // A packet goes on in the next segment exactly where this one is full.
            if length < 255 {
                total += if number < 2 { 0 } else { packet };
                (packet, number) = (0, number + 1);
            }
        }
        at += 27 + count + lengths.iter().map(|&length| usize::from(length)).sum::<usize>();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    fn moving() -> Clip {
        let pixel = |i: usize| {
            let (t, y, x) = (i / (32 * 46 * 3), i / (46 * 3) % 32, i / 3 % 46);
            ((x + 2 * t) * 5 + y * 3 + 40 * (i % 3)) as u8
        };
        Clip::new([9, 32, 46], Rate::new(24_000, 1001).unwrap(), (0..9 * 32 * 46 * 3).map(pixel).collect()).unwrap()
    }

    fn error(a: &Clip, b: &Clip) -> u64 {
        a.pixels().iter().zip(b.pixels()).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
    }

    #[test]
    fn h264_takes_what_it_may_and_no_more() {
        let Some(h264) = H264::find() else { return println!("skipped: there is no ffmpeg with x264") };
        let clip = moving();
        let [few, more] = [400, 4000].map(|bytes| h264.code(&clip, bytes).unwrap());
        assert!(few.bytes <= 400 && more.bytes <= 4000 && more.bytes > few.bytes);
        assert!(error(&clip, &more.media) < error(&clip, &few.media));
        let least = h264.code(&clip, 0).unwrap();
        assert!(least.bytes > 0 && least.bytes <= few.bytes && least.media.shape() == clip.shape());
        let odd = Clip::new([1, 9, 11], Rate::whole(8), vec![77; 9 * 11 * 3]).unwrap();
        assert_eq!(h264.code(&odd, 1000).unwrap().media.shape(), [1, 9, 11]);
    }

    #[test]
    fn opus_takes_what_it_must() {
        let Some(opus) = Opus::find() else { return println!("skipped: there is no ffmpeg with libopus") };
        let wave = |i: usize| 0.3 * (0.3 * i as f32).sin() * (0.001 * i as f32).sin();
        let sound = Sound::new(1, Rate::whole(8000), (0..8001).map(wave).collect()).unwrap();
        let [few, more] = [400, 3000].map(|bytes| opus.code(&sound, bytes).unwrap());
        assert!((400..900).contains(&few.bytes) && more.bytes > 2 * few.bytes, "{few:?} {more:?}");
        assert_eq!(few.media.shape(), sound.shape());
        let far =
            |made: &Sound| -> f32 { made.samples().iter().zip(sound.samples()).map(|(a, b)| (a - b).powi(2)).sum() };
        // More bits are nearer to the ear, not always to the samples.
        let energy = far(&sound.clone().slice(0..1).with_length(8001));
        for made in [&few.media, &more.media] {
            assert!(far(made) < 0.1 * energy, "{} of {energy}", far(made));
        }
        let stereo = Sound::new(2, Rate::whole(8000), vec![0.0; 8]).unwrap();
        assert!(opus.code(&stereo, 100).is_err());
    }

    #[test]
    fn slices_and_packets_are_counted_alone() {
        // A parameter set, SEI, a slice of four bytes with a trailing zero, a slice of two.
        let stream = [0, 0, 0, 1, 0x67, 9, 9, 0, 0, 1, 6, 5, 5, 5, 0, 0, 0, 1, 0x65, 1, 2, 3, 0, 0, 0, 1, 0x41, 7];
        assert_eq!(slices(&stream), 4 + 2);
        let page = |lengths: &[u8]| {
            let body = vec![7; lengths.iter().map(|&l| usize::from(l)).sum()];
            [b"OggS".as_slice(), &[0; 22], &[lengths.len() as u8], lengths, &body].concat()
        };
        // Two headers, then packets of 10, 255 and, over two pages, 300.
        let stream = [page(&[19]), page(&[40]), page(&[10, 255, 0, 255]), page(&[45])].concat();
        assert_eq!(packets(&stream).unwrap(), 10 + 255 + 300);
        assert!(packets(&stream[..stream.len() - 46]).is_err() && packets(b"no Ogg at all, but long enough").is_err());
    }
}
