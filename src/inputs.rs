//! Files that a user brings beside the prompt, as the inputs of a program.

use crate::adapt::{Extent, has_sound, own_sound, read_media, read_stream};
use musiva_core::recipe::Recipe;
use musiva_core::{
    Clip, ConfigError, Error, ErrorKind, GenerateRequest, Inputs, Mask, MediaShape, Modality, Observer, OutputKind,
    Program, Result, Sound, files,
};
use musiva_models::programs::check_edit;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files of inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputFiles {
    /// An image to begin with, and one to end with. Instead of clips.
    pub images: Vec<PathBuf>,
    /// A clip, or two to make the way between.
    pub videos: Vec<PathBuf>,
    /// A sound.
    pub audio: Option<PathBuf>,
    /// Clips of further streams, by the names of the recipe's tracks.
    pub streams: BTreeMap<String, PathBuf>,
    /// A rectangle of the clip that is made anew: x, y, width and height in pixels of the recipe's frames.
    pub region: Option<[usize; 4]>,
    /// A picture or a clip that is white where the clip is made anew; where there is no region.
    pub mask: Option<PathBuf>,
    /// Keep the region and make what lies around it.
    pub outside: bool,
    /// End with the image that it begins with.
    pub looped: bool,
}

impl InputFiles {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.images.is_empty() || !self.videos.is_empty() || self.audio.is_some() || !self.streams.is_empty()
    }

    /// What they are, for provenance: of each file its name and SHA-256, and the region; by the names of the flags.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn told(&self) -> Result<Vec<(String, String)>> {
        let file = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok::<_, Error>(format!("{name} sha256 {}", files::sha256_of(path)?))
        };
        let mut all = Vec::new();
        for (flag, paths) in [("image", &self.images), ("video", &self.videos)] {
            for (i, path) in paths.iter().enumerate() {
                let name = if i == 0 { flag.to_owned() } else { format!("{flag}.{}", i + 1) };
                all.push((name, file(path)?));
            }
        }
        for (flag, path) in [("audio", &self.audio), ("mask", &self.mask)] {
            all.extend(path.as_ref().map(|path| Ok::<_, Error>((flag.to_owned(), file(path)?))).transpose()?);
        }
        for (track, path) in &self.streams {
            all.push((format!("stream.{track}"), file(path)?));
        }
        let outside = if self.outside { ", what lies outside" } else { "" };
        all.extend(self.region.map(|[x, y, w, h]| ("region".to_owned(), format!("{x},{y},{w},{h}{outside}"))));
        Ok(all)
    }

    /// Whether they can be changed, by what the recipe samples with: before anything is read.
    ///
    /// # Errors
    /// Where there is nothing to change or too much, or the sampler cannot.
    pub fn check_edit(&self, recipe: &Recipe) -> Result<()> {
        let still = !self.images.is_empty();
        check_edit(self.images.len() + self.videos.len(), still, self.audio.is_some())?;
        recipe.need_sampler()?.component.edits().map_err(|error| {
            let else_do =
                "or keep a part as it is and make the rest: --region X,Y,WIDTH,HEIGHT, or --image to begin with";
            let hint = format!("{}; {else_do}", error.hint);
            ConfigError { hint, ..error }.into_error(ErrorKind::Unsupported, "--strength")
        })
    }

    /// Reads them, at the recipe's rates and size.
    ///
    /// # Errors
    /// Where one cannot be read, or they do not go together.
    pub fn read(&self, recipe: &Recipe, observer: &mut dyn Observer) -> Result<Inputs> {
        let mut inputs = Inputs { outside: self.outside, ..Inputs::default() };
        for path in self.images.iter().chain(&self.videos) {
            let clip = clip(recipe, path, observer)?;
            let still = self.videos.is_empty();
            if still && clip.frames() > 1 {
                observer.note("  its first frame");
            }
            inputs.clips.push(if still { clip.slice(0..1) } else { clip });
        }
        if self.looped && inputs.clips.len() == 1 {
            inputs.clips.extend_from_within(..);
        } else if self.looped && inputs.clips.len() == 2 {
            return Err(Error::new(ErrorKind::Unsupported, "--loop", "there are two images, and a loop has one")
                .hint("give one image, or leave `--loop` out"));
        }
        if let Some(path) = &self.audio {
            let sound = read_media(recipe, path, Modality::Audio, Extent::Uncut, observer)?;
            inputs.sound = Some(sound.sound("--audio")?);
        }
        for (track, path) in &self.streams {
            inputs.streams.insert(track.clone(), read_stream(recipe, track, path, observer)?);
        }
        if let Some(shape) = inputs.clips.first().map(Clip::shape) {
            inputs.mask = self.mask(recipe, shape, observer)?;
        }
        Ok(inputs)
    }

    /// Decides what becomes of the sound of a single clip that is given without another sound. Where the model has a task for
    /// the clip with its sound, the sound becomes context of `request`. Else, where no task generates sound, it is returned:
    /// [`keep_sound`] fits it to what was generated. The observer gets a note of it.
    ///
    /// # Errors
    /// Where the sound cannot be read.
    pub fn sound_of_clip(
        &self,
        recipe: &Recipe,
        program: &dyn Program,
        request: &mut GenerateRequest,
        observer: &mut dyn Observer,
    ) -> Result<Option<Sound>> {
        let ([path], None, OutputKind::Both) = (&self.videos[..], &self.audio, request.output) else { return Ok(None) };
        if !has_sound(path)? {
            return Ok(None);
        }
        let tasks = recipe.need_tasks()?;
        // An edit would change both.
        if recipe.need_media(Modality::Audio).is_ok() && request.strength.is_none() {
            let mut heard = request.clone();
            let resampled = read_media(recipe, path, Modality::Audio, Extent::Uncut, &mut ())?;
            heard.inputs.sound = Some(resampled.sound(&path.display().to_string())?);
            if program.outline(&tasks, &heard).is_ok() {
                observer.note("  with its sound");
                *request = heard;
                return Ok(None);
            }
        }
        let chosen = program.outline(&tasks, request)?.tasks;
        let makes_sound = |name: &String| {
            let task = tasks.iter().find(|task| task.name == *name);
            task.is_some_and(|task| task.spec(Modality::Audio.track()).has_target())
        };
        if chosen.iter().any(makes_sound) {
            observer.note("  without its sound: the task makes another (`--audio FILE` gives one)");
            return Ok(None);
        }
        observer.note("  its sound is kept as it is");
        own_sound(path)
    }

    fn mask(
        &self,
        recipe: &Recipe,
        [_, height, width]: [usize; 3],
        observer: &mut dyn Observer,
    ) -> Result<Option<Mask>> {
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
        let mask = clip(recipe, path, observer)?;
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
        let made = mask.target().iter().filter(|made| **made).count();
        if made == 0 || made == mask.target().len() {
            let what = if made == 0 { "nothing" } else { "all" };
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

/// The sound of a clip, fitted to a clip that was generated from it: behind `before` seconds of silence, which were prepended,
/// and as long as that clip, padded with silence. Where `before` is longer than the clip, it is silent; a negative one is 0.
///
/// # Errors
/// As [`Sound::new`].
pub fn keep_sound(sound: &Sound, clip: &Clip, before: f64) -> Result<Sound> {
    let rate = sound.rate().as_f64();
    let seconds = clip.frames() as f64 / clip.rate().as_f64();
    let silence = vec![0.0; (before.clamp(0.0, seconds) * rate).round() as usize * sound.channels()];
    let length = (seconds * rate).round() as usize;
    let sound = Sound::new(sound.channels(), sound.rate(), [&silence, sound.samples()].concat())?;
    Ok(sound.with_length(length.max(1)))
}

fn clip(recipe: &Recipe, path: &Path, observer: &mut dyn Observer) -> Result<Clip> {
    read_media(recipe, path, Modality::Video, Extent::Uncut, observer)?.clip(&path.display().to_string())
}
