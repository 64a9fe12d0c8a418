//! Clips of other sizes and lengths than a recipe's: their own size and rate, in tiles, piece by piece.
#![allow(clippy::unwrap_used)]

mod lab;

use burn::tensor::Device;
use lab::Lab;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Media, Modality, Rate, Registry, Tokens};
use musiva_data::{Dataset, World, WorldConfig};
use musiva_media::{Metadata, ReadOptions, read_clip, write_clip};
use musiva_tokenizers::tiles::{self, Tiling};
use std::path::Path;

/// Eleven frames at 23.976 per second of 49 × 74 pixels, of which tokens of 4 × 4 leave 48 × 72.
fn film(lab: &Lab) -> Clip {
    let (height, width) = (49, 74);
    let waves = |i: usize| {
        let (t, y, x, c) = (i / (height * width * 3), i / (width * 3) % height, i / 3 % width, i % 3);
        (127.0 + 90.0 * ((x + t * 2) as f32 / 9.0).sin() * ((y + c * 5) as f32 / 7.0).cos()) as u8
    };
    let rate = Rate::new(24_000, 1001).unwrap();
    let clip = Clip::new([11, height, width], rate, (0..11 * height * width * 3).map(waves).collect()).unwrap();
    write_clip(lab.path("film.mp4"), &clip, &Metadata::new()).unwrap();
    clip
}

#[test]
fn a_film_keeps_its_size_and_rate_there_and_back() {
    let lab = Lab::trained();
    film(&lab);
    let tokenize = |out, more: &[&str]| {
        let all = [&["tokenize", "video.toml", "film.mp4", "--native", "-o", out], more].concat();
        lab.run(&all).succeeds().out
    };
    let said = tokenize("whole.safetensors", &[]);
    for text in ["the middle 72×48 pixels", "tokens [6, 12, 18]"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    // A tile that is no smaller than the frame is the frame.
    tokenize("one.safetensors", &["--tile", "80", "--overlap", "16"]);
    assert_eq!(lab.values("one.safetensors"), lab.values("whole.safetensors"));
    let said = tokenize("tiles.safetensors", &["--tile", "32", "--overlap", "8"]);
    assert!(said.contains("tiles of 32×32 pixels") && said.contains("tokens [6, 12, 18]"), "{said}");
    // Whoever decodes chooses tiles of their own.
    for (tokens, tile) in [("whole", "0"), ("tiles", "48"), ("tiles", "0")] {
        let tokens = format!("{tokens}.safetensors");
        lab.run(&["decode", "video.toml", &tokens, "--tile", tile, "--scale", "1", "--overwrite", "-o", "out.mp4"])
            .succeeds();
        let clip = read_clip(lab.path("out.mp4"), &ReadOptions::default()).unwrap().clip;
        assert_eq!((clip.shape(), clip.rate()), ([11, 48, 72], Rate::new(24_000, 1001).unwrap()));
    }
    lab.run(&["tokenize", "video.toml", "film.mp4", "--native", "--tile", "30"]).fails(8, &["--tile", "make it 32"]);
}

#[test]
fn a_whole_film_is_reconstructed_and_measured_piece_by_piece() {
    let lab = Lab::trained();
    film(&lab);
    let all = ["reconstruct", "video.toml", "film.mp4", "--whole", "--native", "--scale", "1", "-o", "again.mp4"];
    let said = lab.run(&all).succeeds().out;
    for text in ["again.mp4: 11 frames at 24000/1001 per second, 72×48 pixels", "PSNR", "tokens [6, 12, 18]"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    // At the recipe's own size and rate, 8 frames a second: three of them last as long as the film.
    let said = lab.run(&["reconstruct", "video.toml", "film.mp4", "--whole", "-o", "small.gif"]).succeeds().out;
    assert!(said.contains("the first 3 of 4 frames") && said.contains("16×16 pixels"), "{said}");
    lab.run(&["reconstruct", "video.toml", "film.mp4", "--whole", "-o", "a.png"]).fails(8, &["out.mp4"]);
    lab.run(&["reconstruct", "video.toml", "film.mp4", "--tile", "16", "-o", "a.mp4"]).fails(8, &["add `--whole`"]);
}

#[test]
fn seams_between_tiles_are_no_worse_than_elsewhere() {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry).unwrap();
    musiva_tokenizers::register(&mut registry).unwrap();
    musiva_models::register(&mut registry).unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/tokenizer-video.toml");
    let recipe = Recipe::open(&recipe, &[], &registry).unwrap();
    let codec = Codec::build(&recipe, Modality::Video, &Device::flex()).unwrap();

    // Six clips of the world as one.
    let world = World::new(WorldConfig { frames: 5, ..WorldConfig::default() }).unwrap();
    let (height, width) = (128, 192);
    let clips: Vec<Clip> = (0..6).map(|i| world.get(i).unwrap().into_clip().unwrap()).collect();
    let mut pixels = Vec::new();
    for (frame, y) in (0..5).flat_map(|frame| (0..height).map(move |y| (frame, y))) {
        for clip in &clips[y / 64 * 3..][..3] {
            pixels.extend_from_slice(&clip.frame(frame)[y % 64 * 64 * 3..][..64 * 3]);
        }
    }
    let clip = Clip::new([5, height, width], Rate::whole(8), pixels).unwrap();

    let again = |tiling: Option<Tiling>| -> Clip {
        let tokens: Tokens = {
            let mut encoding = tiles::encoding(codec.tokenizer(), [height, width], tiling).unwrap().unwrap();
            encoding.push(&Media::Clip(clip.clone())).unwrap()
        };
        let mut decoding = tiles::decoding(codec.tokenizer(), [height / 8, width / 8], tiling).unwrap().unwrap();
        decoding.push(&tokens).unwrap().clip("it").unwrap()
    };
    // Tiles of 64 pixels that overlap by 16 at least start at 0, 32 and 64, and at 0, 40, 80 and 128.
    let near = |at: usize, seams: &[usize]| seams.iter().any(|&seam| at.abs_diff(seam) < 4);
    let errors = |made: &Clip| {
        let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
        for (i, (a, b)) in made.pixels().iter().zip(clip.pixels()).enumerate() {
            let (y, x) = (i / (width * 3) % height, i / 3 % width);
            let seam = usize::from(near(y, &[48, 80]) || near(x, &[52, 92, 136]));
            sums[seam] += f64::from(a.abs_diff(*b));
            counts[seam] += 1.0;
        }
        [sums[0] / counts[0], sums[1] / counts[1]]
    };
    let (whole, tiled) = (errors(&again(None)), errors(&again(Some(Tiling { tile: 64, overlap: 16 }))));
    println!("elsewhere and at seams: whole {whole:?}, tiled {tiled:?}");
    // Places differ in how hard they are: seams may cost no more than other places do.
    assert!(tiled[1] / whole[1] < 1.05 * tiled[0] / whole[0].min(tiled[0]), "{whole:?} {tiled:?}");
    assert!(tiled[1] < 1.1 * whole[1] && tiled[0] < 1.1 * whole[0], "{whole:?} {tiled:?}");
}
