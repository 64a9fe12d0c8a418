//! The world as a whole: scenes against their promises, oracles against the scenes.

use super::*;
use musiva_core::{Clip, Modality};
use std::collections::HashSet;

fn world(config: WorldConfig) -> World {
    World::new(config).unwrap()
}

fn scenes(world: &World, split: Split, count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(move |i| world.scene(RngKey::new(11).sample(i), split))
}

/// Blurs by [1 2 1]/4 along both axes and adds Gaussian noise of `sigma` (of 255).
fn degrade(clip: &Clip, sigma: f32, seed: u64) -> Clip {
    let [_, height, width] = clip.shape();
    let noise = RngKey::new(seed).stream(RngStream::Noise).normals(clip.pixels().len());
    let mut values: Vec<f32> = clip.pixels().iter().map(|&x| f32::from(x)).collect();
    for (stride, side) in [(3, width), (3 * width, height)] {
        let sharp = values.clone();
        for (k, value) in values.iter_mut().enumerate() {
            let place = k / stride % side;
            let before = sharp[if place == 0 { k } else { k - stride }];
            let after = sharp[if place + 1 == side { k } else { k + stride }];
            *value = (before + 2.0 * sharp[k] + after) / 4.0;
        }
    }
    let mut out = clip.clone();
    for ((out, value), noise) in out.pixels_mut().iter_mut().zip(values).zip(noise) {
        *out = (value + sigma * noise).round().clamp(0.0, 255.0) as u8;
    }
    out
}

/// The part of right readings per attribute, bounces last.
fn rates(pairs: impl Iterator<Item = (Scene, Clip)>, config: &WorldConfig) -> [f64; 5] {
    let oracle = VideoOracle::new(config);
    let (mut right, mut count) = ([0.0; 5], 0.0);
    for (scene, clip) in pairs {
        let (reading, a) = (oracle.read(&clip), scene.attributes);
        let bounces = scene.events().iter().filter(|e| e.frame <= (clip.frames() - 1) as f64).count();
        let checks = [
            reading.colour == Some(a.colour),
            reading.shape == Some(a.shape),
            reading.direction == Some(a.direction),
            reading.speed == Some(a.speed),
            reading.bounces == Some(bounces),
        ];
        right.iter_mut().zip(checks).for_each(|(sum, check)| *sum += f64::from(u8::from(check)));
        count += 1.0;
    }
    right.map(|x| x / count)
}

#[track_caller]
fn assert_rates(what: &str, rates: [f64; 5], least: f64) {
    println!("{what}: colour, shape, direction, speed, bounces = {rates:.4?}");
    assert!(rates.iter().all(|&rate| rate >= least), "{what}: {rates:?}");
}

#[test]
fn the_oracle_reads_the_world_back() {
    let config = WorldConfig::default();
    let world = world(config.clone());
    let clean = scenes(&world, Split::Test, 2_000).map(|s| (s.clone(), s.render()));
    assert_rates("clean", rates(clean, &config), 0.995);
    let noisy = scenes(&world, Split::Test, 2_000).zip(0..).map(|(s, i)| (s.clone(), degrade(&s.render(), 8.0, i)));
    assert_rates("blur and noise", rates(noisy, &config), 0.99);
}

#[test]
fn the_oracle_reads_windows_and_other_sizes() {
    let config = WorldConfig::default();
    let long = world(config.clone());
    let prefix = scenes(&long, Split::Test, 500).map(|s| (s.clone(), s.render().slice(0..9)));
    assert_rates("first 9 of 17 frames", rates(prefix, &config), 0.99);
    for (frames, size) in [(9, [64, 64]), (17, [32, 32]), (33, [48, 80]), (17, [131, 97])] {
        let config = WorldConfig { frames, size, ..WorldConfig::default() };
        let other = world(config.clone());
        let clips = scenes(&other, Split::Test, 200).map(|s| (s.clone(), s.render()));
        assert_rates(&format!("{frames} frames of {size:?}"), rates(clips, &config), 0.99);
    }
}

#[test]
fn the_oracle_follows_the_path_through_noise() {
    let config = WorldConfig::default();
    let (world, oracle) = (world(config.clone()), VideoOracle::new(&config));
    for (scene, i) in scenes(&world, Split::Test, 100).zip(0..) {
        let reading = oracle.read(&degrade(&scene.render(), 8.0, i));
        for (seen, is) in reading.path.iter().zip(scene.path()) {
            let seen = seen.unwrap();
            assert!((seen[0] - is[0]).hypot(seen[1] - is[1]) < 0.5, "{seen:?} {is:?}");
        }
        assert!(reading.path_error.unwrap() < 0.3);
    }
}

