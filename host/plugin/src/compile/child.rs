//! The parent: starts the child, gives it the order, and sees to it that it ends.

use super::wire::{Order, Reply};
use super::{Child, CompileError, Exceeded, Subject, mebibytes};
use crate::engine::Allocation;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Threads of a child: each takes memory, and has its own part of the component in hand.
const MAX_THREADS: usize = 4;
/// Of what a child says on standard error, the first part is read.
const MAX_WORDS: u64 = 4 * 1024;
/// Less than this, and it is not even started.
const LEAST_MEMORY: u64 = 64 * 1024 * 1024;
/// How a Rust program that gets no memory says so.
const NO_MEMORY: &str = "memory allocation of ";

/// Why a child was ended by its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It took too long on the clock.
    WallTime,
    /// The host needs the memory.
    Memory,
}

fn threads() -> usize {
    let processors = std::thread::available_parallelism();
    processors
        .map_or(1, std::num::NonZero::get)
        .min(MAX_THREADS)
}

/// All children of a runtime that run.
#[derive(Debug, Default)]
pub(crate) struct Children {
    running: Mutex<BTreeMap<u32, Arc<Leash>>>,
    ended: Condvar,
}

impl Children {
    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.running.lock().len()
    }

    /// Ends all of them for want of memory, and waits until they are gone, at most `wait`; how many were there.
    pub(crate) fn give_up(&self, wait: Duration) -> usize {
        let mut running = self.running.lock();
        let there = running.len();
        running
            .values()
            .for_each(|leash| leash.end(Some(Why::Memory)));
        self.ended
            .wait_while_for(&mut running, |running| !running.is_empty(), wait);
        there
    }
}

/// Holds one child: it can be ended until it was waited for, and never another process that got its number.
#[derive(Debug)]
struct Leash {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// None once it is over.
    pid: Option<Pid>,
    why: Option<Why>,
}

