//! Names of parameters: by the names of tracks, not by their numbers.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};
use musiva_core::{CanvasShape, Parameters};

/// A network whose parameters are known by other names than their paths in the module.
#[derive(Clone, Debug)]
pub struct Named<N> {
    /// The network.
    pub network: N,
    /// Beginnings of paths, and what stands in weights files instead of them.
    names: Vec<(String, String)>,
}

impl<N: Module> Named<N> {
    /// With other beginnings of names.
    pub fn new(network: N, names: Vec<(String, String)>) -> Self {
        Self { network, names }
    }

    /// The same without gradients, sharing its numbers.
    pub fn valid(&self) -> Self {
        Self { network: self.network.clone().valid(), names: self.names.clone() }
    }
}

fn rename(names: &[(String, String)], path: &str) -> String {
    let found = names.iter().find_map(|(from, to)| path.strip_prefix(&**from).map(|rest| format!("{to}{rest}")));
    found.unwrap_or_else(|| path.to_owned())
}

impl<N: Module> Parameters for Named<N> {
    fn each(&self, see: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.network.each(&mut |path, shape, value| see(&rename(&self.names, path), shape, value));
    }

    fn update(&mut self, map: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        let names = &self.names;
        self.network.update(&mut |path, shape, value| map(&rename(names, path), shape, value));
    }

    fn gradients(&self, gradients: &mut Gradients, see: &mut dyn FnMut(&str, Tensor<1>)) {
        self.network.gradients(gradients, &mut |path, gradient| see(&rename(&self.names, path), gradient));
    }
}

/// What the tracks of a canvas are called in weights files: tokens (of a network's `tracks`) and positions (of its
/// `places`).
pub fn of_tracks(canvas: &CanvasShape) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (i, track) in canvas.tracks.iter().enumerate() {
        let tokens = format!("tracks.tracks.{i}");
        let places = format!("places.tracks.{i}");
        let mut add = |from: String, to: String| names.push((from, to));
        match &*track.name {
            "text" => {
                add(format!("{tokens}.codes.digits.0."), "words.".into());
                add(format!("{tokens}.codes."), "words.".into());
                add(format!("{tokens}.vectors."), "words.".into());
                add(format!("{places}.t"), "places.prompt".into());
            }
            "video" => {
                add(format!("{tokens}.codes."), "codes.clip.".into());
                add(format!("{tokens}.vectors."), "codes.clip.".into());
                add(format!("{places}."), "places.".into());
            }
            "audio" => {
                add(format!("{tokens}.codes."), "codes.sound.".into());
                add(format!("{tokens}.vectors."), "codes.sound.".into());
                add(format!("{places}.t"), "places.sound".into());
            }
            name => {
                add(format!("{tokens}.codes."), format!("codes.{name}."));
                add(format!("{tokens}.vectors."), format!("codes.{name}."));
                add(format!("{places}."), format!("places.{name}."));
            }
        }
    }
    for (i, condition) in canvas.conditions.iter().enumerate() {
        names.push((format!("numbers.each.{i}."), format!("condition.{}.", condition.name)));
    }
    names
}
