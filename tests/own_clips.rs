//! Clips of somebody's own, with their sound and their captions: looked at, trained on, and made.

#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, Outcome};
use musiva::evaluate::{EvaluateOptions, evaluate_all};
use musiva::{Component, ConfigError, DeviceName, Make, Metric, MetricConfig, MetricSample, Output, RecipeSource};
use musiva_core::{Clip, Rate, Sound};
use musiva_media::{Metadata, ReadOptions, SoundOptions, WriteOptions, read_clip, read_sound, write_movie};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::{f32::consts::TAU, fs, thread};

const OWN: &str = r#"
schema = 1
extends = "world.toml"
name = "own"
objective = { kind = "next-token", prompt_dropout = 0.1 }
sampler = { kind = "autoregressive", guidance = 2.0 }
[data]
kind = "folder"
path = "clips"
frames = 5
size = [16, 16]
fps = 8
sound = 8000
[tokenizer.audio]
kind = "soundstream"
channels = 4
strides = [4, 5, 5]
quantizer = { kind = "rvq", levels = 2, entries = 8, channels = 4, decay = 0.9 }
weights = "audio.safetensors"
[backbone]
kind = "lm"
width = 16
depth = 1
heads = 2
weights = "own.safetensors"
"#;

/// Four clips of a second and a half, each of its own grey and its own tone, with captions in all the ways that there are.
fn clips(lab: &Lab) {
    fs::create_dir_all(lab.path("clips/more")).unwrap();
    for (i, name) in (1u8..).zip(["a", "b", "more/c", "more/d"]) {
        let pixels = vec![50 * i; 36 * 32 * 48 * 3];
        let clip = Clip::new([36, 32, 48], Rate::whole(24), pixels).unwrap();
        let tone = |k: usize| (TAU * 220.0 * f32::from(i) * k as f32 / 22_050.0).sin() * 0.5;
        let sound = Sound::new(1, Rate::whole(22_050), (0..33_075).map(tone).collect()).unwrap();
        let path = lab.path(&format!("clips/{name}.mp4"));
        write_movie(path, &clip, &sound, &Metadata::new(), &WriteOptions::default()).unwrap();
    }
    fs::write(lab.path("clips/a.txt"), "a red ring moves left\n").unwrap();
    let lines = "{\"file_name\": \"b.mp4\", \"text\": \"a blue ring moves up\"}\nnot a line of JSON\n";
    fs::write(lab.path("clips/metadata.jsonl"), lines).unwrap();
    let table = "\u{feff}file_name,caption\r\nc.mp4,\"a ring, red, moves up\"\r\n./d.mp4,a blue square moves left\r\n";
    fs::write(lab.path("clips/more/metadata.csv"), table).unwrap();
    fs::write(lab.path("own.toml"), OWN).unwrap();
}

