//! What a user brings beside the prompt.

use crate::adapt::{Extent, adapted};
use crate::output::say;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, ConfigError, Error, ErrorKind, Mask, MediaShape, Modality, Result, Sound};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "What is given")]
pub struct ContextArgs {
    /// An image to begin with; a second one to end with
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// A clip: to go on from, to hear, to change a region of; with a second one the way from one to the other
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub video: Vec<PathBuf>,
    /// A sound
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// A rectangle of the clip that is made anew, in pixels of the recipe's frames
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", requires = "video", conflicts_with_all = ["extend", "extend_before"], value_parser = rectangle)]
    pub region: Option<[usize; 4]>,
    /// A picture or a clip that is white where the clip is made anew
    #[arg(long, value_name = "FILE", requires = "video", conflicts_with_all = ["region", "extend", "extend_before"])]
    pub mask: Option<PathBuf>,
    /// Keep the region and make what lies around it
    #[arg(long, requires = "video")]
    pub outside: bool,
    /// Go on for so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub extend: Option<f64>,
    /// Make so many seconds that come before
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "video")]
    pub extend_before: Option<f64>,
    /// From this second on another prompt holds; may be repeated
    #[arg(long, value_name = "SECOND:TEXT", value_parser = moment, requires = "extend")]
    pub then: Vec<(f64, String)>,
    /// Change the clip and the sound that are given instead of going on from them: near 0 they stay as they are, 1
    /// leaves nothing of them
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub strength: Option<f64>,
    /// End with the image that it begins with
    #[arg(long = "loop", requires = "image")]
    pub looped: bool,
    /// Which of the recipe's tasks, where what is given leaves a choice
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// Show the model's own picture of what was given, too
    #[arg(long)]
    pub no_paste: bool,
}

/// Media at the recipe's rate and size.
#[derive(Clone, Debug, Default)]
pub struct Media {
    /// Clips; an image is one of a single frame.
    pub clips: Vec<Clip>,
    /// The sound.
    pub sound: Option<Sound>,
    /// What of the first clip is to be made.
    pub mask: Option<Mask>,
}

impl ContextArgs {
    /// Whether anything is.
    pub fn any(&self) -> bool {
        !self.image.is_empty() || !self.video.is_empty() || self.audio.is_some()
    }

    /// Whether what is given can be changed by so much, where it is to be: before anything is read.
    fn check_strength(&self, recipe: &Recipe) -> Result<()> {
        if self.strength.is_none() {
            return Ok(());
        }
        let refused = |message: &str, hint: &str| {
            Err(Error::new(ErrorKind::Unsupported, "--strength", message).hint(hint.to_owned()))
        };
        if self.video.is_empty() && self.audio.is_none() {
            return refused("there is no clip and no sound to change", "give one by --video or --audio");
        }
        if self.video.len() > 1 || !self.image.is_empty() {
            return refused("one clip is changed, and more is given", "give one clip by --video");
        }
        recipe.need_sampler()?.component.edits().map_err(|error| {
            let else_do =
                "or keep a part as it is and make the rest: --region X,Y,WIDTH,HEIGHT, or --image to begin with";
            let hint = format!("{}; {else_do}", error.hint);
            ConfigError { hint, ..error }.into_error(ErrorKind::Unsupported, "--strength")
        })
    }

    /// Reads it; every adaptation is said.
    pub fn read(&self, recipe: &Recipe) -> Result<Media> {
        self.check_strength(recipe)?;
        let mut media = Media::default();
        for path in self.image.iter().chain(&self.video) {
            let clip = clip(recipe, path, Extent::Uncut)?;
            let still = self.video.is_empty();
            if still && clip.frames() > 1 {
                say!("  its first frame");
            }
            media.clips.push(if still { clip.slice(0..1) } else { clip });
        }
        if media.clips.len() > 2 {
            return Err(Error::new(ErrorKind::Unsupported, "generate", "more than two images or clips are given")
                .hint("give one to begin with, and one to end with"));
        }
        if self.looped && media.clips.len() == 1 {
            media.clips.extend_from_within(..);
        } else if self.looped {
            return Err(Error::new(ErrorKind::Unsupported, "--loop", "there are two images, and a loop has one")
                .hint("give one image, or leave `--loop` out"));
        }
        if let Some(path) = &self.audio {
            media.sound = Some(adapted(recipe, path, Modality::Audio, Extent::Uncut)?.sound("--audio")?);
        }
        if let Some(shape) = media.clips.first().map(Clip::shape) {
            media.mask = self.mask(recipe, shape)?;
        }
        Ok(media)
    }

