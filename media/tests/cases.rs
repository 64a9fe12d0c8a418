//! Small files, each of which stands for a kind, and the pictures and sounds that are right for them: those of the folder
//! `cases` of the shared test data, and others that ffmpeg makes where there is one.

#![allow(clippy::unwrap_used)]

mod common;

use common::{is_there, shared};
use musiva_core::{Rate, Result};
use musiva_media::{Matrix, Range, SoundOptions, SoundReader, Transfer, VideoReader, read_sound};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// Whether there is an ffmpeg that we can ask.
static FFMPEG: LazyLock<bool> = LazyLock::new(|| is_there("ffmpeg") && is_there("ffprobe"));

fn case(name: &str) -> Option<PathBuf> {
    shared(&format!("cases/{name}"))
}

/// Which pictures the frames at 8 a second show, where picture `k` is of grey 20 + 8k in its middle.
fn shown(path: &Path, rate: u32) -> Result<Vec<i32>> {
    let mut reader = VideoReader::open(path)?.at_rate(Rate::whole(rate))?;
    let mut shown = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        let at = (frame.height / 2 * frame.width + frame.width / 2) * 3;
        let grey = i32::from(frame.pixels[at + 1]);
        let nearest = (grey - 20 + 4).div_euclid(8);
        assert!((grey - 20 - 8 * nearest).abs() <= 3, "{}: grey {grey}", path.display());
        shown.push(nearest);
    }
    assert_eq!(shown.len(), reader.info().frames, "{}", path.display());
    Ok(shown)
}

/// The colour of the first frame a sixteenth from its upper left corner, and in its middle.
fn colours(path: &Path) -> [[u8; 3]; 2] {
    let frame = VideoReader::open(path).unwrap().next_frame().unwrap().unwrap();
    let at = |y: usize, x: usize| {
        let at = (y * frame.width + x) * 3;
        [frame.pixels[at], frame.pixels[at + 1], frame.pixels[at + 2]]
    };
    [at(frame.height / 16, frame.width / 16), at(frame.height / 2, frame.width / 2)]
}

fn near(found: [u8; 3], wanted: [u8; 3]) -> bool {
    found.iter().zip(wanted).all(|(&found, wanted)| found.abs_diff(wanted) <= 4)
}

#[test]
fn frames_are_the_pictures_on_show_at_their_time() {
    let steady = |count: i32| (0..count).collect::<Vec<_>>();
    let mut slow: Vec<i32> = (0..4).flat_map(|k| [k; 8]).collect();
    slow.extend([4, 5, 6, 7]);
    slow.extend((8..11).flat_map(|k| [k; 8]));
    slow.push(11);
    let held: Vec<i32> = (0..4).chain([4; 13]).chain(5..24).collect();
    let ours = [
        ("plain-8fps-24.mp4", 8, steady(24)),
        ("bframes.mp4", 8, steady(24)),
        ("late-start.mp4", 8, steady(24)),
        ("rotated-90.mp4", 8, steady(24)),
        ("one-frame.mp4", 8, steady(1)),
        ("vfr-slow-with-burst.mp4", 8, slow.clone()),
        ("vfr-slow-with-burst.mp4", 4, slow.iter().copied().step_by(2).collect()),
        ("vfr-held-picture.mp4", 8, held),
        ("apng-10-frames.png", 8, steady(10)),
        ("webp-animated-10.webp", 8, steady(10)),
    ];
    for (name, rate, wanted) in ours {
        let Some(path) = case(name) else { return };
        assert_eq!(shown(&path, rate).unwrap(), wanted, "{name}");
    }
    let Some(path) = case("gif-last-frame-held-3s.gif") else { return };
    let wanted: Vec<i32> = (0..9).chain([9; 30]).collect();
    assert_eq!(shown(&path, 10).unwrap(), wanted);
    let theirs = [
        ("h264-lossless.mp4", 24),
        ("fragmented.mp4", 24),
        ("h264-10bit.mp4", 24),
        ("h264-interlaced.mp4", 24),
        ("av1.mp4", 24),
        ("hevc.mp4", 24),
        ("odd-95x63-444.mp4", 12),
    ];
    for (name, count) in theirs {
        let Some(path) = case(name) else { return };
        match (shown(&path, 8), *FFMPEG) {
            (Ok(found), true) => assert_eq!(found, steady(count), "{name}"),
            (Err(error), false) => {
                let said = error.to_string();
                assert!(said.contains("needs ffmpeg") && !said.contains("damaged"), "{said}");
                assert!(!said.contains("OpenH264") && said.contains("install ffmpeg"), "{said}");
            }
            (other, there) => panic!("{name}: {other:?}, ffmpeg: {there}"),
        }
    }
}