#[test]
fn clips_with_sound_are_looked_at_trained_on_and_made() {
    let lab = Lab::trained();
    clips(&lab);
    let said = lab.run(&["data", "own.toml"]).succeeds().out;
    for text in [
        "clips of shape [5, 16, 16, 3]",
        "sounds of shape [5000, 1] at 8000 Hz",
        "found          4\n",
        "windows        8\n",
        "left out       1 lines of metadata that cannot be used, such as metadata.jsonl:2: ",
        "\"a red ring moves left\"  (a.mp4 from frame 0)",
        "\"a blue ring moves up\"  (b.mp4 from frame 5)",
        "\"a ring, red, moves up\"  (more/c.mp4 from frame 0)",
        "\"a blue square moves left\"  (more/d.mp4 from frame 5)",
        " % silent, of 8 sounds",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }

    lab.run(&["train", "own.toml", "--steps", "2"]).succeeds();
    fs::copy(lab.path("runs/own/weights.safetensors"), lab.path("own.safetensors")).unwrap();
    lab.run(&["generate", "own.toml", "--prompt", "a red ring moves left", "-o", "made.mp4"]).succeeds();
    let clip = read_clip(lab.path("made.mp4"), &ReadOptions::default()).unwrap().clip;
    let sound = read_sound(lab.path("made.mp4"), &SoundOptions::default()).unwrap().sound;
    assert_eq!((clip.frames(), clip.rate()), (5, Rate::whole(8)));
    assert_eq!((sound.shape(), sound.rate()), ([5000, 1], Rate::whole(8000)));

    // Without an oracle, what was held out and all that is real are what is made compared with.
    let said = lab.run(&["evaluate", "own.toml", "--prompts", "4", "-o", "figures.json"]).succeeds().out;
    for text in ["bits per token", "exact", "frames-8x32x32", "mel-32", "top 1", "to the nearest trained on"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    let figures = lab.json("figures.json");
    let task = &figures["held_out"][0];
    // Two steps teach nothing: a code costs about what it costs with nothing learned, ten bits of a clip's, three of a sound's.
    let bits = task["loss"]["bits_per_token"].as_f64().unwrap();
    assert!((3.0..11.0).contains(&bits), "{bits}");
    let loss = task["loss"]["loss"].as_f64().unwrap();
    assert!((loss / std::f64::consts::LN_2 - bits).abs() < 1e-3, "{loss} nats, {bits} bits");
    let cost = &figures["bits"][0];
    assert_eq!((&cost["kind"], &cost["n"]), (&"exact".into(), &4.into()));
    assert!((cost["per_token"]["mean"].as_f64().unwrap() - bits).abs() < 1e-3, "{cost}");
    let (found, real) = (&task["retrieval"][0], task["retrieval"][0]["real"].as_u64().unwrap());
    // Eight windows: too few to hold any out, so they are all of both.
    assert_eq!((found["n"].as_u64(), real), (Some(4), 12));
    assert!(found["median_rank"].as_u64().unwrap() <= 12);
    assert_eq!(task["variety"][0]["held_out_nearest_trained"], 0.0);
    // Silent clips and the same seed: the same figures.
    lab.run(&["evaluate", "own.toml", "--prompts", "4", "-o", "again.json"]).succeeds();
    assert_eq!(lab.json("again.json"), figures);
    metrics_see_whole_samples(&lab);
}

/// A metric that says how long what it sees is.
#[derive(Default)]
struct Lengths(BTreeMap<String, f64>);

impl Metric for Lengths {
    fn update(&mut self, MetricSample { made, given, reference, caption }: MetricSample) -> musiva::Result<()> {
        let length = |output: &Output| {
            let [frames, samples] = [output.clip.as_ref().map(Clip::frames), output.sound.as_ref().map(Sound::length)];
            [frames, samples].map(Option::unwrap_or_default)
        };
        let (made, given, reference) = (length(made), length(given), length(reference));
        // What was made or given is a part of the real sample, and nothing is both.
        for i in 0..2 {
            assert!([0, reference[i]].contains(&(made[i] + given[i])), "{made:?} and {given:?} of {reference:?}");
        }
        assert!(caption.starts_with('a'));
        let all = [("frames", made[0]), ("samples", made[1]), ("frames given", given[0]), ("samples given", given[1])];
        for (name, value) in all.into_iter().filter(|(_, value)| *value > 0) {
            *self.0.entry(name.to_owned()).or_default() += value as f64;
        }
        Ok(())
    }

    fn result(&mut self) -> musiva::Result<BTreeMap<String, f64>> {
        Ok(self.0.clone())
    }
}

struct LengthsConfig;

impl MetricConfig for LengthsConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn build(&self) -> musiva::Result<Box<dyn Metric>> {
        Ok(Box::<Lengths>::default())
    }
}

