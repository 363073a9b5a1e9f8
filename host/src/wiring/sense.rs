//! The engine's `Sense` over the SQL engine: what a registration may see, and its answers.

use crate::registration::problem::Problem;
use async_trait::async_trait;
use kybern_interface::{Manifest, Query};
use kybern_reconcile::{Active, Answer, Sense, SenseError, SenseRequest, Sensed};
use kybern_sql::{AccessSet, Catalog, Engine, Param, Prepared, SqlError};
use kybern_table::Snapshot;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// Answers the queries of registrations.
pub(crate) struct SqlSense {
    engine: Engine,
    admitted: RwLock<HashMap<String, Arc<AccessSet>>>,
}

impl SqlSense {
    /// Nobody is admitted yet.
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            admitted: RwLock::default(),
        }
    }

    /// What is served changed.
    pub(crate) fn set_catalog(&self, catalog: Catalog) {
        self.engine.set_catalog(catalog);
    }

    /// Says what a registration may see, and plans its manifest's queries to find faults early.
    pub(crate) async fn admit(
        &self,
        registration: &str,
        access: AccessSet,
        manifest: &Manifest,
    ) -> Result<(), Problem> {
        for query in &manifest.queries {
            let prepared = self.engine.prepare(&query.sql, &access).await.map_err(|error| {
                Problem::new(
                    "InvalidQuery",
                    format!("the plugin's query {} cannot be answered: {error}; is a read grant missing from spec.grants.read?", query.name),
                )
            })?;
            if let Some(fault) = unfit(&prepared) {
                return Err(Problem::new(
                    "InvalidQuery",
                    format!("the plugin's query {} {fault}", query.name),
                ));
            }
            if prepared.param_count() > query.params.len() {
                return Err(Problem::new(
                    "InvalidManifest",
                    format!(
                        "the plugin's query {} has {} parameters but names {}",
                        query.name,
                        prepared.param_count(),
                        query.params.len()
                    ),
                ));
            }
        }
        self.admitted
            .write()
            .insert(registration.to_owned(), Arc::new(access));
        Ok(())
    }

    /// The registration is gone.
    pub(crate) fn forget(&self, registration: &str) {
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
        let work = super::work::pool()
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
        answers.push(Answer {
            name: query.name.clone(),
            schema: answer.schema,
            batches: answer.batches,
            fingerprint: answer.fingerprint,
            rows: answer.rows,
            read_set: prepared.read_set(&params),
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
        SqlError::NotReady { .. } => SenseError::NotReady(message),
        SqlError::Limit { .. } => SenseError::Limit { query, message },
        SqlError::Internal { .. } => SenseError::Internal(message),
        _ => SenseError::Query { query, message },
    }
}
