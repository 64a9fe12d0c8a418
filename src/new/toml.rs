//! The text of the recipes.

use super::fit::{Data, Fit, strides};
use super::{Paradigm, Purpose};
use musiva_tokenizers::text::TextConfig;
use serde_json::json;
use std::path::Path;

/// What all recipes of a folder share.
pub fn data(fit: &Fit, folder: &Path, text: Option<TextConfig>) -> String {
    let name = &fit.name;
    let mut toml = format!(
        "# What the recipes of this folder share: the data, and the tokenizers that turn them into tokens.\n\
         schema = 1\nname = {}\n\n[data]\n",
        json!(format!("{name}-data"))
    );
    let path = json!(folder.display().to_string());
    match fit.data {
        Data::Clips { frames, size: [height, width], fps, sound } => {
            toml += &format!(
                "kind = \"folder\"\npath = {path}\nframes = {frames}\nsize = [{height}, {width}]\nfps = {fps}\n"
            );
            if let Some(rate) = sound {
                toml += &format!("sound = {rate}\n");
            }
            if !fit.purpose.needs_captions() {
                toml += "captions = \"optional\"\n";
            }
        }
        Data::Sounds { rate, samples } => {
            toml += &format!("kind = \"sounds\"\npath = {path}\nrate = {rate}\nsamples = {samples}\n");
        }
    }
    if let Some(TextConfig { length, vocabulary }) = text {
        toml += &format!(
            "\n# Trained on the captions already; a prompt has up to `length` tokens.\n[tokenizer.text]\nkind = \"bpe\"\n\
             length = {length}\nvocabulary = {vocabulary}\nweights = \"text.json\"\n"
        );
    }
    toml
}

/// `[tokenizer.video]`: one token for two frames where there are several, of 8×8 pixels in bits or 16×16 in latents.
pub fn video(fit: &Fit, [a, b, c, d]: [usize; 4]) -> String {
    let moves = matches!(fit.data, Data::Clips { frames: 2.., .. });
    let in_time = if moves { ", down = [2, 1, 1]" } else { "" };
    let (last, quantizer) = match fit.paradigm {
        Paradigm::Dit => (
            format!(
                "{{ channels = {c}, blocks = 2, frames = 1, down = [1, 2, 2] }},\n    \
                 {{ channels = {d}, blocks = 1, frames = 1 }}"
            ),
            "{ kind = \"kl\", channels = 64 }",
        ),
        Paradigm::Lm | Paradigm::Masked => {
            (format!("{{ channels = {c}, blocks = 2, frames = 1 }}"), "{ kind = \"lfq\", bits = 18 }")
        }
    };
    format!(
        "\n[tokenizer.video]\nkind = \"magvit2\"\npatch = 4\nstages = [\n    \
         {{ channels = {a}, blocks = 1, frames = 1, down = [1, 2, 2] }},\n    \
         {{ channels = {b}, blocks = 1, frames = 1{in_time} }},\n    {last},\n]\nquantizer = {quantizer}\n\
         weights = \"runs/tokenizer-video/weights.safetensors\"\n"
    )
}

/// `[tokenizer.audio]`: 40 tokens a second.
pub fn audio(fit: &Fit) -> String {
    let (Data::Clips { sound: Some(rate), .. } | Data::Sounds { rate, .. }) = fit.data else { return String::new() };
    let tokens = if fit.paradigm == Paradigm::Dit { ", tokens = \"vectors\"" } else { "" };
    format!(
        "\n[tokenizer.audio]\nkind = \"soundstream\"\nchannels = 16\nstrides = {:?}\n\
         quantizer = {{ kind = \"rvq\", levels = 4, entries = 1024, channels = 64, decay = 0.97{tokens} }}\n\
         weights = \"runs/tokenizer-audio/weights.safetensors\"\n",
        strides(rate)
    )
}

/// `[train]` of the video tokenizer.
pub fn train_video(fit: &Fit, steps: usize) -> String {
    let Data::Clips { frames, .. } = fit.data else { return String::new() };
    // Two tokens and the first frame's: more of them in the time.
    let window = if frames > 5 { "frames = 5\n" } else { "" };
    let losses = match fit.paradigm {
        Paradigm::Dit => "l1 = 1.0\nl2 = 10.0\nkl = 1e-5\n",
        Paradigm::Lm | Paradigm::Masked => {
            "l1 = 1.0\nl2 = 10.0\nentropy = 0.02\ndiversity = 0.1\ndiversity_end = 0.02\nanneal_from = 0.6\n"
        }
    };
    format!(
        "\n[train]\ntarget = \"tokenizer.video\"\n{}batch = 4\n{window}learning_rate = 2e-3\nbetas = [0.9, 0.99]\n\
         \n[train.loss]\n{losses}",
        every(steps)
    )
}

