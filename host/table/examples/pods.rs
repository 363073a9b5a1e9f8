//! Measures the store with seeded pods: events each second and bytes.
//!
//! `pods [COUNT] [CONTAINERS]` loads so many pods as one list would, then updates
//! each of them three times as watches would, and prints what each step cost.
//! Making the pods is not in the times. One thread applies; what may wait (64 MiB)
//! is settled after each step and timed apart.
#![expect(
    clippy::disallowed_methods,
    reason = "a measurement needs the clock, and nothing here is tested with a moved one"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kybern_seed::Pods;
use kybern_table::{
    Batch, Change, Index, Job, KindKey, Origin, Reader, StoreConfig, TableDef, Writer, store,
};

/// Changes of one commit, as the host gathers them under load.
const COMMIT: u64 = 512;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |or| {
        arguments
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(or)
    };
    let (count, containers) = (number(100_000u64), number(1u64));
    let pods = Pods::new(1).with_containers(containers);
    let (mut writer, reader) = store(StoreConfig {
        waiting_bytes: 64 << 20,
        ..StoreConfig::default()
    });
    let empty = resident();
    writer.apply(Batch {
        changes: vec![
            Change::Define(definition()),
            Change::ListBegin { table: key() },
        ],
    });
    let mut load = Rate::default();
    load.apply(&mut writer, &pods, 0..count, 0, Origin::List);
    load.time(|| {
        writer.apply(Batch {
            changes: vec![Change::ListEnd {
                table: key(),
                resource_version: count,
            }],
        });
    });
    load.print("load");
    println!("settling takes {:?}", settle(&mut writer));
    print_bytes(&reader, count, empty);
    for round in 1..=3 {
        let mut churn = Rate::default();
        churn.apply(&mut writer, &pods, 0..count, round, Origin::Watch);
        churn.print(&format!("update {round}"));
        println!("settling takes {:?}", settle(&mut writer));
    }
    print_bytes(&reader, count, empty);
    small_commits(&mut writer, &pods, count);
    snapshots(&reader);
    readers(writer, &reader, &pods, count);
}

/// Look-ups by a reader of its own, first with nothing else going on, then while
/// 10,000 changes land each second and a third thread seals and merges.
fn readers(mut writer: Writer, reader: &Reader, pods: &Pods, count: u64) {
    const CHANGES: u64 = 10_000;
    const SECONDS: u64 = 5;
    let batches: Vec<Vec<Change>> = (0..SECONDS * CHANGES / 100)
        .map(|batch| {
            let numbers = batch * 100..batch * 100 + 100;
            numbers
                .map(|number| Change::Upsert {
                    table: key(),
                    raw: pods.pod(number * 7919 % count, 1_000 + batch).into(),
                    origin: Origin::Watch,
                })
                .collect()
        })
        .collect();
    let done = AtomicBool::new(false);
    let look = |done: &AtomicBool| {
        let mut times = Vec::new();
        let mut number = 0;
        while !done.load(Ordering::Relaxed) {
            number = (number + 7919) % count;
            let uid = pods.uid(number);
            let start = Instant::now();
            let view = reader.snapshot().table(&key());
            let found = view.and_then(|view| view.lookup(&Index::Uid, &uid).ok());
            assert_eq!(found.map(|rows| rows.len()), Some(1));
            times.push(start.elapsed());
        }
        times.sort();
        times
    };
    let quiet = std::thread::scope(|scope| {
        let looking = scope.spawn(|| look(&done));
        std::thread::park_timeout(Duration::from_secs(SECONDS));
        done.store(true, Ordering::Relaxed);
        looking.join().unwrap_or_default()
    });
    done.store(false, Ordering::Relaxed);
    let (to_worker, jobs) = std::sync::mpsc::sync_channel::<Job>(1);
    let (to_writer, made) = std::sync::mpsc::channel();
    let mut late = Duration::ZERO;
    let loaded = std::thread::scope(|scope| {
        let looking = scope.spawn(|| look(&done));
        scope.spawn(move || {
            for job in jobs {
                if to_writer.send(job.run()).is_err() {
                    return;
                }
            }
        });
        let start = Instant::now();
        let mut busy = false;
        for (number, changes) in (0u32..).zip(batches) {
            let due = Duration::from_millis(10) * number;
            if let Some(wait) = due.checked_sub(start.elapsed()) {
                std::thread::park_timeout(wait);
            }
            late = late.max(start.elapsed().saturating_sub(due));
            writer.apply(Batch { changes });
            if let Ok(done) = made.try_recv() {
                writer.put_in(done);
                busy = false;
            }
            if !busy && let Some(job) = writer.job() {
                busy = to_worker.send(job).is_ok();
            }
        }
        drop(to_worker);
        done.store(true, Ordering::Relaxed);
        looking.join().unwrap_or_default()
    });
    for (what, times) in [("quiet", quiet), ("10,000 changes/s", loaded)] {
        let of = |thousandths: usize| times.get(times.len() * thousandths / 1000).copied();
        println!(
            "look-ups, {what}: {} done, p50 {:?}, p99 {:?}, p99.9 {:?}",
            times.len(),
            of(500).unwrap_or_default(),
            of(990).unwrap_or_default(),
            of(999).unwrap_or_default(),
        );
    }
    println!("the latest commit was {late:?} behind");
}

