//! Tables for one command: listed once from a cluster, or filled from manifests.

use crate::kinds::Kinds;
use anyhow::{Context, bail};
use bytes::Bytes;
use kybern_kube::{Cluster, ListOptions, Resource};
use kybern_table::{Batch, Change, KindKey, Origin, Reader, StoreConfig, TableDef, Writer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most objects of one kind that a command lists.
const MAX_OBJECTS: usize = 1_000_000;

/// Tables that a command filled by itself.
pub(crate) struct Offline {
    writer: Writer,
    /// To read them.
    pub(crate) reader: Reader,
}

impl Offline {
    /// No table yet.
    pub(crate) fn new() -> Self {
        let (writer, reader) = kybern_table::store(StoreConfig::default());
        Self { writer, reader }
    }

    /// The tables and the way to write them.
    pub(crate) fn into_parts(self) -> (Writer, Reader) {
        (self.writer, self.reader)
    }

    /// Lists these kinds once. A kind that cannot be listed fails the command: never an empty table.
    pub(crate) async fn list(
        &mut self,
        cluster: &Cluster,
        tables: &[TableDef],
        namespace: Option<&str>,
    ) -> anyhow::Result<()> {
        for def in tables {
            let resource = Resource::from(def);
            let scope = namespace.filter(|_| def.namespaced);
            let page = cluster
                .list_all(&resource, scope, &ListOptions::default(), MAX_OBJECTS)
                .await
                .with_context(|| format!("{} cannot be listed", resource.qualified()))?;
            let version = page.resource_version.parse().unwrap_or_default();
            self.fill(def.clone(), page.items, version)?;
        }
        Ok(())
    }

    /// Fills a table for each kind among the objects, and an empty one for each other kind of
    /// `tables`. Objects get the uid and resourceVersion that they lack.
    pub(crate) fn take(&mut self, objects: Vec<Value>, kinds: &Kinds) -> anyhow::Result<()> {
        let served = kinds.served();
        let mut by_kind: BTreeMap<KindKey, (TableDef, Vec<Bytes>)> = served
            .all()
            .map(|found| {
                let def = crate::kinds::table(found);
                (def.key.clone(), (def, Vec::new()))
            })
            .collect();
        for (index, mut object) in objects.into_iter().enumerate() {
            let api_version = object
                .get("apiVersion")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let kind = object
                .get("kind")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let gvk = kybern_interface::Gvk::from_api_version(api_version, kind);
            let key = KindKey::new(&*gvk.group, &*gvk.version, &*gvk.kind);
            let Some((def, raw)) = by_kind.get_mut(&key) else {
                bail!("{gvk} is not a known kind; give its CustomResourceDefinition too");
            };
            complete(&mut object, def.namespaced, index);
            raw.push(Bytes::from(serde_json::to_vec(&object)?));
        }
        for (def, raw) in by_kind.into_values() {
            self.fill(def, raw, 1)?;
        }
        Ok(())
    }

    /// One complete list.
    fn fill(
        &mut self,
        def: TableDef,
        raw: Vec<Bytes>,
        resource_version: u64,
    ) -> anyhow::Result<()> {
        let table = def.key.clone();
        let mut changes = vec![
            Change::Define(def),
            Change::ListBegin {
                table: table.clone(),
            },
        ];
        changes.extend(raw.into_iter().map(|raw| Change::Upsert {
            table: table.clone(),
            raw,
            origin: Origin::List,
        }));
        changes.push(Change::ListEnd {
            table,
            resource_version,
        });
        let applied = self.writer.apply(Batch { changes });
        match applied.errors.first() {
            None => Ok(()),
            Some(error) => bail!("{error}"),
        }
    }
}

/// Fills in what an API server would.
pub(crate) fn complete(object: &mut Value, namespaced: bool, index: usize) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    if namespaced {
        metadata
            .entry("namespace")
            .or_insert_with(|| json!("default"));
    } else {
        metadata.remove("namespace");
    }
    metadata
        .entry("uid")
        .or_insert_with(|| json!(format!("00000000-0000-4000-8000-{:012x}", index + 1)));
    metadata
        .entry("resourceVersion")
        .or_insert_with(|| json!("1"));
    metadata.entry("generation").or_insert_with(|| json!(1));
}
