//! Components that are cheap to send and dear to compile, and processes that compile.

use crate::guest::{child, config};
use crate::text::{DECIDES, MANIFEST, component, decider, small, with_manifest};
use kybern_plugin::{
    CallLimits, Child, Code, CompileLimits, Compiler, Exceeded, LoadError, Plugin, Room, Runtime,
    RuntimeConfig,
};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Far more than anything here takes.
const LATE: Duration = Duration::from_secs(120);

/// A plugin with one more function of so many times these instructions.
fn bomb(times: usize, instructions: &str) -> Vec<u8> {
    let body = instructions.repeat(times);
    let more = format!("(table $t 1 funcref) (func (param i32) {body})");
    with_manifest(
        component(DECIDES, &decider(0, 1024, 2, "{}", &more)),
        MANIFEST,
    )
}

/// Its compilation takes half a minute: the time grows with the square of its size.
fn slow() -> &'static [u8] {
    static SLOW: OnceLock<Vec<u8>> = OnceLock::new();
    let fill = "(table.fill $t (i32.const 0) (ref.null func) (i32.const 0))";
    SLOW.get_or_init(|| bomb(60_000, fill))
}

/// Its compilation takes 1 GiB.
fn large() -> &'static [u8] {
    static LARGE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = format!(
        "(block (block (br_table {}(local.get 0))))",
        "0 1 ".repeat(4_000)
    );
    LARGE.get_or_init(|| bomb(200, &table))
}

fn runtime(child: Child) -> Runtime {
    Runtime::new(RuntimeConfig {
        compiler: Compiler::Child(child),
        instances: 4,
        ..RuntimeConfig::default()
    })
    .unwrap()
}

fn limited(change: impl FnOnce(&mut CompileLimits)) -> Runtime {
    let mut limits = CompileLimits::default();
    change(&mut limits);
    runtime(child(limits))
}

fn answers(plugin: &Plugin) {
    let call = plugin.decide("{}", Vec::new(), &CallLimits::default());
    assert_eq!(call.result.unwrap(), "{}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "deadlines and figures of these tests"
)]
fn now() -> Instant {
    Instant::now()
}

/// Looks until there is something to see.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + LATE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_bomb_is_refused_within_its_limit_while_others_are_loaded_and_answer() {
    let runtime = limited(|limits| limits.time = Duration::from_secs(3));
    let begun = now();
    let error = std::thread::scope(|scope| {
        let bomb = scope.spawn(|| (runtime.load(slow()).unwrap_err(), begun.elapsed()));
        until("the bomb is compiled", || {
            (runtime.compiled().running == 1).then_some(())
        });
        let good = now();
        answers(&runtime.load(&small()).unwrap());
        let good = good.elapsed();
        assert!(!bomb.is_finished(), "the other load waited for the bomb");
        let (error, refused) = bomb.join().unwrap();
        println!("the bomb was refused after {refused:?}; the other answered after {good:?}");
        error
    });
    let bytes = slow().len();
    let told = format!(
        "compiling the component took more than 3 s of processor time: it has {bytes} bytes, 540002 of them in one \
         function, and a large function takes more than its share; split the largest function, or raise \
         --compile-time. The same bytes are not tried again before the host restarts"
    );
    assert_eq!(error.to_string(), told);
    // Nobody pays for it a second time.
    assert_eq!(runtime.load(slow()).unwrap_err().to_string(), told);
    let counts = runtime.compiled();
    assert_eq!((counts.too_dear, counts.succeeded), (1, 1), "{counts:?}");
    assert_eq!((counts.running, counts.stopped), (0, 0), "{counts:?}");
}

#[test]
fn a_component_that_takes_too_much_memory_is_refused() {
    let runtime = limited(|limits| limits.memory = 256 * MIB);
    let error = runtime.load(large()).unwrap_err();
    let LoadError::TooDear(why) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(why.exceeded, Exceeded::Memory(256 * MIB));
    let told = error.to_string();
    let begins = "compiling the component took more than 256 MiB of memory: it has ";
    assert!(told.starts_with(begins), "{told}");
    assert!(told.contains("or raise --compile-memory"), "{told}");
    assert!(runtime.load(large()).is_err());
    assert_eq!(runtime.compiled().too_dear, 1);
    answers(&runtime.load(&small()).unwrap());
}

