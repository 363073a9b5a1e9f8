//! Tables for one command: listed once from a cluster, or filled from manifests.

use crate::kinds::Kinds;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use kybern_kube::{Cluster, ListOptions, ListPage, Resource};
use kybern_table::{Batch, Change, KindKey, Origin, Reader, StoreConfig, TableDef, Writer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::pin;

/// Most objects of one kind that a command lists.
pub(crate) const MAX_OBJECTS: usize = 1_000_000;
/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Lists at the same time.
const LISTS_AT_ONCE: usize = 4;

/// One list that fills a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The table.
    pub(crate) def: TableDef,
    /// Only this namespace; no matter for a cluster-scoped kind.
    pub(crate) namespace: Option<String>,
    /// Only the objects' metadata: the rest of each row is NULL.
    pub(crate) metadata_only: bool,
    /// More objects than this fail the list.
    pub(crate) cap: usize,
}

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
        let listing = |def: &TableDef| Listing {
            def: def.clone(),
            namespace: namespace.map(str::to_owned),
            metadata_only: false,
            cap: MAX_OBJECTS,
        };
        // A table that is wanted twice, for indexes of two, is listed once.
        let mut listings: Vec<Listing> = Vec::new();
        let mut again = Vec::new();
        for def in tables {
            if listings.iter().any(|listing| listing.def.key == def.key) {
                again.push(Change::Define(def.clone()));
            } else {
                listings.push(listing(def));
            }
        }
        self.load(cluster, &listings, |_, _| ()).await?;
        self.apply(again)
    }

    /// Lists, several at once, and replaces what the tables held. `seen` is told how many objects
    /// of a listing, by its place, have come. No two listings are of one table. After an error the
    /// tables cannot be read.
    pub(crate) async fn load(
        &mut self,
        cluster: &Cluster,
        listings: &[Listing],
        seen: impl Fn(usize, usize),
    ) -> anyhow::Result<()> {
        for listing in listings {
            // The state that a row has is kept for as long as its resourceVersion is the same,
            // also if it is metadata only.
            if self.reader.snapshot().table(&listing.def.key).is_some() {
                self.apply(vec![Change::Drop(listing.def.key.clone())])?;
            }
            self.begin(listing.def.clone())?;
        }
        let mut counts = vec![0; listings.len()];
        let lists = stream::iter(listings.iter().enumerate())
            .map(|(place, listing)| {
                pages(cluster, listing)
                    .map(move |page| (place, page))
                    .boxed()
            })
            .flatten_unordered(LISTS_AT_ONCE);
        let mut lists = pin!(lists);
        while let Some((place, page)) = lists.next().await {
            let page = page?;
            let (Some(listing), Some(count)) = (listings.get(place), counts.get_mut(place)) else {
                continue;
            };
            *count += page.items.len();
            seen(place, *count);
            within_cap(listing, *count)?;
            let table = &listing.def.key;
            self.rows(table, page.items)?;
            if page.continue_token.is_none() {
                self.end(table, page.resource_version.parse().unwrap_or_default())?;
            }
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

    /// A table that is there but not loaded.
    pub(crate) fn define(&mut self, def: TableDef) -> anyhow::Result<()> {
        self.apply(vec![Change::Define(def)])
    }

    /// One complete list.
    pub(crate) fn fill(
        &mut self,
        def: TableDef,
        raw: Vec<Bytes>,
        resource_version: u64,
    ) -> anyhow::Result<()> {
        let table = def.key.clone();
        self.begin(def)?;
        self.rows(&table, raw)?;
        self.end(&table, resource_version)
    }

    fn begin(&mut self, def: TableDef) -> anyhow::Result<()> {
        let table = def.key.clone();
        self.apply(vec![Change::Define(def), Change::ListBegin { table }])
    }

    fn rows(&mut self, table: &KindKey, raw: Vec<Bytes>) -> anyhow::Result<()> {
        let upsert = |raw| Change::Upsert {
            table: table.clone(),
            raw,
            origin: Origin::List,
        };
        self.apply(raw.into_iter().map(upsert).collect())
    }

    fn end(&mut self, table: &KindKey, resource_version: u64) -> anyhow::Result<()> {
        self.apply(vec![Change::ListEnd {
            table: table.clone(),
            resource_version,
        }])
    }

    fn apply(&mut self, changes: Vec<Change>) -> anyhow::Result<()> {
        let applied = self.writer.apply(Batch { changes });
        match applied.errors.first() {
            None => Ok(()),
            Some(error) => bail!("{error}"),
        }
    }
}

/// The pages of one list, in order; ends after an error.
fn pages<'a>(
    cluster: &'a Cluster,
    listing: &'a Listing,
) -> impl Stream<Item = anyhow::Result<ListPage>> + Send + 'a {
    let first = ListOptions {
        limit: Some(PAGE),
        metadata_only: listing.metadata_only,
        ..ListOptions::default()
    };
    let resource = Resource::from(&listing.def);
    stream::unfold(Some(first), move |options| {
        let resource = resource.clone();
        async move {
            let options = options?;
            let page = cluster
                .list_page(&resource, listing.namespace.as_deref(), &options)
                .await
                .with_context(|| format!("{} cannot be listed", resource.qualified()));
            let token = page
                .as_ref()
                .ok()
                .and_then(|page| page.continue_token.clone());
            let next = token.map(|token| ListOptions {
                continue_token: Some(token),
                ..options
            });
            Some((page, next))
        }
    })
}