/// Does all jobs that wait; their CPU time.
fn settle(writer: &mut Writer) -> Duration {
    let start = cpu();
    while let Some(job) = writer.job() {
        writer.put_in(job.run());
    }
    cpu_since(start)
}

fn key() -> KindKey {
    KindKey::new("", "v1", "Pod")
}

fn definition() -> TableDef {
    TableDef {
        key: key(),
        schema: "core".to_owned(),
        plural: "pods".to_owned(),
        namespaced: true,
        label_keys: vec!["app".to_owned()],
        path_indexes: "spec.nodeName".parse().into_iter().collect(),
    }
}

/// What a series of commits took.
#[derive(Default)]
struct Rate {
    events: u64,
    wall: Duration,
    cpu: Duration,
    slowest: Duration,
    bytes: usize,
}

impl Rate {
    fn apply(
        &mut self,
        writer: &mut Writer,
        pods: &Pods,
        numbers: std::ops::Range<u64>,
        updates: u64,
        origin: Origin,
    ) {
        let mut from = numbers.start;
        while from < numbers.end {
            let to = (from + COMMIT).min(numbers.end);
            let changes: Vec<Change> = (from..to)
                .map(|number| Change::Upsert {
                    table: key(),
                    raw: pods.pod(number, updates).into(),
                    origin,
                })
                .collect();
            self.events += to - from;
            self.bytes += changes.iter().map(raw_bytes).sum::<usize>();
            self.time(|| {
                let applied = writer.apply(Batch { changes });
                assert!(applied.errors.is_empty(), "{:?}", applied.errors);
            });
            from = to;
        }
    }

    fn time(&mut self, work: impl FnOnce()) {
        let (cpu, wall) = (cpu(), Instant::now());
        work();
        let took = wall.elapsed();
        self.wall += took;
        self.cpu += cpu_since(cpu);
        self.slowest = self.slowest.max(took);
    }

    fn print(&self, what: &str) {
        println!(
            "{what:9} {:>8} events  {:>5} B raw  visible {:>7.0}/s of wall, {:>7.0}/s of CPU time  slowest commit {:?}",
            self.events,
            self.bytes / usize::try_from(self.events).unwrap_or(1),
            rate(self.events, self.wall),
            rate(self.events, self.cpu),
            self.slowest,
        );
    }
}

fn raw_bytes(change: &Change) -> usize {
    match change {
        Change::Upsert { raw, .. } => raw.len(),
        _ => 0,
    }
}

fn small_commits(writer: &mut Writer, pods: &Pods, count: u64) {
    for rows in [1u64, 512] {
        let mut times: Vec<Duration> = Vec::new();
        for round in 0..200 {
            let first = round * rows % count.saturating_sub(rows).max(1);
            let changes = (first..first + rows).map(|number| Change::Upsert {
                table: key(),
                raw: pods.pod(number, 10 + round).into(),
                origin: Origin::Watch,
            });
            let changes = changes.collect();
            let start = Instant::now();
            writer.apply(Batch { changes });
            times.push(start.elapsed());
        }
        times.sort();
        let of_ten = |tenths| times.get(times.len() * tenths / 10).copied();
        println!(
            "commit of {rows:>3}: median {:?}, p90 {:?}, worst {:?}",
            of_ten(5).unwrap_or_default(),
            of_ten(9).unwrap_or_default(),
            times.last().copied().unwrap_or_default(),
        );
    }
}

fn snapshots(reader: &Reader) {
    const ROUNDS: u32 = 100_000;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(reader.snapshot());
    }
    println!("snapshot(): {:?}", start.elapsed() / ROUNDS);
    let uid = Pods::new(1).uid(77);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let snapshot = reader.snapshot();
        let found = snapshot
            .table(&key())
            .map(|view| view.lookup(&Index::Uid, &uid).map(|rows| rows.len()));
        assert_eq!(found, Some(Ok(1)));
    }
    println!(
        "snapshot and look-up by uid: {:?}",
        start.elapsed() / ROUNDS
    );
}

fn print_bytes(reader: &Reader, count: u64, empty: usize) {
    let stats = reader.stats();
    println!("{stats:#?}");
    let resident = resident().saturating_sub(empty);
    println!(
        "resident: {} B each",
        resident / usize::try_from(count).unwrap_or(1)
    );
}

#[expect(clippy::as_conversions, reason = "for people to read")]
fn rate(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// Bytes of memory that the process holds.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0usize) * 4096
}

/// CPU time of all threads, in nanoseconds.
fn cpu() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let stats = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    stats
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn cpu_since(before: u64) -> Duration {
    Duration::from_nanos(cpu().saturating_sub(before))
}