#[test]
fn equal_bytes_have_equal_colours_in_every_container() {
    let Some(path) = case("colour-unstated-720p.mp4") else { return };
    let wanted = [220, 20, 20];
    for path in [Some(path), case("colour-unstated-720p.mkv").filter(|_| *FFMPEG)].into_iter().flatten() {
        let info = VideoReader::open(&path).unwrap().info().clone();
        assert_eq!((info.matrix, info.range, info.colour_stated), (Matrix::Bt709, Range::Limited, false));
        assert!(colours(&path).iter().any(|&found| near(found, wanted)), "{}: {:?}", path.display(), colours(&path));
    }
}

#[test]
fn high_dynamic_range_is_mapped_or_refused() {
    let Some(path) = case("hdr-pq-white-203-nits.mp4") else { return };
    match VideoReader::open(&path) {
        Ok(reader) => {
            assert_eq!(reader.info().transfer, Transfer::Pq);
            assert!(reader.info().to_string().contains("Pq clipped to sRGB"), "{}", reader.info());
            assert!(near(colours(&path)[1], [255; 3]), "{:?}", colours(&path));
        }
        Err(error) => assert!(!*FFMPEG && error.to_string().contains("needs ffmpeg"), "{error}"),
    }
}

/// When a burst starts and ends, in seconds, and its level in dB of its peak.
fn burst(path: &Path) -> (f64, f64, f64) {
    let sound = read_sound(path, &SoundOptions::default()).unwrap().sound.mono();
    let rate = sound.rate().as_f64();
    let loud = |sample: &f32| sample.abs() > 0.1;
    let first = sound.samples().iter().position(loud).unwrap();
    let last = sound.samples().iter().rposition(loud).unwrap();
    let middle = &sound.samples()[(first + last) / 2 - rate as usize / 20..][..rate as usize / 10];
    let power = middle.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / middle.len() as f64;
    (first as f64 / rate, last as f64 / rate, 20.0 * (power * 2.0).sqrt().log10())
}

#[test]
fn bursts_are_where_they_belong() {
    let names = [
        "wav-16.wav",
        "wav-16-fmt40-plain-tag.wav",
        "wav-24-in-32.wav",
        "wav-24-plain.wav",
        "wav-8bit.wav",
        "wav-alaw.wav",
        "wav-mulaw.wav",
        "wav-chunks-around.wav",
        "wav-float32.wav",
        "wav-float64.wav",
        "wav-size-unknown-ffffffff.wav",
        "wav-valid-20-of-24.wav",
        "aac-adts.aac",
        "aac-in-m4a.m4a",
        "flac.flac",
        "flac-in-ogg.oga",
        "vorbis.ogg",
        "mp3-no-header.mp3",
        "wav-adpcm-ima.wav",
    ];
    for name in names {
        let Some(path) = case(name) else { return };
        if name == "wav-adpcm-ima.wav" && !*FFMPEG {
            let said = SoundReader::open(&path).err().unwrap().to_string();
            assert!(said.contains("needs ffmpeg") && !said.contains("damaged"), "{said}");
            continue;
        }
        // Nothing in these tells how much their encoders have put in front.
        let late = if ["aac-adts.aac", "mp3-no-header.mp3"].contains(&name) { 0.03 } else { 0.0 };
        let (first, last, level) = burst(&path);
        assert!(
            (0.247..0.253 + late).contains(&first) && (0.747..0.753 + late).contains(&last),
            "{name}: {first} {last}"
        );
        // The cases are of -12 dB root mean square within the second, or of that peak: half of full scale is -6 dB.
        assert!((-7.5..-5.0).contains(&level), "{name}: {level} dB");
    }
    let Some(path) = case("wav-size-unknown-ffffffff.wav") else { return };
    assert_eq!(read_sound(path, &SoundOptions::default()).unwrap().sound.length(), 16_000);
}