/// A metric of one's own gets reconstructed clips, reconstructed sounds, and what tasks make with what they were given.
fn metrics_see_whole_samples(lab: &Lab) {
    let schema = serde_json::json!({ "type": "object" });
    let make = Make::Metric(|_| Ok(Box::new(LengthsConfig)));
    let origin = "this test".to_owned();
    let lengths = Component { kind: "lengths", summary: "how long it is", origin, schema, learns: false, make };
    let tasks = r#"
[[task]]
name = "both"
video = "target"
audio = "target"
[[task]]
name = "foley"
video = "context"
audio = "target"
[[task]]
name = "silent"
video = "target"
"#;
    let recipe = OWN.replace("own.safetensors", "tasks.safetensors") + tasks;
    fs::write(lab.path("tasks.toml"), recipe).unwrap();
    lab.run(&["train", "tasks.toml", "--steps", "1", "--run", "tasks"]).succeeds();
    fs::copy(lab.path("tasks/weights.safetensors"), lab.path("tasks.safetensors")).unwrap();
    let source = RecipeSource::file(lab.path("tasks.toml")).component(lengths);
    let recipe = source.set("metric=[{ kind = \"lengths\" }]").open().unwrap();
    let options = EvaluateOptions { prompts: Some(4), ..EvaluateOptions::default() };
    let all = evaluate_all(&[recipe], &options, &DeviceName::Cpu.open().unwrap(), &mut ()).unwrap();
    let found: BTreeMap<_, _> = all.each[0].metrics.iter().map(|one| (&*one.samples, one.values.clone())).collect();
    let values = |frames: f64, samples: f64| {
        let all = [("frames".to_owned(), frames), ("samples".to_owned(), samples)];
        all.into_iter().filter(|(_, value)| *value > 0.0).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(found["reconstructed"], values(20.0, 0.0));
    assert_eq!(found["reconstructed sounds"], values(0.0, 20_000.0));
    assert_eq!(found["generated, both"], values(20.0, 20_000.0));
    let foley = [("frames given", 20.0), ("samples", 20_000.0)].map(|(name, value)| (name.to_owned(), value));
    assert_eq!(found["generated, foley"], foley.into());
    assert_eq!(found["generated, silent"], values(20.0, 0.0));
}

/// The clips of [`clips`] in two shards, each with captions of all its own.
fn shards(lab: &Lab) {
    clips(lab);
    for (shard, clips) in [("00", ["a", "b"]), ("01", ["more/c", "more/d"])] {
        let mut out = tar::Builder::new(fs::File::create(lab.path(&format!("clips-{shard}.tar"))).unwrap());
        for (i, name) in clips.into_iter().enumerate() {
            out.append_path_with_name(lab.path(&format!("clips/{name}.mp4")), format!("{name}.mp4")).unwrap();
            let text = format!("{{\"text\": [\"a red ring moves left\", \"clip {i} of {shard}\"]}}");
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            out.append_data(&mut header, format!("{name}.json"), text.as_bytes()).unwrap();
        }
        out.into_inner().unwrap();
    }
}

#[test]
fn shards_are_looked_at_and_trained_on() {
    let lab = Lab::trained();
    shards(&lab);
    let recipe = OWN.replace("kind = \"folder\"", "kind = \"webdataset\"");
    let recipe = recipe.replace("path = \"clips\"", "path = \"clips-{00..01}.tar\"");
    fs::write(lab.path("shards.toml"), recipe).unwrap();
    let said = lab.run(&["data", "shards.toml", "-o", "sheet.png"]).succeeds().out;
    for text in [
        "webdataset: clips of shape [5, 16, 16, 3]",
        "found          4\n",
        "windows        8\n",
        "captions       5 different ones in 8 windows, 2.0 to a window, of 4 to 5 words\n",
        "\"a red ring moves left\", \"clip 1 of 01\"  (clips-01.tar/more/d.mp4 from frame 5)",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    // Going on is the same as never stopping: the same samples with the same captions.
    let train = ["train", "shards.toml", "--steps", "4", "--set", "train.checkpoint_every=2"];
    lab.run(&[&train[..], &["--run", "run"]].concat()).succeeds();
    let whole = lab.values("run/weights.safetensors");
    fs::remove_file(lab.path("run/checkpoints/00000004.safetensors")).unwrap();
    fs::remove_file(lab.path("run/weights.safetensors")).unwrap();
    lab.run(&[&train[..], &["--resume", "run"]].concat()).succeeds();
    assert!(lab.values("run/weights.safetensors") == whole);
    lab.run(&["data", "shards.toml", "--set", "data.path=s3://bucket/a.tar"])
        .fails(4, &["begins with `s3:`", "download them first"]);
    lab.run(&["data", "own.toml", "--set", "data.path=clips-{00..01}.tar"]).fails(4, &["kind = \"webdataset\""]);
}

/// Serves the lab's shards by HTTP; the first response of each file breaks off in the middle, and `If-Range` is ignored.
/// Requests are logged: `/clips-00.tar from 0`.
fn serve(lab: &Lab) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (folder, noted) = (lab.path(""), asked.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request: Vec<_> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let path = request[0].split(' ').nth(1).unwrap().to_owned();
            let from = request.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=")?.parse().ok());
            let from = from.map(|text: String| text.trim_end_matches('-').parse::<usize>().unwrap()).unwrap_or(0);
            let first = !noted.lock().unwrap().iter().any(|one| one.starts_with(&path));
            noted.lock().unwrap().push(format!("{path} from {from}"));
            let name = path[1..].split('?').next().unwrap();
            if name == "login.tar" {
                let page =
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
                stream.write_all(page.as_bytes()).unwrap();
                continue;
            }
            let Ok(bytes) = fs::read(folder.join(name)) else {
                write!(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
                continue;
            };
            let (rest, length) = (&bytes[from..], bytes.len());
            if from > 0 && rest.is_empty() {
                let end = "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(end.as_bytes()).unwrap();
                continue;
            }
            let status = match from {
                0 => "200 OK".to_owned(),
                _ => format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{length}", length - 1),
            };
            let head = format!("HTTP/1.1 {status}\r\netag: \"one\"\r\ncontent-length: {}\r\n", rest.len());
            write!(stream, "{head}connection: close\r\n\r\n").unwrap();
            stream.write_all(if first { &rest[..length / 2] } else { rest }).unwrap();
        }
    });
    (host, asked)
}

