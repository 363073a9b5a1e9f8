//! The reconcile engine's [`Sense`] over the SQL engine: what a registration may see, and its answers.
//!
//! # Contract
//! A registration is [admitted](SqlSense::admit) with what it may see; without that nothing is
//! answered. All queries of a pass are answered on the one snapshot that it names, on a pool of
//! threads that is not the asker's; only where each reads a few objects by name, the asker's thread
//! does it sooner than it could hand it over.

use async_trait::async_trait;
use kybern_interface::{Manifest, Query};
use kybern_reconcile::{
    Active, Answer, ExpandRequest, Expanded, Sense, SenseError, SenseRequest, Sensed,
};
use kybern_sql::{AccessSet, Catalog, Engine, Param, Prepared, SqlError};
use kybern_table::{ReadSet, Snapshot};
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::HashMap;
use together::Asked;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

mod expand;
mod together;

/// From how many CRs on a join pays, as [`Engine::execute_many`] counts.
const COMPANY: usize = 4;

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
    admitted: RwLock<HashMap<(String, String), Admitted>>,
}

/// A registration whose queries may be asked.
struct Admitted {
    access: AccessSet,
    /// Whether one of its queries costs more than a key look-up.
    company: bool,
    /// Whether each of its queries reads a few objects by name.
    points: bool,
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

    /// Says what a revision of a registration may see, and plans its manifest's queries to find
    /// faults early.
    pub async fn admit(
        &self,
        registration: &str,
        digest: &str,
        access: AccessSet,
        manifest: &Manifest,
    ) -> Result<(), Inadmissible> {
        let (mut company, mut points) = (false, true);
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
            company |= !prepared.is_key_lookup();
            points &= prepared.is_point_lookup();
        }
        let admitted = Admitted {
            access,
            company,
            points,
        };
        self.admitted
            .write()
            .insert((registration.to_owned(), digest.to_owned()), admitted);
        Ok(())
    }

    /// Only these revisions of a registration are there; none when it is gone.
    pub fn retain(&self, registration: &str, digests: &[String]) {
        self.admitted
            .write()
            .retain(|(name, digest), _| name != registration || digests.contains(digest));
    }

    /// What it may see, and whether its manifest asks for points only.
    fn admitted(&self, active: &Active) -> Result<(AccessSet, bool), SenseError> {
        let admitted = self.admitted.read();
        match admitted.get(&key(active)) {
            Some(admitted) => Ok((admitted.access.clone(), admitted.points)),
            None => {
                let message = format!("{} is not admitted yet", active.name());
                Err(SenseError::NotReady(message))
            }
        }
    }

    /// Computes on the pool. An asker that is dropped takes its statements along.
    async fn on_pool<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SenseError> {
        AbortOnDropHandle::new(self.pool.spawn(work))
            .await
            .map_err(|error| SenseError::Internal(format!("the queries were ended: {error}")))
    }
}

/// Registration and digest.
fn key(active: &Active) -> (String, String) {
    (active.name().to_owned(), active.digest.clone())
}

fn namespace(object: &Value) -> &str {
    let namespace = object.pointer("/metadata/namespace");
    namespace.and_then(Value::as_str).unwrap_or_default()
}

#[async_trait]
impl Sense for SqlSense {
    async fn sense(&self, request: SenseRequest<'_>) -> Result<Sensed, SenseError> {
        let (access, points) = self.admitted(request.active)?;
        let access = access.in_namespace(namespace(request.object));
        // Queries of the sense hook are not known before.
        let own = request.queries.len() == request.active.manifest.queries.len();
        if points && own && !request.active.has_sense {
            return answer(&self.engine, &access, request.queries, request.snapshot).await;
        }
        let engine = self.engine.clone();
        let queries = request.queries.to_vec();
        let snapshot = request.snapshot.clone();
        let work = async move { answer(&engine, &access, &queries, &snapshot).await };
        self.on_pool(work).await?
    }

    async fn expand(&self, request: ExpandRequest<'_>) -> Result<Expanded, SenseError> {
        let (access, _) = self.admitted(request.active)?;
        let access = access.in_namespace(namespace(request.object));
        let engine = self.engine.clone();
        let (name, write) = (request.name.to_owned(), request.write.clone());
        let snapshot = request.snapshot.clone();
        let work = async move { expand::expand(&engine, &access, &name, &write, &snapshot).await };
        self.on_pool(work).await?
    }

    fn company(&self, active: &Active) -> Option<usize> {
        let admitted = self.admitted.read();
        admitted.get(&key(active))?.company.then_some(COMPANY)
    }