fn within_cap(listing: &Listing, count: usize) -> anyhow::Result<()> {
    let name = Resource::from(&listing.def).qualified();
    ensure!(
        count <= listing.cap,
        "{name} cannot be listed: there are more than {} objects; name one namespace, as in WHERE namespace = 'default' or -n default",
        listing.cap
    );
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::{FakeApi, def, page};
    use kybern_table::Index;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::Barrier;

    /// Longer than any of these takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn object(name: &str) -> Value {
        json!({
            "metadata": { "namespace": "n", "name": name, "uid": name, "resourceVersion": "3" },
            "data": { "key": "value" },
        })
    }

    fn listing(kind: &str, plural: &str) -> Listing {
        Listing {
            def: def(kind, plural),
            namespace: None,
            metadata_only: false,
            cap: MAX_OBJECTS,
        }
    }

    #[tokio::test]
    async fn lists_run_side_by_side_page_by_page() {
        let both = Arc::new(Barrier::new(2));
        let api = FakeApi::start(move |line: String| {
            let both = Arc::clone(&both);
            async move {
                if line.contains("continue=more") {
                    return Some(page(&[object("b")], None));
                }
                both.wait().await;
                let next = line.contains("/secrets").then_some("more");
                Some(page(&[object("a")], next))
            }
        })
        .await;
        let mut tables = Offline::new();
        let listings = [
            listing("Secret", "secrets"),
            listing("ConfigMap", "configmaps"),
        ];
        let seen = parking_lot::Mutex::new(BTreeMap::new());
        let noted = |place, count| {
            seen.lock().insert(place, count);
        };
        let loading = tables.load(&api.cluster, &listings, noted);
        tokio::time::timeout(PATIENCE, loading)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(*seen.lock(), BTreeMap::from([(0, 2), (1, 1)]));
        let snapshot = tables.reader.snapshot();
        for (listing, rows) in listings.iter().zip([2, 1]) {
            let view = snapshot.table(&listing.def.key).unwrap();
            assert!(matches!(
                view.state(),
                kybern_table::TableState::Ready { .. }
            ));
            assert_eq!(view.count(), rows);
        }
    }

    #[tokio::test]
    async fn a_list_of_whole_objects_replaces_one_of_metadata() {
        let api = FakeApi::start(async |_: String| Some(page(&[object("a")], None))).await;
        let mut tables = Offline::new();
        let whole = listing("ConfigMap", "configmaps");
        let metadata = Listing {
            metadata_only: true,
            ..whole.clone()
        };
        for (listing, has_data) in [(&metadata, false), (&whole, true), (&metadata, false)] {
            let listings = std::slice::from_ref(listing);
            tables
                .load(&api.cluster, listings, |_, _| ())
                .await
                .unwrap();
            let view = tables.reader.snapshot().table(&listing.def.key).unwrap();
            let rows = view.lookup(&Index::Name, "n/a").unwrap();
            assert_eq!(rows[0].value().get("data").is_some(), has_data);
        }
    }

    #[tokio::test]
    async fn a_table_that_is_wanted_twice_is_listed_once() {
        let asked = Arc::new(parking_lot::Mutex::new(0));
        let counted = Arc::clone(&asked);
        let api = FakeApi::start(move |_: String| {
            *counted.lock() += 1;
            async { Some(page(&[object("a")], None)) }
        })
        .await;
        let mut tables = Offline::new();
        let path: kybern_table::Path = "data.key".parse().unwrap();
        let wanted = [Vec::new(), vec![path.clone()]].map(|path_indexes| TableDef {
            path_indexes,
            ..def("ConfigMap", "configmaps")
        });
        tables.list(&api.cluster, &wanted, None).await.unwrap();
        assert_eq!(*asked.lock(), 1);
        let view = tables.reader.snapshot().table(&wanted[0].key).unwrap();
        assert_eq!(view.lookup(&Index::Path(path), "value").unwrap().len(), 1);
    }

    #[tokio::test]
    async fn more_objects_than_the_cap_fail_the_list_and_leave_no_table_to_read() {
        let objects = [object("a"), object("b")];
        let api = FakeApi::start(move |_: String| {
            let page = page(&objects, None);
            async move { Some(page) }
        })
        .await;
        let mut tables = Offline::new();
        let mut listing = listing("ConfigMap", "configmaps");
        for (cap, fits) in [(2, true), (1, false)] {
            listing.cap = cap;
            let done = tables
                .load(&api.cluster, std::slice::from_ref(&listing), |_, _| ())
                .await;
            assert_eq!(done.is_ok(), fits);
            let message = done
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert_eq!(
                message.contains("configmaps cannot be listed: there are more than 1"),
                !fits
            );
            let view = tables.reader.snapshot().table(&listing.def.key).unwrap();
            assert_eq!(
                matches!(view.state(), kybern_table::TableState::Ready { .. }),
                fits
            );
        }
    }
}