#[test]
fn shards_at_urls_are_fetched_once() {
    let lab = Lab::trained();
    shards(&lab);
    let recipe = OWN.replace("kind = \"folder\"", "kind = \"webdataset\"");
    fs::write(lab.path("shards.toml"), recipe.replace("path = \"clips\"", "path = \"clips-{00..01}.tar\"")).unwrap();
    let (host, asked) = serve(&lab);
    let [there, gone] =
        ["clips-{00..01}.tar?key=secret", "gone.tar?key=secret"].map(|name| format!("data.path={host}/{name}"));
    let run = |arguments: &[&str]| Outcome::of(lab.command(arguments).env("NO_PROXY", "127.0.0.1"));
    // Nothing is fetched to be checked.
    run(&["check", "shards.toml", "--set", &there]).succeeds();
    assert!(asked.lock().unwrap().is_empty());
    let said = run(&["data", "shards.toml", "--set", &there]).succeeds().out;
    assert!(said.contains("2 files downloaded") && said.contains("(clips-01.tar/more/d.mp4 from frame 5)"), "{said}");
    let halves = ["00", "01"].map(|shard| lab.bytes(&format!("clips-{shard}.tar")).len() / 2);
    let wanted: Vec<_> =
        (0..2).flat_map(|i| [0, halves[i]].map(|from| format!("/clips-0{i}.tar?key=secret from {from}"))).collect();
    assert_eq!(*asked.lock().unwrap(), wanted, "each once, and the rest of it after the break");
    // As shards of this machine, and not asked for again.
    for (name, path) in [("here", "data.path=clips-{00..01}.tar"), ("there", &*there)] {
        run(&["train", "shards.toml", "--set", path, "--steps", "2", "--run", name]).succeeds();
    }
    assert!(lab.values("here/weights.safetensors") == lab.values("there/weights.safetensors"));
    assert_eq!(asked.lock().unwrap().len(), 4);
    run(&["train", "--resume", "there", "shards.toml", "--set", &there, "--steps", "2"]).succeeds();
    let error = run(&["data", "shards.toml", "--set", &gone]).fails(4, &["/gone.tar", "404", "in a browser"]).err;
    assert!(!error.contains("secret"), "{error}");
    let kept = lab.text("there/recipe.toml");
    assert!(kept.contains("clips-{00..01}.tar\"") && !kept.contains("secret"), "{kept}");
    // A download that was killed before its file was renamed, and one whose file has changed since: both start anew.
    let file = format!("cache/data/{}/clips-00.tar", host.trim_start_matches("http://").replace(':', "_"));
    let whole = lab.bytes(&file);
    assert!(whole == lab.bytes("clips-00.tar"));
    for (part, tag) in [(whole.clone(), "\"one\""), (vec![0; 1000], "\"other\"")] {
        fs::remove_file(lab.path(&file)).unwrap();
        fs::write(lab.path(&format!("{file}.part")), &part).unwrap();
        fs::write(lab.path(&format!("{file}.tag")), tag).unwrap();
        let before = asked.lock().unwrap().len();
        run(&["data", "shards.toml", "--set", &there]).succeeds();
        let wanted = [part.len(), 0].map(|from| format!("/clips-00.tar?key=secret from {from}"));
        assert_eq!(asked.lock().unwrap()[before..], wanted);
        assert!(lab.bytes(&file) == whole);
    }
    let login = format!("data.path={host}/login.tar");
    run(&["data", "shards.toml", "--set", &login]).fails(4, &["web page", "in a browser"]);
    let auto = run(&["check", "shards.toml", "--set", &there, "--set", "data.shapes=auto"]);
    auto.fails(3, &["these lie at a URL"]);
}

