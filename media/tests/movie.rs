//! Clips with sound: read back by us, their boxes walked by hand, and heard by ffmpeg.

#![allow(clippy::unwrap_used)]

mod common;

use common::{is_there, noise, rounded, square, tones};
use musiva_core::{Rate, Sound, Timing};
use musiva_media::{
    Metadata, ReadOptions, SoundOptions, SoundReader, VideoReader, WriteOptions, metadata_of_bytes, read_clip,
    read_sound, write_clip, write_movie,
};
use std::{path::Path, process::Command};

/// Frame rate (two numbers), frames, channels, samples, sample rate: lengths that fit and that do not.
const MOVIES: [(u32, u32, usize, usize, usize, u32); 5] = [
    (8, 1, 17, 1, 34_000, 16_000),
    (24_000, 1001, 37, 2, 70_001, 44_100),
    (30_000, 1001, 5, 2, 50_021, 48_000),
    (8, 1, 29, 1, 33, 8_000),
    (1, 1, 4, 1, 70_000, 22_050),
];

fn movie(index: usize, folder: &Path) -> (std::path::PathBuf, Sound) {
    let (numerator, denominator, frames, channels, length, rate) = MOVIES[index];
    let clip = square(frames, 32, 48, Rate::new(numerator, denominator).unwrap());
    let sound = tones(channels, length, rate);
    let path = folder.join(format!("{index}.mp4"));
    let words = Metadata::new().with("musiva.seed", "7").unwrap();
    write_movie(&path, &clip, &sound, &words, &WriteOptions::default()).unwrap();
    (path, sound)
}

#[test]
fn pictures_and_sound_come_back() {
    let folder = tempfile::tempdir().unwrap();
    for (index, &(numerator, denominator, frames, ..)) in MOVIES.iter().enumerate() {
        let (path, sound) = movie(index, folder.path());
        let opened = read_sound(&path, &SoundOptions::default()).unwrap();
        assert_eq!((opened.sound.shape(), opened.sound.rate()), (sound.shape(), sound.rate()));
        assert_eq!((opened.info.length, opened.info.start, &*opened.info.codec), (Some(sound.length()), 0.0, "flac"));
        assert!(opened.sound.samples() == rounded(&sound, 16));
        // The pictures do not know of the sound.
        let clip = square(frames, 32, 48, Rate::new(numerator, denominator).unwrap());
        let silent = folder.path().join("silent.mp4");
        write_clip(&silent, &clip, &Metadata::new()).unwrap();
        let (heard, silent) =
            (read_clip(&path, &ReadOptions::default()).unwrap(), read_clip(&silent, &ReadOptions::default()).unwrap());
        assert!(heard.clip == silent.clip && heard.info == silent.info);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(metadata_of_bytes(file.clone()).unwrap().get("musiva.seed"), Some("7"));
        movie(index, folder.path());
        assert!(std::fs::read(&path).unwrap() == file, "equal movies are equal bytes");
        let mut reader = VideoReader::open(&path).unwrap();
        reader.seek(frames - 1).unwrap();
        assert!(reader.next_frame().unwrap().unwrap().pixels == heard.clip.frame(frames - 1));
    }
}

#[test]
fn a_file_without_sound_is_none_and_a_broken_one_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, sound) = movie(0, folder.path());
    let reader = SoundReader::open_if_any(&path).unwrap().unwrap();
    assert_eq!(reader.info().length, Some(sound.length()));
    for name in ["silent.mp4", "silent.gif", "silent.png"] {
        let silent = folder.path().join(name);
        write_clip(&silent, &square(3, 32, 32, Rate::whole(8)), &Metadata::new()).unwrap();
        assert!(SoundReader::open_if_any(&silent).unwrap().is_none(), "{name}");
        let error = SoundReader::open(&silent).err().unwrap().to_string();
        assert!(error.contains("sound") && !error.contains("damaged"), "{error}");
    }
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(300);
    std::fs::write(&path, bytes).unwrap();
    assert!(SoundReader::open_if_any(&path).is_err());
    assert!(SoundReader::open_if_any(folder.path().join("gone.mp4")).is_err());
}

