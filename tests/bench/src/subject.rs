//! Kybern as the one that is measured: the watch, the ingest thread and the store of the product.

use crate::args::Subject;
use crate::clock::{now, pass, processor_time};
use crate::listing;
use anyhow::{Context, Result, bail, ensure};
use kybern_kube::watch::Replay;
use kybern_kube::{Cluster, ClusterConfig, WatchConfig, WatchTarget};
use kybern_table::{
    Batch, Index, KindKey, Path, PathType, Reader, StoreConfig, TableDef, TableState, Writer, store,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io::{BufRead, Write};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Changes that one commit gathers, as in the host.
const COMMIT_CHANGES: usize = 512;
/// Batches that may wait, as in the host.
pub(crate) const WAITING_BATCHES: usize = 8;
/// As much as a connection hands over at once.
const CHUNK: usize = 64 << 10;

/// The paths that the queries of the bench `sql` read.
const PATHS: [(&str, PathType); 7] = [
    ("status.phase", PathType::Text),
    ("status.containerStatuses[0].restartCount", PathType::Int),
    ("spec.nodeName", PathType::Text),
    ("spec.containers[0].resources.requests.cpu", PathType::Text),
    ("spec.containers[0].image", PathType::Text),
    ("metadata.ownerReferences[0].name", PathType::Text),
    ("metadata.labels.app", PathType::Text),
];

/// Is what is measured.
pub(crate) fn run(subject: &Subject) -> Result<()> {
    match subject {
        Subject::Ingest {
            recording, objects, ..
        } => ingest(recording, *objects),
        Subject::Cache { server, .. } => cache(server),
        Subject::Startup {
            how,
            kubeconfig,
            objects,
        } => listing::run(*how, kubeconfig, *objects),
        Subject::Call {
            guests,
            calls,
            loaded,
            ..
        } => crate::call::subject(guests, *calls, loaded),
        Subject::Pass { work, crs, .. } => crate::pass::subject(work, *crs),
        Subject::Rolebindings {
            guest,
            bindings,
            calls,
            ..
        } => crate::rolebindings::subject(guest, *bindings, *calls),
        Subject::Render {
            request,
            renders,
            compile,
            ..
        } => crate::render::subject(request, *renders, *compile),
        Subject::Swap { swaps, crs, .. } => crate::swap::subject(*swaps, *crs),
        Subject::Sql(asked) => crate::sql::subject(asked),
    }
}

pub(crate) fn pods() -> TableDef {
    TableDef {
        key: KindKey::new("", "v1", "Pod"),
        schema: "core".to_owned(),
        plural: "pods".to_owned(),
        namespaced: true,
        label_keys: vec!["app.kubernetes.io/part-of".to_owned()],
        path_indexes: Vec::new(),
    }
}

/// As the host configures it: sealing may be so much behind what is visible.
pub(crate) fn hosted() -> StoreConfig {
    StoreConfig {
        waiting_bytes: 16 << 20,
        ..StoreConfig::default()
    }
}

/// One processor for all threads, from now on.
pub(crate) fn pin() -> Result<()> {
    let allowed = sched_getaffinity(None).context("ask for the processors")?;
    let last = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|cpu| allowed.is_set(*cpu))
        .context("there is a processor")?;
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one).context("stay on one processor")
}

fn ingest(recording: &FilePath, objects: usize) -> Result<()> {
    pin()?;
    let raw = std::fs::read(recording).context("read the recording")?;
    let config = WatchConfig::default();
    let def = pods();
    let key = def.key.clone();
    let (mut writer, reader) = store(hosted());
    let mut batch = Batch {
        changes: vec![kybern_table::Change::Define(def.clone())],
    };
    let mut replay = Replay::new(&def, &config);
    let (began, from) = (now()?, processor_time()?);
    let mut bytes = 0;
    for chunk in raw.chunks(CHUNK) {
        replay.push(chunk);
        bytes += chunk.len();
        while replay.next(&mut batch)? {
            if batch.changes.len() >= config.max_batch_changes {
                apply(&mut writer, &mut batch)?;
            }
        }
        if bytes >= config.max_batch_bytes {
            apply(&mut writer, &mut batch)?;
            bytes = 0;
        }
    }
    apply(&mut writer, &mut batch)?;
    let rows = reader.snapshot().table(&key).map_or(0, |view| view.count());
    let visible = processor_time()? - from;
    ensure!(rows == objects, "{rows} of {objects} pods are visible");
    let wall = now()? - began;
    // What a thread of its own does in the host; here there is one processor for both.
    while let Some(job) = writer.job() {
        writer.put_in(job.run());
    }
    let settled = quiet()? - from;
    println!(
        r#"{{"visible":{},"settled":{},"wall":{}}}"#,
        visible.as_secs_f64(),
        settled.as_secs_f64(),
        wall.as_secs_f64()
    );
    Ok(())
}

fn apply(writer: &mut Writer, batch: &mut Batch) -> Result<()> {
    let applied = writer.apply(std::mem::take(batch));
    match applied.errors.first() {
        Some(error) => bail!("{error}"),
        None => Ok(()),
    }
}