#[test]
fn a_mixture_is_looked_at_and_trained_on() {
    let lab = Lab::trained();
    shards(&lab);
    let (head, rest) = OWN.split_once("[data]").unwrap();
    let (_, tail) = rest.split_once("[tokenizer.audio]").unwrap();
    let data = "[data]\nkind = \"mixture\"\n\
                [[data.sources]]\nweight = 3.0\n[data.sources.data]\nkind = \"folder\"\npath = \"clips\"\nframes = 5\n\
                size = [16, 16]\nfps = 8\nsound = 8000\n\
                [[data.sources]]\n[data.sources.data]\nkind = \"webdataset\"\npath = \"clips-{00..01}.tar\"\nframes = 5\n\
                size = [16, 16]\nfps = 8\nsound = 8000\n[tokenizer.audio]";
    fs::write(lab.path("both.toml"), format!("{head}{data}{tail}")).unwrap();
    let said = lab.run(&["data", "both.toml"]).succeeds().out;
    for text in [
        "mixture: clips of shape [5, 16, 16, 3]",
        "found          8\n",
        "windows        16\n",
        "source 1: metadata.jsonl:2: ",
        "bucket 1       75 % of the steps, 8 windows, clips of shape [5, 16, 16, 3]",
        "bucket 2       25 % of the steps, 8 windows, ",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    lab.run(&["train", "both.toml", "--run", "runs/both", "--steps", "3"]).succeeds();
    assert!(lab.path("runs/both/tokens-0.safetensors").exists() && lab.path("runs/both/tokens-1.safetensors").exists());
    fs::write(lab.path("odd.toml"), format!("{head}{}{tail}", data.replacen("frames = 5", "frames = 9", 1))).unwrap();
    lab.run(&["check", "odd.toml"]).fails(3, &[
        "data.sources.1.data",
        "`webdataset` has clips of shape [5, 16, 16, 3] at 8 fps, and the first source has clips of shape [9, 16, 16, 3]",
    ]);
}

/// Changes the last number of the first tensor whose name starts so.
fn change(lab: &Lab, weights: &str, name: &str) {
    let mut bytes = lab.bytes(weights);
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..head]).unwrap();
    let tensor = tensors.as_object().unwrap().iter().find(|(tensor, _)| tensor.starts_with(name)).unwrap().1;
    let end = head + tensor["data_offsets"][1].as_u64().unwrap() as usize;
    bytes[end - 1] ^= 1;
    fs::write(lab.path(weights), bytes).unwrap();
}

