//! The registry: `kind = "…"` in a recipe → a factory.
//!
//! Built-ins and plugins register the same way, and a recipe cannot tell them apart. A component
//! brings the JSON Schema of its configuration, so that the recipe checker, editors and the docs
//! know its keys without knowing the component.

use crate::contract::{BackboneConfig, MetricConfig, Objective, Role, Sampler, TokenizerConfig};
use crate::dataset::{Dataset, Part};
use crate::recipe::TrainTableKind;
use crate::{ConfigError, Error, ErrorKind, MediaShape, Modality, Program, Result, Schedule};
use serde_json::Value;
use std::{any::Any, collections::BTreeMap, path::Path, sync::Arc};

/// Turns a configuration, as JSON that already fits the component's schema, into the component.
pub enum Make {
    /// Makes a dataset's configuration.
    Dataset(fn(Value) -> Result<Box<dyn DatasetConfig>, serde_json::Error>),
    /// Makes a tokenizer's configuration.
    Tokenizer(fn(Value) -> Result<Box<dyn TokenizerConfig>, serde_json::Error>),
    /// Makes a backbone's configuration.
    Backbone(fn(Value) -> Result<Box<dyn BackboneConfig>, serde_json::Error>),
    /// Makes an objective.
    Objective(fn(Value) -> Result<Box<dyn Objective>, serde_json::Error>),
    /// Makes a noise schedule.
    Schedule(fn(Value) -> Result<Box<dyn Schedule>, serde_json::Error>),
    /// Makes a sampler.
    Sampler(fn(Value) -> Result<Box<dyn Sampler>, serde_json::Error>),
    /// Makes a program.
    Program(fn(Value) -> Result<Box<dyn Program>, serde_json::Error>),
    /// Makes a metric's configuration.
    Metric(fn(Value) -> Result<Box<dyn MetricConfig>, serde_json::Error>),
    /// Makes any of these by something that it carries with it.
    Hosted(Hosted),
}

/// Turns a configuration into a component.
pub type Factory<T> = Arc<dyn Fn(Value) -> Result<Box<T>, serde_json::Error> + Send + Sync>;

/// Factories that carry something with them, as a plugin's carries its library.
pub enum Hosted {
    /// Makes a dataset's configuration.
    Dataset(Factory<dyn DatasetConfig>),
    /// Makes a tokenizer's configuration.
    Tokenizer(Factory<dyn TokenizerConfig>),
    /// Makes a backbone's configuration.
    Backbone(Factory<dyn BackboneConfig>),
    /// Makes a noise schedule.
    Schedule(Factory<dyn Schedule>),
    /// Makes a sampler.
    Sampler(Factory<dyn Sampler>),
    /// Makes a program.
    Program(Factory<dyn Program>),
    /// Makes a metric's configuration.
    Metric(Factory<dyn MetricConfig>),
}

impl Make {
    /// Which part of the road the component is.
    pub fn role(&self) -> Role {
        match self {
            Self::Dataset(_) | Self::Hosted(Hosted::Dataset(_)) => Role::Dataset,
            Self::Tokenizer(_) | Self::Hosted(Hosted::Tokenizer(_)) => Role::Tokenizer,
            Self::Backbone(_) | Self::Hosted(Hosted::Backbone(_)) => Role::Backbone,
            Self::Objective(_) => Role::Objective,
            Self::Schedule(_) | Self::Hosted(Hosted::Schedule(_)) => Role::Schedule,
            Self::Sampler(_) | Self::Hosted(Hosted::Sampler(_)) => Role::Sampler,
            Self::Program(_) | Self::Hosted(Hosted::Program(_)) => Role::Program,
            Self::Metric(_) | Self::Hosted(Hosted::Metric(_)) => Role::Metric,
        }
    }

    /// What makes a dataset's configuration, where it is one.
    pub fn dataset(&self) -> Option<Factory<dyn DatasetConfig>> {
        match self {
            Self::Dataset(make) => Some(Arc::new(*make)),
            Self::Hosted(Hosted::Dataset(make)) => Some(make.clone()),
            _ => None,
        }
    }

