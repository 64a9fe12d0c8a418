//! From a merged tree to a checked recipe: components are made, and shapes flow along the road.

use super::report::{Diagnostic, Report};
use super::schema::{SECTIONS, schema};
use super::source::Node;
use super::walk::Walk;
use super::words::choices;
use super::{EvaluateSettings, Part, PluginPin, Recipe, Target, TrainSettings};
use crate::canvas::CanvasShape;
use crate::{BackboneSpec, Factory, Flaw, Make, MediaShape, Modality, Registry, TokenKind, TokenShape};
use serde_json::{Value as Json, json};
use std::{path::Path, path::PathBuf, sync::Arc};

/// A canvas is no longer than this, whatever a recipe says: attention takes its square.
const LONGEST_CANVAS: usize = 1 << 24;

/// Checks the whole tree; the report holds everything that is wrong with it.
pub fn check(path: &Path, tree: Node, registry: &Registry) -> Result<Recipe, Report> {
    let schema = schema(registry);
    let mut walk = Walk::new(&schema);
    let json = walk.resolve(&schema, &tree, "");
    let (found, paths) = (walk.found, walk.paths);
    let mut checker = Checker { registry, tree: &tree, json, found };
    let text = |key: &str| checker.json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let (name, description) = (text("name"), text("description"));

    let plugins = checker.plugins();
    let data = checker.part("data", Make::dataset);
    let video = checker.part("tokenizer.video", Make::tokenizer);
    let text = checker.part("tokenizer.text", Make::tokenizer);
    let backbone = checker.part("backbone", Make::backbone);
    let objective = checker.part("objective", Make::objective);
    let sampler = checker.part("sampler", Make::sampler);
    let train: Option<TrainSettings> = checker.settings("train");
    let evaluate: EvaluateSettings = checker.settings("evaluate").unwrap_or_default();
    if let Some(resolved) = checker.json.as_object_mut() {
        resolved.insert("evaluate".into(), json!(evaluate));
    }

    // A component with flaws of its own is not asked for anything: it may not be able to answer.
    checker.flaws("data", data.as_ref().map(|part| part.component.flaws()));
    checker.flaws("tokenizer.video", video.as_ref().map(|part| part.component.flaws()));
    checker.flaws("tokenizer.text", text.as_ref().map(|part| part.component.flaws()));
    checker.flaws("backbone", backbone.as_ref().map(|part| part.component.flaws()));
    checker.flaws("objective", objective.as_ref().map(|part| part.component.flaws()));
    checker.flaws("sampler", sampler.as_ref().map(|part| part.component.flaws()));
    checker.flaws("train", train.as_ref().map(TrainSettings::flaws));
    checker.presence(train.as_ref());

    let mut recipe = Recipe {
        path: path.to_path_buf(),
        name,
        description,
        plugins,
        data,
        video,
        text,
        backbone,
        objective,
        sampler,
        train,
        evaluate,
        flow: Flow::default(),
        resolved: std::mem::take(&mut checker.json),
        paths,
        places: Node::empty(),
    };
    recipe.flow = checker.flow(&recipe);
    checker.trainable(&recipe);
    Report(checker.found).into_result()?;
    recipe.places = tree;
    Ok(recipe)
}

/// What is known of the road once shapes have flowed along it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// The dataset's clips.
    pub media: Option<MediaShape>,
    /// What the video tokenizer makes of them.
    pub video: Option<TokenShape>,
    /// What the text tokenizer makes of a prompt.
    pub text: Option<TokenShape>,
    /// The canvas.
    pub canvas: Option<CanvasShape>,
    /// What the backbone is on it.
    pub backbone: Option<BackboneSpec>,
}

