//! A folder with tiny recipes and their weights, and the command to run on them.

// Each test binary uses a part of it; a lab that cannot be set up is a failed test.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::{fs, fs::File, thread, time::Duration};

const WORLD: &str = r#"
schema = 1
name = "tiny"
data = { kind = "world", frames = 5, size = [16, 16], fps = 8 }
evaluate = { prompts = 5, batch = 3 }
[tokenizer.text]
kind = "bpe"
length = 40
vocabulary = 64
weights = "text.json"
[tokenizer.video]
kind = "magvit2"
patch = 4
stages = [{ channels = 8, blocks = 1, frames = 3, down = [2, 1, 1] }, { channels = 8, blocks = 1, frames = 1 }]
quantizer = { kind = "lfq", bits = 5 }
weights = "video.safetensors"
[train]
target = "backbone"
steps = 3
warmup = 1
batch = 2
clips = 24
log_every = 1
checkpoint_every = 5
sample_every = 2
"#;

const TEXT: &str =
    "schema = 1\nextends = \"world.toml\"\nname = \"text\"\n[train]\ntarget = \"tokenizer.text\"\nclips = 64\n";
const VIDEO: &str = "schema = 1\nextends = \"world.toml\"\nname = \"video\"\n[train]\ntarget = \"tokenizer.video\"\n";
const AUDIO: &str = r#"
schema = 1
name = "audio"
data = { kind = "world", frames = 5, size = [16, 16], fps = 8, sound = 8000 }
evaluate = { prompts = 5 }
[tokenizer.audio]
kind = "soundstream"
channels = 4
strides = [4, 5, 5]
quantizer = { kind = "rvq", levels = 2, entries = 8, channels = 4, decay = 0.9 }
weights = "audio.safetensors"
[train]
target = "tokenizer.audio"
steps = 3
warmup = 1
batch = 2
samples = 1000
log_every = 1
checkpoint_every = 5
sample_every = 2
sound_loss = { unquantized = 1 }
"#;
const LM: &str = r#"
schema = 1
extends = "world.toml"
name = "lm"
objective = { kind = "next-token", prompt_dropout = 0.1 }
sampler = { kind = "autoregressive", guidance = 2.0 }
[backbone]
kind = "lm"
width = 16
depth = 1
heads = 2
weights = "lm.safetensors"
"#;
const DIT: &str = r#"
schema = 1
extends = "world.toml"
name = "dit"
objective = { kind = "rectified-flow", prompt_dropout = 0.1, self_condition = 0.5, predict = "data" }
sampler = { kind = "euler", steps = 4, guidance = 2.0 }
[backbone]
kind = "dit"
width = 16
depth = 1
heads = 2
self_condition = true
weights = "dit.safetensors"
"#;

/// The world with its sound, and all that may be made of both.
const HEARD: &str = r#"
schema = 1
extends = "world.toml"
name = "heard"
data = { sound = 8000 }
[tokenizer.audio]
kind = "soundstream"
channels = 4
strides = [4, 5, 5]
quantizer = { kind = "rvq", levels = 2, entries = 8, channels = 4, decay = 0.9 }
weights = "audio.safetensors"
[[task]]
name = "text-to-image"
video = "image"
[[task]]
name = "text-to-audio"
audio = "target"
[[task]]
name = "text-to-video-with-sound"
video = "target"
audio = "target"
[[task]]
name = "image-to-video"
video = "first"
[[task]]
name = "extension"
video = "first"
frames = 3
[[task]]
name = "extension-backward"
video = "last"
frames = 3
[[task]]
name = "interpolation"
video = "ends"
[[task]]
name = "inpainting"
video = "outside"
[[task]]
name = "outpainting"
video = "inside"
[[task]]
name = "video-to-audio"
video = "context"
audio = "target"
[[task]]
name = "audio-to-video"
video = "target"
audio = "context"
[[task]]
name = "continuation"
video = "first"
audio = "first"
frames = 3
"#;
/// Backbones, objectives and samplers of the three paradigms, on the world with its sound.
const PARADIGMS: [(&str, &str); 3] = [
    (
        "heard-lm",
        r#"objective = { kind = "next-token" }
sampler = { kind = "autoregressive", guidance = 2.0 }
backbone = { kind = "lm", width = 16, depth = 1, heads = 2, weights = "heard-lm.safetensors" }"#,
    ),
    (
        "heard-masked",
        r#"objective = { kind = "masked" }
sampler = { kind = "maskgit", steps = 3, guidance = 2.0 }
backbone = { kind = "masked", width = 16, depth = 1, heads = 2, weights = "heard-masked.safetensors" }"#,
    ),
    (
        "heard-dit",
        r#"objective = { kind = "rectified-flow", predict = "data", frame_offset = 1.0 }
sampler = { kind = "euler", steps = 4, guidance = 2.0, frame_offset = 1.0 }
backbone = { kind = "dit", width = 16, depth = 1, heads = 2, weights = "heard-dit.safetensors" }"#,
    ),
];