    /// What makes a tokenizer's configuration, where it is one.
    pub fn tokenizer(&self) -> Option<Factory<dyn TokenizerConfig>> {
        match self {
            Self::Tokenizer(make) => Some(Arc::new(*make)),
            Self::Hosted(Hosted::Tokenizer(make)) => Some(make.clone()),
            _ => None,
        }
    }

    /// What makes a backbone's configuration, where it is one.
    pub fn backbone(&self) -> Option<Factory<dyn BackboneConfig>> {
        match self {
            Self::Backbone(make) => Some(Arc::new(*make)),
            Self::Hosted(Hosted::Backbone(make)) => Some(make.clone()),
            _ => None,
        }
    }

    /// What makes an objective, where it is one.
    pub fn objective(&self) -> Option<Factory<dyn Objective>> {
        match self {
            Self::Objective(make) => Some(Arc::new(*make)),
            _ => None,
        }
    }

    /// What makes a noise schedule, where it is one.
    pub fn schedule(&self) -> Option<Factory<dyn Schedule>> {
        match self {
            Self::Schedule(make) => Some(Arc::new(*make)),
            Self::Hosted(Hosted::Schedule(make)) => Some(make.clone()),
            _ => None,
        }
    }

    /// What makes a sampler, where it is one.
    pub fn sampler(&self) -> Option<Factory<dyn Sampler>> {
        match self {
            Self::Sampler(make) => Some(Arc::new(*make)),
            Self::Hosted(Hosted::Sampler(make)) => Some(make.clone()),
            _ => None,
        }
    }

    /// What makes a program, where it is one.
    pub fn program(&self) -> Option<Factory<dyn Program>> {
        match self {
            Self::Program(make) => Some(Arc::new(*make)),
            Self::Hosted(Hosted::Program(make)) => Some(make.clone()),
            _ => None,
        }
    }

    /// What makes a metric's configuration, where it is one.
    pub fn metric(&self) -> Option<Factory<dyn MetricConfig>> {
        match self {
            Self::Metric(make) => Some(Arc::new(*make)),
            Self::Hosted(Hosted::Metric(make)) => Some(make.clone()),
            _ => None,
        }
    }
}

/// A dataset as a recipe configures it.
pub trait DatasetConfig: Send + Sync {
    /// What is wrong with the configuration by itself, all at once.
    fn errors(&self) -> Vec<ConfigError>;
    /// The shape that media of this modality have in every sample, where samples have such.
    fn shape(&self, modality: Modality) -> Option<MediaShape>;
    /// What to set so that samples have media of a modality which they do not have now; `None` where nothing helps.
    fn enable(&self, _modality: Modality) -> Option<String> {
        None
    }
    /// The shape of a further stream of every sample, by its name ([`Sample::streams`](crate::dataset::Sample::streams)).
    ///
    /// # Errors
    /// Where there is no such stream; the error is at a key of `[data]`.
    fn stream(&self, name: &str) -> Result<MediaShape, ConfigError> {
        let message = format!("these data have no stream `{name}`");
        Err(ConfigError::new("kind", message, format!("delete `[track.{name}]`, or name data that have it")))
    }
    /// The numbers that are known of every sample beside `fps`, by name ([`Sample::numbers`](crate::dataset::Sample::numbers)).
    fn numbers(&self) -> &'static [&'static str] {
        &[]
    }
    /// The same data at other lengths and sizes, each with how often training draws it: buckets. None: one for all.
    fn buckets(&self) -> Vec<(f64, Arc<dyn DatasetConfig>)> {
        Vec::new()
    }
    /// The key of what is not there on this machine, e.g. `path`, with what is expected there; none by default. Unlike an
    /// error of the configuration it does not keep a recipe from being checked, or from being used where no data are read.
    fn missing(&self) -> Option<ConfigError> {
        None
    }
    /// The URLs of files that are downloaded before these data are opened; none by default.
    fn remote(&self) -> Vec<String> {
        Vec::new()
    }
    /// The same data, of files that were downloaded to `folder`, where [`remote`](Self::remote) names any; each lies at
    /// `folder/HOST/PATH` of its URL.
    fn fetched(&self, _folder: &Path) -> Option<Arc<dyn DatasetConfig>> {
        None
    }
    /// Opens the samples to train on, or those that training never sees. Who has no split of its own takes
    /// [`dataset::part`](crate::dataset::part).
    ///
    /// # Errors
    /// Where the configuration is flawed, or its files cannot be read.
    fn open(&self, part: Part) -> Result<Arc<dyn Dataset>>;
    /// The configuration's own type, for who wants more of a dataset than samples: oracles of the procedural world.
    fn as_any(&self) -> &dyn Any;
}