/// `[train]` of the audio tokenizer.
pub fn train_audio(fit: &Fit, steps: usize) -> String {
    let (Data::Clips { sound: Some(rate), .. } | Data::Sounds { rate, .. }) = fit.data else { return String::new() };
    let whole = match fit.data {
        Data::Clips { frames, fps, .. } => frames * rate as usize / fps as usize,
        Data::Sounds { samples, .. } => samples,
    };
    // Short windows: more of them in a step.
    let token = strides(rate).iter().product::<usize>();
    let window = (rate as usize / 4).next_multiple_of(token);
    let window = if window < whole { format!("samples = {window}\n") } else { String::new() };
    let unquantized = steps / 8;
    format!(
        "\n[train]\ntarget = \"tokenizer.audio\"\n{}batch = 16\n{window}learning_rate = 3e-3\nweight_decay = 0.0\n\
         betas = [0.9, 0.98]\n\n[train.sound_loss]\nwave = 0.0\nnoise = 10.0\nmel = 0.2\nunquantized = {}\n",
        every(steps),
        unquantized.min(150)
    )
}

/// The model and how it is trained.
pub fn model(fit: &Fit, [width, depth]: [usize; 2], steps: usize) -> String {
    let heads = width / 32;
    // Two digits of nine bits each: a vocabulary of 512 twice is far less to learn than one of 262,144.
    let digits = if fit.has_video() { "digits = 2\n" } else { "" };
    let (kind, own, objective, sampler) = match fit.paradigm {
        Paradigm::Lm => (
            "lm",
            digits,
            "kind = \"next-token\"\nprompt_dropout = 0.1\n",
            "kind = \"autoregressive\"\ntemperature = 0.8\nguidance = 1.5\n",
        ),
        Paradigm::Masked => (
            "masked",
            digits,
            "kind = \"masked\"\nprompt_dropout = 0.1\n",
            "kind = \"maskgit\"\nsteps = 24\ntemperature = 0.8\nguidance = 1.5\n",
        ),
        Paradigm::Dit => (
            "dit",
            "self_condition = false\n",
            "kind = \"rectified-flow\"\npredict = \"velocity\"\nshift = 3.0\nprompt_dropout = 0.1\n",
            "kind = \"euler\"\nsteps = 40\nguidance = 2.0\nshift = 3.0\n",
        ),
    };
    let task = task(fit);
    format!(
        "\n[[task]]\nname = \"{}\"\n{task}\n[backbone]\nkind = \"{kind}\"\nwidth = {width}\ndepth = {depth}\nheads = {heads}\n{own}\
         weights = \"runs/model/weights.safetensors\"\n\n[objective]\n{objective}\n[sampler]\n{sampler}\n\
         [train]\ntarget = \"backbone\"\n{}batch = 8\nlearning_rate = 2e-3\nmuon = 0.02\nweight_decay = 0.02\n\
         betas = [0.9, 0.98]\n",
        fit.purpose,
        every(steps)
    )
}

/// What of each track is given, and what is made.
fn task(fit: &Fit) -> String {
    let heard = if fit.has_audio() { "audio = \"target\"\n" } else { "" };
    match (fit.purpose, fit.data) {
        (Purpose::TextToImage | Purpose::TextToVideo, _) => format!("video = \"target\"\n{heard}"),
        (Purpose::ImageToVideo, _) => format!("video = \"first\"\n{heard}"),
        (Purpose::VideoToAudio, _) => "video = \"context\"\naudio = \"target\"\n".into(),
        (Purpose::AudioToVideo, _) => "video = \"target\"\naudio = \"context\"\n".into(),
        (Purpose::AudioContinuation, Data::Sounds { rate, samples }) => {
            let token = strides(rate).iter().product::<usize>();
            let tokens = (samples / token / 2).max(1);
            format!("audio = \"first\"\nseconds = {:?}\n", (tokens * token) as f64 / f64::from(rate))
        }
        (Purpose::TextToAudio | Purpose::AudioContinuation, _) => "audio = \"target\"\n".into(),
    }
}

/// Steps, and how often something is said, shown and saved.
fn every(steps: usize) -> String {
    let ema = if steps < 2000 { 0.99 } else { 0.998 };
    let sample = (steps / 8).max(1);
    let (log, save) = ((steps / 200).clamp(1, 20), (steps / 20).clamp(1, 500));
    format!(
        "steps = {steps}\nema = {ema:?}\nseed = 1\nlog_every = {log}\nsample_every = {sample}\ncheckpoint_every = {save}\n"
    )
}