#[test]
fn a_component_with_too_much_code_is_refused() {
    let runtime = limited(|limits| limits.code = 4096);
    let error = runtime.load(&small()).unwrap_err();
    let LoadError::TooDear(why) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(why.exceeded, Exceeded::Code(4096));
}

#[derive(Debug)]
struct Left(u64);

impl Room for Left {
    fn left(&self) -> Option<u64> {
        Some(self.0)
    }
}

#[test]
fn what_does_not_fit_into_the_memory_that_is_left_may_be_tried_again() {
    for (left, told) in [
        (
            128 * MIB,
            "the component was not compiled: it takes more than the 128 MiB of memory that were left: raise \
             resources.limits.memory",
        ),
        (
            MIB,
            "the component was not compiled: only 1 MiB of memory are left, and it takes 64 MiB at least: raise \
             resources.limits.memory",
        ),
    ] {
        let runtime = runtime(Child {
            room: Some(std::sync::Arc::new(Left(left))),
            ..child(CompileLimits::default())
        });
        for tries in 1..=2 {
            assert_eq!(runtime.load(large()).unwrap_err().to_string(), told);
            assert_eq!(runtime.compiled().stopped, tries);
        }
    }
}

#[test]
fn whoever_needs_the_memory_ends_what_is_being_compiled() {
    let runtime = limited(|_| ());
    std::thread::scope(|scope| {
        let bomb = scope.spawn(|| runtime.load(slow()).unwrap_err());
        until("the bomb is compiled", || {
            (runtime.compiled().running == 1).then_some(())
        });
        assert_eq!(runtime.stop_compiling(LATE), 1);
        assert_eq!(runtime.compiled().running, 0);
        let told = bomb.join().unwrap().to_string();
        assert!(told.contains("the host's memory was full"), "{told}");
    });
    assert_eq!(runtime.stop_compiling(LATE), 0);
    answers(&runtime.load(&small()).unwrap());
}

/// The process with this limit of processor time.
fn process(seconds: u64) -> Option<PathBuf> {
    let limit = format!("{seconds} ");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.map(|entry| entry.path()).find(|process| {
        let limits = std::fs::read_to_string(process.join("limits")).unwrap_or_default();
        let time = limits.lines().find_map(|l| l.strip_prefix("Max cpu time"));
        time.is_some_and(|time| time.trim_start().starts_with(&limit))
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_compiles_has_nothing_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
    let socket = Path::new("/proc/self/fd").join(listener.as_raw_fd().to_string());
    let _file = std::fs::File::create(directory.join("file")).unwrap();
    let limits = CompileLimits {
        time: Duration::from_secs(1_234),
        ..CompileLimits::default()
    };
    let runtime = Runtime::new(RuntimeConfig {
        compiler: Compiler::Child(child(limits)),
        cache_dir: Some(directory.join("code")),
        ..config()
    });
    let runtime = runtime.unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| runtime.load(slow()).unwrap_err());
        let process = until("its limits are set", || process(1_234));
        let read = |file: &str| std::fs::read_to_string(process.join(file)).unwrap();
        let environment = read("environ");
        assert!(
            environment.starts_with("RAYON_NUM_THREADS="),
            "{environment}"
        );
        assert_eq!(environment.matches('\0').count(), 1, "{environment}");
        assert_eq!(read("oom_score_adj").trim(), "1000");
        assert_eq!(
            std::fs::read_link(process.join("cwd")).unwrap(),
            Path::new("/")
        );
        // Beside what whoever started these tests left open for everybody.
        let own = |path: &Path| {
            path.starts_with(&directory) || *path == std::fs::read_link(&socket).unwrap()
        };
        for fd in std::fs::read_dir(process.join("fd")).unwrap() {
            let open = std::fs::read_link(fd.unwrap().path()).unwrap();
            assert!(!own(&open), "{open:?}");
        }
        let stat = read("stat");
        let nice = stat.rsplit(')').next().unwrap().split(' ').nth(17);
        assert_eq!(nice, Some("10"));
        let limits = read("limits");
        let limit = |name: &str| {
            limits
                .lines()
                .find(|l| l.starts_with(name))
                .unwrap()
                .to_owned()
        };
        assert!(limit("Max data size").contains(" 1073741824 "));
        assert!(limit("Max core file size").contains(" 0 "));
        assert!(limit("Max file size").contains(" 0 "));
        runtime.stop_compiling(LATE);
    });
}

