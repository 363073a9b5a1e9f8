//! A fresh list, and what differs from it.

use super::crowd::PULSE;
use anyhow::{Context, Result};
use kybern_table::{Index, TableState, TableView};
use kybern_testcluster::{ControlPlane, Progress, until};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// Objects of one page.
const PAGE: usize = 1000;

/// What the API server has, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) rows: u64,
    pub(super) versions: u64,
    /// resourceVersions by the first letter of the uid.
    pub(super) marks: u64,
}

impl Sums {
    fn add(&mut self, uid: &str, version: u64) {
        self.rows += 1;
        self.versions += version;
        let letter = uid.bytes().next().unwrap_or_default();
        self.marks += version * u64::from(letter);
    }

    /// Queries that answer the same if the host's table of pods has these sums.
    pub(super) fn queries(self) -> Value {
        let Self {
            rows,
            versions,
            marks,
        } = self;
        json!([
            { "name": "wanted", "sql": format!(
                "SELECT count(*) * 0 + {rows} AS n, count(*) * 0 + {versions} AS versions, count(*) * 0 + {marks} AS marks FROM core.configmaps") },
            { "name": "found", "sql": format!(
                "SELECT count(*) AS n, sum(resource_version) AS versions, CAST(sum(resource_version * ascii(uid)) AS BIGINT) AS marks FROM core.pods WHERE name <> '{PULSE}'") },
        ])
    }
}

#[derive(Deserialize)]
struct Page<'p> {
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Vec<&'p RawValue>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue", default)]
    token: String,
}

#[derive(Deserialize)]
struct Head {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
}

/// Compares tables with fresh lists.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// Uid and resourceVersion of objects that were found to be the same, all of them: what has the
    /// same resourceVersion again is not parsed again.
    same: HashSet<(String, u64)>,
}

impl Fresh {
    /// Waits until the table is what a fresh list is.
    pub(super) fn until_equal(
        &mut self,
        plane: &ControlPlane,
        limit: Duration,
        view: impl Fn() -> Option<TableView>,
    ) -> Result<Sums> {
        until("the table is what a fresh list is", limit, || {
            match view() {
                Some(view) => self.compare(plane, &view),
                None => Ok(Progress::Waiting("no table".to_owned())),
            }
        })
    }

    /// The sums of a fresh list if the table is the same, else the first difference.
    fn compare(&mut self, plane: &ControlPlane, view: &TableView) -> Result<Progress<Sums>> {
        if !matches!(view.state(), TableState::Ready { .. }) {
            return Ok(Progress::Waiting(format!("{:?}", view.state())));
        }
        let mut sums = Sums::default();
        let mut token = String::new();
        loop {
            let path = format!("/api/v1/pods?limit={PAGE}&continue={token}");
            let text = plane.client().text(&path)?;
            let page: Page<'_> = serde_json::from_str(&text)?;
            for item in page.items {
                if let Some(difference) = self.differs(view, item.get(), &mut sums)? {
                    return Ok(Progress::Waiting(difference));
                }
            }
            token = page.metadata.token;
            if token.is_empty() {
                break;
            }
        }
        // The pulse is in the table, or not yet.
        let rows = u64::try_from(view.count())?;
        Ok(if rows == sums.rows || rows == sums.rows + 1 {
            Progress::Done(sums)
        } else {
            Progress::Waiting(format!("{rows} rows, {} pods", sums.rows))
        })
    }

    /// What is different in the row of this object.
    fn differs(&mut self, view: &TableView, item: &str, sums: &mut Sums) -> Result<Option<String>> {
        let Head { metadata } = serde_json::from_str(item)?;
        if metadata.name == PULSE {
            return Ok(None);
        }
        let key = format!("{}/{}", metadata.namespace, metadata.name);
        let (uid, version) = (metadata.uid, metadata.resource_version.parse()?);
        sums.add(&uid, version);
        let rows = view.lookup(&Index::Name, &key)?;
        let [row] = &rows[..] else {
            return Ok(Some(format!("{key}: {} rows", rows.len())));
        };
        let found = (row.uid().into_owned(), row.resource_version());
        let wanted = (uid, version);
        if found != wanted {
            return Ok(Some(format!("{key}: {found:?}, not {wanted:?}")));
        }
        if self.same.contains(&wanted) {
            return Ok(None);
        }
        let mut object: Value = serde_json::from_str(item)?;
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Pod");
        let metadata = object["metadata"].as_object_mut().context("metadata")?;
        metadata.remove("managedFields");
        if row.value() != object {
            return Ok(Some(format!("{key}: {:#}, not {object:#}", row.value())));
        }
        self.same.insert(wanted);
        Ok(None)
    }
}
