//! What a comparison says of itself, in TOML.

use musiva_core::{Error, ErrorKind, Result, files};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// No comparison is longer.
const LONGEST: u64 = 1 << 20;
/// Most runs of one comparison.
const MOST: usize = 1000;
/// Most prompts, and most samples that a report shows of each task.
const PROMPTS: usize = 100_000;
const SHOWN: usize = 64;
/// Longest name of an arm or a size: folders are called after it.
const NAME: usize = 64;
/// What can differ by intent.
const SECTIONS: [&str; 8] =
    ["data", "tokenizer.video", "tokenizer.audio", "tokenizer.text", "task", "condition", "train.clips", "budget"];
/// Keys that a comparison sets itself, and what of it says them.
const OWN: [(&str, &str); 3] =
    [("train.steps", "budget"), ("train.seed", "seeds"), ("train.sample_every", "curve_points")];

/// A comparison: arms that differ in what is asked, and are alike in all else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComparisonFile {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// Its name, of the report's title.
    pub name: String,
    /// What is asked, in a sentence.
    pub question: String,
    /// What so small, so short or so few runs can tell, and what they cannot: printed below the answer.
    #[serde(default)]
    pub limits: String,
    /// The recipe of arms that name none: a file, relative to this one, or the name of a built-in recipe.
    #[serde(default)]
    pub recipe: Option<String>,
    /// Overrides of every arm's recipe, `KEY=VALUE` as with `--set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Seeds of training; each arm is trained once with each.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Sections in which the recipes differ by intent, such as `data` or `tokenizer.video`: said at the top of the report.
    /// What is not named has to be the same.
    #[serde(default)]
    pub differs: Vec<String>,
    /// What each run may use.
    pub budget: Budget,
    /// The part of the budget that each learning rate is tried with.
    #[serde(default = "quarter")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub trial: f64,
    /// Points of the curve of held-out bits over training; 0: no curve.
    #[serde(default = "five")]
    pub curve_points: usize,
    /// What is measured.
    #[serde(default)]
    pub evaluate: Measures,
    /// Sizes that each arm is trained in, for scaling curves; of none, each recipe's own.
    #[serde(default)]
    pub size: Vec<Size>,
    /// What is compared, two at least.
    pub arm: Vec<Arm>,
}

/// One side of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Its name in figures and folders.
    pub name: String,
    /// Its recipe, instead of the comparison's.
    #[serde(default)]
    pub recipe: Option<String>,
    /// Overrides of its recipe, after the comparison's.
    #[serde(default)]
    pub set: Vec<String>,
    /// Learning rates to choose from, by the loss on validation samples after a part of the budget; of none, the recipe's own.
    #[serde(default)]
    pub learning_rates: Vec<f64>,
    /// Further settings to sample by, each a list of overrides: quality against sampling FLOPs.
    #[serde(default)]
    pub sampling: Vec<Vec<String>>,
}

/// A size of all arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Its name in figures and folders.
    pub name: String,
    /// Overrides of the recipes, after those of the arms.
    pub set: Vec<String>,
    /// Factor on the comparison's budget.
    #[serde(default = "one")]
    pub budget: f64,
}

/// What training may use; one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Floating-point operations of training steps, as `musiva check` counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    /// Steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<f64>,
    /// Tokens of the canvas that are trained on, context included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// Minutes on this machine, by the time of a few steps before the first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
}

/// What the budget counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// Floating-point operations.
    Flops,
    /// Steps.
    Steps,
    /// Tokens.
    Tokens,
    /// Minutes.
    Minutes,
}

/// What is measured of each run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Measures {
    /// Prompts and held-out samples; by default the first recipe's `evaluate.prompts`.
    pub prompts: Option<usize>,
    /// Seed of scenes and noise, the same for all; by default the first recipe's `evaluate.seed`.
    pub seed: Option<u64>,
    /// The tasks that are measured; of none, all.
    pub tasks: Vec<String>,
    /// Samples of each task that the report shows.
    pub shown: Option<usize>,
}

fn one() -> f64 {
    1.0
}

fn five() -> usize {
    5
}

