//! The guard over made-up figures.

use super::level::{Level, at_the_edge, pause, relaxed};
use super::meter::{Meter, Reading};
use super::{Guard, GuardConfig, message, reserve};
use kybern_plugin::{Child, CompileLimits, Compiler, Room, Runtime, RuntimeConfig};
use kybern_table::{KindKey, Stats, StoreConfig, TableStats};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A made-up root of the file system.
struct Root(tempfile::TempDir);

impl Root {
    fn new(own: &str) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        root.write("proc/self/cgroup", own);
        root.write(
            "proc/self/status",
            "Name:\tkybern\nVmRSS:\t  204800 kB\nRssAnon:\t  102400 kB\n",
        );
        root
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        // Replaced whole, as the kernel answers: a reader never sees an empty file.
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    fn two(&self, folder: &str, max: &str, current: u64, inactive: u64) {
        self.write(&format!("{folder}/memory.max"), &format!("{max}\n"));
        self.write(&format!("{folder}/memory.current"), &format!("{current}\n"));
        self.write(
            &format!("{folder}/memory.stat"),
            &format!("anon 1\nfile 2\ninactive_file {inactive}\nactive_file 3\n"),
        );
    }

    fn one(&self, folder: &str, limit: u64, usage: u64, inactive: u64) {
        self.write(
            &format!("{folder}/memory.limit_in_bytes"),
            &format!("{limit}\n"),
        );
        self.write(
            &format!("{folder}/memory.usage_in_bytes"),
            &format!("{usage}\n"),
        );
        self.write(
            &format!("{folder}/memory.stat"),
            &format!("inactive_file 1\ntotal_inactive_file {inactive}\n"),
        );
    }

    fn meter(&self, given: Option<u64>) -> Meter {
        Meter::new(self.path(), given)
    }
}

fn reading(limit: u64, used: u64) -> Reading {
    Reading {
        limit: Some(limit),
        used,
    }
}

#[test]
fn version_2_in_a_container_is_the_mount_itself() {
    let root = Root::new("0::/\n");
    root.two("sys/fs/cgroup", "268435456", 200 * MIB, 50 * MIB);
    let meter = root.meter(None);
    assert_eq!(meter.read(), Some(reading(256 * MIB, 150 * MIB)));
    assert_eq!(meter.glance(), Some(reading(256 * MIB, 200 * MIB)));
}

#[test]
fn version_2_outside_of_a_container_is_the_own_folder() {
    let root = Root::new("0::/user.slice/kybern.service\n");
    root.two("sys/fs/cgroup/user.slice/kybern.service", "1048576", 10, 4);
    root.two("sys/fs/cgroup", "2097152", 20, 5);
    assert_eq!(root.meter(None).read(), Some(reading(MIB, 6)));
}

#[test]
fn version_1_counts_the_children_of_the_cgroup() {
    let root = Root::new("5:cpu,cpuacct:/pods/x\n4:memory:/pods/x\n0::/pods/x\n");
    // Mounted without a cgroup namespace: the path is the machine's, the mount is the container's.
    root.one("sys/fs/cgroup/memory", 64 * MIB, 60 * MIB, 20 * MIB);
    assert_eq!(root.meter(None).read(), Some(reading(64 * MIB, 40 * MIB)));
}

#[test]
fn version_1_beside_version_2_is_found_by_its_controller() {
    let root = Root::new("4:memory:/a/b\n0::/\n");
    root.one("sys/fs/cgroup/memory/a/b", 64 * MIB, 60 * MIB, 0);
    root.write("sys/fs/cgroup/unified/cgroup.procs", "1\n");
    assert_eq!(root.meter(None).read(), Some(reading(64 * MIB, 60 * MIB)));
}

#[test]
fn without_a_limit_the_process_is_measured_and_nothing_is_full() {
    let two = Root::new("0::/\n");
    two.two("sys/fs/cgroup", "max", 900 * MIB, 0);
    let one = Root::new("4:memory:/\n");
    one.one(
        "sys/fs/cgroup/memory",
        9_223_372_036_854_771_712,
        900 * MIB,
        0,
    );
    let none = Root::new("0::/\n");
    for root in [&two, &one, &none] {
        let reading = root.meter(None).read().unwrap();
        assert_eq!(reading.limit, None);
        assert_eq!(reading.used, 100 * MIB, "RssAnon");
        assert_eq!(Level::of(reading), Level::Roomy);
    }
}

#[test]
fn a_limit_is_read_anew_for_it_can_be_changed_while_the_pod_runs() {
    let root = Root::new("0::/\n");
    root.two("sys/fs/cgroup", "max", 60 * MIB, 0);
    let meter = root.meter(None);
    assert_eq!(meter.read().unwrap().limit, None);
    root.two("sys/fs/cgroup", "67108864", 60 * MIB, 0);
    assert_eq!(meter.read(), Some(reading(64 * MIB, 60 * MIB)));
}