#[test]
fn jumps_land_on_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = movie(1, folder.path());
    let whole = read_sound(&path, &SoundOptions::default()).unwrap().sound;
    let mut reader = SoundReader::open(&path).unwrap();
    let timing = Timing::new(Rate::new(24_000, 1001).unwrap(), whole.rate());
    for frame in [30, 0, 17, 18, 36] {
        let samples = timing.samples(frame..frame + 1);
        let mut block = vec![0.0; samples.len() * 2];
        reader.seek(samples.start).unwrap();
        assert_eq!(reader.next(&mut block).unwrap(), samples.len());
        assert!(block == whole.slice(samples).samples());
    }
}

#[test]
fn only_mp4_holds_both() {
    let folder = tempfile::tempdir().unwrap();
    let clip = square(3, 32, 32, Rate::whole(8));
    let write = |name: &str, sound: &Sound| {
        write_movie(folder.path().join(name), &clip, sound, &Metadata::new(), &WriteOptions::default())
    };
    assert!(write("a.gif", &noise(1, 10, 8000)).unwrap_err().to_string().contains(".mp4"));
    assert!(write("a.mp4", &noise(9, 10, 8000)).unwrap_err().to_string().contains("8 channels"));
    let odd = noise(1, 10, 8000).with_rate(Rate::new(8000, 3).unwrap());
    assert!(write("a.mp4", &odd).unwrap_err().to_string().contains("8000/3"));
}

/// The boxes of `bytes` by a reader that has nothing in common with ours: (letters, payload).
fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        found.push((bytes[4..8].try_into().unwrap(), &bytes[8..size]));
        bytes = &bytes[size..];
    }
    found
}

fn inside<'a>(bytes: &'a [u8], path: &str) -> Vec<&'a [u8]> {
    path.split('/').fold(vec![bytes], |found, step| {
        let of =
            |bytes| boxes(bytes).into_iter().filter(|(kind, _)| kind == step.as_bytes()).map(|(_, payload)| payload);
        found.into_iter().flat_map(of).collect()
    })
}

fn numbers(payload: &[u8]) -> Vec<u32> {
    payload.chunks_exact(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).collect()
}

