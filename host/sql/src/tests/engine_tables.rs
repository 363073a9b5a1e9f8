//! What the engine says about itself: to whom, how much of it at once, and where nobody says it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{Cluster, kind, text};
use crate::{
    AccessSet, CrFact, DesiredFact, DriftFact, EffectFact, Engine, EngineFacts, HostFacts,
    MemoryFact, MeterFact, ObjectFact, PassFact, PluginFact, QueueFact, RowScope, SqlError,
    TableAccess, Told, TrialFact, TriggerFact, WatchFact,
};

const TABLES: [&str; 6] = ["passes", "queue", "desired", "drift", "effects", "plugins"];

/// How many passes were made up, of ever so many.
#[derive(Default)]
struct Made {
    passes: Arc<AtomicUsize>,
    endless: bool,
    bytes: usize,
}

struct Host(Option<Arc<Made>>);

impl HostFacts for Host {
    fn watches(&self) -> Vec<WatchFact> {
        Vec::new()
    }

    fn memory(&self) -> Vec<MemoryFact> {
        Vec::new()
    }

    fn engine(&self) -> Result<Arc<dyn EngineFacts>, String> {
        let made = self.0.clone().ok_or("b leads; ask it")?;
        Ok(made)
    }
}

fn cr(name: &str) -> CrFact {
    CrFact {
        plugin: "apps".into(),
        kind: kind("App"),
        namespace: "a".into(),
        name: name.into(),
    }
}

fn object(of: &str, name: &str) -> ObjectFact {
    ObjectFact {
        kind: kind(of),
        namespace: "a".to_owned(),
        name: name.to_owned(),
    }
}

fn pass(name: &str, ending: &'static str) -> PassFact {
    let failed = ending == "failed";
    PassFact {
        cr: cr(name),
        at: Some(1_700_000_000_000_000),
        trigger: TriggerFact {
            text: "child Deployment a/web changed".to_owned(),
            kind: "child",
            row: Some(object("Deployment", "web")),
        },
        priority: "live",
        waited_ms: 0.5,
        took_ms: 2.25,
        ending,
        reason: failed.then(|| "Invalid".to_owned()),
        message: failed.then(|| "spec.x: no".to_owned()),
        answers: 2,
        steps: 3,
        writes: 1,
        failures: u64::from(failed),
        next: failed.then_some(1_700_000_001_000_000),
    }
}

fn told<T: Send + 'static>(facts: Vec<T>) -> Told<T> {
    Told {
        facts: Box::new(facts.into_iter().map(Some)),
        bytes: 0,
    }
}

impl EngineFacts for Made {
    fn passes(&self) -> Told<PassFact> {
        let count = Arc::clone(&self.passes);
        let facts: Box<dyn Iterator<Item = Option<PassFact>> + Send> = if self.endless {
            Box::new(std::iter::from_fn(move || {
                count.fetch_add(1, Ordering::Relaxed);
                Some(Some(pass("a", "succeeded")))
            }))
        } else {
            Box::new(
                [pass("bad", "failed"), pass("good", "succeeded")]
                    .into_iter()
                    .map(Some),
            )
        };
        Told {
            facts,
            bytes: self.bytes,
        }
    }

    fn queue(&self) -> Told<QueueFact> {
        told(vec![QueueFact {
            cr: cr("bad"),
            state: "held",
            priority: "retry",
            trigger: None,
            due_ms: Some(250.0),
            waited_ms: None,
            attempts: 1,
        }])
    }

    fn desired(&self) -> Told<DesiredFact> {
        let fact = |wave, verdict, of| DesiredFact {
            cr: cr("good"),
            object: object(of, "web"),
            wave,
            verdict,
            detail: (verdict == "apply").then(|| "drift".to_owned()),
        };
        told(vec![
            fact(0, "converged", "Service"),
            fact(-1, "apply", "Deployment"),
        ])
    }

    fn drift(&self) -> Told<DriftFact> {
        told(vec![DriftFact {
            cr: cr("good"),
            object: object("Deployment", "web"),
            state: "changed",
            paths: Some("spec.replicas".to_owned()),
        }])
    }

    fn effects(&self) -> Told<EffectFact> {
        told(vec![EffectFact {
            cr: cr("good"),
            effect: "call".to_owned(),
            key: "k".to_owned(),
            phase: Some("normal"),
            state: "running",
            attempt: Some(2),
            at: None,
            error: None,
            next: None,
        }])
    }

    fn plugins(&self) -> Told<PluginFact> {
        told(vec![PluginFact {
            plugin: "apps".to_owned(),
            digest: Some("sha256:0".to_owned()),
            version: None,
            kinds: "App".to_owned(),
            running: true,
            ready: Some("True".to_owned()),
            reason: None,
            message: None,
            crs: 2,
            failing: 1,
            passes: 9,
            failed_passes: 1,
            decides: 4,
            refused_plans: 0,
            drifted: 1,
            writes: 5,
            trial: Some(TrialFact {
                mode: "Canary",
                digest: "sha256:1".to_owned(),
                verdict: Some("PlansDiffer".to_owned()),
                tried: Some(3),
                failed: Some(0),
                differed: Some(1),
            }),
            meter: Some(MeterFact {
                calls: 12,
                traps: 1,
                cpu_ms: 3.5,
                peak_memory_bytes: 65_536,
                rows_read: 40,
            }),
        }])
    }
}

async fn ask(engine: &Engine, sql: &str, access: &AccessSet) -> Result<String, SqlError> {
    let prepared = engine.prepare(sql, access).await?;
    let snapshot = engine.snapshot();
    Ok(text(&engine.execute(&prepared, &[], &snapshot).await?))
}

