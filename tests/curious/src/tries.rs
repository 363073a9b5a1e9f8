//! What any program may try with its language's library.

use std::collections::hash_map::RandomState;
use std::fmt::{Debug, Write};
use std::hash::BuildHasher;
use std::io::{Read, stdin};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

/// What clocks show.
pub(crate) struct Clocks {
    /// Seconds since the epoch.
    pub(crate) unix: u64,
    /// Milliseconds since the first look at them.
    pub(crate) monotonic: u64,
}

pub(crate) fn clocks() -> Clocks {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let passed = FIRST.get_or_init(Instant::now).elapsed();
    Clocks {
        unix: unix.unwrap_or_default().as_secs(),
        monotonic: u64::try_from(passed.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Looks for a way out.
pub(crate) fn look() -> Vec<String> {
    let mut input = String::new();
    vec![
        format!("environment {}", env::vars_os().count()),
        format!("arguments {}", env::args_os().count()),
        told(
            "folder",
            env::current_dir().and_then(fs::read_dir).map(|_| ()),
        ),
        told("read", fs::read("/etc/passwd").map(|_| ())),
        told("write", fs::write("/tmp/curious", "here")),
        told("link", fs::hard_link("/etc/passwd", "curious")),
        format!("exists {}", Path::new("/").exists()),
        told("connect", TcpStream::connect("127.0.0.1:80").map(|_| ())),
        told("listen", TcpListener::bind("127.0.0.1:8080").map(|_| ())),
        told("datagram", UdpSocket::bind("0.0.0.0:0").map(|_| ())),
        told("lookup", "localhost:80".to_socket_addrs().map(|_| ())),
        told("input", stdin().read_to_string(&mut input).map(|_| ())),
    ]
}

fn told(what: &str, result: std::io::Result<()>) -> String {
    match result {
        Ok(()) => format!("{what} ok"),
        Err(error) => format!("{what} {:?}: {error}", error.kind()),
    }
}

/// Reads the clocks before and after a long sleep.
pub(crate) fn time() -> Vec<String> {
    let before = clocks();
    thread::sleep(Duration::from_secs(3_600));
    let after = clocks();
    vec![
        format!("unix {}", before.unix),
        format!("later {}", after.unix),
        format!("passed {}", after.monotonic - before.monotonic),
    ]
}

/// Numbers that nobody can know.
pub(crate) fn random() -> Vec<String> {
    let mut seen = vec![hex(RandomState::new().hash_one("x").to_le_bytes())];
    #[cfg(target_os = "wasi")]
    seen.extend(crate::wild::random());
    seen.push(format!("{:?}", thread::current().id()));
    seen
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Prints that often.
pub(crate) fn print(times: u32) -> Vec<String> {
    for round in 0..times {
        println!("out {round}");
        eprintln!("err {round}");
    }
    eprint!("no end");
    vec![debug(&times)]
}

fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}