/// A folder of its own, which goes away with it.
pub struct Lab(tempfile::TempDir);

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Lab {
    /// With recipes alone.
    pub fn bare() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        for (name, text) in
            [("world", WORLD), ("text", TEXT), ("video", VIDEO), ("audio", AUDIO), ("lm", LM), ("dit", DIT)]
        {
            fs::write(lab.path(&format!("{name}.toml")), text).unwrap();
        }
        fs::write(lab.path("heard.toml"), HEARD).unwrap();
        for (name, parts) in PARADIGMS {
            let text = format!("schema = 1\nextends = \"heard.toml\"\nname = \"{name}\"\n{parts}\n");
            fs::write(lab.path(&format!("{name}.toml")), text).unwrap();
        }
        lab
    }

    /// With the weights of all three paradigms on the world with its sound, too.
    pub fn heard() -> Self {
        static WEIGHTS: OnceLock<Lab> = OnceLock::new();
        let names = PARADIGMS.map(|(name, _)| name);
        let weights = WEIGHTS.get_or_init(|| {
            let lab = Self::trained();
            for name in names {
                lab.run(&["train", &format!("{name}.toml")]).succeeds();
                let made = lab.path(&format!("runs/{name}/weights.safetensors"));
                fs::copy(made, lab.path(&format!("{name}.safetensors"))).unwrap();
            }
            lab
        });
        let lab = Self::trained();
        for name in names {
            let file = format!("{name}.safetensors");
            fs::copy(weights.path(&file), lab.path(&file)).unwrap();
        }
        lab
    }

    /// With recipes and weights of a few steps.
    pub fn trained() -> Self {
        static WEIGHTS: OnceLock<Lab> = OnceLock::new();
        let weights = WEIGHTS.get_or_init(|| {
            let lab = Self::bare();
            for (recipe, made, name) in [
                ("text", "tokenizer.json", "text.json"),
                ("video", "weights.safetensors", "video.safetensors"),
                ("audio", "weights.safetensors", "audio.safetensors"),
                ("lm", "weights.safetensors", "lm.safetensors"),
                ("dit", "weights.safetensors", "dit.safetensors"),
            ] {
                lab.run(&["train", &format!("{recipe}.toml")]).succeeds();
                fs::copy(lab.path(&format!("runs/{recipe}/{made}")), lab.path(name)).unwrap();
            }
            lab
        });
        let lab = Self::bare();
        for name in ["text.json", "video.safetensors", "audio.safetensors", "lm.safetensors", "dit.safetensors"] {
            fs::copy(weights.path(name), lab.path(name)).unwrap();
        }
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    /// The contents of a JSON file.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    /// The values of a safetensors file, without its header: metadata has no order.
    pub fn values(&self, name: &str) -> Vec<u8> {
        let bytes = self.bytes(name);
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_musiva"));
        command.args(arguments).current_dir(self.0.path()).env("MUSIVA_CACHE", self.path("cache"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// What the command makes of `input` on its standard input: its output, and what it said.
    pub fn pipe(&self, arguments: &[&str], input: &[u8]) -> (Vec<u8>, String) {
        fs::write(self.path("input"), input).unwrap();
        let output = self.command(arguments).stdin(File::open(self.path("input")).unwrap()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (output.stdout, said)
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Outcome {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        // What streams to the standard output need not be text.
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    /// Ended with this exit code, and said all of that on the standard error.
    #[track_caller]
    pub fn fails(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        for text in says {
            assert!(self.err.contains(text), "{text:?} is not in\n{}", self.err);
        }
        self
    }
}

/// Waits until a file of that extension lies in `folder`, or the process has ended.
pub fn wait_for_file(folder: &Path, extension: &str, child: &mut Child) {
    let there = || {
        let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.any(|file| {
            let hidden = file.file_name().to_string_lossy().starts_with('.');
            !hidden && file.path().extension().is_some_and(|found| found == extension)
        })
    };
    while !there() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(2));
    }
}