    async fn sense_together(
        &self,
        requests: &[SenseRequest<'_>],
    ) -> Vec<Result<Sensed, SenseError>> {
        let Some(first) = requests.first() else {
            return Vec::new();
        };
        let failed = |error: SenseError| requests.iter().map(|_| Err(error.clone())).collect();
        let access = match self.admitted(first.active) {
            Ok((access, _)) => access,
            Err(error) => return failed(error),
        };
        let engine = self.engine.clone();
        let asked: Vec<Asked> = requests.iter().map(Asked::of).collect();
        let snapshot = first.snapshot.clone();
        let work = async move { together::answer(&engine, &access, asked, &snapshot).await };
        self.on_pool(work).await.unwrap_or_else(failed)
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
        answers.push(named(&query.name, answer, read_set));
    }
    Ok(Sensed { answers })
}

fn named(query: &str, answer: kybern_sql::Answer, read_set: ReadSet) -> Answer {
    Answer {
        name: query.to_owned(),
        schema: answer.schema,
        batches: answer.batches,
        fingerprint: answer.fingerprint,
        rows: answer.rows,
        read_set,
    }
}

/// Why a statement cannot be a query of a pass: its answer could change without a trigger, or
/// depend on chance.
pub fn unfit(prepared: &Prepared) -> Option<&'static str> {
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
        SqlError::NotReady { .. } | SqlError::NotTold { .. } | SqlError::Expired(_) => {
            SenseError::NotReady(message)
        }
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
    use std::sync::Arc;
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
            revisions: Vec::new(),
            missing: std::collections::BTreeSet::new(),
            trial: None,
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
        let mut active = active;
        let asked: Manifest = serde_json::from_value(json!({
            "name": "a", "version": "1", "world": kybern_interface::WORLD,
            "queries": [{ "name": "one", "sql": query.sql, "params": [] }],
        }))
        .unwrap();
        active.manifest = Arc::new(asked);
        let (object, snapshot) = (json!({}), reader.snapshot());
        let ask = || {
            io.block_on(sense.sense(SenseRequest {
                active: &active,
                object: &object,
                queries: std::slice::from_ref(&query),
                snapshot: &snapshot,
            }))
        };
        io.block_on(sense.admit("a", &active.digest, AccessSet::of(vec![]), &active.manifest))
            .unwrap();
        assert_eq!(ask().unwrap().answers[0].rows, 1);
        // Without its threads there is no answer: whoever asks does not compute it.
        work.shutdown_background();
        let error = ask().unwrap_err();
        assert!(matches!(error, SenseError::Internal(_)), "{error}");
    }

    /// Deployments of three namespaces, each its own app; a plugin that may see its own namespace.
    fn cluster() -> (
        kybern_table::Writer,
        kybern_table::Reader,
        kybern_sql::Catalog,
    ) {
        use kybern_table::{Batch, Change, KindKey, Origin, PathType, TableDef};
        let (mut writer, reader) = kybern_table::store(StoreConfig::default());
        let table = KindKey::new("apps", "v1", "Deployment");
        let def = TableDef {
            key: table.clone(),
            schema: "apps".into(),
            plural: "deployments".into(),
            namespaced: true,
            label_keys: vec![],
            path_indexes: vec![],
        };
        let mut changes = vec![
            Change::Define(def.clone()),
            Change::ListBegin {
                table: table.clone(),
            },
        ];
        for number in 0..60u32 {
            let object = json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {
                    "name": format!("d{number}"), "namespace": format!("ns{}", number % 3),
                    "uid": format!("u{number}"), "resourceVersion": (number + 1).to_string(),
                    "labels": { "app": format!("a{}", number % 7) },
                },
                "spec": { "replicas": number % 5 },
            });
            changes.push(Change::Upsert {
                table: table.clone(),
                raw: object.to_string().into(),
                origin: Origin::List,
            });
        }
        changes.push(Change::ListEnd {
            table,
            resource_version: 100,
        });
        assert_eq!(writer.apply(Batch { changes }).errors, vec![]);
        let mut types = kybern_sql::PathTypes::default();
        let steps = ["spec", "replicas"].map(|step| kybern_sql::PathStep::Key(step.into()));
        types.insert(steps.into(), PathType::Int);
        let catalog = Catalog::new(vec![kybern_sql::CatalogTable {
            def,
            preferred: true,
            singular: "deployment".into(),
            short_names: vec![],
            top_level: vec!["spec".into()],
            types,
            listable: true,
            watchable: true,
        }]);
        (writer, reader, catalog)
    }

    fn described(sensed: &Result<Sensed, SenseError>) -> String {
        let sensed = match sensed {
            Ok(sensed) => sensed,
            Err(error) => return error.to_string(),
        };
        let answers = sensed.answers.iter().map(|answer| {
            let Answer {
                name,
                schema,
                batches,
                fingerprint,
                rows,
                read_set,
            } = answer;
            let values: Vec<_> = batches.iter().map(|batch| batch.columns()).collect();
            format!("{name} {schema:?} {values:?} {fingerprint} {rows} {read_set:?}")
        });
        answers.collect::<Vec<_>>().join("\n")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_are_answered_as_each_alone_also_in_several_namespaces() {
        let (_writer, reader, catalog) = cluster();
        let engine = Engine::new(reader.clone(), SqlLimits::default());
        let sense = SqlSense::new(engine, Handle::current());
        sense.set_catalog(catalog);
        let active = active();
        let statements = [
            "SELECT count(*) AS n, sum(spec.replicas) AS r FROM apps.deployments WHERE labels['app'] = $1",
            "SELECT name FROM apps.deployments WHERE namespace = $2 AND name = $3",
            "SELECT name FROM apps.deployments WHERE labels['app'] = $1 ORDER BY name",
            // Fails for some: what is divided by is nought.
            "SELECT 10 / (spec.replicas - spec.replicas + $4) AS n FROM apps.deployments WHERE namespace = $2 AND name = $3",
        ];
        let asked: Vec<(Value, Vec<Query>)> = (0..60u32)
            .map(|number| {
                let namespace = format!("ns{}", number % 3);
                let params = [
                    json!(format!("a{}", number % 8)),
                    json!(namespace),
                    json!(format!("d{number}")),
                    json!(number % 4),
                ];
                let query = |(at, sql): (usize, &&str)| Query {
                    name: format!("q{at}"),
                    sql: (*sql).into(),
                    params: params.to_vec(),
                };
                let queries = statements.iter().enumerate().map(query).collect();
                (json!({ "metadata": { "namespace": namespace } }), queries)
            })
            .collect();
        let snapshot = reader.snapshot();
        let requests: Vec<SenseRequest<'_>> = asked
            .iter()
            .map(|(object, queries)| SenseRequest {
                active: &active,
                object,
                queries,
                snapshot: &snapshot,
            })
            .collect();
        let tables = vec![kybern_sql::TableAccess {
            table: kybern_table::KindKey::new("apps", "v1", "Deployment"),
            scope: kybern_sql::RowScope::OwnNamespace,
        }];
        let access = AccessSet::of(tables);
        sense
            .admit("a", &active.digest, access, &active.manifest)
            .await
            .unwrap();
        let together = sense.sense_together(&requests).await;
        assert_eq!(together.len(), requests.len());
        let (mut answered, mut failed) = (0, 0);
        for (request, together) in requests.iter().zip(&together) {
            let alone = sense.sense(*request).await;
            assert_eq!(described(together), described(&alone));
            match alone {
                Ok(_) => answered += 1,
                Err(_) => failed += 1,
            }
        }
        assert_eq!((answered, failed), (45, 15));
    }

    #[test]
    fn an_object_by_name_is_read_by_who_asks() {
        let (_writer, reader, catalog) = cluster();
        let work = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let engine = Engine::new(reader.clone(), SqlLimits::default());
        let sense = SqlSense::new(engine, work.handle().clone());
        sense.set_catalog(catalog);
        let mut active = active();
        let query = Query {
            name: "d".into(),
            sql: "SELECT name FROM apps.deployments WHERE namespace = $1 AND name = $2".into(),
            params: vec![json!("ns1"), json!("d1")],
        };
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "a", "version": "1", "world": kybern_interface::WORLD,
            "queries": [{ "name": "d", "sql": query.sql, "params": ["a", "b"] }],
        }))
        .unwrap();
        active.manifest = Arc::new(manifest);
        let io = Builder::new_current_thread().enable_all().build().unwrap();
        let admitted = sense.admit("a", &active.digest, AccessSet::all(), &active.manifest);
        io.block_on(admitted).unwrap();
        // It needs no thread of the pool.
        work.shutdown_background();
        let (object, snapshot) = (json!({}), reader.snapshot());
        let ask = |queries: &[Query], active: &Active| {
            io.block_on(sense.sense(SenseRequest {
                active,
                object: &object,
                queries,
                snapshot: &snapshot,
            }))
        };
        let answers = ask(std::slice::from_ref(&query), &active).unwrap().answers;
        assert_eq!(answers[0].rows, 1);
        // What a sense hook asks may be anything.
        active.has_sense = true;
        assert!(ask(&[query], &active).is_err());
    }

    #[tokio::test]
    async fn company_is_for_what_is_no_key_lookup() {
        let (_writer, reader, catalog) = cluster();
        let engine = Engine::new(reader, SqlLimits::default());
        let sense = SqlSense::new(engine, Handle::current());
        sense.set_catalog(catalog);
        let ask = async |sql: &str, params: &[&str]| {
            let mut active = active();
            let manifest: Manifest = serde_json::from_value(json!({
                "name": "a", "version": "1", "world": kybern_interface::WORLD,
                "queries": [{ "name": "q", "sql": sql, "params": params }],
            }))
            .unwrap();
            active.manifest = Arc::new(manifest);
            let admitted = sense
                .admit("a", &active.digest, AccessSet::all(), &active.manifest)
                .await;
            admitted.unwrap();
            sense.company(&active)
        };
        let lookup = "SELECT name FROM apps.deployments WHERE namespace = $1 AND name = $2";
        let params = ["metadata.namespace", "metadata.name"];
        assert_eq!(ask(lookup, &params).await, None);
        let count = "SELECT count(*) AS n FROM apps.deployments WHERE labels['app'] = $1";
        assert_eq!(ask(count, &params[..1]).await, Some(COMPANY));
    }
}