#[test]
fn what_is_broken_is_refused() {
    for name in ["cut-off.mp4", "zero-bytes.mp4", "folder-one-broken-inside/05b.mp4", "folder-one-jpeg-cut-off/cut.jpg"]
    {
        let Some(path) = case(name) else { return };
        let read = VideoReader::open(&path).and_then(|reader| reader.collect::<Result<Vec<_>>>());
        let said = read.unwrap_err().to_string();
        assert!(said.contains("hint"), "{said}");
    }
    let Some(path) = case("wav-float-one-nan.wav") else { return };
    let said = read_sound(path, &SoundOptions::default()).unwrap_err().to_string();
    assert!(said.contains("sample 8000 is not a finite number"), "{said}");
}

/// What ffmpeg makes by these arguments; `None` where there is none.
fn made(folder: &Path, name: &str, arguments: &str) -> Option<PathBuf> {
    if !*FFMPEG {
        println!("skipped: there is no ffmpeg");
        return None;
    }
    let path = folder.join(name);
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(arguments.split(' '))
        .arg(&path)
        .status()
        .unwrap()
        .success();
    // Not every ffmpeg has every encoder.
    if !done {
        println!("skipped: this ffmpeg does not make {name}");
    }
    done.then_some(path)
}

/// Ten pictures of grey 20 + 8k, the `k`th of which appears at a time of its own: `k²/8` seconds.
const SQUARES: &str = "-f lavfi -i color=c=black:s=64x48:r=8:d=1.25,format=gray,geq=lum=20+8*N,format=rgb24,settb=1/1000,\
                       setpts=N*N*125";

#[test]
fn pictures_at_times_of_their_own_are_so_in_every_container() {
    let folder = tempfile::tempdir().unwrap();
    let containers = [
        ("a.mkv", "-c:v ffv1"),
        ("b.mp4", "-c:v libx264 -bf 2 -pix_fmt yuv420p -crf 1 -video_track_timescale 16000"),
        ("c.webm", "-c:v libvpx-vp9 -lossless 1 -pix_fmt yuv444p"),
        ("d.nut", "-c:v rawvideo"),
    ];
    for (name, coding) in containers {
        let arguments = format!("{SQUARES} -fps_mode passthrough {coding}");
        let Some(path) = made(folder.path(), name, &arguments) else { continue };
        // To the end of the last picture, which containers say differently: one of them lets it last for none.
        let until = 82.0 / 8.0;
        for rate in [3, 8, 20] {
            let wanted: Vec<i32> = (0..)
                .map(|frame| f64::from(frame) / f64::from(rate))
                .take_while(|&time| time < until)
                .map(|time| (time * 8.0 + 1e-6).sqrt() as i32)
                .collect();
            let found = shown(&path, rate).unwrap();
            assert_eq!(found[..wanted.len()], wanted, "{name} at {rate}");
            assert!(found[wanted.len()..].iter().all(|&picture| picture == 9), "{name} at {rate}: {found:?}");
        }
    }
}

#[test]
fn colours_are_the_same_whoever_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let source = |size: &str| format!("-f lavfi -i color=c=0xdc1414:s={size}:r=8:d=0.5");
    for (size, matrix) in [("1280x720", "bt709"), ("320x240", "bt601")] {
        let codings = [
            ("a.mp4", "-c:v libx264 -pix_fmt yuv420p"),
            ("b.mkv", "-c:v libx264 -pix_fmt yuv420p"),
            ("c.mkv", "-c:v libx264 -pix_fmt yuv444p"),
            ("d.webm", "-c:v libvpx-vp9 -pix_fmt yuv420p"),
            ("e.avi", "-c:v ffv1 -pix_fmt yuv422p10le"),
            ("f.mkv", "-c:v ffv1 -pix_fmt bgr0"),
        ];
        for (name, coding) in codings {
            let scaled = if name == "f.mkv" { String::new() } else { format!(" -vf scale=out_color_matrix={matrix}") };
            // What is stated of colours is taken away again: the rule must tell.
            let unstated = "-bsf:v h264_metadata=colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2";
            let unstated = if coding.contains("libx264") { format!(" {unstated}") } else { String::new() };
            let arguments = format!("{}{scaled} {coding}{unstated}", source(size));
            let Some(path) = made(folder.path(), &format!("{size}-{name}"), &arguments) else { continue };
            assert!(near(colours(&path)[1], [0xdc, 0x14, 0x14]), "{size} {name}: {:?}", colours(&path));
        }
    }
    // A full range that is stated, in two containers.
    for name in ["full.mp4", "full.mkv"] {
        let arguments = format!(
            "{} -vf scale=out_range=pc:out_color_matrix=bt709 -color_range pc -colorspace bt709 -c:v libx264 -pix_fmt yuv420p",
            source("64x48")
        );
        let Some(path) = made(folder.path(), name, &arguments) else { continue };
        assert!(near(colours(&path)[1], [0xdc, 0x14, 0x14]), "{name}: {:?}", colours(&path));
    }
}