#[test]
fn of_two_limits_the_one_with_less_room_counts() {
    let root = Root::new("0::/\n");
    root.two("sys/fs/cgroup", "268435456", 200 * MIB, 0);
    let free = |given| root.meter(Some(given)).read().unwrap();
    assert_eq!(free(120 * MIB), reading(120 * MIB, 100 * MIB));
    assert_eq!(free(1024 * MIB), reading(256 * MIB, 200 * MIB));
    // What may be used is the lower one, whatever is free below it.
    assert_eq!(root.meter(Some(120 * MIB)).limit(), Some(120 * MIB));
    assert_eq!(root.meter(Some(1024 * MIB)).limit(), Some(256 * MIB));
    assert_eq!(root.meter(None).limit(), Some(256 * MIB));
}

#[test]
fn what_cannot_be_read_is_no_limit() {
    let root = Root::new("nonsense");
    assert_eq!(root.meter(None).read().unwrap().limit, None);
    let root = Root::new("0::/\n");
    root.two("sys/fs/cgroup", "268435456", 200 * MIB, 0);
    root.write("sys/fs/cgroup/memory.stat", "anon 5\n");
    assert_eq!(root.meter(None).container(), None);
}

#[test]
fn levels() {
    let of = |used| Level::of(reading(1000 * MIB, used * MIB));
    assert_eq!(of(800), Level::Roomy);
    assert_eq!(of(801), Level::Tight);
    assert_eq!(of(950), Level::Tight);
    assert_eq!(of(951), Level::Full);
    assert!(relaxed(reading(1000 * MIB, 699 * MIB)));
    assert!(!relaxed(reading(1000 * MIB, 750 * MIB)));
    assert!(!at_the_edge(reading(1000 * MIB, 960 * MIB)));
    assert!(at_the_edge(reading(1000 * MIB, 990 * MIB)));
    // A twentieth of a small limit would be gone between two looks.
    assert_eq!(reserve(64 * MIB), 8 * MIB);
    assert_eq!(Level::of(reading(64 * MIB, 57 * MIB)), Level::Full);
}

#[test]
fn looks_come_faster_the_less_is_free() {
    let after = |used| pause(reading(1024 * MIB, used * MIB));
    assert_eq!(after(100), Duration::from_millis(500));
    assert_eq!(after(1024), Duration::from_millis(5));
    // However fast memory fills until then, the reserve is not touched before the next look.
    for used in (0..970).step_by(10) {
        let filled = 512 * after(used).as_millis() / 1000;
        assert!(
            u128::from(used) + filled <= 1024 - 51 || after(used) == Duration::from_millis(5),
            "{used} MiB used: {filled} MiB more at the next look"
        );
    }
}

fn stats(tables: &[(&str, usize, u64)]) -> Stats {
    Stats {
        tables: tables
            .iter()
            .map(|(kind, rows, mib)| TableStats {
                table: KindKey::new("", "v1", *kind),
                rows: *rows,
                bytes: usize::try_from(*mib * MIB).unwrap(),
                ..TableStats::default()
            })
            .collect(),
        ..Stats::default()
    }
}

#[test]
fn the_message_names_use_limit_tables_and_cure() {
    let stats = stats(&[
        ("A", 1, 1),
        ("Pod", 120_000, 170),
        ("B", 0, 0),
        ("C", 3, 2),
        ("D", 4, 3),
        ("E", 5, 4),
        ("F", 6, 5),
    ]);
    insta::assert_snapshot!(
        message::exhausted(reading(256 * MIB, 244 * MIB), &stats),
        @"out of memory: 244 MiB of 256 MiB are used, also after the allocator gave back what was free. Tables hold 185 MiB: v1/Pod 120000 rows 170 MiB, v1/F 6 rows 5.0 MiB, v1/E 5 rows 4.0 MiB, v1/D 4 rows 3.0 MiB, v1/C 3 rows 2.0 MiB, 1 more. Raise resources.limits.memory (or --memory-limit), or watch less: one namespace with --namespaces, or fewer kinds in the grants of the registrations. Nothing is lost: all state is in the cluster, and the next leader goes on."
    );
    insta::assert_snapshot!(message::largest(&Stats::default()), @"No table holds a row yet.");
}

#[test]
fn the_termination_log_is_written_but_never_made_and_never_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("termination-log");
    assert!(message::to_termination_log(&log, "x").is_err());
    assert!(!log.exists());
    std::fs::write(&log, "what a former container said").unwrap();
    message::to_termination_log(&log, "short").unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "short");
    message::to_termination_log(&log, &"ä".repeat(5000)).unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ä".repeat(2048));
}