#[test]
fn the_oracle_decides_nothing_about_garbage() {
    let config = WorldConfig::default();
    let (world, oracle) = (world(config.clone()), VideoOracle::new(&config));
    let size = [17, 64, 64];
    let make = |pixel: &mut dyn FnMut(usize) -> u8| {
        Clip::new(size, Rate::whole(8), (0..17 * 64 * 64 * 3).map(pixel).collect()).unwrap()
    };
    let mut stream = RngKey::new(5).stream(RngStream::Noise);
    let speckle: Vec<bool> = (0..17 * 64 * 64).map(|_| stream.chance(0.05)).collect();
    for (what, clip) in [
        ("black", make(&mut |_| 0)),
        ("white", make(&mut |_| 255)),
        ("noise", make(&mut |_| stream.below(256) as u8)),
        ("grey noise around the background", make(&mut |k| [10, 30][k / 3 % 7 % 2])),
        ("speckle", make(&mut |k| if speckle[k / 3] { 230 } else { 22 })),
        ("stripes", make(&mut |k| if k / 3 % 8 < 4 { 200 } else { 20 })),
    ] {
        let Reading { shape, colour, direction, speed, bounces, path, .. } = oracle.read(&clip);
        assert_eq!((shape, colour, direction, speed, bounces), (None, None, None, None, None), "{what}");
        assert_eq!(path.len(), 17);
    }

    // A shape that stands still, and one that jumps about, have no direction but all the rest.
    let scene = world.scene(RngKey::new(1), Split::Test);
    let moving = scene.render();
    for order in [[0; 17], [4, 11, 2, 9, 15, 0, 13, 6, 1, 12, 3, 16, 8, 5, 14, 7, 10]] {
        let pixels = order.iter().flat_map(|&t| moving.frame(t).to_vec()).collect();
        let reading = oracle.read(&Clip::new(size, Rate::whole(8), pixels).unwrap());
        assert_eq!((reading.shape, reading.colour), (Some(scene.attributes.shape), Some(scene.attributes.colour)));
        assert_eq!((reading.direction, reading.speed, reading.bounces), (None, None, None));
    }

    // Any size and length is read without a panic.
    for shape in [[1, 64, 64], [2, 64, 64], [17, 63, 64], [3, 1, 1]] {
        let clip = Clip::new(shape, Rate::whole(8), vec![128; shape.iter().product::<usize>() * 3]).unwrap();
        assert_eq!(oracle.read(&clip).direction, None);
        let tiny = VideoOracle::new(&WorldConfig { size: [shape[1], shape[2]], ..WorldConfig::default() });
        assert_eq!(tiny.read(&clip).shape, None);
    }
    let picture = oracle.read(&moving.slice(0..1));
    assert_eq!((picture.shape, picture.direction, picture.speed), (Some(scene.attributes.shape), None, None));
}

#[test]
fn the_oracle_forgives_what_models_do() {
    let config = WorldConfig::default();
    let world = world(config.clone());
    // Three times blurred, 1 % of bright speckle, and two frames of 17 lost.
    let spoilt = scenes(&world, Split::Test, 300).zip(0..).map(|(scene, i)| {
        let mut clip = (0..3).fold(scene.render(), |clip, round| degrade(&clip, 4.0, i * 3 + round));
        let mut stream = RngKey::new(i).stream(RngStream::Pick);
        let [_, height, width] = clip.shape();
        for pixel in clip.pixels_mut().chunks_exact_mut(3) {
            if stream.chance(0.01) {
                pixel.fill_with(|| stream.below(256) as u8);
            }
        }
        for lost in [5, 11] {
            clip.pixels_mut()[lost * height * width * 3..][..height * width * 3].fill(20);
        }
        (scene, clip)
    });
    assert_rates("spoilt", rates(spoilt, &config), 0.95);
}

#[test]
fn the_first_bounce_is_seen_and_the_shape_stays_inside() {
    for (frames, window) in [(17, 3.0..13.0), (9, 3.0..6.5), (5, 1.5..3.25), (65, 3.0..52.0), (2, 0.375..0.8125)] {
        let world = world(WorldConfig { frames, ..WorldConfig::default() });
        for scene in scenes(&world, Split::Train, 500) {
            let first = scene.events()[0];
            assert!(first.frame > window.start - 1e-3 && first.frame < window.end + 1e-3, "{frames}: {first:?}");
            assert_eq!(first.wall, scene.attributes.direction);
            assert!((first.time - first.frame / 8.0).abs() < 1e-12);
            let wall = match first.wall {
                Direction::Left | Direction::Up => 10.0,
                Direction::Right | Direction::Down => 54.0,
            };
            assert!((first.place[first.wall.axis()] - wall).abs() < 1e-3);
            assert_eq!(scene.path().len(), frames);
            assert_eq!(scene.path()[0], scene.start);
            assert!(scene.path().iter().flatten().all(|x| (9.999..54.001).contains(x)));
        }
    }
}