fn quarter() -> f64 {
    0.25
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

impl Budget {
    /// How much of what.
    pub fn get(&self) -> Option<(f64, Unit)> {
        let all = [
            (self.flops, Unit::Flops),
            (self.steps, Unit::Steps),
            (self.tokens, Unit::Tokens),
            (self.minutes, Unit::Minutes),
        ];
        let mut said = all.into_iter().filter_map(|(amount, unit)| Some((amount?, unit)));
        said.next().filter(|_| said.next().is_none())
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.get() {
            Some((amount, Unit::Flops)) => write!(f, "{amount:.3e} training FLOPs"),
            Some((amount, Unit::Steps)) => write!(f, "{amount:.0} steps"),
            Some((amount, Unit::Tokens)) => write!(f, "{amount:.3e} training tokens"),
            Some((amount, Unit::Minutes)) => write!(f, "{amount} minutes"),
            None => f.write_str("what each was trained with"),
        }
    }
}

impl ComparisonFile {
    /// Whether a file is a comparison rather than a recipe: it has arms, a budget or a question; `None` of what is no TOML.
    pub fn is_one(path: &Path) -> Option<bool> {
        let text = files::read(path, LONGEST).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
        let table = text.parse::<toml::Table>().ok()?;
        Some(["arm", "budget", "question"].iter().any(|key| table.contains_key(*key)))
    }

    /// The JSON Schema of such a file (draft 2020-12), for editors.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).into()
    }

    /// Reads and checks one.
    ///
    /// # Errors
    /// At the line of what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let bytes = files::read(path, LONGEST)?;
        let wrong = |message: String| Error::new(ErrorKind::Recipe, place.clone(), message);
        let text = String::from_utf8(bytes).map_err(|_| {
            wrong("this is no UTF-8 text".into()).hint("name a comparison, a text file that ends in .toml")
        })?;
        let this: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
            let line = line.map_or(String::new(), |line| format!("line {line}: "));
            wrong(format!("{line}{}", error.message()))
                .hint("docs/compare.md lists the keys, and `musiva schema --comparison` prints them as JSON Schema")
        })?;
        match this.errors().into_iter().next() {
            Some((key, message, hint)) => {
                Err(Error::new(ErrorKind::Recipe, format!("{place}, `{key}`"), message).hint(hint))
            }
            None => Ok(this),
        }
    }

    /// What is wrong: key, finding, hint.
    fn errors(&self) -> Vec<(String, String, String)> {
        let mut errors = Vec::new();
        let mut error =
            |key: &str, message: String, hint: &str| errors.push((key.to_owned(), message, hint.to_owned()));
        if self.schema != 1 {
            error("schema", format!("version {} is not known", self.schema), "set `schema = 1`");
        }
        if self.arm.len() < 2 {
            error("arm", format!("{} arms are no comparison", self.arm.len()), "add an `[[arm]]`");
        }
        if self.seeds.is_empty() {
            error("seeds", "without a seed nothing is trained".into(), "set `seeds = [1, 2, 3]`");
        }
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        if let Some(pair) = seeds.windows(2).find(|pair| pair[0] == pair[1]) {
            error("seeds", format!("{} stands there twice", pair[0]), "name each seed once");
        }
        match self.budget.get() {
            None => error(
                "budget",
                "a budget is one amount of one thing".into(),
                "set one of `flops`, `steps`, `tokens` and `minutes`, such as `flops = 2e14`",
            ),
            Some((amount, _)) if !(amount.is_finite() && amount > 0.0) => {
                error("budget", format!("{amount} is nothing to train with"), "set a number above 0");
            }
            Some(_) => {}
        }
        if !(self.trial > 0.0 && self.trial <= 1.0) {
            error("trial", format!("{} is no part of the budget", self.trial), "set a number above 0 and at most 1");
        }
        if let Some(prompts) = self.evaluate.prompts.filter(|prompts| !(1..=PROMPTS).contains(prompts)) {
            error("evaluate.prompts", format!("{prompts} are none, or more than {PROMPTS}"), "set `prompts = 64`");
        }
        if let Some(shown) = self.evaluate.shown.filter(|shown| *shown > SHOWN) {
            error("evaluate.shown", format!("{shown} are more than {SHOWN}"), "set `shown = 3`");
        }
        let known = |section: &String| SECTIONS.contains(&&**section) || section.starts_with("track.");
        if let Some(section) = self.differs.iter().find(|section| !known(section)) {
            let hint = format!("name some of {}", SECTIONS.join(", "));
            error("differs", format!("recipes cannot differ in `{section}` here"), &hint);
        }
        let names = [
            ("arm", self.arm.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>()),
            ("size", self.size.iter().map(|size| size.name.as_str()).collect()),
        ];
        for (key, names) in names {
            for (i, name) in names.iter().enumerate() {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if name.len() > NAME || name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                    let hint = "name it with letters, digits, `-`, `_` and `.`: folders are called after it";
                    error(&format!("{key}[{i}].name"), format!("{name:?} is no name"), hint);
                }
                if names[..i].contains(name) {
                    error(
                        &format!("{key}[{i}].name"),
                        format!("`{name}` stands there twice"),
                        "give each its own name",
                    );
                }
            }
        }
        for (i, arm) in self.arm.iter().enumerate() {
            if arm.recipe.is_none() && self.recipe.is_none() {
                let hint = "set `recipe` of the arm, or of the comparison for all arms";
                error(&format!("arm[{i}].recipe"), format!("`{}` has no recipe", arm.name), hint);
            }
            if let Some(rate) = arm.learning_rates.iter().find(|rate| !(**rate > 0.0 && **rate <= 1.0)) {
                let hint = "name numbers above 0, and 1 at most";
                error(&format!("arm[{i}].learning_rates"), format!("{rate} is no learning rate"), hint);
            }
            if let Some(set) = arm.sampling.iter().flatten().find(|set| !set.trim_start().starts_with("sampler.")) {
                let message = format!("`{set}` changes more than the sampler");
                error(&format!("arm[{i}].sampling"), message, "name keys of `sampler`, or add an `[[arm]]`");
            }
        }
        let sizes = self.size.iter().enumerate().map(|(i, size)| (format!("size[{i}].set"), &size.set));
        let arms = self.arm.iter().enumerate().map(|(i, arm)| (format!("arm[{i}].set"), &arm.set));
        for (key, set) in [("set".to_owned(), &self.set)].into_iter().chain(arms).chain(sizes) {
            let own =
                |set: &String| OWN.into_iter().find(|(own, _)| set.split('=').next().is_some_and(|k| k.trim() == *own));
            if let Some((own, says)) = set.iter().find_map(own) {
                error(&key, format!("`{own}` is not the recipe's to say"), &format!("say it by `{says}`"));
            }
        }
        let names =
            || self.arm.iter().flat_map(|arm| self.size.iter().map(move |size| format!("{}-{}", arm.name, size.name)));
        if let Some((i, name)) = names().enumerate().find(|(i, name)| names().take(*i).any(|other| other == *name)) {
            let message = format!("`{name}` is the name of two arms in their sizes");
            error(&format!("arm[{}].name", i / self.size.len().max(1)), message, "give one of them another name");
        }
        for (i, size) in self.size.iter().enumerate() {
            if !(size.budget.is_finite() && size.budget > 0.0) {
                let hint = "set a number above 0";
                error(&format!("size[{i}].budget"), format!("{} is nothing to train with", size.budget), hint);
            }
        }
        let rates: usize = self.arm.iter().map(|arm| arm.learning_rates.len()).sum();
        let runs = (self.arm.len() * self.seeds.len() + rates) * self.size.len().max(1);
        if runs > MOST {
            error("arm", format!("these are {runs} runs, more than {MOST}"), "name fewer arms, sizes, seeds or rates");
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "schema = 1\nname = \"x\"\nquestion = \"Which?\"\nrecipe = \"r\"\nbudget.steps = 10\n\
                        [[arm]]\nname = \"a\"\n[[arm]]\nname = \"b\"\nset = [\"backbone.depth=2\"]\n";

    fn read(text: &str) -> Result<ComparisonFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compare.toml");
        std::fs::write(&path, text).unwrap();
        assert_eq!(ComparisonFile::is_one(&path), Some(true));
        ComparisonFile::read(&path)
    }

    #[test]
    fn a_comparison_has_arms_seeds_and_one_budget() {
        let good = read(GOOD).unwrap();
        assert_eq!((good.seeds, good.arm.len(), good.budget.get()), (vec![1], 2, Some((10.0, Unit::Steps))));
        for (from, to, place, said) in [
            ("schema = 1", "schema = 2", "`schema`", "set `schema = 1`"),
            ("budget.steps = 10", "budget = {}", "`budget`", "set one of"),
            ("budget.steps = 10", "budget = { steps = 1, flops = 2.0 }", "`budget`", "set one of"),
            ("budget.steps = 10", "budget.steps = -1", "`budget`", "above 0"),
            ("name = \"b\"", "name = \"a\"", "`arm[1].name`", "stands there twice"),
            ("name = \"b\"", "name = \"../b\"", "`arm[1].name`", "is no name"),
            ("recipe = \"r\"\n", "", "`arm[0].recipe`", "has no recipe"),
            ("[[arm]]\nname = \"a\"\n", "", "`arm`", "are no comparison"),
            ("recipe =", "seeds = [3, 1, 3]\nrecipe =", "`seeds`", "3 stands there twice"),
            ("recipe =", "trial = 0.0\nrecipe =", "`trial`", "no part of the budget"),
            ("recipe =", "recepy = 1\nrecipe =", "", "line 4: unknown field `recepy`"),
            ("name = \"b\"", "name = \"b\"\nlearning_rates = [2.0]", "`arm[1].learning_rates`", "1 at most"),
            (
                "name = \"b\"",
                "name = \"b\"\nsampling = [[\"data.fps=1\"]]",
                "`arm[1].sampling`",
                "more than the sampler",
            ),
            ("backbone.depth=2", "train.steps=2", "`arm[1].set`", "say it by `budget`"),
            ("recipe =", "differs = [\"nonsense\"]\nrecipe =", "`differs`", "name some of data"),
            ("recipe =", "evaluate.prompts = 9000000\nrecipe =", "`evaluate.prompts`", "set `prompts = 64`"),
            (
                "name = \"a\"",
                "name = \"b-c\"\n[[size]]\nname = \"d\"\nset = []\n[[size]]\nname = \"c-d\"\nset = []",
                "`arm[1].name`",
                "the name of two arms",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = read(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(said), "{from} → {to}: {error}");
        }
    }

    #[test]
    fn a_recipe_is_no_comparison() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, "schema = 1\nname = \"x\"\n").unwrap();
        assert_eq!(ComparisonFile::is_one(&path), Some(false));
        assert_eq!(ComparisonFile::is_one(&folder.path().join("none.toml")), None);
    }
}