#[test]
fn the_boxes_say_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    for (index, &(_, _, frames, channels, length, rate)) in MOVIES.iter().enumerate() {
        let (path, _) = movie(index, folder.path());
        let file = std::fs::read(path).unwrap();
        let kinds: Vec<_> = boxes(&file).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [*b"ftyp", *b"moov", *b"mdat"], "the index stands in front");
        let moov = inside(&file, "moov")[0];
        let handlers: Vec<_> = inside(moov, "trak/mdia/hdlr").iter().map(|hdlr| &hdlr[8..12]).collect();
        assert_eq!(handlers, [b"vide", b"soun"]);
        let entry = inside(inside(moov, "trak/mdia/minf/stbl/stsd")[1].split_at(8).1, "fLaC")[0];
        assert_eq!(numbers(&entry[16..28]), [(channels as u32) << 16 | 16, 0, rate << 16]);
        // A full box, then the last block of metadata: STREAMINFO with its 34 bytes.
        let flac = inside(&entry[28..], "dfLa")[0];
        assert_eq!((&flac[..8], flac.len()), ([0, 0, 0, 0, 0x80, 0, 0, 34].as_slice(), 42));

        let mdhd = numbers(inside(moov, "trak/mdia/mdhd")[1]);
        assert_eq!(mdhd[3..5], [rate, length as u32]);
        let scale = f64::from(numbers(inside(moov, "mvhd")[0])[3]);
        let seconds = f64::from(numbers(inside(moov, "mvhd")[0])[4]) / scale;
        let pictures = numbers(inside(moov, "trak/mdia/mdhd")[0]);
        let longest = (f64::from(pictures[4]) / f64::from(pictures[3])).max(length as f64 / f64::from(rate));
        assert!((seconds - longest).abs() <= 1.0 / scale, "{seconds} seconds for {longest}");

        // Where every sample lies and when it starts, by the tables alone.
        let mut laid: Vec<(u64, u64, f64, usize)> = Vec::new();
        for track in 0..2 {
            let table = |kind: &str| numbers(inside(moov, &format!("trak/mdia/minf/stbl/{kind}"))[track]);
            let (stsc, stco, sizes, stts) = (table("stsc"), table("stco"), table("stsz"), table("stts"));
            let scale = f64::from(numbers(inside(moov, "trak/mdia/mdhd")[track])[3]);
            let ticks: Vec<u32> = stts[2..].chunks(2).flat_map(|run| vec![run[1]; run[0] as usize]).collect();
            assert_eq!((ticks.len(), sizes[2] as usize), (sizes.len() - 3, sizes.len() - 3));
            match track {
                0 => assert_eq!(ticks.len(), frames),
                _ => assert_eq!(ticks.iter().sum::<u32>() as usize, length, "as long as the sound, to the sample"),
            }
            let (mut sample, mut clock) = (0, 0u64);
            for (chunk, &offset) in (1..).zip(&stco[2..]) {
                let run = stsc[2..].chunks(3).rfind(|run| run[0] <= chunk).unwrap();
                let mut at = u64::from(offset);
                for _ in 0..run[1] {
                    let size = u64::from(sizes[3 + sample]);
                    laid.push((at, at + size, clock as f64 / scale, track));
                    (at, clock) = (at + size, clock + u64::from(ticks[sample]));
                    sample += 1;
                }
            }
            assert_eq!(sample, ticks.len(), "the chunks hold all samples");
        }
        laid.sort_by_key(|&(start, ..)| start);
        let mdat = file.len() - inside(&file, "mdat")[0].len();
        assert_eq!((laid[0].0, laid[laid.len() - 1].1), (mdat as u64, file.len() as u64));
        assert!(laid.windows(2).all(|pair| pair[0].1 == pair[1].0), "samples lie side by side");
        // Nothing lies behind what starts half a second later.
        let mut latest = 0.0f64;
        for &(_, _, time, _) in &laid {
            assert!(time > latest - 0.5, "{time} behind {latest}");
            latest = latest.max(time);
        }
        // Each FLAC frame starts with its mark, where the table says.
        assert!(
            laid.iter().filter(|sample| sample.3 == 1).all(|sample| file[sample.0 as usize..][..2] == [0xff, 0xf8])
        );
    }
}

#[test]
fn ffmpeg_sees_and_hears_it() {
    if !is_there("ffmpeg") || !is_there("ffprobe") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (index, &(numerator, denominator, frames, channels, length, rate)) in MOVIES.iter().enumerate() {
        let (path, sound) = movie(index, folder.path());
        let probe = |stream: &str, entries: &str| {
            let output = Command::new("ffprobe")
                .args(["-v", "error", "-count_frames", "-select_streams", stream, "-of", "csv=p=0:s=,"])
                .args(["-show_entries", &format!("stream={entries}")])
                .arg(&path)
                .output()
                .unwrap();
            assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().trim_end_matches(',').to_owned()
        };
        assert_eq!(
            probe("a:0", "codec_name,sample_rate,channels,time_base,start_pts,duration_ts"),
            format!("flac,{rate},{channels},1/{rate},0,{length}")
        );
        assert_eq!(
            probe("v:0", "codec_name,r_frame_rate,nb_read_frames"),
            format!("h264,{numerator}/{denominator},{frames}")
        );
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&path)
            .args(["-map", "0:a:0", "-f", "f32le", "-"])
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "movie {index}: {}", String::from_utf8_lossy(&output.stderr));
        let theirs: Vec<f32> =
            output.stdout.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert!(theirs == rounded(&sound, 16), "movie {index}: {} of {} samples", theirs.len(), channels * length);
    }
}