    fn mask(&self, recipe: &Recipe, [_, height, width]: [usize; 3]) -> Result<Option<Mask>> {
        let MediaShape::Clip { frames, .. } = recipe.need_media(Modality::Video)? else { return Ok(None) };
        let shape = [frames, height, width];
        if let Some([x, y, w, h]) = self.region {
            let fits =
                |start: usize, length: usize, all: usize| start.checked_add(length).is_some_and(|end| end <= all);
            if w == 0 || h == 0 || !fits(x, w, width) || !fits(y, h, height) {
                let message = format!("{w}×{h} pixels from ({x}, {y}) do not lie within {width}×{height}");
                return Err(Error::new(ErrorKind::Unsupported, "--region", message)
                    .hint(format!("choose a rectangle within the recipe's frames, e.g. 0,0,{},{height}", width / 2)));
            }
            let inside = |at_y: usize, at_x: usize| (y..y + h).contains(&at_y) && (x..x + w).contains(&at_x);
            return Ok(Some(Mask::new(shape, |_, y, x| inside(y, x) != self.outside)));
        }
        let Some(path) = &self.mask else { return Ok(None) };
        let mask = clip(recipe, path, Extent::Uncut)?;
        if ![1, frames].contains(&mask.frames()) {
            let message = format!("a mask of {} frames for a clip of {frames}", mask.frames());
            return Err(Error::new(ErrorKind::Media, path.display().to_string(), message)
                .hint(format!("give a picture, or a clip of {frames} frames")));
        }
        let white = |t: usize, y: usize, x: usize| {
            let at = ((t.min(mask.frames() - 1) * height + y) * width + x) * 3;
            mask.pixels()[at..at + 3].iter().map(|&v| u32::from(v)).sum::<u32>() >= 384
        };
        let mask = Mask::new(shape, |t, y, x| white(t, y, x) != self.outside);
        let target = mask.target().iter().filter(|target| **target).count();
        if target == 0 || target == mask.target().len() {
            let what = if target == 0 { "nothing" } else { "all" };
            return Err(Error::new(
                ErrorKind::Media,
                path.display().to_string(),
                format!("{what} of the clip would be made"),
            )
            .hint("paint white what is to be made, and black the rest"));
        }
        Ok(Some(mask))
    }
}

fn clip(recipe: &Recipe, path: &Path, extent: Extent) -> Result<Clip> {
    adapted(recipe, path, Modality::Video, extent)?.clip(&path.display().to_string())
}

fn rectangle(text: &str) -> std::result::Result<[usize; 4], String> {
    let sides: std::result::Result<Vec<usize>, _> = text.split(',').map(|side| side.trim().parse()).collect();
    sides
        .ok()
        .and_then(|sides| sides.try_into().ok())
        .ok_or_else(|| "four whole numbers are wanted: X,Y,WIDTH,HEIGHT".into())
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let number = text.trim_end_matches('s').parse::<f64>();
    number.ok().filter(|s| (0.0..=3600.0).contains(s) && *s > 0.0).ok_or_else(|| "above 0, 3600 at most".into())
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>();
    number.ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| "above 0, 1 at most".into())
}

fn moment(text: &str) -> std::result::Result<(f64, String), String> {
    let (second, prompt) = text.split_once(':').ok_or("a second, a colon and a prompt are wanted: 2:TEXT")?;
    Ok((seconds(second)?, prompt.trim().to_owned()))
}
