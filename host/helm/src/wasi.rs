//! WASI 0.1 for the engine: Go cannot do without it, and it leads nowhere.
//!
//! # Contract
//! - No files, sockets, arguments or environment: what asks for them is refused.
//! - Random numbers come from a seed. The time of day is what the call is given; it moves by a
//!   microsecond each time that a clock is read, and by what is slept.
//! - What is printed is kept, the first part of it: the last words of a module that breaks.

use crate::random::Random;
use std::time::Duration;
use wasmtime::{Caller, Extern, Linker, Memory, Module, Result, Val, ValType, bail};

const NAMESPACE: &str = "wasi_snapshot_preview1";
/// The module's memory is all that it can hand over.
const MEMORY: &str = "memory";

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const FAULT: i32 = 21;
const INVALID: i32 = 28;
const NOT_SUPPORTED: i32 = 58;

const REALTIME: i32 = 0;
const TICK: Duration = Duration::from_micros(1);
/// What a render's steady clock begins with: a snapshot's ended long before.
const BEGINNING: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_SAID: usize = 4 * 1024;
/// Random bytes that are made at once.
const MAX_RANDOM: usize = 64 * 1024;
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
const MAX_SUBSCRIPTIONS: usize = 64;

/// What WASI keeps for one call.
#[derive(Debug)]
pub(crate) struct Wasi {
    random: Random,
    /// Time of day when the call began, since 1970.
    now: Duration,
    steady: Duration,
    passed: Duration,
    said: Vec<u8>,
}

/// The module ended itself.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub(crate) struct Exit(i32);

impl Wasi {
    /// For a render.
    pub(crate) fn new(seed: [u8; 32], now: Duration) -> Self {
        Self {
            random: Random::seeded(seed),
            now,
            steady: BEGINNING,
            passed: Duration::ZERO,
            said: Vec::new(),
        }
    }

    /// For the start-up that a snapshot keeps: the same on each machine.
    pub(crate) fn for_snapshot() -> Self {
        Self {
            steady: Duration::ZERO,
            ..Self::new([0; 32], Duration::from_secs(946_684_800))
        }
    }

    /// What was printed.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).trim().to_owned()
    }

    fn read(&mut self, clock: i32) -> Duration {
        self.passed = self.passed.saturating_add(TICK);
        let begun = if clock == REALTIME {
            self.now
        } else {
            self.steady
        };
        begun.saturating_add(self.passed)
    }

    fn say(&mut self, text: &[u8]) {
        let room = MAX_SAID.saturating_sub(self.said.len());
        self.said.extend(text.iter().take(room));
    }
}

/// Whoever holds a call's WASI.
pub(crate) trait HasWasi: 'static {
    fn wasi(&mut self) -> &mut Wasi;
}

/// Links what the module imports; an error if it imports anything but WASI.
pub(crate) fn link<T: HasWasi>(linker: &mut Linker<T>, module: &Module) -> Result<()> {
    linker.func_wrap(NAMESPACE, "sched_yield", || SUCCESS)?;
    linker.func_wrap(NAMESPACE, "proc_exit", |code: i32| -> Result<()> {
        Err(Exit(code).into())
    })?;
    linker.func_wrap(NAMESPACE, "args_get", |_: i32, _: i32| SUCCESS)?;
    linker.func_wrap(NAMESPACE, "environ_get", |_: i32, _: i32| SUCCESS)?;
    linker.func_wrap(NAMESPACE, "args_sizes_get", no_texts::<T>)?;
    linker.func_wrap(NAMESPACE, "environ_sizes_get", no_texts::<T>)?;
    linker.func_wrap(NAMESPACE, "clock_time_get", clock_time_get::<T>)?;
    linker.func_wrap(NAMESPACE, "random_get", random_get::<T>)?;
    linker.func_wrap(NAMESPACE, "fd_write", fd_write::<T>)?;
    linker.func_wrap(NAMESPACE, "poll_oneoff", poll_oneoff::<T>)?;
    deny_the_rest(linker, module)
}

/// Files and sockets: there are no descriptors.
fn deny_the_rest<T: HasWasi>(linker: &mut Linker<T>, module: &Module) -> Result<()> {
    let linked = [
        "sched_yield",
        "proc_exit",
        "args_get",
        "environ_get",
        "args_sizes_get",
        "environ_sizes_get",
        "clock_time_get",
        "random_get",
        "fd_write",
        "poll_oneoff",
    ];
    let mut denied: Vec<&str> = Vec::new();
    for import in module.imports() {
        let name = import.name();
        let Some(function) = import.ty().func().cloned() else {
            bail!("it imports {name}, which is no function");
        };
        if import.module() != NAMESPACE {
            bail!("it imports {}.{name}", import.module());
        }
        if linked.contains(&name) || denied.contains(&name) {
            continue;
        }
        let results: Vec<ValType> = function.results().collect();
        if !matches!(results.as_slice(), [ValType::I32]) {
            bail!("it imports {name}, which is no function of WASI 0.1");
        }
        linker.func_new(NAMESPACE, name, function, |_, _, results| {
            results.fill(Val::I32(BAD_DESCRIPTOR));
            Ok(())
        })?;
        denied.push(name);
    }
    Ok(())
}