/// Waits until no thread does anything any more; returns the processor time until then.
fn quiet() -> Result<Duration> {
    let mut last = processor_time()?;
    let mut rests = 0;
    while rests < 5 {
        pass(Duration::from_millis(50));
        let time = processor_time()?;
        // This loop itself takes some.
        rests = if time - last < Duration::from_millis(1) {
            rests + 1
        } else {
            0
        };
        last = time;
    }
    Ok(last)
}

fn cache(server: &str) -> Result<()> {
    let (writer, reader) = store(hosted());
    let (batches, waiting) = mpsc::channel(WAITING_BATCHES);
    // As in the host: an I/O runtime, and a thread that alone owns the writer.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ingest = std::thread::spawn(move || commit(writer, waiting));
    let cancel = CancellationToken::new();
    let url = server.parse().context("the server's URL")?;
    let cluster = {
        let _inside = runtime.enter();
        Cluster::from_config(kube::Config::new(url), ClusterConfig::default())?
    };
    let watch = runtime.spawn(kybern_kube::watch(
        cluster,
        WatchTarget::all(pods()),
        WatchConfig::default(),
        batches,
        Arc::new(kybern_kube::watch::NoObserver),
        cancel.clone(),
    ));
    // As the host's memory guard does.
    let trim = std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            while !cancel.is_cancelled() {
                std::thread::park_timeout(kybern_allocator::TRIM);
                kybern_allocator::trim();
            }
        }
    });
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&line?, &reader).unwrap_or_else(|error| format!("error: {error:#}"));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    cancel.cancel();
    trim.thread().unpark();
    runtime.block_on(watch)?;
    match ingest.join() {
        Ok(result) => result,
        Err(_) => bail!("the ingest thread panicked"),
    }
}

pub(crate) fn commit(mut writer: Writer, mut waiting: mpsc::Receiver<Batch>) -> Result<()> {
    while let Some(mut batch) = waiting.blocking_recv() {
        while batch.changes.len() < COMMIT_CHANGES {
            match waiting.try_recv() {
                Ok(more) => batch.changes.extend(more.changes),
                Err(_) => break,
            }
        }
        apply(&mut writer, &mut batch)?;
        // While nothing waits, what can be sealed is.
        while waiting.is_empty()
            && let Some(job) = writer.job()
        {
            writer.put_in(job.run());
        }
    }
    Ok(())
}

fn answer(question: &str, reader: &Reader) -> Result<String> {
    let mut words = question.split_whitespace();
    match words.next() {
        Some("wait") => {
            let key = words.next().context("wait for which pod?")?;
            let version: u64 = words.next().context("at which version?")?.parse()?;
            while !shows(reader, key, version) {
                pass(Duration::from_millis(10));
            }
            Ok("ok".to_owned())
        }
        Some("settle") => {
            if let Some(view) = reader.snapshot().table(&pods().key) {
                for (path, of) in PATHS {
                    let path: Path = path.parse()?;
                    for chunk in view.scan()? {
                        chunk.path(&path, of)?;
                    }
                }
            }
            Ok("ok".to_owned())
        }
        Some("budget") => Ok(budget(reader)),
        _ => bail!("it does not know {question:?}"),
    }
}

fn shows(reader: &Reader, key: &str, version: u64) -> bool {
    let Some(view) = reader.snapshot().table(&pods().key) else {
        return false;
    };
    let ready = matches!(view.state(), TableState::Ready { .. });
    let Ok(rows) = view.lookup(&Index::Name, key) else {
        return false;
    };
    ready && rows.iter().any(|row| row.resource_version() >= version)
}

/// Where the store says that its bytes are, per row, on one line.
fn budget(reader: &Reader) -> String {
    let stats = reader.stats();
    let mut parts: Vec<(String, usize)> = Vec::new();
    for table in &stats.tables {
        let dead_bodies = table.dead_bytes * table.body_bytes / table.bytes.max(1);
        let columns = (table.bytes - table.body_bytes) - (table.dead_bytes - dead_bodies);
        parts.push(("bodies".to_owned(), table.body_bytes - dead_bodies));
        parts.push(("columns".to_owned(), columns));
        parts.push(("dead".to_owned(), table.dead_bytes));
        let indexes = table.indexes.iter();
        parts.extend(indexes.map(|(index, bytes)| (format!("index {index}"), *bytes)));
        parts.push(("dictionaries".to_owned(), table.dictionary_bytes));
    }
    parts.push(("shredded".to_owned(), stats.cache_bytes));
    parts.push(("log".to_owned(), stats.log_bytes));
    parts.push(("pinned".to_owned(), stats.pinned_bytes));
    let held = kybern_allocator::held();
    let held = held.map(|held| [held.allocated, held.resident].map(usize::try_from));
    let [Ok(allocated), Ok(resident)] = held.unwrap_or([Ok(0), Ok(0)]) else {
        return "the allocator holds more than there are addresses".to_owned();
    };
    let known: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    parts.push(("other".to_owned(), allocated.saturating_sub(known)));
    parts.push((
        "allocator slack".to_owned(),
        resident.saturating_sub(allocated),
    ));
    let rows: usize = stats.tables.iter().map(|table| table.rows).sum();
    let each = |(name, bytes): &(String, usize)| format!("{name} {}", bytes / rows.max(1));
    let parts: Vec<String> = parts.iter().map(each).collect();
    format!("{rows} rows, bytes each: {}", parts.join(", "))
}
