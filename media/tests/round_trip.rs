//! What is written is read back.

#![allow(clippy::unwrap_used)]

mod common;

use common::{psnr, square};
use musiva_core::{Clip, Rate};
use musiva_media::{
    Metadata, ReadOptions, SheetRow, WriteOptions, contact_sheet, read_clip, read_metadata, write_clip, write_clip_with,
};
use proptest::prelude::*;

fn metadata() -> Metadata {
    Metadata::new()
        .with("musiva.prompt", "ein roter Kreis — 左から右へ 🟥\nzweite Zeile = 2")
        .unwrap()
        .with("musiva.seed", "7")
        .unwrap()
        .with("musiva.note", "x".repeat(700))
        .unwrap()
}

#[test]
fn every_format_keeps_words_and_writes_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let clip = square(5, 34, 46, Rate::whole(8));
    for name in ["clip.mp4", "clip.gif", "clip.png"] {
        let (first, second) = (folder.path().join(name), folder.path().join(format!("again-{name}")));
        write_clip(&first, &clip, &metadata()).unwrap();
        write_clip(&second, &clip, &metadata()).unwrap();
        assert_eq!(read_metadata(&first).unwrap(), metadata(), "{name}");
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "{name}");
        write_clip(&first, &clip, &Metadata::new()).unwrap();
        assert!(read_metadata(&first).unwrap().is_empty(), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6, "nothing is left behind");
}

#[test]
fn a_name_decides_what_is_written_and_nothing_decides_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let clip = square(3, 20, 22, Rate::whole(8));
    let refused = write_clip(folder.path().join("clip.avi"), &clip, &Metadata::new()).unwrap_err();
    assert!(refused.to_string().contains(".mp4"), "{refused}");
    let (gif, misnamed) = (folder.path().join("clip.gif"), folder.path().join("clip.jpeg"));
    write_clip(&gif, &clip, &Metadata::new()).unwrap();
    std::fs::rename(gif, &misnamed).unwrap();
    assert!(read_clip(&misnamed, &ReadOptions::default()).unwrap().clip == clip);
    assert!(Metadata::new().with("bad key", "").is_err() && Metadata::new().with("k", "a\0b").is_err());
}

fn back(clip: &Clip, name: &str, options: &WriteOptions) -> Clip {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write_clip_with(&path, clip, &Metadata::new(), options).unwrap();
    read_clip(&path, &ReadOptions::default()).unwrap().clip
}

#[test]
fn mp4_is_close() {
    for (rate, size) in
        [(Rate::whole(8), [64, 64]), (Rate::new(24_000, 1001).unwrap(), [50, 94]), (Rate::whole(60), [128, 66])]
    {
        let clip = square(37, size[0], size[1], rate);
        let read = back(&clip, "clip.mp4", &WriteOptions { scale: 4, qp: 10 });
        assert_eq!((read.shape(), read.rate()), ([37, size[0] * 4, size[1] * 4], rate));
        let small = musiva_media::resize(&read, size[0], size[1], musiva_media::Filter::Area).unwrap();
        for frame in 0..37 {
            let quality = psnr(small.frame(frame), clip.frame(frame));
            assert!(quality > 36.0, "frame {frame} of {size:?}: {quality} dB");
        }
        // Whose frame is it? Its own, and no neighbour's.
        assert!(psnr(small.frame(9), clip.frame(9)) > psnr(small.frame(9), clip.frame(10)) + 6.0);
    }
}

#[test]
fn odd_and_tiny_clips_are_padded_and_enlarged() {
    assert_eq!(back(&square(2, 33, 47, Rate::whole(8)), "clip.mp4", &WriteOptions::default()).shape(), [2, 34, 48]);
    assert_eq!(back(&square(2, 5, 9, Rate::whole(8)), "clip.mp4", &WriteOptions::default()).shape(), [2, 20, 36]);
    assert_eq!(
        back(&square(1, 7, 5, Rate::whole(8)), "clip.gif", &WriteOptions { scale: 3, qp: 0 }).shape(),
        [1, 21, 15]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn gif_and_png_are_exact(
        frames in 1usize..9, height in 1usize..14, width in 1usize..14, rate in 1u32..=50,
        colours in prop::collection::vec(any::<[u8; 3]>(), 1..200), picks in prop::collection::vec(any::<prop::sample::Index>(), 1500),
    ) {
        let pixels = (0..frames * height * width).flat_map(|at| *picks[at % picks.len()].get(&colours)).collect();
        let clip = Clip::new([frames, height, width], Rate::whole(rate), pixels).unwrap();
        let read = back(&clip, "clip.gif", &WriteOptions::default());
        prop_assert_eq!(read.shape(), clip.shape());
        prop_assert!(read.pixels() == clip.pixels());
        let image = clip.slice(0..1);
        prop_assert!(back(&image, "clip.png", &WriteOptions::default()).pixels() == image.pixels());
    }
}

#[test]
fn pictures_that_a_gif_shows_for_several_frames_last_as_long() {
    // Ninths of a second on a clock of hundredths, the first picture for two of them.
    for rate in [7, 9, 11, 13, 30] {
        let pixels = [10u8, 10, 20, 30, 40].iter().flat_map(|&code| [code; 3]).collect();
        let clip = Clip::new([5, 1, 1], Rate::whole(rate), pixels).unwrap();
        let read = back(&clip, "clip.gif", &WriteOptions::default());
        assert_eq!((read.shape(), read.pixels()), (clip.shape(), clip.pixels()), "{rate}");
    }
}

#[test]
fn gif_keeps_the_rate_where_it_can_be_told() {
    for rate in [5, 8, 10, 12, 15, 24, 25, 30, 50] {
        assert_eq!(
            back(&square(17, 8, 24, Rate::whole(rate)), "clip.gif", &WriteOptions::default()).rate(),
            Rate::whole(rate)
        );
    }
}

#[test]
fn many_colours_in_a_gif_are_near() {
    let pixels = (0..40usize * 40).flat_map(|at| [(at % 40 * 6) as u8, (at / 40 * 6) as u8, 90]).collect();
    let clip = Clip::new([1, 40, 40], Rate::whole(1), pixels).unwrap();
    let quality = psnr(back(&clip, "clip.gif", &WriteOptions::default()).pixels(), clip.pixels());
    assert!(quality > 32.0, "{quality} dB");
}

#[test]
fn a_png_of_a_clip_is_a_sheet() {
    let clip = square(4, 6, 6, Rate::whole(8));
    let sheet = contact_sheet(&[0..2, 2..4].map(|frames| SheetRow::new("", clip.slice(frames))), 2).unwrap();
    assert!(back(&clip, "clip.png", &WriteOptions::default()).pixels() == sheet.pixels());
}

#[test]
fn the_quantizer_trades_bytes_for_closeness() {
    let pixels = (0..64 * 64 * 3u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 26) as u8 + 90).collect();
    let clip = Clip::new([1, 64, 64], Rate::whole(8), pixels).unwrap();
    let quality = |qp| psnr(back(&clip, "clip.mp4", &WriteOptions { scale: 2, qp }).pixels(), &enlarged(&clip));
    assert!(quality(12) > quality(26) + 1.0 && quality(26) > quality(44) + 1.0);
    assert_eq!(quality(0), quality(12));
}

fn enlarged(clip: &Clip) -> Vec<u8> {
    musiva_media::resize(clip, 128, 128, musiva_media::Filter::Nearest).unwrap().pixels().to_vec()
}