fn no_texts<T: HasWasi>(mut caller: Caller<'_, T>, count: i32, bytes: i32) -> Result<i32> {
    let memory = memory(&mut caller)?;
    let data = memory.data_mut(&mut caller);
    Ok(
        match put(data, count, &[0; 4]).and_then(|()| put(data, bytes, &[0; 4])) {
            Some(()) => SUCCESS,
            None => FAULT,
        },
    )
}

fn clock_time_get<T: HasWasi>(
    mut caller: Caller<'_, T>,
    clock: i32,
    _precision: i64,
    to: i32,
) -> Result<i32> {
    let memory = memory(&mut caller)?;
    let (data, state) = memory.data_and_store_mut(&mut caller);
    let time = u64::try_from(state.wasi().read(clock).as_nanos()).unwrap_or(u64::MAX);
    Ok(put(data, to, &time.to_le_bytes()).map_or(FAULT, |()| SUCCESS))
}

fn random_get<T: HasWasi>(mut caller: Caller<'_, T>, to: i32, length: i32) -> Result<i32> {
    let memory = memory(&mut caller)?;
    let (data, state) = memory.data_and_store_mut(&mut caller);
    let Some(target) = part(data, to, length) else {
        return Ok(FAULT);
    };
    for chunk in target.chunks_mut(MAX_RANDOM) {
        chunk.copy_from_slice(&state.wasi().random.take(chunk.len()));
    }
    Ok(SUCCESS)
}

fn fd_write<T: HasWasi>(
    mut caller: Caller<'_, T>,
    descriptor: i32,
    vectors: i32,
    count: i32,
    written: i32,
) -> Result<i32> {
    if !(1..=2).contains(&descriptor) {
        return Ok(BAD_DESCRIPTOR);
    }
    let memory = memory(&mut caller)?;
    let (data, state) = memory.data_and_store_mut(&mut caller);
    let said = || {
        let vectors = part(data, vectors, count.checked_mul(8)?)?.to_vec();
        let mut total = 0_u32;
        for vector in vectors.chunks_exact(8) {
            let (from, length) = (word(vector, 0)?, word(vector, 4)?);
            let text = part(data, from.cast_signed(), length.cast_signed())?;
            state.wasi().say(text);
            total = total.checked_add(length)?;
        }
        put(data, written, &total.to_le_bytes())
    };
    Ok({ said }().map_or(FAULT, |()| SUCCESS))
}

/// Sleeps by moving the clock. Nothing else can be waited for.
fn poll_oneoff<T: HasWasi>(
    mut caller: Caller<'_, T>,
    subscriptions: i32,
    events: i32,
    count: i32,
    ready: i32,
) -> Result<i32> {
    let Ok(number) = usize::try_from(count) else {
        return Ok(INVALID);
    };
    if number == 0 || number > MAX_SUBSCRIPTIONS {
        return Ok(INVALID);
    }
    let memory = memory(&mut caller)?;
    let (data, state) = memory.data_and_store_mut(&mut caller);
    let Some(asked) = i32::try_from(SUBSCRIPTION)
        .ok()
        .and_then(|size| part(data, subscriptions, count.checked_mul(size)?))
    else {
        return Ok(FAULT);
    };
    // Who waits for several things wakes up with the first.
    let first = asked
        .chunks_exact(SUBSCRIPTION)
        .filter_map(|one| Some((sleep(one, state.wasi())?, one.get(..8)?.to_vec())))
        .min();
    let Some((slept, user)) = first else {
        return Ok(NOT_SUPPORTED);
    };
    let wasi = state.wasi();
    wasi.passed = wasi.passed.saturating_add(slept);
    let mut event = user;
    event.resize(EVENT, 0);
    let told = put(data, events, &event).and_then(|()| put(data, ready, &1_u32.to_le_bytes()));
    Ok(told.map_or(FAULT, |()| SUCCESS))
}

/// How long this subscription waits; none = it is not about a clock.
fn sleep(subscription: &[u8], wasi: &mut Wasi) -> Option<Duration> {
    const ABSOLUTE: u8 = 1;
    if *subscription.get(8)? != 0 {
        return None;
    }
    let clock = word(subscription, 16)?.cast_signed();
    let timeout = subscription.get(24..32)?.try_into().ok()?;
    let timeout = Duration::from_nanos(u64::from_le_bytes(timeout));
    match subscription.get(40)? & ABSOLUTE {
        ABSOLUTE => Some(timeout.saturating_sub(wasi.read(clock))),
        _ => Some(timeout),
    }
}

fn memory<T>(caller: &mut Caller<'_, T>) -> Result<Memory> {
    match caller.get_export(MEMORY) {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => bail!("it has no memory"),
    }
}

fn part(data: &mut [u8], from: i32, length: i32) -> Option<&mut [u8]> {
    let from = usize::try_from(from.cast_unsigned()).ok()?;
    let length = usize::try_from(length.cast_unsigned()).ok()?;
    data.get_mut(from..from.checked_add(length)?)
}

fn put(data: &mut [u8], to: i32, bytes: &[u8]) -> Option<()> {
    let to = usize::try_from(to.cast_unsigned()).ok()?;
    let target = data.get_mut(to..to.checked_add(bytes.len())?)?;
    target.copy_from_slice(bytes);
    Some(())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}
