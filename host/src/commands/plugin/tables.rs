//! Tables without a cluster or rows: what a plugin's queries are planned over.
//!
//! They are those of Kubernetes' own kinds and of the CRDs that the manifest embeds. Of other kinds
//! nothing is known here.

use crate::kinds::{Kinds, Served};
use crate::offline::Offline;
use crate::registration::access;
use kybern_interface::{Gvk, Manifest, ManifestQuery, PluginSpec};
use kybern_sql::{AccessSet, Engine, Param, Prepared, SqlError, SqlLimits};
use kybern_table::{Keys, KindKey};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::Columns;

/// Empty tables, and SQL over them.
pub(super) struct Tables {
    engine: Engine,
    served: Arc<Served>,
}

impl Tables {
    /// Those that this manifest's queries may name.
    pub(super) fn of(manifest: &Manifest) -> anyhow::Result<Self> {
        let kinds = Kinds::default();
        crate::kinds::builtin::fill(&kinds, &manifest.crds)?;
        let mut tables = Offline::new();
        tables.take(Vec::new(), &kinds)?;
        let (_writer, reader) = tables.into_parts();
        let engine = Engine::new(reader, SqlLimits::default()).with_clock(|| 0);
        engine.set_catalog(kinds.catalog());
        Ok(Self {
            engine,
            served: kinds.served(),
        })
    }

    /// Whether the kind's objects have namespaces; so it is if nothing is known of it.
    pub(super) fn namespaced(&self, gvk: &Gvk) -> bool {
        self.served.get(gvk).is_none_or(|found| found.namespaced)
    }

    /// Whether the kind is known here.
    pub(super) fn knows(&self, gvk: &Gvk) -> bool {
        self.served.get(gvk).is_some()
    }

    /// Plans a query that may see everything.
    pub(super) async fn prepare(&self, query: &ManifestQuery) -> Result<Arc<Prepared>, SqlError> {
        self.engine.prepare(&query.sql, &AccessSet::all()).await
    }

    /// Plans it with what a registration grants.
    pub(super) async fn prepare_as(
        &self,
        query: &ManifestQuery,
        spec: &PluginSpec,
        manifest: &Manifest,
    ) -> Result<Arc<Prepared>, SqlError> {
        let access = access::of(spec, manifest, &self.served).in_namespace("default");
        self.engine.prepare(&query.sql, &access).await
    }

    /// Tables of which the query reads every row that it may see, whatever its parameters are.
    pub(super) fn read_whole(&self, prepared: &Prepared) -> Result<Vec<KindKey>, SqlError> {
        let snapshot = self.engine.snapshot();
        let reads = prepared.read_set_at(&some(prepared), &snapshot)?;
        let mut whole: Vec<KindKey> = Vec::new();
        for scan in reads.scans {
            if scan.keys == Keys::All && !whole.contains(&scan.table) {
                whole.push(scan.table);
            }
        }
        Ok(whole)
    }

    /// The columns of each query that can be planned here.
    pub(super) async fn columns(&self, manifest: &Manifest) -> BTreeMap<String, Columns> {
        let snapshot = self.engine.snapshot();
        let mut known = BTreeMap::new();
        for query in &manifest.queries {
            let Ok(prepared) = self.prepare(query).await else {
                continue;
            };
            let params = vec![Param::Null; prepared.param_count()];
            if let Ok(answer) = self.engine.execute(&prepared, &params, &snapshot).await {
                known.insert(query.name.clone(), answer.schema);
            }
        }
        known
    }
}

/// A value for each parameter.
fn some(prepared: &Prepared) -> Vec<Param> {
    vec![Param::Text("x".to_owned()); prepared.param_count()]
}
