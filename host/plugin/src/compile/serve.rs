//! The child: takes one order, compiles within its limits, replies.

use super::Subject;
use super::wire::{Order, Reply};
use crate::engine;
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use std::io::{self, Read, Stdin};
use std::process::ExitCode;

/// The exit code of a child that got no order: of `EX_USAGE` in sysexits.
const NO_ORDER: u8 = 64;
/// Seconds from the signal that ends it for its time to the one that nothing can hold.
const GRACE: u64 = 5;
/// About a tenth of what the host gets, where both want a processor. With the lowest priority a busy host
/// would keep a good plugin from ever being compiled.
const NICE: i32 = 10;
/// Descriptors that it may have; it opens a few files of the system.
const FILES: u64 = 32;

/// Compiles what its parent sends to standard input, and gives the machine code on standard output.
///
/// What the program of a [`Child`](super::Child) calls first of all: limits are this process's own.
#[expect(clippy::print_stderr, reason = "its parent reads it")]
pub fn serve() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("this command compiles a plugin for a host that starts it: {error}");
            ExitCode::from(NO_ORDER)
        }
    }
}

fn answer() -> io::Result<()> {
    lower()?;
    let mut input = io::stdin();
    let order = Order::read(&mut input)?;
    limit(&order)?;
    let wasm = order.component(&mut input)?;
    end_with_parent(input)?;
    compile(&order, &wasm).write(&mut io::stdout().lock())
}

fn compile(order: &Order, wasm: &[u8]) -> Reply {
    let compiled = engine::for_compiling(order.scarce, order.max_stack).and_then(|engine| {
        match order.subject {
            Subject::Component => engine.precompile_component(wasm),
            Subject::Module => engine.precompile_module(wasm),
        }
    });
    match compiled {
        Ok(code) if u64::try_from(code.len()).is_ok_and(|bytes| bytes <= order.code) => {
            Reply::Code(code)
        }
        Ok(_) => Reply::TooMuchCode,
        Err(error) => Reply::Refused(format!("{error:#}")),
    }
}

/// Behind everybody else: at the processor, and before the host when memory runs out.
fn lower() -> io::Result<()> {
    rustix::process::setpriority_process(None, NICE)?;
    // Where the system has no such file, nothing is killed by it either.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

fn limit(order: &Order) -> io::Result<()> {
    // It writes no file, and leaves none behind when it crashes.
    at_most(Resource::Core, 0, 0)?;
    at_most(Resource::Fsize, 0, 0)?;
    at_most(Resource::Nofile, FILES, FILES)?;
    let seconds = order.seconds;
    at_most(Resource::Cpu, seconds, seconds.saturating_add(GRACE))?;
    // Memory of its own, as far as it may be written: not the program's file.
    at_most(Resource::Data, order.memory, order.memory)
}

/// Lowers a limit; one that is lower already stays.
fn at_most(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let before = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(current.min(before)),
        maximum: Some(maximum.min(before)),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Nothing more comes: an end of the input is the parent's, however it ended.
fn end_with_parent(mut input: Stdin) -> io::Result<()> {
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            let mut rest = [0; 1];
            while let Err(error) = input.read(&mut rest) {
                if error.kind() != io::ErrorKind::Interrupted {
                    break;
                }
            }
            // Not an exit: what the compiler's threads do is in nobody's way.
            let _ = kill_process(getpid(), Signal::KILL);
        })?;
    Ok(())
}
