//! Weights files, looked at without reading their values.

use super::report::{Diagnostic, Report};
use super::{Part, Recipe, Target, TrainSettings, Unlike};
use crate::files;
use safetensors::{Dtype, tensor::Metadata};
use std::{fs::File, path::Path};

impl Recipe {
    /// Looks at the weights files of all components that learn: they are there, whole, and hold as
    /// many numbers as the recipe's components have. What is found is an error where the part is
    /// among those `needed`, a note where it is not: [`Target::ALL`] for generating,
    /// [`Target::needs`] for training.
    pub fn check_weights(&self, needed: &[Target]) -> Report {
        let mut found = Vec::new();
        let mut look = |target: Target, diagnostic: Diagnostic| {
            found.push(if needed.contains(&target) { diagnostic } else { diagnostic.note() });
        };
        for part in self.tokenizers() {
            let target = Target::of_section(part.section).unwrap_or(Target::Video);
            let count = (target != Target::Text).then(|| part.component.parameters());
            self.weights(part, count).into_iter().for_each(|d| look(target, d));
        }
        if let Some(part) = &self.backbone {
            let count = self.flow.canvas.as_ref().map(|canvas| part.component.parameters(canvas));
            self.weights(part, count).into_iter().for_each(|d| look(Target::Backbone, d));
        }
        // Only training begins there.
        found.extend(self.check_start().0.into_iter().map(Diagnostic::note));
        Report(found).sorted()
    }

    /// Looks in the same way at the weights that training starts from, where the recipe names some: before a dataset is
    /// tokenized for it.
    pub fn check_start(&self) -> Report {
        let Some(TrainSettings { target, start: Some(file), inflate, grow, .. }) = &self.train else {
            return Report(Vec::new());
        };
        let count = match target {
            // Smaller kernels, which training fills up.
            _ if *inflate || *grow => None,
            Target::Video => self.video.as_ref().map(|part| part.component.parameters()),
            Target::Audio => self.audio.as_ref().map(|part| part.component.parameters()),
            Target::Backbone => {
                self.backbone.as_ref().and_then(|part| Some(part.component.parameters(self.flow.canvas.as_ref()?)))
            }
            Target::Text => None,
        };
        let found = self.file("train.start", file, target.section(), count);
        let same = found.is_none() && !inflate;
        Report(
            found
                .into_iter()
                .chain(same.then(|| self.same("train.start", file, target.section())).into_iter().flatten())
                .collect(),
        )
    }

    fn weights<T: ?Sized>(&self, part: &Part<T>, count: Option<usize>) -> Vec<Diagnostic> {
        if !part.learns {
            return Vec::new();
        }
        let path = format!("{}.weights", part.path);
        let Some(file) = &part.weights else {
            let hint = "train it, then set `weights` to the file";
            return vec![Diagnostic::error(&path, "no weights are named").at(self.places.find(&path).0).hint(hint)];
        };
        match self.file(&path, file, &part.path, count) {
            Some(wrong) => vec![wrong],
            None => self.same(&path, file, &part.path),
        }
    }

    /// By what the weights `file` that the key at `path` names for the part at `section` are not what this recipe says.
    pub(super) fn same(&self, path: &str, file: &Path, section: &str) -> Vec<Diagnostic> {
        if self.force_weights || !file.is_file() {
            return Vec::new();
        }
        let wrong = |unlike: &Unlike| {
            let (place, written) = self.places.find(&unlike.key);
            let place = if written { place } else { self.places.find(path).0 };
            Diagnostic::error(path, unlike.message(file)).at(place).hint(unlike.hint())
        };
        match self.unlike(section, file) {
            Ok(all) => all.iter().map(wrong).collect(),
            Err(error) => vec![Diagnostic::error(path, error.message()).at(self.places.find(path).0)],
        }
    }

    /// What is wrong with the weights `file` that the key at `path` names for `section`, which has
    /// `count` numbers.
    fn file(&self, path: &str, file: &Path, section: &str, count: Option<usize>) -> Option<Diagnostic> {
        let wrong = |message: String, hint: &str| {
            Some(Diagnostic::error(path, message).at(self.places.find(path).0).hint(hint))
        };
        let shown = file.display();
        if !file.is_file() {
            let own = self.train.as_ref().is_some_and(|train| train.target.section() == section);
            let hint = match own {
                true => "train this recipe by `musiva train`, and copy what it makes there, or name another file",
                false => "train the recipe that makes it, or name another file",
            };
            return wrong(format!("there is no file {shown}"), hint);
        }
        // Other formats are the business of the component that reads them.
        if file.extension().is_none_or(|extension| extension != "safetensors") {
            return None;
        }
        match (numbers(file), count) {
            (Err((message, hint)), _) => wrong(format!("{shown}: {message}"), hint),
            (Ok(found), Some(count)) if found != count => wrong(
                format!("{shown} holds {} numbers, this recipe's {section} has {}", grouped(found), grouped(count)),
                "name weights that these settings trained, or set the settings back to those of the weights",
            ),
            _ => None,
        }
    }
}

type Finding = (String, &'static str);

/// How many numbers a safetensors file holds, from its header alone.
fn numbers(path: &Path) -> Result<usize, Finding> {
    const AGAIN: &str = "fetch or train it again";
    let io = |error: std::io::Error| (format!("cannot read it: {error}"), "check the permissions of the file");
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let no_header = || (format!("not a safetensors file: its {size} bytes hold no whole header"), AGAIN);
    let bytes = files::safetensors_header(&mut file).map_err(io)?.ok_or_else(no_header)?;
    let metadata: Metadata =
        serde_json::from_slice(&bytes).map_err(|error| (format!("not a safetensors file: {error}"), AGAIN))?;
    let wanted = 8 + bytes.len() as u64 + metadata.data_len() as u64;
    if wanted != size {
        let what = if size < wanted { "truncated" } else { "too long" };
        return Err((format!("{what}: {} bytes, its header promises {}", grouped(size), grouped(wanted)), AGAIN));
    }
    let mut count = 0usize;
    for (name, info) in metadata.tensors() {
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let hint = "name a file of weights, not one of tokens or states";
            return Err((format!("`{name}` is {:?}; weights are F32, F16 or BF16", info.dtype), hint));
        }
        // The header's own check has bounded the product by the size of the file.
        count += info.shape.iter().product::<usize>();
    }
    Ok(count)
}

/// With commas between thousands.
pub fn grouped(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
