//! kybern-sql
//!
//! NOTE TO THE BUILDER OF THIS ROOM (delete when done): the host binary (host/src) already compiles
//! against these names; keep them, publish the compiling surface at once, commit, then fill it in.
//!
//! Catalog::new(Vec<CatalogTable>); CatalogTable { def, preferred: bool, singular: String, short_names: Vec<String>, top_level: Vec<String>, types: PathTypes, listable: bool, watchable: bool }
//! PathTypes: Default + Clone + Debug; built by `insert(steps: Vec<PathStep>, PathType)`, PathStep::{Key(String), AnyKey, AnyItem} (from OpenAPI: see host/kube/src/openapi.rs)
//! Engine::{new(Reader, SqlLimits), set_catalog(&self, Catalog), catalog(), tables_of(&self, sql, &AccessSet) -> Result<Vec<KindKey>, SqlError> (sync; the tables that a statement names, before types are known), async prepare, async execute, async explain}
//! Prepared::{tables(), read_set(&[Param]) -> ReadSet, param_count() -> usize, is_explain() -> bool}
//! AccessSet::{all(), of(Vec<TableAccess>), in_namespace(&self, &str) -> AccessSet (binds OwnNamespace)}; TableAccess { table, scope }
//! RowScope::{All, Namespaces(Vec<String>), OwnNamespace, Labels { own_namespace: bool, match_labels: BTreeMap<String, String> }}
//! SqlError variants used: NotReady { .. } (table loading or failed), Limit { .. }, Internal { .. }; SqlError::render(&self, sql: &str) -> String with a caret where a position is known
//! Answer { schema, batches, fingerprint: u128, rows: usize }; Param: From<serde_json::Value>
//! The plan cache must be cheap for `in_namespace` (namespace must not be part of the cache key).
