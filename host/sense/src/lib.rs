//! The reconcile engine's [`Sense`] over the SQL engine: what a registration may see, and its answers.
//!
//! # Contract
//! A registration is [admitted](SqlSense::admit) with what it may see; without that nothing is
//! answered. All queries of a pass are answered on the one snapshot that it names, on a pool of
//! threads that is not the asker's.

use async_trait::async_trait;
use kybern_interface::{Manifest, Query};
use kybern_reconcile::{Active, Answer, Sense, SenseError, SenseRequest, Sensed};
use kybern_sql::{AccessSet, Catalog, Engine, Param, Prepared, SqlError};
use kybern_table::Snapshot;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// Why a registration's queries cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inadmissible {
    /// A query that has no answer, or none that a pass may depend on.
    #[error("{0}")]
    Query(String),
    /// A manifest that contradicts itself.
    #[error("{0}")]
    Manifest(String),
}

/// Answers the queries of registrations.
pub struct SqlSense {
    engine: Engine,
    /// Where queries are answered: never on the threads of whoever asks.
    pool: Handle,
    admitted: RwLock<HashMap<String, Arc<AccessSet>>>,
}

impl SqlSense {
    /// Nobody is admitted yet; queries are answered on this pool.
    pub fn new(engine: Engine, pool: Handle) -> Self {
        Self {
            engine,
            pool,
            admitted: RwLock::default(),
        }
    }

    /// What is served changed.
    pub fn set_catalog(&self, catalog: Catalog) {
        self.engine.set_catalog(catalog);
    }

    /// Says what a registration may see, and plans its manifest's queries to find faults early.
    pub async fn admit(
        &self,
        registration: &str,
        access: AccessSet,
        manifest: &Manifest,
    ) -> Result<(), Inadmissible> {
        for query in &manifest.queries {
            let prepared = self.engine.prepare(&query.sql, &access).await.map_err(|error| {
                Inadmissible::Query(format!("the plugin's query {} cannot be answered: {error}; is a read grant missing from spec.grants.read?", query.name))
            })?;
            if let Some(fault) = unfit(&prepared) {
                let message = format!("the plugin's query {} {fault}", query.name);
                return Err(Inadmissible::Query(message));
            }
            if prepared.param_count() > query.params.len() {
                return Err(Inadmissible::Manifest(format!(
                    "the plugin's query {} has {} parameters but names {}",
                    query.name,
                    prepared.param_count(),
                    query.params.len()
                )));
            }
        }
        self.admitted
            .write()
            .insert(registration.to_owned(), Arc::new(access));
        Ok(())
    }

    /// The registration is gone.
    pub fn forget(&self, registration: &str) {
        self.admitted.write().remove(registration);
    }

    fn access(&self, active: &Active, object: &Value) -> Result<AccessSet, SenseError> {
        let access = self
            .admitted
            .read()
            .get(active.name())
            .cloned()
            .ok_or_else(|| {
                SenseError::NotReady(format!("{} is not admitted yet", active.name()))
            })?;
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Ok(access.in_namespace(namespace))
    }
}

#[async_trait]
impl Sense for SqlSense {
    async fn sense(&self, request: SenseRequest<'_>) -> Result<Sensed, SenseError> {
        let access = self.access(request.active, request.object)?;
        let engine = self.engine.clone();
        let queries = request.queries.to_vec();
        let snapshot = request.snapshot.clone();
        let work = self
            .pool
            .spawn(async move { answer(&engine, &access, &queries, &snapshot).await });
        // A pass that is dropped takes its statements along.
        AbortOnDropHandle::new(work)
            .await
            .map_err(|error| SenseError::Internal(format!("the queries were ended: {error}")))?
    }
}