#[test]
fn a_bounce_just_before_the_last_frame_counts() {
    let world = world(WorldConfig::default());
    let attributes = Attributes::parse("fast red ring right").unwrap();
    let attributes = Attributes {
        shape: attributes.shape.unwrap(),
        colour: attributes.colour.unwrap(),
        direction: attributes.direction.unwrap(),
        speed: attributes.speed.unwrap(),
    };
    // The second bounce of a fast shape comes 44 / 5 = 8.8 frames after the first: here at 15.9,
    // so that the last difference of positions does not change its sign.
    let scene = Scene { start: [30.0, 54.0 - 7.1 * 5.0], ..world.scene_of(attributes, RngKey::new(1)) };
    let frames: Vec<_> = scene.events().iter().map(|e| (e.frame * 10.0).round()).collect();
    assert_eq!(frames, [71.0, 159.0]);
    let path = scene.path();
    assert!(path[16][1] < path[15][1] && path[15][1] < path[14][1]);
    assert_eq!(VideoOracle::new(world.config()).read(&scene.render()).bounces, Some(2));
}

#[test]
fn splits_keep_their_promises() {
    let config = WorldConfig::default();
    let world = world(config.clone());
    let seen = |split| scenes(&world, split, 4_000).map(|s| s.attributes.combination()).collect::<HashSet<_>>();
    let held: HashSet<_> = config.held_out.iter().map(|text| Combination::parse(text).unwrap()).collect();
    assert_eq!(held.len(), 4);
    assert_eq!(seen(Split::HeldOut), held);
    assert_eq!(seen(Split::Test).len(), 48);
    let train = seen(Split::Train);
    assert!(train.len() == 44 && train.is_disjoint(&held));

    // The places of the splits are disjoint: no test scene starts where a training scene does.
    let start = |s: Scene| s.start.map(f32::to_bits);
    let train: HashSet<_> = scenes(&world, Split::Train, 4_000).map(start).collect();
    assert!(train.len() > 1_000);
    assert!(scenes(&world, Split::Test, 4_000).map(start).all(|s| !train.contains(&s)));
}

#[test]
fn what_is_trained_on_never_shows_what_is_held_out() {
    let shown = |world: &World, index: u64| {
        let sample = world.get(index).unwrap();
        let said = Attributes::parse(&sample.caption).unwrap();
        // What is seen counts, not only what is said.
        let seen = VideoOracle::new(world.config()).read(&sample.clip.unwrap());
        let combination = |colour: Option<_>, shape: Option<_>, direction: Option<_>| {
            Some(Combination { colour: colour?, shape: shape?, direction: direction? })
        };
        let said = combination(said.colour, said.shape, said.direction).unwrap();
        assert!(combination(seen.colour, seen.shape, seen.direction).is_none_or(|seen| seen == said), "sample {index}");
        said
    };
    let all: HashSet<Combination> = Combination::all().collect();
    let held_out = [vec!["green triangle up", "red square down"], vec!["blue ring left"], vec![]];
    for (seed, held_out) in (3..).zip(held_out) {
        let held: HashSet<_> = held_out.iter().map(|text| Combination::parse(text).unwrap()).collect();
        let held_out = held_out.into_iter().map(str::to_owned).collect();
        let world = world(WorldConfig { size: [32, 32], held_out, seed, ..WorldConfig::default() });
        let seen: HashSet<Combination> = (0..1500).map(|index| shown(&world, index)).collect();
        assert_eq!(seen, all.difference(&held).copied().collect(), "all else is seen, and nothing more");
    }
}

#[test]
fn a_sample_is_a_function_of_its_number() {
    let world = world(WorldConfig { size: [32, 32], ..WorldConfig::default() });
    let Some(MediaShape::Clip { frames, height, width, .. }) = world.shape(Modality::Video) else {
        panic!("not a clip")
    };
    let mut clips = Vec::new();
    for index in [0, 1, 1 << 32, u64::from(u32::MAX)] {
        let sample = world.get(index).unwrap();
        assert_eq!(sample, world.clone().get(index).unwrap());
        assert_eq!(sample.clip.as_ref().unwrap().shape(), [frames, height, width]);
        assert!(Attributes::parse(&sample.caption).is_some());
        assert!(!clips.contains(&sample.clip));
        clips.push(sample.clip);
    }
    let report = world.report();
    assert!(report.pixels.is_some_and(|p| p.min == 20 && p.max == 232) && report.windows.is_none(), "{report:?}");
}

#[test]
fn the_phrasing_does_not_tell_the_attributes() {
    // Were captions drawn from the scene's own stream, one article would go with one set of colours.
    let world = world(WorldConfig::default());
    let mut pairs = HashSet::new();
    for i in 0..2_000 {
        let caption = world.get(i).unwrap().caption;
        let asked = Attributes::parse(&caption).unwrap();
        pairs.insert((caption.starts_with("a "), asked.colour, asked.shape, asked.direction));
    }
    assert_eq!(pairs.len(), 2 * 44);
}
