//! Tables of `[train]` that other crates bring: `[train.loss]`, `[train.adversarial]`, … This crate reads them without
//! knowing what they say.

use super::{Part, TrainSettings};
use crate::{ConfigError, TokenizerConfig};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use std::{any::Any, fmt, sync::Arc};

/// Settings of training that stand in a table of `[train]`.
pub trait TrainTable: Any + fmt::Debug + Send + Sync {
    /// The table's name below `[train]`.
    fn key(&self) -> &'static str;
    /// What is wrong with it in this `[train]`, beyond what its schema says; paths are relative to the table.
    fn errors(&self, _train: &TrainSettings) -> Vec<ConfigError> {
        Vec::new()
    }
    /// Why the tokenizer that is trained cannot be trained so; the path is relative to the table.
    fn unfit(&self, _tokenizer: &Part<dyn TokenizerConfig>) -> Option<ConfigError> {
        None
    }
}

/// A table that recipes can name below `[train]`.
pub struct TrainTableKind {
    /// Its name.
    pub key: &'static str,
    /// The JSON Schema of `[train]`'s property.
    pub(crate) property: Json,
    /// The JSON Schema of the table.
    pub(crate) schema: Json,
    read: fn(Json) -> serde_json::Result<Arc<dyn TrainTable>>,
}

impl TrainTableKind {
    /// A table that may be left out. `description` is one line for docs and editors.
    pub fn optional<T>(description: &str) -> Self
    where
        T: TrainTable + DeserializeOwned + JsonSchema + Default,
    {
        let key = T::default().key();
        let property = serde_json::json!({ "description": description, "$ref": format!("#/$defs/train.{key}") });
        Self { key, property, schema: schemars::schema_for!(T).into(), read: |json| Ok(Arc::new(read::<T>(json)?)) }
    }

    /// A table whose defaults hold where it is left out.
    pub fn always<T>(description: &str) -> Self
    where
        T: TrainTable + DeserializeOwned + JsonSchema + Default + Serialize,
    {
        let mut kind = Self::optional::<T>(description);
        kind.property["default"] = serde_json::json!(T::default());
        kind
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where the JSON does not fit its schema.
    pub(crate) fn read(&self, json: Json) -> serde_json::Result<Arc<dyn TrainTable>> {
        (self.read)(json)
    }
}

fn read<T: DeserializeOwned>(json: Json) -> serde_json::Result<T> {
    serde_json::from_value(json)
}

/// The tables of a `[train]`, at most one of a type.
#[derive(Clone, Debug, Default)]
pub struct TrainTables(Vec<Arc<dyn TrainTable>>);

impl TrainTables {
    /// The table of this type, where there is one.
    pub fn get<T: TrainTable>(&self) -> Option<&T> {
        self.0.iter().find_map(|table| (&**table as &dyn Any).downcast_ref())
    }

    /// The same with this table, instead of another of its type.
    pub fn with<T: TrainTable>(self, table: T) -> Self {
        let mut tables = self.without::<T>();
        tables.0.push(Arc::new(table));
        tables
    }

    /// The same without the table of this type.
    pub fn without<T: TrainTable>(mut self) -> Self {
        self.0.retain(|table| !(&**table as &dyn Any).is::<T>());
        self
    }

    /// What is wrong with them in `train`; paths are relative to `[train]`.
    pub(crate) fn errors(&self, train: &TrainSettings) -> Vec<ConfigError> {
        let of = |table: &Arc<dyn TrainTable>| {
            let key = table.key();
            table.errors(train).into_iter().map(move |error| below(key, error))
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Why this tokenizer cannot be trained so; paths are relative to `[train]`.
    pub(crate) fn unfit(&self, tokenizer: &Part<dyn TokenizerConfig>) -> Option<ConfigError> {
        self.0.iter().find_map(|table| Some(below(table.key(), table.unfit(tokenizer)?)))
    }
}

impl FromIterator<Arc<dyn TrainTable>> for TrainTables {
    fn from_iter<I: IntoIterator<Item = Arc<dyn TrainTable>>>(tables: I) -> Self {
        Self(tables.into_iter().collect())
    }
}

/// The error as seen from the table above.
fn below(key: &str, error: ConfigError) -> ConfigError {
    let path = if error.path.is_empty() { key.to_owned() } else { format!("{key}.{}", error.path) };
    ConfigError { path, ..error }
}