/// A component that compilers get to see, and a compiler that never ends.
fn compiling() -> (Vec<u8>, Runtime) {
    let manifest = br#"{"name":"a","version":"1.0.0","world":"kybern:operator@0.1.0"}"#;
    let name = b"kybern:manifest";
    let length = u8::try_from(1 + name.len() + manifest.len()).unwrap();
    let section = [
        &[0, length, u8::try_from(name.len()).unwrap()],
        name.as_slice(),
        manifest,
    ];
    let component = [b"\0asm\x0d\0\x01\0".as_slice(), &section.concat()].concat();
    let compiler = Compiler::Child(Child {
        program: "/bin/sleep".into(),
        arguments: vec!["1000".into()],
        limits: CompileLimits {
            wall_time: Duration::from_secs(30),
            ..CompileLimits::default()
        },
        room: None,
    });
    let runtime = Runtime::new(RuntimeConfig {
        compiler,
        instances: 1,
        effects: 1,
        ..RuntimeConfig::default()
    });
    (component, runtime.unwrap())
}

#[test]
fn what_compiles_gets_what_the_reserve_leaves_of_the_container() {
    let root = Root::new("0::/\n");
    assert_eq!(root.meter(Some(100 * MIB)).left(), None, "no container");
    root.two("sys/fs/cgroup", "268435456", 200 * MIB, 0);
    let left = 256 * MIB - 200 * MIB - reserve(256 * MIB);
    assert_eq!(root.meter(None).left(), Some(left));
    assert_eq!(root.meter(Some(MIB)).left(), Some(left), "its own limit");
    root.write("sys/fs/cgroup/memory.current", &format!("{}\n", 256 * MIB));
    assert_eq!(root.meter(None).left(), Some(0));
}

#[test]
fn what_is_compiled_goes_before_the_host() {
    let root = Root::new("0::/\n");
    // Full, and not so near the end that nobody could wait.
    root.two("sys/fs/cgroup", "268435456", 248 * MIB, 0);
    let log = root.path().join("termination-log");
    let (component, runtime) = compiling();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| runtime.load(&component).unwrap_err());
        while runtime.compiled().running == 0 {
            std::thread::yield_now();
        }
        let (_, reader) = kybern_table::store(StoreConfig::default());
        let guard = Guard::start(GuardConfig {
            meter: root.meter(None),
            termination_log: log,
            reader,
            runtime: Some(runtime.clone()),
        });
        let guard = guard.unwrap();
        // Its memory is back as soon as its process is gone: the guard waits a second for that.
        while runtime.compiled().running > 0 {
            std::thread::yield_now();
        }
        root.write("sys/fs/cgroup/memory.current", &format!("{}\n", 100 * MIB));
        let told = load.join().unwrap().to_string();
        assert!(told.contains("the host's memory was full"), "{told}");
        let ended = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(async {
                let window = Duration::from_millis(1_500);
                tokio::time::timeout(window, guard.exhausted())
                    .await
                    .is_ok()
            });
        assert!(!ended, "the host goes on");
    });
}

/// A guard over a made-up container.
fn guard(root: &Root, log: &Path) -> Guard {
    let (_, reader) = kybern_table::store(StoreConfig::default());
    Guard::start(GuardConfig {
        meter: root.meter(None),
        termination_log: log.to_owned(),
        reader,
        runtime: None,
    })
    .unwrap()
}

#[tokio::test]
async fn the_guard_tells_once_memory_is_full_and_not_before() {
    let root = Root::new("0::/\n");
    root.two("sys/fs/cgroup", "268435456", 240 * MIB, 0);
    let log: PathBuf = root.path().join("termination-log");
    std::fs::write(&log, "").unwrap();
    let guard = guard(&root, &log);
    let early = tokio::time::timeout(Duration::from_millis(100), guard.exhausted()).await;
    assert!(early.is_err(), "240 of 256 MiB is tight, not full");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
    // Full, but with pages that are dropped before anybody is killed.
    root.write(
        "sys/fs/cgroup/memory.stat",
        &format!("inactive_file {}\n", 30 * MIB),
    );
    root.write("sys/fs/cgroup/memory.current", &format!("{}\n", 255 * MIB));
    let early = tokio::time::timeout(Duration::from_millis(100), guard.exhausted()).await;
    assert!(early.is_err(), "30 MiB can be dropped");
    root.write("sys/fs/cgroup/memory.stat", "inactive_file 10485760\n");
    tokio::time::timeout(Duration::from_secs(10), guard.exhausted())
        .await
        .expect("full");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.starts_with("out of memory: 245 MiB of 256 MiB"),
        "{text}"
    );
}