/// What the tokens of a run were made of.
fn made_of(lab: &Lab, run: &str) -> String {
    let bytes = lab.bytes(&format!("{run}/tokens.safetensors"));
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let head: serde_json::Value = serde_json::from_slice(&bytes[8..head]).unwrap();
    head["__metadata__"]["musiva.tokens"].as_str().unwrap().to_owned()
}

#[test]
fn data_that_change_are_told_and_tokenized_again() {
    let lab = Lab::trained();
    clips(&lab);
    lab.run(&["train", "own.toml", "--run", "run", "--steps", "2"]).succeeds();
    let first = made_of(&lab, "run");
    let resume = ["train", "own.toml", "--resume", "run", "--steps", "3"];
    assert!(!lab.run(&resume).succeeds().err.contains("not those"));
    assert_eq!(made_of(&lab, "run"), first);
    fs::copy(lab.path("clips/b.mp4"), lab.path("clips/a.mp4")).unwrap();
    fs::write(lab.path("clips/more/d.txt"), "not read: the metadata are nearer").unwrap();
    let said = lab.run(&["train", "own.toml", "--resume", "run", "--steps", "4"]).succeeds().err;
    let told =
        "the files of `data` are not those that this run was trained on: 1 is changed (a.mp4), 1 is new (more/d.txt)";
    assert!(said.contains(told) && said.contains("they are made again"), "{said}");
    let second = made_of(&lab, "run");
    assert_ne!(second, first);

    // Tokens are those of an encoder, whatever decodes them.
    for (part, same) in [("decoder.", true), ("encoder.", false)] {
        change(&lab, "video.safetensors", part);
        lab.run(&["train", "own.toml", "--run", part, "--steps", "1"]).succeeds();
        assert_eq!(made_of(&lab, part) == second, same, "{part}");
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let lab = Lab::trained();
    clips(&lab);
    lab.run(&["data", "own.toml", "--set", "data.sound=100"]).fails(3, &["data.sound", "8000 to 192000"]);
    lab.run(&["data", "own.toml", "--set", "data.caption_columns=[\"file_name\"]"]).fails(3, &["data.caption_columns"]);
    let no_column = ["data", "own.toml", "--set", "data.caption_columns=[\"title\"]"];
    let said = lab.run(&no_column).succeeds().out;
    assert!(said.contains("found          4\n") && said.contains("windows        2\n"), "{said}");
    assert!(said.contains("3 without a caption, such as b.mp4"), "{said}");
}

#[test]
fn damage_deep_in_a_file_is_left_out_and_named() {
    let lab = Lab::trained();
    clips(&lab);
    // The index lies in front: what is cut off shows when the last pictures are asked for.
    let path = lab.path("clips/b.mp4");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() * 6 / 10]).unwrap();
    fs::write(lab.path("clips/metadata.parquet"), "PAR1").unwrap();
    let said = lab.run(&["data", "own.toml", "--verify"]).succeeds().out;
    for text in [
        "files of metadata of a kind that is not read (metadata.jsonl and metadata.csv are), such as metadata.parquet",
        "verified       8 windows that are trained on: ",
        "clips/b.mp4: the file ends before its last ",
        " left out\n",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    let said = lab.run(&["train", "own.toml", "--steps", "2"]).succeeds().err;
    assert!(
        said.contains("left out, because it cannot be read: clips/b.mp4: the file ends before its last "),
        "{said}"
    );
    assert!(said.contains(" windows of 1 files that cannot be read"), "{said}");

    // Where nothing can be read, it says so.
    for name in ["a", "b", "more/c", "more/d"] {
        let path = lab.path(&format!("clips/{name}.mp4"));
        let moov = whole.windows(4).position(|kind| kind == b"mdat").unwrap() + 8;
        fs::write(path, &whole[..moov]).unwrap();
    }
    lab.run(&["data", "own.toml"]).fails(4, &["none of its 8 samples can be read, such as"]);
}