/// Answers all queries on the snapshot.
async fn answer(
    engine: &Engine,
    access: &AccessSet,
    queries: &[Query],
    snapshot: &Snapshot,
) -> Result<Sensed, SenseError> {
    let mut answers = Vec::with_capacity(queries.len());
    for query in queries {
        let prepared = engine
            .prepare(&query.sql, access)
            .await
            .map_err(|error| failure(&query.name, &error))?;
        if let Some(fault) = unfit(&prepared) {
            return Err(SenseError::Query {
                query: query.name.clone(),
                message: fault.to_owned(),
            });
        }
        let params: Vec<Param> = query.params.iter().cloned().map(Param::from).collect();
        let answer = engine
            .execute(&prepared, &params, snapshot)
            .await
            .map_err(|error| failure(&query.name, &error))?;
        // Of the same snapshot: rows that it is joined with say which others matter.
        let read_set = prepared
            .read_set_at(&params, snapshot)
            .map_err(|error| failure(&query.name, &error))?;
        answers.push(Answer {
            name: query.name.clone(),
            schema: answer.schema,
            batches: answer.batches,
            fingerprint: answer.fingerprint,
            rows: answer.rows,
            read_set,
        });
    }
    Ok(Sensed { answers })
}

/// Why a statement cannot be a query of a pass: its answer could change without a trigger, or
/// depend on chance.
fn unfit(prepared: &Prepared) -> Option<&'static str> {
    if prepared.is_explain() {
        Some("is an EXPLAIN; a pass needs rows")
    } else if prepared.has_arbitrary_limit() {
        Some("has a LIMIT without ORDER BY, which picks rows by chance; order it")
    } else if prepared.uses_now() {
        Some(
            "calls now(), so that its answer changes with time alone; compare with the situation's `now` in the plugin and set a requeue time",
        )
    } else if prepared.reads_system_tables() {
        Some("reads tables about the host, whose changes start no pass")
    } else {
        None
    }
}

/// The engine's word for why a query has no answer.
fn failure(query: &str, error: &SqlError) -> SenseError {
    let query = query.to_owned();
    let message = error.to_string();
    match error {
        SqlError::NotReady { .. } | SqlError::Expired(_) => SenseError::NotReady(message),
        SqlError::Limit { .. } | SqlError::Cancelled { .. } => SenseError::Limit { query, message },
        SqlError::Internal { .. } => SenseError::Internal(message),
        _ => SenseError::Query { query, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kybern_interface::{Gvk, Registration};
    use kybern_reconcile::{KindFacts, PassLimits, Primary};
    use kybern_sql::SqlLimits;
    use kybern_table::StoreConfig;
    use serde_json::json;
    use tokio::runtime::Builder;

    fn active() -> Active {
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": { "source": { "file": "x" } },
        }))
        .unwrap();
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "a", "version": "1", "world": kybern_interface::WORLD,
        }))
        .unwrap();
        Active {
            registration: Arc::new(registration),
            digest: String::new(),
            manifest: Arc::new(manifest),
            primaries: vec![Primary {
                gvk: Gvk::new("g", "v1", "K"),
                facts: KindFacts {
                    plural: "ks".into(),
                    namespaced: true,
                    has_status: true,
                },
                selector: None,
            }],
            settings: Value::Null,
            limits: PassLimits::default(),
            has_sense: false,
        }
    }

    #[test]
    fn queries_are_answered_on_the_work_pool_and_nowhere_else() {
        let io = Builder::new_current_thread().enable_all().build().unwrap();
        let work = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (_writer, reader) = kybern_table::store(StoreConfig::default());
        let engine = Engine::new(reader.clone(), SqlLimits::default());
        let sense = SqlSense::new(engine, work.handle().clone());
        let active = active();
        let query = Query {
            name: "one".into(),
            sql: "SELECT 1 AS one".into(),
            params: vec![],
        };
        let (object, snapshot) = (json!({}), reader.snapshot());
        let ask = || {
            io.block_on(sense.sense(SenseRequest {
                active: &active,
                object: &object,
                queries: std::slice::from_ref(&query),
                snapshot: &snapshot,
            }))
        };
        io.block_on(sense.admit("a", AccessSet::of(vec![]), &active.manifest))
            .unwrap();
        assert_eq!(ask().unwrap().answers[0].rows, 1);
        // Without its threads there is no answer: whoever asks does not compute it.
        work.shutdown_background();
        let error = ask().unwrap_err();
        assert!(matches!(error, SenseError::Internal(_)), "{error}");
    }
}