#[test]
fn sounds_that_only_ffmpeg_knows_are_read_at_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let burst_of = "aevalsrc=exprs='0.5*sin(2*PI*440*t)*between(t,0.25,0.75)':s=48000:d=1";
    let codings = [
        ("a.opus", "-c:a libopus -b:a 96k"),
        ("b.webm", "-c:a libopus -b:a 96k"),
        ("c.mka", "-c:a aac -b:a 128k"),
        ("d.m4a", "-c:a alac"),
        ("e.wma", "-c:a wmav2 -b:a 128k"),
        ("f.aiff", "-c:a pcm_s16be"),
        ("g.caf", "-c:a pcm_s24be"),
    ];
    for (name, coding) in codings {
        let Some(path) = made(folder.path(), name, &format!("-f lavfi -i {burst_of} {coding}")) else { continue };
        let (first, last, level) = burst(&path);
        // WMA does not say how much its encoder has put in front, nor does Matroska with AAC by an older ffmpeg.
        let late = if ["c.mka", "e.wma"].contains(&name) { 0.05 } else { 0.0 };
        assert!((0.24..0.26 + late).contains(&first) && (0.74..0.76 + late).contains(&last), "{name}: {first} {last}");
        assert!((-7.5..-5.0).contains(&level), "{name}: {level} dB");
        // From wherever one seeks, the samples are those of the whole.
        let whole = read_sound(&path, &SoundOptions::default()).unwrap().sound;
        let window = read_sound(&path, &SoundOptions::window(20_000, 3000)).unwrap().sound;
        assert_eq!(window.samples(), &whole.samples()[20_000..23_000], "{name}");
    }
}

#[test]
fn a_gap_in_a_sound_is_silence() {
    let folder = tempfile::tempdir().unwrap();
    // Half a second is missing between 0.5 and 1 s; tones before and behind.
    let source = "-f lavfi -i aevalsrc=exprs='0.5*sin(2*PI*440*t)':s=48000:d=2";
    let gap = "-af asetnsamples=n=1024:p=0,aselect='not(between(t,0.5,1))'";
    for (name, coding) in [("a.mka", "-c:a pcm_s16le"), ("b.mp4", "-c:a aac"), ("c.mka", "-c:a libopus")] {
        let Some(path) = made(folder.path(), name, &format!("{source} {gap} {coding}")) else { continue };
        let sound = read_sound(&path, &SoundOptions::default()).unwrap().sound.mono();
        let loud = |from: f64, to: f64| {
            let at = |seconds: f64| (seconds * 48_000.0) as usize;
            sound.samples()[at(from)..at(to)].iter().fold(0.0f32, |most, sample| most.max(sample.abs()))
        };
        assert!((1.95..2.06).contains(&sound.seconds()), "{name}: {} s", sound.seconds());
        assert!(loud(0.1, 0.4) > 0.4 && loud(1.2, 1.9) > 0.4, "{name}");
        assert!(loud(0.6, 0.9) < 0.01, "{name}: {}", loud(0.6, 0.9));
    }
}

#[test]
fn hybrid_log_gamma_is_mapped() {
    let folder = tempfile::tempdir().unwrap();
    // 75 % of HLG is reference white: 10 bits of limited range, 64 + 0.75 · 876.
    let arguments = "-f lavfi -i color=c=black:s=64x48:r=8:d=0.5,format=yuv420p10le,geq=lum=721:cb=512:cr=512 -c:v libx265 \
                     -x265-params log-level=error:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc -tag:v hvc1";
    let Some(path) = made(folder.path(), "hlg.mp4", arguments) else { return };
    assert_eq!(VideoReader::open(&path).unwrap().info().transfer, Transfer::Hlg);
    assert!(near(colours(&path)[1], [255; 3]), "{:?}", colours(&path));
}
