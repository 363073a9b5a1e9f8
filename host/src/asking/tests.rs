//! Over a real socket: answers, refusals, and statements that nobody waits for any more.

use super::*;
use crate::budget::{Budget, Facts, Sources};
use crate::memory::Meter;
use crate::wiring::decide::Guests;
use arrow::util::pretty::pretty_format_batches;
use kybern_kube::LeaderState;
use kybern_sql::{AccessSet, Engine, SqlLimits};
use kybern_table::{Reader, Sequence, StoreConfig, Writer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A host without tables that runs no passes, and whoever asks it.
pub(super) struct Running {
    pub(super) host: Host,
    pub(super) sql: Engine,
    pub(super) asked: Asked,
    pub(super) path: PathBuf,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) commits: watch::Sender<Sequence>,
    _dir: TempDir,
    _tasks: JoinSet<std::io::Result<()>>,
    _states: watch::Sender<LeaderState>,
}

fn running() -> Running {
    running_with(AskConfig::default())
}

pub(super) fn running_with(config: AskConfig) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k.sock");
    let (writer, reader) = kybern_table::store(StoreConfig::default());
    let sql = Engine::new(reader.clone(), SqlLimits::default());
    let sources = Sources {
        reader: reader.clone(),
        sql: sql.clone(),
        guests: None,
    };
    let holder = Some("kybern-6c9f7-xyz_1f_00c0ffee".to_owned());
    let (states_in, states) = watch::channel(LeaderState::Standby { holder });
    let engine = EngineNow {
        engine: Arc::default(),
        states,
        reader: reader.clone(),
        class: String::new(),
        guests: Guests::new(false),
    };
    let facts = Facts {
        budget: Budget::new(sources, None, Meter::new(Path::new("/"), None)),
        watches: None,
        engine: Some(engine.clone()),
    };
    let asked = Asked::new(&config);
    let sql = sql
        .with_host(Arc::new(facts))
        .with_clock(|| 1_700_000_000_000_000);
    let (commits, news) = watch::channel(Sequence(0));
    let server = Server {
        sql: sql.clone(),
        engine,
        asked: asked.clone(),
        commits: news,
        run: 0xc0ffee,
    };
    let socket = super::socket::Socket::bind(&path).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.run(socket, config, CancellationToken::new()));
    Running {
        host: Host::at(Some(&path)),
        sql,
        asked,
        path,
        reader,
        writer,
        commits,
        _dir: dir,
        _tasks: tasks,
        _states: states_in,
    }
}

/// Whether the statement is at fault, and what is told.
pub(super) async fn refused(host: &Host, statement: &str) -> (bool, String) {
    match host.answer(statement).await {
        Err(HostError::Refused { at_fault, text }) => (at_fault, text),
        other => panic!("{statement}: {other:?}"),
    }
}

/// Waits for a state of the host.
pub(super) async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Duration::from_secs(20);
    let waited = tokio::time::timeout(deadline, async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited for {what}"));
}

/// Thirty rows.
const ROWS: &str = "(VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),(13),(14),(15),\
    (16),(17),(18),(19),(20),(21),(22),(23),(24),(25),(26),(27),(28),(29),(30))";

