//! From what a statement asks for each object to the requests of it.

use super::failure::Failure;
use super::session::gvk;
use crate::kinds::Kinds;
use crate::operate::{Item, Work};
use kybern_interface::Gvk;
use kybern_kube::{ApiResource, Resource};
use kybern_sql::{Action, Change, PreparedWrite, SetsStatus, Verb};
use kybern_table::{Index, KindKey, Snapshot};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// What requests are made from.
pub(super) struct Items<'a> {
    pub(super) kinds: &'a Kinds,
    /// The only namespace that the command is about, and that of new objects which do not say.
    pub(super) namespace: Option<&'a str>,
    pub(super) write: &'a PreparedWrite,
    /// What the statement read.
    pub(super) snapshot: &'a Snapshot,
}

impl Items<'_> {
    /// One for each change.
    pub(super) fn of(&self, changes: Vec<Change>) -> Result<Vec<Item>, Failure> {
        let reads = self.write.reads().map(Arc::from);
        let status = self.subresource()?;
        let mut seen = HashSet::new();
        let items = changes.into_iter().map(|change| {
            let resource = self.resource(&change)?;
            let namespace = self.namespace_of(&change, &resource)?;
            if let Action::Create(object) = &change.action
                && object.get("status").is_some()
                && resource.subresources.contains_key("status")
            {
                return Err(Failure::Usage(format!(
                    "a new {} gets no status: UPDATE it afterwards",
                    resource.kind
                )));
            }
            let work = match change.action {
                Action::Set(assignments) => Work::Edit {
                    before: self.before(&change.uid)?,
                    assignments,
                    subresource: status,
                    reads: Option::clone(&reads),
                },
                Action::Delete(propagation) => Work::Delete {
                    before: self.before(&change.uid)?,
                    propagation,
                    reads: Option::clone(&reads),
                },
                Action::Create(object) => Work::Create {
                    object: placed(object, namespace.as_deref()),
                    do_nothing: matches!(self.write.verb(), Verb::Insert { do_nothing: true }),
                },
                Action::Apply(object) => Work::Apply {
                    object: placed(object, namespace.as_deref()),
                    force: matches!(self.write.verb(), Verb::Apply { force: true }),
                },
            };
            let named = !change.name.is_empty();
            let key = (
                resource.kind.clone(),
                resource.group.clone(),
                namespace.clone(),
            );
            if named && !seen.insert((key, change.name.clone())) {
                return Err(Failure::Usage(format!(
                    "{} {} is in the statement twice: nothing was done",
                    resource.kind, change.name
                )));
            }
            Ok(Item {
                resource: Resource::from(&resource),
                namespace,
                name: change.name,
                work,
            })
        });
        items.collect()
    }

    /// Where an UPDATE writes.
    fn subresource(&self) -> Result<Option<&'static str>, Failure> {
        let served = self.kinds.served();
        let table = self.write.table();
        let resource = table.and_then(|table| served.get(&gvk(&table.def.key)));
        let has_status = resource.is_some_and(|found| found.subresources.contains_key("status"));
        match self.write.sets_status() {
            _ if self.write.verb() != Verb::Update => Ok(None),
            SetsStatus::Only if has_status => Ok(Some("status")),
            SetsStatus::AndMore if has_status => Err(Failure::Usage(format!(
                "status of {} is written apart from the rest: set it in a statement of its own",
                self.write.table_name()
            ))),
            _ => Ok(None),
        }
    }

    fn resource(&self, change: &Change) -> Result<ApiResource, Failure> {
        let gvk = match (self.write.table(), &change.action) {
            (Some(table), _) => gvk(&table.def.key),
            (None, Action::Apply(object) | Action::Create(object)) => {
                let text = |field: &str| object.get(field).and_then(Value::as_str);
                let api_version = text("apiVersion").unwrap_or_default();
                Gvk::from_api_version(api_version, text("kind").unwrap_or_default())
            }
            (None, _) => Gvk::from_api_version("", ""),
        };
        let served = self.kinds.served();
        let found = served.get(&gvk).cloned();
        found.ok_or_else(|| Failure::Usage(format!("the API server does not serve {gvk}")))
    }

    fn namespace_of(
        &self,
        change: &Change,
        resource: &ApiResource,
    ) -> Result<Option<String>, Failure> {
        if !resource.namespaced {
            return Ok(None);
        }
        match (&change.namespace, self.namespace) {
            (Some(own), Some(only)) if own != only => Err(Failure::Usage(format!(
                "{} is in namespace {own}, and -n {only} allows no other: nothing was done",
                change.name
            ))),
            (Some(own), _) => Ok(Some(own.clone())),
            (None, Some(only)) => Ok(Some(only.to_owned())),
            (None, None) => Err(Failure::Usage(format!(
                "{} {} has no namespace: set it in the statement, or give -n",
                resource.kind, change.name
            ))),
        }
    }

    /// The object that the statement read.
    fn before(&self, uid: &str) -> Result<Value, Failure> {
        let key: Option<&KindKey> = self.write.table().map(|table| &table.def.key);
        let table = key.and_then(|key| self.snapshot.table(key));
        let rows = table
            .map(|table| table.lookup(&Index::Uid, uid))
            .transpose();
        let rows = rows.map_err(anyhow::Error::from)?.unwrap_or_default();
        let row = rows.first();
        let row = row.ok_or_else(|| anyhow::anyhow!("{uid} is not in the table any more"))?;
        Ok(row.value())
    }
}

/// The object in its namespace.
fn placed(mut object: Value, namespace: Option<&str>) -> Value {
    if let (Some(namespace), Some(members)) = (namespace, object.as_object_mut()) {
        let metadata = members.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
    }
    object
}