impl Leash {
    fn end(&self, why: Option<Why>) {
        let mut state = self.state.lock();
        if let Some(pid) = state.pid {
            state.why = state.why.or(why);
            // It may have ended by itself; until it is waited for the number is its own.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Ends it after so long, unless it is over before.
    fn watch(&self, time: Duration) {
        let mut state = self.state.lock();
        let there = |state: &mut State| state.pid.is_some();
        self.changed.wait_while_for(&mut state, there, time);
        drop(state);
        self.end(Some(Why::WallTime));
    }
}

/// A child that is in the list, and is ended when this is dropped.
struct Held<'a> {
    children: &'a Children,
    leash: Arc<Leash>,
    process: std::process::Child,
}

impl<'a> Held<'a> {
    fn start(children: &'a Children, child: &Child) -> Result<Self, String> {
        let mut command = Command::new(&child.program);
        command
            .args(&child.arguments)
            .arg0("kybern")
            .env_clear()
            .env("RAYON_NUM_THREADS", threads().to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let process = command.spawn().map_err(|error| {
            let program = child.program.display();
            format!("{program} cannot be started to compile it: {error}")
        })?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let leash = Arc::new(Leash {
            state: Mutex::new(State { pid, why: None }),
            changed: Condvar::new(),
        });
        let mut running = children.running.lock();
        running.insert(process.id(), Arc::clone(&leash));
        drop(running);
        Ok(Self {
            children,
            leash,
            process,
        })
    }

    /// Gives the order, and takes the reply; an error if the child ends before.
    fn ask(&mut self, order: &Order, wasm: &[u8]) -> std::io::Result<Reply> {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        // Open until the reply is here: its end is the child's.
        let input = self.process.stdin.as_mut().ok_or_else(broken)?;
        order.write(input, wasm)?;
        let output = self.process.stdout.as_mut().ok_or_else(broken)?;
        let reply = Reply::read(output, order.code);
        if let Err(error) = &reply
            && error.kind() == std::io::ErrorKind::InvalidData
        {
            // Some other program, which has no reason to end.
            self.leash.end(None);
        }
        reply
    }

    /// Ends it if it has not ended, and says how it ended, why, and its last words.
    fn finish(mut self) -> (Option<ExitStatus>, Option<Why>, String) {
        drop(self.process.stdin.take());
        drop(self.process.stdout.take());
        let mut words = Vec::new();
        if let Some(told) = self.process.stderr.take() {
            let _ = told.take(MAX_WORDS).read_to_end(&mut words);
        }
        let status = self.reap();
        let why = self.leash.state.lock().why;
        (status, why, String::from_utf8_lossy(&words).into_owned())
    }

    /// Waits for its end, then lets go of its number.
    fn reap(&mut self) -> Option<ExitStatus> {
        let pid = self.leash.state.lock().pid;
        if let Some(pid) = pid {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        }
        let mut state = self.leash.state.lock();
        let status = self.process.wait().ok();
        state.pid = None;
        drop(state);
        self.leash.changed.notify_all();
        self.children.running.lock().remove(&self.process.id());
        self.children.ended.notify_all();
        status
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.leash.state.lock().pid.is_some() {
            self.leash.end(None);
            self.reap();
        }
    }
}

/// The code of a component, made by a child. Blocks.
pub(crate) fn compile(
    children: &Children,
    child: &Child,
    subject: Subject,
    allocation: Allocation,
    max_stack: usize,
    wasm: &[u8],
) -> Result<Vec<u8>, CompileError> {
    let limits = child.limits;
    let left = child.room.as_ref().and_then(|room| room.left());
    let memory = left.map_or(limits.memory, |left| left.min(limits.memory));
    if memory < LEAST_MEMORY.min(limits.memory) {
        return Err(CompileError::Stopped(format!(
            "only {} of memory are left, and it takes {} at least: raise \
             resources.limits.memory",
            mebibytes(memory),
            mebibytes(LEAST_MEMORY)
        )));
    }
    let order = Order {
        subject,
        scarce: allocation == Allocation::OnDemand,
        max_stack,
        seconds: limits.time.as_secs().max(1),
        memory,
        code: limits.code,
        bytes: wasm.len(),
    };
    let mut held = Held::start(children, child).map_err(CompileError::Stopped)?;
    let leash = Arc::clone(&held.leash);
    let (reply, ended) = std::thread::scope(|scope| {
        let watching = std::thread::Builder::new()
            .name("plugin-compile".to_owned())
            .spawn_scoped(scope, || leash.watch(limits.wall_time));
        if let Err(error) = watching {
            // Dropping it ends it.
            drop(held);
            let why = format!("no thread can be started to watch over it: {error}");
            return (Err(std::io::Error::other(why)), None);
        }
        (held.ask(&order, wasm), Some(held.finish()))
    });
    let (status, why, words) = match ended {
        Some(ended) => ended,
        None => {
            let why = reply.err().map(|error| error.to_string());
            return Err(CompileError::Stopped(why.unwrap_or_default()));
        }
    };
    match reply {
        Ok(Reply::Code(code)) => Ok(code),
        Ok(Reply::Refused(reason)) => Err(CompileError::Refused(reason)),
        Ok(Reply::TooMuchCode) => Err(CompileError::Exceeded(Exceeded::Code(limits.code))),
        Err(error) => Err(match why {
            Some(Why::WallTime) => CompileError::Stopped(format!(
                "the compiler had not ended after {} s: the processor is busy, or resources.limits.cpu \
                 is too low",
                limits.wall_time.as_secs()
            )),
            Some(Why::Memory) => CompileError::Stopped(
                "it was ended because the host's memory was full: raise resources.limits.memory (or \
                 --memory-limit)"
                    .to_owned(),
            ),
            None if error.kind() == std::io::ErrorKind::InvalidData => CompileError::Stopped(format!(
                "{} does not answer as the compiler of this host does: is it another version?",
                child.program.display()
            )),
            None => ended_by_itself(status, &words, &error.to_string(), &order, limits.memory),
        }),
    }
}

/// What the end of a child means that nobody here ended.
fn ended_by_itself(
    status: Option<ExitStatus>,
    words: &str,
    error: &str,
    order: &Order,
    allowed: u64,
) -> CompileError {
    let is = |signal: Signal| status.and_then(|s| s.signal()) == Some(signal.as_raw());
    if is(Signal::XCPU) {
        return CompileError::Exceeded(Exceeded::Time(Duration::from_secs(order.seconds)));
    }
    if words.contains(NO_MEMORY) {
        if order.memory == allowed {
            return CompileError::Exceeded(Exceeded::Memory(allowed));
        }
        return CompileError::Stopped(format!(
            "it takes more than the {} of memory that were left: raise resources.limits.memory",
            mebibytes(order.memory)
        ));
    }
    if is(Signal::KILL) {
        return CompileError::Stopped(
            "the system killed the compiler, most often because memory ran out: raise \
             resources.limits.memory"
                .to_owned(),
        );
    }
    let how = status.map_or_else(|| error.to_owned(), |status| status.to_string());
    let said = words.lines().next().unwrap_or("nothing");
    CompileError::Stopped(format!("the compiler ended ({how}) and said: {said}"))
}