#[tokio::test]
async fn an_answer_is_what_the_engine_gave() {
    let running = running();
    let many = format!(
        "SELECT a.x * 1000 + b.x AS n, 'ä' || a.x AS t, CASE WHEN a.x > 3 THEN a.x END AS o \
        FROM {ROWS} AS a(x), {ROWS} AS b(x), {ROWS} AS c(x) ORDER BY 1, 2"
    );
    for statement in [
        "SELECT 1 AS one, NULL AS none, now() AS at, 1.5 AS f, true AS b",
        "SELECT account, part FROM kybern.memory WHERE account = 'nothing'",
        &many,
    ] {
        let (answer, is_explain) = running.host.answer(statement).await.unwrap();
        let prepared = running
            .sql
            .prepare(statement, &AccessSet::all())
            .await
            .unwrap();
        let snapshot = running.sql.snapshot();
        let wanted = running
            .sql
            .execute(&prepared, &[], &snapshot)
            .await
            .unwrap();
        assert!(!is_explain);
        assert_eq!(answer.schema, wanted.schema);
        assert_eq!(answer.rows, wanted.rows, "{statement}");
        assert_eq!(answer.fingerprint, wanted.fingerprint);
        let text = |batches: &[_]| pretty_format_batches(batches).unwrap().to_string();
        if wanted.rows > 0 {
            assert_eq!(text(&answer.batches), text(&wanted.batches));
        }
    }
    let (_, is_explain) = running.host.answer("EXPLAIN SELECT 1").await.unwrap();
    assert!(is_explain);
    until("the places", || running.asked.running() == 0).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_as_the_command_would() {
    let running = running();
    let (at_fault, text) = refused(&running.host, "SELECT nme FROM kybern.kinds").await;
    assert!(at_fault);
    assert!(
        text.starts_with("error: there is no column nme\n1 | SELECT nme"),
        "{text}"
    );
    for statement in [
        "DELETE FROM pods",
        "",
        "SELECT 1; SELECT 2",
        "COPY x TO 'y'",
    ] {
        assert!(refused(&running.host, statement).await.0, "{statement}");
    }
    let large = format!("SELECT '{}'", "x".repeat(1 << 20));
    let (at_fault, text) = refused(&running.host, &large).await;
    assert!(at_fault && !text.is_empty(), "{text}");
    // Who leads is named.
    let (at_fault, text) = refused(&running.host, "SELECT * FROM kybern.passes").await;
    assert!(!at_fault);
    assert!(
        text.contains("ask the leader, kybern-6c9f7-xyz\n"),
        "{text}"
    );
    let told = running.host.last("apps", "ns", "web").await.unwrap_err();
    assert!(
        told.to_string()
            .contains("ask the leader, kybern-6c9f7-xyz\n"),
        "{told}"
    );
}

#[tokio::test]
async fn more_at_once_than_may_be_are_refused() {
    let running = running_with(AskConfig {
        statements: 1,
        ..AskConfig::default()
    });
    let slow = format!(
        "SELECT count(*) FROM {ROWS} AS a(x), {ROWS} AS b(x), {ROWS} AS c(x), \
        {ROWS} AS d(x), {ROWS} AS e(x), {ROWS} AS f(x) WHERE a.x * b.x + c.x * d.x + e.x * f.x = -1"
    );
    let mut first = JoinSet::new();
    first.spawn({
        let host = running.host.clone();
        async move { host.answer(&slow).await.map(|_| ()) }
    });
    until("the first", || running.asked.running() == 1).await;
    let (at_fault, text) = refused(&running.host, "SELECT 1").await;
    assert!(!at_fault);
    assert!(text.contains("takes no more at once"), "{text}");
    // Nobody waits for the first any more: it ends long before its time is over.
    drop(first);
    until("its end", || running.asked.running() == 0).await;
    assert_eq!(running.sql.held().statements, 0);
    running.host.answer("SELECT 1").await.unwrap();
}

/// Who does not read on keeps neither a place nor memory for ever.
#[tokio::test]
async fn an_answer_that_nobody_reads_counts_and_can_be_taken_back() {
    let running = running();
    let large = format!(
        "SELECT '{}' || a.x || b.x || c.x AS t FROM {ROWS} AS a(x), {ROWS} AS b(x), {ROWS} AS c(x)",
        "x".repeat(200)
    );
    let mut stream = tokio::net::UnixStream::connect(&running.path)
        .await
        .unwrap();
    let request = format!(
        "POST /sql HTTP/1.1\r\nHost: k\r\nContent-Length: {}\r\n\r\n{large}",
        large.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let held = || running.sql.held();
    // It begins to come, and the socket does not take all of it.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert!(held().answer_bytes > 5 << 20, "{:?}", held());
    assert_eq!((running.asked.running(), held().statements), (1, 1));
    let bytes = running.sql.cancel_largest(1 << 20, |_| "enough".to_owned());
    assert!(bytes > Some(5 << 20), "{bytes:?}");
    until("its end", || running.asked.running() == 0).await;
    until("its memory", || held().bytes() == 0).await;
    drop(stream);
}

#[tokio::test]
async fn where_no_host_listens_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ask = async |path: &Path| {
        let error = Host::at(Some(path)).answer("SELECT 1").await.unwrap_err();
        error.to_string()
    };
    let absent = ask(&dir.path().join("none")).await;
    assert!(
        absent.contains("no host listens at") && absent.contains("--socket"),
        "{absent}"
    );
    let left = dir.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(
        ask(&left).await.contains("left over"),
        "{}",
        ask(&left).await
    );
    let running = running();
    assert!(running.path.exists());
}