fn with(cluster: &Cluster, made: Made) -> Engine {
    cluster
        .engine
        .with_host(Arc::new(Host(Some(Arc::new(made)))))
}

#[tokio::test]
async fn each_says_what_the_engine_says() {
    let engine = with(&Cluster::new(), Made::default());
    let mut all = Vec::new();
    for table in TABLES {
        let sql = format!("SELECT * FROM kybern.{table}");
        let text = ask(&engine, &sql, &AccessSet::all()).await.unwrap();
        all.push(format!("{table}\n{text}"));
    }
    insta::assert_snapshot!(all.join("\n\n"));
}

#[tokio::test]
async fn they_are_joined_with_each_other_and_with_the_cluster() {
    let engine = with(&Cluster::new(), Made::default());
    let sql = "SELECT p.name, d.object_name, c.state FROM kybern.passes p \
        LEFT JOIN kybern.desired d ON d.name = p.name AND d.object_kind = 'Deployment' \
        LEFT JOIN kybern.drift c ON c.object_name = d.object_name ORDER BY p.name";
    let text = ask(&engine, sql, &AccessSet::all()).await.unwrap();
    let rows: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(rows, ["bad | NULL | NULL", "good | web | changed"]);
    let sql = "SELECT count(*) AS n FROM kybern.passes p JOIN deployments d \
        ON d.namespace = p.row_namespace AND d.name = p.row_name";
    assert!(ask(&engine, sql, &AccessSet::all()).await.is_ok());
}

/// Of all that a plugin may be granted, nothing makes these tables exist: they name objects of
/// every plugin. The error is that of any other name.
#[tokio::test]
async fn who_may_not_read_everything_has_none_of_them() {
    let engine = with(&Cluster::new(), Made::default());
    let all: Vec<TableAccess> = super::fixture::catalog_tables()
        .into_iter()
        .map(|table| TableAccess {
            table: table.def.key,
            scope: RowScope::All,
        })
        .collect();
    for access in [AccessSet::of(all), AccessSet::of(Vec::new())] {
        for table in TABLES {
            let refused = |name: String| {
                let (engine, access) = (engine.clone(), access.clone());
                async move {
                    let sql = format!("SELECT * FROM kybern.{name}");
                    let error = ask(&engine, &sql, &access).await.unwrap_err();
                    error.to_string().replace(&name, "NAME")
                }
            };
            let error = refused(table.to_owned()).await;
            assert_eq!(error, refused(format!("no{table}")).await);
            for sql in [
                format!("EXPLAIN SELECT 1 FROM kybern.{table}"),
                format!("SELECT (SELECT count(*) FROM kybern.{table}) AS n"),
                format!("WITH q AS (SELECT name FROM kybern.{table}) SELECT * FROM q"),
            ] {
                assert!(ask(&engine, &sql, &access).await.is_err(), "{sql}");
            }
        }
        let sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'kybern'";
        assert_eq!(ask(&engine, sql, &access).await.unwrap(), "table_name text");
    }
}

/// Never an empty table.
#[tokio::test]
async fn where_no_passes_are_run_the_statement_says_who_runs_them() {
    let cluster = Cluster::new();
    let standby = cluster.engine.with_host(Arc::new(Host(None)));
    for table in TABLES {
        let sql = format!("SELECT * FROM kybern.{table}");
        let error = ask(&standby, &sql, &AccessSet::all()).await.unwrap_err();
        assert!(matches!(error, SqlError::NotTold { .. }), "{error:?}");
        let wanted = format!("table kybern.{table} cannot be read: b leads; ask it");
        assert_eq!(error.to_string(), wanted);
        // Without a host at all, too.
        let error = ask(&cluster.engine, &sql, &AccessSet::all()).await;
        assert!(matches!(error, Err(SqlError::NotTold { .. })), "{error:?}");
        // EXPLAIN reads nothing.
        let sql = format!("EXPLAIN {sql}");
        ask(&standby, &sql, &AccessSet::all()).await.unwrap();
    }
}

/// A table of ever so many CRs is never in memory as a whole.
#[tokio::test]
async fn facts_are_made_no_further_than_they_are_read() {
    let passes = Arc::<AtomicUsize>::default();
    let made = Made {
        passes: Arc::clone(&passes),
        endless: true,
        ..Made::default()
    };
    let engine = with(&Cluster::new(), made);
    let sql = "SELECT name FROM kybern.passes LIMIT 3";
    let text = ask(&engine, sql, &AccessSet::all()).await.unwrap();
    assert_eq!(text, "name text\na\na\na");
    assert!(passes.load(Ordering::Relaxed) <= 4096, "{passes:?}");
    // Without LIMIT the limit of an answer's rows ends it.
    let error = ask(&engine, "SELECT name FROM kybern.passes", &AccessSet::all()).await;
    assert!(matches!(error, Err(SqlError::Limit { .. })), "{error:?}");
}

/// What the engine had to copy is charged to the statement, and given back.
#[tokio::test]
async fn what_is_copied_counts_as_the_statements_memory() {
    let limit = crate::SqlLimits::default().statement_bytes;
    for (bytes, fits) in [(limit - 1, true), (limit + 1, false)] {
        let engine = with(
            &Cluster::new(),
            Made {
                bytes,
                ..Made::default()
            },
        );
        for _ in 0..6 {
            let asked = ask(&engine, "SELECT * FROM kybern.passes", &AccessSet::all()).await;
            assert_eq!(asked.is_ok(), fits, "{asked:?}");
            if let Err(error) = asked {
                assert!(matches!(error, SqlError::Limit { .. }), "{error:?}");
            }
        }
    }
}
