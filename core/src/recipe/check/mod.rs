//! From a merged tree to a checked recipe: components are made, and shapes flow along the road.

mod canvas;

use super::report::{Diagnostic, Report};
use super::schema::{SECTIONS, schema};
use super::source::Node;
use super::walk::Walk;
use super::words::choices;
use super::{ConditionSettings, EvaluateSettings, Part, PluginPin, Recipe, Target, TrainSettings};
use crate::canvas::CanvasShape;
use crate::{
    BackboneSpec, ConfigError, Factory, Make, MediaShape, MetricConfig, Modality, Objective, Registry, Role, Schedule,
    Task, TokenShape, TokenizerConfig,
};
use serde_json::{Map, Value as Json, json};
use std::{collections::BTreeMap, path::Path, path::PathBuf, sync::Arc};

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
    let audio = checker.part("tokenizer.audio", Make::tokenizer);
    let text = checker.part("tokenizer.text", Make::tokenizer);
    let further = checker.further();
    let backbone = checker.part("backbone", Make::backbone);
    let objective = checker.part("objective", Make::objective);
    let schedule = checker.part("schedule", Make::schedule);
    let sampler = checker.part("sampler", Make::sampler);
    let metrics: Vec<Part<dyn MetricConfig>> = checker.metrics();
    let (tasks, tracks) = (checker.tasks(), checker.tables("track"));
    let conditions: BTreeMap<String, ConditionSettings> = checker.tables("condition");
    let program = checker.part("program", Make::program);
    let train = checker.train();
    let evaluate: EvaluateSettings = checker.settings("evaluate").unwrap_or_default();
    if let Some(resolved) = checker.json.as_object_mut() {
        resolved.insert("evaluate".into(), json!(evaluate));
    }

    // A component with errors of its own is not asked for anything: it may not be able to answer.
    checker.errors("data", data.as_ref().map(|part| part.component.errors()));
    checker.errors("tokenizer.video", video.as_ref().map(|part| part.component.errors()));
    checker.errors("tokenizer.audio", audio.as_ref().map(|part| part.component.errors()));
    checker.errors("tokenizer.text", text.as_ref().map(|part| part.component.errors()));
    for part in further.values() {
        checker.errors(&part.path, Some(part.component.errors()));
    }
    checker.errors("backbone", backbone.as_ref().map(|part| part.component.errors()));
    checker.errors("objective", objective.as_ref().map(|part| part.component.errors()));
    checker.errors("schedule", schedule.as_ref().map(|part| part.component.errors()));
    checker.errors("sampler", sampler.as_ref().map(|part| part.component.errors()));
    for (index, part) in metrics.iter().enumerate() {
        checker.errors(&format!("metric.{index}"), Some(part.component.errors()));
    }
    checker.errors("train", train.as_ref().map(TrainSettings::errors));
    checker.presence(train.as_ref());
    let objective = checker.scheduled(objective, schedule.as_ref());

    let mut recipe = Recipe {
        path: path.to_path_buf(),
        name,
        description,
        plugins,
        data,
        video,
        audio,
        text,
        further,
        backbone,
        objective,
        schedule,
        sampler,
        metrics,
        tasks,
        tracks,
        conditions,
        program,
        train,
        evaluate,
        buckets: Vec::new(),
        force_weights: false,
        flow: Flow::default(),
        resolved: std::mem::take(&mut checker.json),
        paths,
        places: Node::empty(),
        notes: Report::default(),
    };
    recipe.flow = checker.flow(&recipe);
    recipe.buckets = checker.buckets(&recipe);
    checker.check_program(&recipe);
    checker.trainable(&recipe);
    Report(checker.found).into_result()?;
    recipe.places = tree;
    Ok(recipe)
}

