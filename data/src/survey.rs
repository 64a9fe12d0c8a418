//! What a folder of media holds, before a recipe says how to read it.

use crate::scan;
use musiva_core::{Error, Result};
use musiva_media::{SoundReader, VideoReader};
use std::path::{Path, PathBuf};

/// What a folder and its subfolders hold. Files that cannot be read are named in `left_out`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Clips that move.
    pub clips: Vec<SeenClip>,
    /// Pictures that do not.
    pub images: Vec<SeenImage>,
    /// Sounds without pictures.
    pub sounds: Vec<SeenSound>,
    /// All captions of all of them.
    pub captions: Vec<String>,
    /// How many of them have a caption.
    pub captioned: usize,
    /// Files that are not read, each with the reason.
    pub left_out: Vec<String>,
}

/// A clip by its header.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenClip {
    /// The file.
    pub path: PathBuf,
    /// Height and width as it is shown, in pixels.
    pub size: [usize; 2],
    /// Frames a second.
    pub rate: f64,
    /// How long it lasts.
    pub seconds: f64,
    /// Samples a second of its sound, where it has one.
    pub sound: Option<f64>,
}

/// A picture by its header.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenImage {
    /// The file.
    pub path: PathBuf,
    /// Height and width as it is shown, in pixels.
    pub size: [usize; 2],
}

/// A sound by its header.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenSound {
    /// The file.
    pub path: PathBuf,
    /// Samples a second.
    pub rate: f64,
    /// How long it lasts, where the file says so.
    pub seconds: Option<f64>,
}

/// Looks at the headers of all files of `folder`; `seen` is called with the number of files looked at so far, and of all.
///
/// # Errors
/// Where the folder cannot be listed; and what `seen` returns.
pub fn survey(folder: &Path, seen: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<Survey> {
    let extensions = [scan::CLIPS, scan::SOUNDS].concat();
    let rules = scan::CaptionRules { columns: &[], folders: false };
    let listing = scan::scan(folder, &extensions, rules)?;
    let (mut survey, count) = (Survey::default(), listing.found.len());
    for (number, file) in listing.found.into_iter().enumerate() {
        let known = survey.look(&file.path);
        match (known, file.captions) {
            (Err(error), _) => survey.left_out.push(format!("{}: {}", file.name, error.message())),
            (Ok(()), Err(why)) => survey.left_out.push(format!("{}: {why}", file.name)),
            (Ok(()), Ok(captions)) => {
                survey.captioned += usize::from(!captions.is_empty());
                survey.captions.extend(captions);
            }
        }
        seen(number + 1, count)?;
    }
    survey.left_out.extend(listing.broken);
    Ok(survey)
}

impl Survey {
    /// Adds a file.
    fn look(&mut self, path: &Path) -> Result<(), Error> {
        let pictures = match VideoReader::open(path) {
            Ok(reader) => reader,
            Err(no_pictures) => {
                let Ok(reader) = SoundReader::open(path) else { return Err(no_pictures) };
                let (rate, length) = (reader.info().rate.as_f64(), reader.info().length);
                let seconds = length.map(|length| length as f64 / rate);
                self.sounds.push(SeenSound { path: path.to_owned(), rate, seconds });
                return Ok(());
            }
        };
        let (size, info) = (pictures.size(), pictures.info());
        if info.still || info.frames < 2 {
            self.images.push(SeenImage { path: path.to_owned(), size });
            return Ok(());
        }
        let rate = info.rate.as_f64();
        let sound = SoundReader::open_if_any(path)?.map(|reader| reader.info().rate.as_f64());
        self.clips.push(SeenClip { path: path.to_owned(), size, rate, seconds: info.frames as f64 / rate, sound });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{Clip, Rate, Sound};
    use musiva_media::{Metadata, WriteOptions, write_clip, write_movie, write_sound};

    #[test]
    fn clips_pictures_and_sounds_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let clip = |frames| Clip::new([frames, 16, 24], Rate::whole(10), vec![90; frames * 16 * 24 * 3]).unwrap();
        let sound = Sound::new(1, Rate::whole(8000), vec![0.1; 12_000]).unwrap();
        write_movie(place("a.mp4"), &clip(15), &sound, &Metadata::new(), &WriteOptions::default()).unwrap();
        write_clip(place("b.gif"), &clip(5), &Metadata::new()).unwrap();
        write_clip(place("c.png"), &clip(1), &Metadata::new()).unwrap();
        write_sound(place("d.wav"), &sound, &Metadata::new()).unwrap();
        std::fs::write(place("e.mp4"), b"no clip").unwrap();
        std::fs::write(place("a.txt"), "a caption").unwrap();
        let mut last = (0, 0);
        let survey = survey(folder.path(), &mut |done, total| {
            last = (done, total);
            Ok(())
        });
        let survey = survey.unwrap();
        assert_eq!(last, (5, 5));
        let clips: Vec<_> = survey.clips.iter().map(|clip| (clip.size, clip.rate, clip.sound)).collect();
        assert_eq!(clips, [([16, 24], 10.0, Some(8000.0)), ([16, 24], 10.0, None)]);
        assert!((survey.clips[0].seconds - 1.5).abs() < 1e-9 && (survey.clips[1].seconds - 0.5).abs() < 1e-9);
        assert_eq!(survey.images, [SeenImage { path: place("c.png"), size: [16, 24] }]);
        assert_eq!(survey.sounds, [SeenSound { path: place("d.wav"), rate: 8000.0, seconds: Some(1.5) }]);
        assert_eq!((survey.captions, survey.left_out.len()), (vec!["a caption".to_owned()], 1));
    }
}