struct Checker<'a> {
    registry: &'a Registry,
    tree: &'a Node,
    json: Json,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    /// Whether nothing is wrong at or below a path so far.
    fn clean(&self, path: &str) -> bool {
        let below = |other: &str| other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        !self.found.iter().any(|diagnostic| below(&diagnostic.path))
    }

    fn section(&self, path: &str) -> Option<Json> {
        let json = self.json.pointer(&format!("/{}", path.replace('.', "/")))?;
        (json.is_object() && self.clean(path)).then(|| json.clone())
    }

    /// Whether a section was written, right or wrong.
    fn written(&self, path: &str) -> bool {
        self.tree.find(path).1
    }

    fn part<T: ?Sized>(
        &mut self,
        section: &'static str,
        pick: impl Fn(&Make) -> Option<Factory<T>>,
    ) -> Option<Part<T>> {
        let role = SECTIONS.iter().find(|other| other.path == section)?.role;
        let mut config = self.section(section)?;
        let object = config.as_object_mut()?;
        let kind = object.shift_remove("kind")?.as_str()?.to_owned();
        let weights = object.shift_remove("weights").and_then(|path| path.as_str().map(PathBuf::from));
        let component = self.registry.get(role, &kind)?;
        let make = pick(&component.make)?;
        match make(config.clone()) {
            Ok(made) => Some(Part {
                section,
                kind,
                origin: component.origin.clone(),
                learns: component.learns,
                config,
                weights,
                component: Arc::from(made),
            }),
            Err(error) => {
                // Only where a component wants more than its schema says.
                self.add(section, &Flaw::new("", format!("`{kind}` does not take this: {error}"), ""));
                None
            }
        }
    }

    fn plugins(&self) -> Vec<PluginPin> {
        let pins = self.json.get("plugin").filter(|_| self.clean("plugin")).cloned();
        pins.and_then(|pins| serde_json::from_value(pins).ok()).unwrap_or_default()
    }

    fn settings<T: serde::de::DeserializeOwned>(&mut self, section: &'static str) -> Option<T> {
        match serde_json::from_value(self.section(section)?) {
            Ok(settings) => Some(settings),
            Err(error) => {
                self.add(section, &Flaw::new("", error.to_string(), ""));
                None
            }
        }
    }

    fn flaws(&mut self, section: &str, flaws: Option<Vec<Flaw>>) {
        for flaw in flaws.into_iter().flatten() {
            self.add(section, &flaw);
        }
    }

    /// A flaw at a key of a section; one of the whole section stands at its `kind`.
    fn add(&mut self, section: &str, flaw: &Flaw) {
        let path = match flaw.path.as_str() {
            "" if self.written(&format!("{section}.kind")) => format!("{section}.kind"),
            "" => section.to_owned(),
            path => format!("{section}.{}", path.replace('[', ".").replace(']', "")),
        };
        let (place, written) = self.tree.find(&path);
        let message = match written || flaw.path.is_empty() {
            true => flaw.message.clone(),
            false => format!("{} (a default: this key is not written)", flaw.message),
        };
        self.found.push(Diagnostic::error(path, message).at(place).mend(flaw.mend.clone()));
    }

    fn kinds(&self, section: &str) -> Vec<&'static str> {
        let section = SECTIONS.iter().find(|other| other.path == section);
        section.into_iter().flat_map(|section| section.components(self.registry)).map(|c| c.kind).collect()
    }

    /// Sections that others need.
    fn presence(&mut self, train: Option<&TrainSettings>) {
        let (backbone, video) = (self.written("backbone"), self.written("tokenizer.video"));
        if !backbone && !video && !self.written("tokenizer.text") {
            let message = "the recipe has neither a tokenizer nor a backbone: there is nothing it could do";
            let mend = "add `[data]` and `[tokenizer.video]`, or extend a recipe that has them";
            self.found.push(Diagnostic::error("", message).at(self.tree.place.clone()).mend(mend));
            return;
        }
        let mut needs: Vec<(&str, &str, &str)> = Vec::new();
        if video {
            needs.push(("data", "tokenizer.video", "a tokenizer needs clips, whose shape `[data]` says"));
        }
        if backbone {
            needs.push(("data", "backbone", "a canvas needs the shape of clips"));
            needs.push(("tokenizer.video", "backbone", "a canvas holds the tokens of a clip"));
            needs.push(("tokenizer.text", "backbone", "a canvas begins with the tokens of a prompt"));
        }
        for section in ["objective", "sampler"].into_iter().filter(|section| self.written(section)) {
            needs.push(("backbone", section, "without one nothing is predicted"));
        }
        if self.written("sampler") {
            needs.push(("objective", "sampler", "it says what a sampler has to take predictions for"));
        }
        match train.map(|train| train.target) {
            Some(Target::Backbone) => {
                needs.push(("backbone", "train.target", "it is what is to be trained"));
                needs.push(("objective", "train.target", "a backbone is trained by an objective"));
            }
            Some(Target::Video) => needs.push(("tokenizer.video", "train.target", "it is what is to be trained")),
            Some(Target::Text) => {
                needs.push(("tokenizer.text", "train.target", "it is what is to be trained"));
                needs.push(("data", "train.target", "a vocabulary is trained on captions"));
            }
            None => {}
        }
        let mut told = Vec::new();
        for (missing, because_of, why) in needs {
            if self.written(missing) || told.contains(&missing) {
                continue;
            }
            told.push(missing);
            let message = format!("the recipe has no `[{missing}]`: {why}");
            let mend = match self.kinds(missing)[..] {
                [] => format!("add `[{missing}]`"),
                [one] => format!("add `[{missing}]` with `kind = \"{one}\"`"),
                ref kinds => format!("add `[{missing}]` with a `kind`: {}", choices(kinds, '"', "or")),
            };
            let place = self.tree.find(because_of).0;
            self.found.push(Diagnostic::error(missing, message).at(place).mend(mend));
        }
    }

    /// Whether what is to be trained can be.
    fn trainable(&mut self, recipe: &Recipe) {
        let Some(target) = recipe.train.as_ref().map(|train| train.target) else { return };
        let section = target.section();
        if !self.clean(section) {
            return;
        }
        let trains = match target {
            Target::Video => recipe.video.as_ref().map(|part| part.component.trains()),
            Target::Text => recipe.text.as_ref().map(|part| part.component.trains()),
            Target::Backbone => recipe.backbone.as_ref().map(|part| part.component.trains()),
        };
        if let Some(trains) = trains {
            self.placed(section, section, trains);
        }
    }

    /// Lets shapes flow: dataset → tokenizers → canvas → backbone → objective → sampler. What
    /// hangs on something broken is not looked at: it would only repeat the finding.
    fn flow(&mut self, recipe: &Recipe) -> Flow {
        let media = recipe.data.as_ref().filter(|_| self.clean("data")).map(|part| part.component.shape());
        let mut flow = Flow { media, ..Flow::default() };
        if let Some(part) = recipe.video.as_ref().filter(|_| self.clean("tokenizer.video"))
            && self.modality(part, Modality::Video)
            && let Some(media) = flow.media
        {
            flow.video = self.placed("data", "tokenizer.video", part.component.shape(&media));
            if let Some(frames) = recipe.train.as_ref().filter(|_| self.clean("train")).and_then(|t| t.frames) {
                self.windows(part, media, frames);
            }
        }
        if let Some(part) = recipe.text.as_ref().filter(|_| self.clean("tokenizer.text"))
            && self.modality(part, Modality::Text)
        {
            let shape = part.component.shape(&MediaShape::Text);
            flow.text = self.placed("tokenizer.text", "tokenizer.text", shape);
        }
        if let (Some(tokens), Some(text)) = (flow.video, flow.text) {
            flow.canvas = self.canvas(tokens, text);
        }
        let Some((canvas, backbone)) = flow.canvas.zip(recipe.backbone.as_ref().filter(|_| self.clean("backbone")))
        else {
            return flow;
        };
        flow.backbone = self.placed("backbone", "backbone", backbone.component.spec(&canvas));
        let Some(spec) = flow.backbone else { return flow };
        let Some(objective) = recipe.objective.as_ref().filter(|_| self.clean("objective")) else { return flow };
        let trains = self.placed("objective", "objective", objective.component.fits(&spec)).is_some();
        // How to read a field only an objective that fits it can say.
        let readable = trains || spec == BackboneSpec::NextToken;
        if let Some(sampler) = recipe.sampler.as_ref().filter(|_| readable && self.clean("sampler")) {
            let process = objective.component.process();
            self.placed("sampler", "sampler", sampler.component.fits(&spec, process.as_ref()));
        }
        flow
    }

    /// What came of asking; a flaw stands at a key of `section`, one without a key at `asked`.
    fn placed<T>(&mut self, section: &str, asked: &str, result: Result<T, Flaw>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(flaw) => {
                self.add(if flaw.path.is_empty() { asked } else { section }, &flaw);
                None
            }
        }
    }

    fn modality(&mut self, part: &Part<dyn crate::TokenizerConfig>, wanted: Modality) -> bool {
        let (found, wanted) = match (part.component.spec().modality, wanted) {
            (found, wanted) if found == wanted => return true,
            (Modality::Text, _) => ("text", "clips"),
            (Modality::Video, _) => ("clips", "text"),
        };
        let message = format!("\"{}\" reads {found}, here a tokenizer of {wanted} is expected", part.kind);
        let mut others = self.kinds(part.section);
        others.retain(|kind| *kind != part.kind);
        let mend = match others.is_empty() {
            true => String::new(),
            false => format!("name another `kind`: {}", choices(&others, '"', "or")),
        };
        self.add(part.section, &Flaw::new("kind", message, mend));
        false
    }

    /// Whether the tokenizer can be trained on windows of so many frames.
    fn windows(&mut self, part: &Part<dyn crate::TokenizerConfig>, media: MediaShape, window: usize) {
        let MediaShape::Clip { frames, height, width, rate } = media else { return };
        if window > frames {
            let message = format!("windows of {window} frames do not fit into clips of {frames}");
            self.add("train", &Flaw::new("frames", message, format!("set `frames = {frames}` or delete it")));
        } else if let Err(flaw) = part.component.shape(&MediaShape::Clip { frames: window, height, width, rate })
            && flaw.path == "frames"
        {
            self.add("train", &flaw);
        }
    }

    fn canvas(&mut self, tokens: TokenShape, text: TokenShape) -> Option<CanvasShape> {
        let TokenKind::Codes { entries: words, .. } = text.kind else {
            let message = format!("it makes {}, a canvas begins with codes", text.kind);
            self.add("tokenizer.text", &Flaw::new("", message, "name a text tokenizer that makes codes"));
            return None;
        };
        if let TokenKind::Codes { entries, .. } = tokens.kind
            && u32::try_from(entries).is_err()
        {
            let message = format!("a codebook of {entries} entries does not fit 32-bit codes");
            self.add("tokenizer.video", &Flaw::new("", message, "make the codebook smaller"));
            return None;
        }
        let mut sides = tokens.grid.into_iter().chain(text.grid);
        let length = sides.try_fold(1usize, usize::checked_mul);
        let canvas = CanvasShape { prompt: text.length(), words, tokens };
        if length.is_none() || canvas.length() > LONGEST_CANVAS {
            let message = format!("the canvas would be longer than {LONGEST_CANVAS} tokens");
            self.add("data", &Flaw::new("", message, "use smaller or shorter clips, or a stronger compression"));
            return None;
        }
        Some(canvas)
    }
}
