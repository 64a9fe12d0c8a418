//! Whether the data that a recipe names are there.

use super::report::{Diagnostic, Report};
use super::{Part, Recipe};

impl Recipe {
    /// Looks whether the data are where `[data]` says; their files are not opened. What is missing is an error where the
    /// recipe trains something, a note where it does not: nothing but training and evaluating reads data.
    pub fn check_data(&self) -> Report {
        let missing = self.data.as_ref().and_then(|Part { component, .. }| component.missing());
        let diagnostic = missing.map(|error| {
            let path = format!("data.{}", error.path);
            let place = self.places.find(&path).0;
            let error = Diagnostic::error(path, error.message).at(place).hint(error.hint);
            if self.train.is_some() { error } else { error.note() }
        });
        Report(diagnostic.into_iter().collect())
    }
}