#[test]
fn a_process_that_compiles_ends_with_its_parent() {
    let compiler = child(CompileLimits::default());
    let mut alone = Command::new(&compiler.program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let order = format!(
        r#"{{"subject":"Component","scarce":false,"max_stack":524288,"seconds":600,"memory":{},"code":1,"bytes":{}}}"#,
        1024 * MIB,
        slow().len()
    );
    let mut input = alone.stdin.take().unwrap();
    input.write_all(b"kybernco").unwrap();
    let length = u64::try_from(order.len()).unwrap();
    input.write_all(&length.to_le_bytes()).unwrap();
    input.write_all(order.as_bytes()).unwrap();
    input.write_all(slow()).unwrap();
    assert!(alone.try_wait().unwrap().is_none());
    // What the system does for a parent that is killed.
    drop(input);
    let ended = until("it ends", || alone.try_wait().unwrap());
    assert_eq!(ended.signal(), Some(9));
}

/// A shell in place of the compiler.
fn shell(script: &str, wall_time: Duration) -> Child {
    Child {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        limits: CompileLimits {
            wall_time,
            ..CompileLimits::default()
        },
        room: None,
    }
}

#[test]
fn nothing_is_believed_of_what_is_no_compiler() {
    // A reply, a length, and what it says.
    let reply = |length: u8, body: &str| {
        format!(
            "printf 'kyberncr\\{length:03o}\\000\\000\\000\\000\\000\\000\\000{body}'; cat > /dev/null"
        )
    };
    let cases = [
        (
            "exit 0",
            "the compiler ended (exit status: 0) and said: nothing",
        ),
        (
            "echo hello, who is there; cat > /dev/null",
            "does not answer as the compiler of this host does",
        ),
        (
            "echo broken >&2; exit 3",
            "the compiler ended (exit status: 3) and said: broken",
        ),
        ("kill -SEGV $$", "the compiler ended (signal: 11"),
        ("kill -KILL $$", "the system killed the compiler"),
        (
            &reply(50, "\\000short").replace("cat", "true"),
            "the compiler ended",
        ),
        (
            &reply(9, "\\007whatever"),
            "does not answer as the compiler of this host does",
        ),
        (&reply(4, "\\001why"), "cannot be compiled: why"),
        // Code, whole, in the right frame: the engine looks at it before anything of it runs.
        (&reply(5, "\\000junk"), "cannot be compiled: "),
    ];
    for (script, told) in cases {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Runtime::new(RuntimeConfig {
            compiler: Compiler::Child(shell(script, LATE)),
            instances: 4,
            cache_dir: Some(directory.path().join("code")),
            ..RuntimeConfig::default()
        })
        .unwrap();
        let error = runtime.load(&small()).unwrap_err().to_string();
        assert!(error.contains(told), "{script}: {error}");
        let kept = std::fs::read_dir(directory.path().join("code")).unwrap();
        assert_eq!(kept.count(), 0, "{script}");
    }
    let absent = Child {
        program: "/nowhere/kybern".into(),
        ..child(CompileLimits::default())
    };
    let error = runtime(absent).load(&small()).unwrap_err().to_string();
    let begins =
        "the component was not compiled: /nowhere/kybern cannot be started to compile it: ";
    assert!(error.starts_with(begins), "{error}");
}

#[test]
fn a_compiler_that_gets_no_processor_is_ended_by_the_clock() {
    let idle = shell("exec sleep 1000", Duration::from_secs(1));
    let error = runtime(idle).load(&small()).unwrap_err().to_string();
    let begins = "the component was not compiled: the compiler had not ended after 1 s: ";
    assert!(error.starts_with(begins), "{error}");
}

#[test]
fn code_is_the_same_whoever_compiles() {
    let directory = tempfile::tempdir().unwrap();
    let load = |compiler: Compiler, folder: &str| {
        let runtime = Runtime::new(RuntimeConfig {
            compiler,
            cache_dir: Some(directory.path().join(folder)),
            ..config()
        });
        let plugin = runtime.unwrap().load(&small()).unwrap();
        answers(&plugin);
        plugin.code()
    };
    let by_child = || Compiler::Child(child(CompileLimits::default()));
    assert_eq!(load(by_child(), "child"), Code::Compiled);
    assert_eq!(load(Compiler::InProcess, "child"), Code::Cached);
    assert_eq!(load(Compiler::InProcess, "own"), Code::Compiled);
    assert_eq!(load(by_child(), "own"), Code::Cached);
}