/// A component that recipes can name.
pub struct Component {
    /// What a recipe writes after `kind =`.
    pub kind: &'static str,
    /// One line for listings and docs.
    pub summary: &'static str,
    /// Who brings it: `built-in`, or a plugin's id and version.
    pub origin: String,
    /// JSON Schema (an object) of its configuration, without `kind` and `weights`.
    pub schema: Value,
    /// Whether it has learned numbers, and so a `weights` key.
    pub learns: bool,
    /// Makes it.
    pub make: Make,
}

/// All components, by role and kind.
#[derive(Default)]
pub struct Registry {
    components: BTreeMap<(Role, &'static str), Component>,
    train_tables: Vec<TrainTableKind>,
}

impl Registry {
    /// Adds a component.
    ///
    /// # Errors
    /// Where its role already has a component of that kind; both origins are named.
    pub fn register(&mut self, component: Component) -> Result<()> {
        let key = (component.make.role(), component.kind);
        if let Some(old) = self.components.get(&key) {
            return Err(Error::new(
                ErrorKind::Recipe,
                "",
                format!(
                    "two components are called `{}`: one from {}, one from {}",
                    key.1, old.origin, component.origin
                ),
            )
            .hint("leave one of the two out"));
        }
        self.components.insert(key, component);
        Ok(())
    }

    /// Adds a table of `[train]`.
    ///
    /// # Errors
    /// Where `[train]` has that table already.
    pub fn register_train_table(&mut self, kind: TrainTableKind) -> Result<()> {
        if self.train_tables.iter().any(|known| known.key == kind.key) {
            let message = format!("two tables are called `train.{}`", kind.key);
            return Err(Error::new(ErrorKind::Recipe, "", message).hint("leave one of the two out"));
        }
        self.train_tables.push(kind);
        Ok(())
    }

    /// All tables of `[train]`, in the order in which they came.
    pub fn train_tables(&self) -> impl Iterator<Item = &TrainTableKind> {
        self.train_tables.iter()
    }

    /// The component of that role and kind.
    pub fn get(&self, role: Role, kind: &str) -> Option<&Component> {
        self.of(role).find(|component| component.kind == kind)
    }

    /// All components of a role, by kind.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Component> {
        self.components.values().filter(move |component| component.make.role() == role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factory<T: ?Sized + 'static>() -> Factory<T> {
        Arc::new(|_: Value| -> Result<Box<T>, serde_json::Error> { unreachable!() })
    }

    #[test]
    fn what_makes_a_component_is_of_its_role_alone() {
        // Built in and of a plugin.
        let all = [
            Make::Dataset(|_| unreachable!()),
            Make::Tokenizer(|_| unreachable!()),
            Make::Backbone(|_| unreachable!()),
            Make::Objective(|_| unreachable!()),
            Make::Schedule(|_| unreachable!()),
            Make::Sampler(|_| unreachable!()),
            Make::Program(|_| unreachable!()),
            Make::Metric(|_| unreachable!()),
            Make::Hosted(Hosted::Dataset(factory())),
            Make::Hosted(Hosted::Tokenizer(factory())),
            Make::Hosted(Hosted::Backbone(factory())),
            Make::Hosted(Hosted::Schedule(factory())),
            Make::Hosted(Hosted::Sampler(factory())),
            Make::Hosted(Hosted::Program(factory())),
            Make::Hosted(Hosted::Metric(factory())),
        ];
        for make in all {
            let found = [
                (Role::Dataset, make.dataset().is_some()),
                (Role::Tokenizer, make.tokenizer().is_some()),
                (Role::Backbone, make.backbone().is_some()),
                (Role::Objective, make.objective().is_some()),
                (Role::Schedule, make.schedule().is_some()),
                (Role::Sampler, make.sampler().is_some()),
                (Role::Program, make.program().is_some()),
                (Role::Metric, make.metric().is_some()),
            ];
            assert!(found.iter().all(|(role, made)| *made == (*role == make.role())), "{:?}", make.role());
        }
    }
}