/// What is known of the road once shapes have flowed along it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// The dataset's clips.
    pub clip: Option<MediaShape>,
    /// The dataset's sounds.
    pub sound: Option<MediaShape>,
    /// What the video tokenizer makes of the clips.
    pub video: Option<TokenShape>,
    /// What the audio tokenizer makes of the sounds.
    pub audio: Option<TokenShape>,
    /// What the text tokenizer makes of a prompt.
    pub text: Option<TokenShape>,
    /// The canvas.
    pub canvas: Option<Arc<CanvasShape>>,
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
        self.part_at(section, section, role, pick)
    }

    /// The tokenizers of further tracks, by the names of these.
    fn further(&mut self) -> BTreeMap<String, Part<dyn TokenizerConfig>> {
        let all = self.json.get("tokenizer").and_then(Json::as_object);
        let main = [Modality::Video, Modality::Audio, Modality::Text].map(Modality::track);
        let names = all.into_iter().flat_map(Map::keys).filter(|name| !main.contains(&&***name)).cloned();
        let names: Vec<String> = names.collect();
        let section = Modality::Video.section();
        let part = |name: String| {
            let part = self.part_at(section, &format!("tokenizer.{name}"), Role::Tokenizer, Make::tokenizer)?;
            Some((name, part))
        };
        names.into_iter().filter_map(part).collect()
    }

    fn metrics(&mut self) -> Vec<Part<dyn MetricConfig>> {
        let count = self.json.get("metric").and_then(Json::as_array).map_or(0, Vec::len);
        let part = |index| self.part_at("metric", &format!("metric.{index}"), Role::Metric, Make::metric);
        (0..count).filter_map(part).collect()
    }

    /// The part that stands at a path.
    fn part_at<T: ?Sized>(
        &mut self,
        section: &'static str,
        path: &str,
        role: Role,
        pick: impl Fn(&Make) -> Option<Factory<T>>,
    ) -> Option<Part<T>> {
        let mut config = self.section(path)?;
        let object = config.as_object_mut()?;
        let kind = object.shift_remove("kind")?.as_str()?.to_owned();
        let weights = object.shift_remove("weights").and_then(|path| path.as_str().map(PathBuf::from));
        let component = self.registry.get(role, &kind)?;
        let make = pick(&component.make)?;
        match make(config.clone()) {
            Ok(made) => Some(Part {
                section,
                path: path.to_owned(),
                kind,
                origin: component.origin.clone(),
                learns: component.learns,
                config,
                weights,
                component: Arc::from(made),
            }),
            Err(error) => {
                // Only where a component wants more than its schema says.
                self.add(path, &ConfigError::new("", format!("`{kind}` does not take this: {error}"), ""));
                None
            }
        }
    }

    fn plugins(&self) -> Vec<PluginPin> {
        let pins = self.json.get("plugin").filter(|_| self.clean("plugin")).cloned();
        pins.and_then(|pins| serde_json::from_value(pins).ok()).unwrap_or_default()
    }

    fn tasks(&self) -> Vec<Task> {
        let tasks = self.json.get("task").filter(|_| self.clean("task")).cloned();
        tasks.and_then(|tasks| serde_json::from_value(tasks).ok()).unwrap_or_default()
    }

    /// Tables of one kind, by their names: `[track.*]`, `[condition.*]`.
    fn tables<T: serde::de::DeserializeOwned>(&self, section: &str) -> BTreeMap<String, T> {
        let tables = self.json.get(section).filter(|_| self.clean(section)).cloned();
        tables.and_then(|tables| serde_json::from_value(tables).ok()).unwrap_or_default()
    }

    fn settings<T: serde::de::DeserializeOwned>(&mut self, section: &'static str) -> Option<T> {
        match serde_json::from_value(self.section(section)?) {
            Ok(settings) => Some(settings),
            Err(error) => {
                self.add(section, &ConfigError::new("", error.to_string(), ""));
                None
            }
        }
    }

    /// `[train]` with the tables that other crates bring.
    fn train(&mut self) -> Option<TrainSettings> {
        let mut json = self.section("train")?;
        let own = json.as_object_mut()?;
        let tables = self.registry.train_tables().filter_map(|kind| Some(kind.read(own.remove(kind.key)?)));
        let tables = tables.collect::<Result<_, _>>();
        let warmup = json.get("warmup").is_some();
        match tables.and_then(|tables| Ok(TrainSettings { tables, ..serde_json::from_value(json)? })) {
            Ok(settings) if warmup => Some(settings),
            Ok(settings) => Some(TrainSettings { warmup: TrainSettings::warmup_of(settings.steps), ..settings }),
            Err(error) => {
                self.add("train", &ConfigError::new("", error.to_string(), ""));
                None
            }
        }
    }

    fn errors(&mut self, section: &str, errors: Option<Vec<ConfigError>>) {
        for error in errors.into_iter().flatten() {
            self.add(section, &error);
        }
    }

    /// Adds an error at a key of a section, or at its `kind` where it concerns the whole section.
    fn add(&mut self, section: &str, error: &ConfigError) {
        let path = match error.path.as_str() {
            "" if self.written(&format!("{section}.kind")) => format!("{section}.kind"),
            "" => section.to_owned(),
            path => format!("{section}.{}", path.replace('[', ".").replace(']', "")),
        };
        let (place, written) = self.tree.find(&path);
        let message = match written || error.path.is_empty() {
            true => error.message.clone(),
            false => format!("{} (a default: this key is not written)", error.message),
        };
        self.found.push(Diagnostic::error(path, message).at(place).hint(error.hint.clone()));
    }

    /// The objective with the recipe's noise schedule, where there is one that it takes.
    fn scheduled(
        &mut self,
        objective: Option<Part<dyn Objective>>,
        schedule: Option<&Part<dyn Schedule>>,
    ) -> Option<Part<dyn Objective>> {
        let mut part = objective?;
        if let Some(schedule) = schedule.filter(|_| self.clean("objective") && self.clean("schedule")) {
            let scheduled = part.component.with_schedule(schedule.component.clone());
            if let Some(component) = self.placed("schedule", "schedule", scheduled) {
                part.component = component;
            }
        }
        Some(part)
    }

    fn kinds(&self, section: &str) -> Vec<&'static str> {
        let section = SECTIONS.iter().find(|other| other.path == section);
        section.into_iter().flat_map(|section| section.components(self.registry)).map(|c| c.kind).collect()
    }

    /// Sections that others need.
    fn presence(&mut self, train: Option<&TrainSettings>) {
        let [backbone, video, audio, text] =
            ["backbone", "tokenizer.video", "tokenizer.audio", "tokenizer.text"].map(|section| self.written(section));
        if !(backbone || video || audio || text) {
            let message = "the recipe has neither a tokenizer nor a backbone: there is nothing it could do";
            let hint = "add `[data]` and `[tokenizer.video]`, or extend a recipe that has them";
            self.found.push(Diagnostic::error("", message).at(self.tree.place.clone()).hint(hint));
            return;
        }
        let mut needs: Vec<(&str, &str, &str)> = Vec::new();
        if video {
            needs.push(("data", "tokenizer.video", "a tokenizer needs clips, whose shape `[data]` says"));
        }
        if audio {
            needs.push(("data", "tokenizer.audio", "a tokenizer needs sounds, whose shape `[data]` says"));
        }
        if backbone {
            needs.push(("data", "backbone", "a canvas needs the shape of media"));
            if !(video || audio || text) {
                needs.push(("tokenizer.video", "backbone", "a canvas holds the tokens of media"));
            }
        }
        for section in ["objective", "sampler"].into_iter().filter(|section| self.written(section)) {
            needs.push(("backbone", section, "without one nothing is predicted"));
        }
        if self.written("schedule") {
            needs.push(("objective", "schedule", "it is what mixes noise by a schedule"));
        }
        if self.written("sampler") {
            needs.push(("objective", "sampler", "it says what a sampler has to take predictions for"));
        }
        if self.written("program") {
            needs.push(("sampler", "program", "it is what a program asks for pieces"));
            needs.push(("backbone", "program", "without one nothing is predicted"));
        }
        match train.map(|train| train.target) {
            Some(Target::Backbone) => {
                needs.push(("backbone", "train.target", "it is what is to be trained"));
                needs.push(("objective", "train.target", "a backbone is trained by an objective"));
            }
            Some(Target::Video) => needs.push(("tokenizer.video", "train.target", "it is what is to be trained")),
            Some(Target::Audio) => needs.push(("tokenizer.audio", "train.target", "it is what is to be trained")),
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
            let hint = match self.kinds(missing)[..] {
                [] => format!("add `[{missing}]`"),
                [one] => format!("add `[{missing}]` with `kind = \"{one}\"`"),
                ref kinds => format!("add `[{missing}]` with a `kind`: {}", choices(kinds, '"', "or")),
            };
            let place = self.tree.find(because_of).0;
            self.found.push(Diagnostic::error(missing, message).at(place).hint(hint));
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
            Target::Audio => recipe.audio.as_ref().map(|part| part.component.trains()),
            Target::Text => recipe.text.as_ref().map(|part| part.component.trains()),
            Target::Backbone => recipe.backbone.as_ref().map(|part| part.component.trains()),
        };
        if let Some(trains) = trains {
            self.placed(section, section, trains);
        }
        let part = match target {
            Target::Video => recipe.video.as_ref(),
            Target::Audio => recipe.audio.as_ref(),
            Target::Text | Target::Backbone => None,
        };
        if let (Some(train), Some(part)) = (&recipe.train, part)
            && let Some(error) = train.tables.unfit(part).or_else(|| part.component.unfit(train))
        {
            self.add("train", &error);
        }
    }

    /// Lets shapes flow: dataset → tokenizers → canvas → backbone → objective → sampler. What
    /// hangs on something broken is not looked at: it would only repeat the finding.
    fn flow(&mut self, recipe: &Recipe) -> Flow {
        let data = recipe.data.as_ref().filter(|_| self.clean("data"));
        let media = |modality| data.and_then(|part| part.component.shape(modality));
        let mut flow = Flow { clip: media(Modality::Video), sound: media(Modality::Audio), ..Flow::default() };
        flow.video = self.tokens(recipe, Modality::Video, flow.clip);
        flow.audio = self.tokens(recipe, Modality::Audio, flow.sound);
        if let Some(train) = recipe.train.as_ref().filter(|_| self.clean("train")) {
            match train.target {
                Target::Video => {
                    self.windows(recipe, flow.clip, train.frames);
                    self.images(recipe, flow.clip, train.images);
                }
                Target::Audio => self.windows(recipe, flow.sound, train.samples),
                _ => {}
            }
        }
        if let Some(part) = recipe.text.as_ref().filter(|_| self.clean("tokenizer.text"))
            && self.modality(part, Modality::Text)
        {
            let shape = part.component.shape(&MediaShape::Text);
            flow.text = self.placed("tokenizer.text", "tokenizer.text", shape);
        }
        let media = flow.video.is_some() || flow.audio.is_some();
        self.names(recipe);
        let whole = ["tokenizer", "track", "condition", "data"].into_iter().all(|section| self.clean(section));
        if whole && (recipe.backbone.is_some() || (media && flow.text.is_some())) {
            flow.canvas = self.canvas(recipe, &flow).map(Arc::new);
        }
        if let Some(canvas) = &flow.canvas {
            self.check_tasks(recipe, canvas, canvas.frames());
            if recipe.backbone.is_some() && !canvas.tracks.iter().any(|track| track.target) && self.clean("task") {
                let message = "a prompt alone leaves nothing to generate";
                let hint = "add `[tokenizer.video]`, or a `[[task]]` with `text = \"target\"`";
                self.add("backbone", &ConfigError::new("kind", message, hint));
            }
        }
        let Some((canvas, backbone)) =
            flow.canvas.clone().zip(recipe.backbone.as_ref().filter(|_| self.clean("backbone")))
        else {
            return flow;
        };
        flow.backbone = self.placed("backbone", "backbone", backbone.component.spec(&canvas));
        let Some(spec) = flow.backbone else { return flow };
        let Some(objective) = recipe.objective.as_ref().filter(|_| self.clean("objective")) else { return flow };
        let trains = self.placed("objective", "objective", objective.component.fits(&spec)).is_some();
        // How to read a field only an objective that fits it can say, by a schedule that it takes.
        let readable = self.clean("schedule") && (trains || !matches!(spec, BackboneSpec::Diffusion { .. }));
        if let Some(sampler) = recipe.sampler.as_ref().filter(|_| readable && self.clean("sampler")) {
            let process = objective.component.process();
            let fits = sampler.component.fits(&spec, process.as_ref());
            let fits = fits.and_then(|()| learnt(sampler.component.frame_offset(), objective.component.frame_offset()));
            self.placed("sampler", "sampler", fits);
        }
        flow
    }

    /// The tokens that the recipe's tokenizer of a modality makes of the dataset's media.
    fn tokens(&mut self, recipe: &Recipe, modality: Modality, media: Option<MediaShape>) -> Option<TokenShape> {
        let part = recipe.tokenizer(modality).filter(|_| self.clean(modality.section()))?;
        if !self.modality(part, modality) {
            return None;
        }
        let data = recipe.data.as_ref().filter(|_| self.clean("data"))?;
        let Some(media) = media else {
            let message = format!("`{}` has no {} for this tokenizer", data.kind, modality.plural());
            let hint = data.component.enable(modality).unwrap_or_else(|| {
                format!("name data that have {}, or leave `[{}]` out", modality.plural(), modality.section())
            });
            self.add("data", &ConfigError::new("kind", message, hint));
            return None;
        };
        self.placed("data", modality.section(), part.component.shape(&media))
    }

    /// The value of a result; its error is added at a key of `section`, or at `asked` where it names no key.
    fn placed<T>(&mut self, section: &str, asked: &str, result: Result<T, ConfigError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(if error.path.is_empty() { asked } else { section }, &error);
                None
            }
        }
    }

    fn modality(&mut self, part: &Part<dyn TokenizerConfig>, wanted: Modality) -> bool {
        let found = part.component.spec().modality;
        if found == wanted {
            return true;
        }
        let (found, wanted) = (found.plural(), wanted.plural());
        let message = format!("\"{}\" reads {found}, here a tokenizer of {wanted} is expected", part.kind);
        let mut others = self.kinds(part.section);
        others.retain(|kind| *kind != part.kind);
        let hint = match others.is_empty() {
            true => String::new(),
            false => format!("name another `kind`: {}", choices(&others, '"', "or")),
        };
        self.add(&part.path, &ConfigError::new("kind", message, hint));
        false
    }

    /// Whether the tokenizer can be trained on windows of so many frames or samples.
    fn windows(&mut self, recipe: &Recipe, media: Option<MediaShape>, window: Option<usize>) {
        let (Some(window), Some(media)) = (window, media) else { return };
        let (modality, key, whole, what) = match media {
            MediaShape::Clip { frames, .. } => (Modality::Video, "frames", frames, "clips"),
            MediaShape::Sound { samples, .. } => (Modality::Audio, "samples", samples, "sounds"),
            MediaShape::Text => return,
        };
        let Some(part) = recipe.tokenizer(modality).filter(|_| self.clean(modality.section())) else { return };
        if window > whole {
            let message = format!("windows of {window} {key} do not fit into {what} of {whole}");
            self.add("train", &ConfigError::new(key, message, format!("set `{key} = {whole}` or delete it")));
        } else if let Err(error) = part.component.shape(&media.window(window))
            && error.path == key
        {
            self.add("train", &error);
        }
    }

    /// Whether a share of the training can be on single frames.
    fn images(&mut self, recipe: &Recipe, clip: Option<MediaShape>, share: f64) {
        let Some((part, clip)) = recipe.video.as_ref().zip(clip).filter(|_| share > 0.0) else { return };
        if self.clean("tokenizer.video") && part.component.shape(&clip.window(1)).is_err() {
            let message = format!("`{}` does not read single frames", part.kind);
            self.add("train", &ConfigError::new("images", message, "delete this key"));
        }
    }
}

/// Whether a sampler has frames no farther apart than the objective trains them.
fn learnt(sampled: f32, trained: f32) -> Result<(), ConfigError> {
    if sampled <= trained {
        return Ok(());
    }
    let message = format!("frames are {sampled} apart, the objective trains them at most {trained} apart");
    let hint = format!("set `objective.frame_offset = {sampled}` and train, or `sampler.frame_offset = {trained}`");
    Err(ConfigError::new("frame_offset", message, hint))
}
