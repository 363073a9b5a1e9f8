//! The cluster that is asked: kinds and objects from `world`.

use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use kybern_sql::{Catalog, CatalogTable};
use kybern_table::{Batch, Change, KindKey, Origin, Reader, StoreConfig, TableDef, Writer, store};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::schema::Schema;

/// A kind, written like a CustomResourceDefinition, those of Kubernetes too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kind {
    group: String,
    version: String,
    names: Names,
    scope: String,
    /// The version that a name without version means.
    #[serde(default = "yes")]
    preferred: bool,
    #[serde(default = "yes")]
    listable: bool,
    #[serde(default = "yes")]
    watchable: bool,
    #[serde(default)]
    state: State,
    /// Why its state is `Failed`.
    #[serde(default)]
    reason: String,
    /// Labels and paths with an index.
    #[serde(default)]
    label_keys: Vec<String>,
    #[serde(default)]
    path_indexes: Vec<String>,
    #[serde(default, rename = "openAPIV3Schema")]
    schema: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Names {
    kind: String,
    plural: String,
    singular: String,
    #[serde(default)]
    short_names: Vec<String>,
}

/// What the store knows of a kind.
#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
enum State {
    #[default]
    Ready,
    Loading,
    Failed,
    Unwatched,
}

fn yes() -> bool {
    true
}

/// A filled store; dropping the writer would not harm its reader.
pub(crate) struct World {
    pub(crate) reader: Reader,
    _writer: Writer,
    tables: Vec<CatalogTable>,
}

impl World {
    /// Reads `kinds.yaml` and `objects.yaml` of a directory.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let kinds: Vec<Kind> = documents(&directory.join("kinds.yaml"))?;
        let mut objects: Vec<Value> = documents(&directory.join("objects.yaml"))?;
        (101..)
            .zip(&mut objects)
            .for_each(|(version, object)| complete(object, version));
        // Few rows for each chunk, so that most tables have several.
        let (mut writer, reader) = store(StoreConfig {
            chunk_rows: 3,
            ..StoreConfig::default()
        });
        let mut taken = 0;
        for kind in &kinds {
            let own: Vec<&Value> = objects.iter().filter(|object| kind.is_of(object)).collect();
            taken += own.len();
            let applied = writer.apply(Batch {
                changes: kind.changes(&own)?,
            });
            ensure!(applied.errors.is_empty(), "{:?}", applied.errors);
        }
        ensure!(
            taken == objects.len(),
            "an object is of no kind of kinds.yaml"
        );
        Ok(Self {
            reader,
            _writer: writer,
            tables: kinds.iter().map(Kind::table).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn catalog(&self) -> Catalog {
        Catalog::new(self.tables.clone())
    }

    /// The kind of a table `schema.plural`.
    pub(crate) fn kind(&self, name: &str) -> anyhow::Result<KindKey> {
        let named = |table: &&CatalogTable| {
            name.split_once('.') == Some((&table.def.schema, &table.def.plural))
        };
        let table = self.tables.iter().find(named);
        let table = table.with_context(|| format!("kinds.yaml has no table {name}"))?;
        Ok(table.def.key.clone())
    }
}

impl Kind {
    fn key(&self) -> KindKey {
        KindKey::new(&*self.group, &*self.version, &*self.names.kind)
    }

    fn is_of(&self, object: &Value) -> bool {
        let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        field("apiVersion") == self.key().api_version() && field("kind") == self.names.kind
    }

    fn def(&self) -> anyhow::Result<TableDef> {
        let schema = match &*self.group {
            "" => "core".to_owned(),
            group => group.replace(['.', '-'], "_"),
        };
        let paths = self.path_indexes.iter();
        let paths = paths.map(|path| path.parse().map_err(|_| anyhow::anyhow!("no path: {path}")));
        Ok(TableDef {
            key: self.key(),
            schema,
            plural: self.names.plural.clone(),
            namespaced: self.scope == "Namespaced",
            label_keys: self.label_keys.clone(),
            path_indexes: paths.collect::<Result<_, _>>()?,
        })
    }

    fn table(&self) -> anyhow::Result<CatalogTable> {
        let schema = Schema::read(&self.schema);
        Ok(CatalogTable {
            def: self.def()?,
            preferred: self.preferred,
            singular: self.names.singular.clone(),
            short_names: self.names.short_names.clone(),
            top_level: schema.top_level.into_iter().collect(),
            types: schema.types,
            listable: self.listable,
            watchable: self.watchable,
        })
    }

    /// What brings the table into its state.
    fn changes(&self, objects: &[&Value]) -> anyhow::Result<Vec<Change>> {
        let table = self.key();
        let mut changes = vec![Change::Define(self.def()?)];
        match self.state {
            State::Unwatched => return Ok(Vec::new()),
            State::Loading => return Ok(changes),
            State::Failed => changes.push(Change::Fail {
                table,
                reason: self.reason.clone(),
            }),
            State::Ready => {
                changes.push(Change::ListBegin {
                    table: table.clone(),
                });
                changes.extend(objects.iter().map(|object| Change::Upsert {
                    table: table.clone(),
                    raw: Bytes::from(object.to_string()),
                    origin: Origin::List,
                }));
                changes.push(Change::ListEnd {
                    table,
                    resource_version: 999,
                });
            }
        }
        Ok(changes)
    }
}

/// Gives an object the metadata that its file leaves out.
fn complete(object: &mut Value, version: u64) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text(object.get("kind"));
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let (namespace, name) = (text(metadata.get("namespace")), text(metadata.get("name")));
    let uid = [kind, namespace, name]
        .join("-")
        .to_lowercase()
        .replace("--", "-");
    let mut default = |key: &str, value: Value| {
        metadata.entry(key).or_insert(value);
    };
    default("uid", json!(uid));
    default("resourceVersion", json!(version.to_string()));
    default("creationTimestamp", json!("2026-01-02T03:04:05Z"));
    default("generation", json!(1));
}

/// The documents of a YAML file.
pub(crate) fn documents<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<Vec<T>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_saphyr::from_multiple(&text)
        .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
}
