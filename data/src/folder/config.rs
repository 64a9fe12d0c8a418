//! A folder of clips as a recipe describes it.

use crate::auto::ByFiles;
use crate::buckets::{self, ClipShape, Shapes};
use crate::identity::Identify;
use crate::scan::CaptionRules;
use crate::{captions, clip_sound};
use musiva_core::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Windows of the clips in a folder, with their sound and their captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FolderConfig {
    /// The folder; its subfolders belong to it. `--data FOLDER` names it on the command line.
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// Frames of a window, 1 to 1024. With 1, images are clips too.
    pub frames: usize,
    /// Height and width in pixels, each 8 to 2048: a frame is scaled until it covers them
    /// (triangle filter, widened where it shrinks), then its middle is cut out.
    pub size: [usize; 2],
    /// Lengths and sizes that training sees instead of `frames` and `size`, drawn step by step: buckets.
    /// `"auto"`: by the files.
    #[serde(skip_serializing_if = "Shapes::is_none")]
    pub shapes: Shapes,
    /// Of `"auto"`, what the files say; no key of a recipe.
    #[serde(skip)]
    pub by_files: ByFiles,
    /// Frames per second of a window, 1 to 240. Each shows what its file shows at that time.
    pub fps: u32,
    /// Samples per second of the sound, 8,000 to 192,000, as one channel: each window comes with the sound of the same time
    /// of its file. Where a file has none, there is silence. Left out, clips are silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8_000, max = 192_000))]
    pub sound: Option<u32>,
    /// Frames from the start of one window to the start of the next; absent: `frames`, so that
    /// windows do not overlap.
    pub stride: Option<usize>,
    /// Whether windows keep clear of cuts from one shot to the next: no window shows two shots. All files are decoded for it
    /// when the data are opened. A cut is where two frames in a row differ by more than 24 of 255 on average, and three
    /// times as much as those before and behind them.
    pub avoid_cuts: bool,
    /// Whether a clip needs a caption.
    pub captions: Captions,
    /// The columns with the captions in `metadata.jsonl` and `metadata.csv`, and the keys of captions in the `.json` of shards:
    /// all texts in them are captions of a clip. Left out: `text`, or else `caption`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caption_columns: Vec<String>,
    /// Whether a file without any other caption has the name of its subfolder as its own, as the labels of Hugging Face's
    /// `imagefolder` and `audiofolder` are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub folder_captions: bool,
    /// The share of each file, at its end, that is held out for evaluation, 0 to 0.9, so that what is measured comes
    /// later than the training data. A file too short for a window on either side is trained on whole. 0: the last
    /// twentieth of the windows of all files together is held out. A folder that is split into `train` and `test` (or
    /// `validation`), as Hugging Face has it, needs no share: `test` is held out.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub held_out: f64,
    /// What tells files from what they were when training began, or when their tokens were made: by their sizes and
    /// times, or by their content, all of which is read for it.
    pub identity: Identify,
}

/// Whether a clip needs a caption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Captions {
    /// A clip without a caption is left out.
    #[default]
    Required,
    /// A clip without a caption has an empty one.
    Optional,
}

impl Default for FolderConfig {
    fn default() -> Self {
        Self {
            path: String::new(),
            frames: 17,
            size: [64, 64],
            shapes: Shapes::default(),
            by_files: ByFiles::default(),
            fps: 8,
            sound: None,
            stride: None,
            avoid_cuts: false,
            captions: Captions::default(),
            caption_columns: Vec::new(),
            folder_captions: false,
            held_out: 0.0,
            identity: Identify::default(),
        }
    }
}

impl FolderConfig {
    /// The same data at another length and size.
    pub(crate) fn at(&self, shape: &ClipShape) -> Self {
        Self { frames: shape.frames, size: shape.size, shapes: Shapes::default(), ..self.clone() }
    }

    /// The same data at each of several lengths and sizes, and how often training draws it; by the files where that is
    /// asked for: `look` lists these.
    pub(crate) fn buckets(&self, look: impl FnOnce() -> Vec<ClipShape>) -> Vec<(f64, Self)> {
        let own = |shape: &ClipShape| (shape.weight, self.at(shape));
        match &self.shapes {
            Shapes::These(shapes) => shapes.iter().map(own).collect(),
            Shapes::Auto(_) => {
                let buckets = self.by_files.found.get_or_init(|| look().into());
                let bucket = |(number, shape): (usize, &ClipShape)| {
                    let (weight, config) = own(shape);
                    (weight, Self { by_files: ByFiles::of(buckets, number), ..config })
                };
                buckets.iter().enumerate().map(bucket).collect()
            }
        }
    }

    pub(crate) fn caption_rules(&self) -> CaptionRules<'_> {
        CaptionRules { columns: &self.caption_columns, folders: self.folder_captions }
    }

    /// Everything that is wrong with it, without a look at the folder.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = buckets::validate(self.shapes.listed(), |shape| self.at(shape).validate());
        if !(1..=1024).contains(&self.frames) {
            errors.push(ConfigError::new(
                "frames",
                format!("{} frames; a window has 1 to 1024", self.frames),
                "set `frames = 17`",
            ));
        }
        if self.size.iter().any(|side| !(8..=2048).contains(side)) {
            let [height, width] = self.size;
            let message = format!("{height} × {width} pixels; each side has 8 to 2048");
            errors.push(ConfigError::new("size", message, "set `size = [64, 64]`"));
        }
        if !(1..=240).contains(&self.fps) {
            errors.push(ConfigError::new(
                "fps",
                format!("{} frames per second; 1 to 240 are possible", self.fps),
                "set `fps = 8`",
            ));
        }
        errors.extend(self.sound.and_then(|rate| clip_sound::wrong(self.frames, self.fps, rate)));
        errors.extend(captions::wrong_columns(&self.caption_columns));
        if self.stride == Some(0) {
            errors.push(ConfigError::new(
                "stride",
                "windows 0 frames apart never end",
                format!("set `stride = {}`", self.frames.max(1)),
            ));
        }
        if !(0.0..=0.9).contains(&self.held_out) {
            let message = format!("{} of each file; 0 to 0.9 can be held out", self.held_out);
            errors.push(ConfigError::new("held_out", message, "set `held_out = 0.1`"));
        }
        errors
    }
}
