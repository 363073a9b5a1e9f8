//! One hook call: fresh store, limits, instance, function, and what its end means.

use crate::answer::NamedAnswer;
use crate::call::{Call, CallError, Usage};
use crate::document;
use crate::gate::Gate;
use crate::inside::Inside;
use crate::limiter::OutOfMemory;
use crate::limits::CallLimits;
use crate::load::LoadError;
use crate::log::printable;
use crate::meter::{OutOfTime, Stopwatch};
use crate::outside::{Outside, Stopped};
use crate::runtime::Inner;
use crate::state::CallState;
use crate::wasi::{Ground, Wasi};
use kybern_interface::{Failure, HookError, PACKAGE};
use std::sync::Arc;
use wasmtime::component::{
    ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, TypedFunc,
};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

/// Handles that a call may have beside its open cursors.
const SPARE_HANDLES: usize = 64;
/// How many times the largest thing that a guest may hand over is copied to be measured.
const COPIED: usize = 4;
/// Bytes of a hook error's message; what is longer is cut.
const MESSAGE: usize = 4 * 1024;

/// Bytes of what is told about a bundle.
const REPORT: usize = 16 * 1024;

/// `failure`, as the interface has it.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
struct GuestFailure {
    message: String,
    #[component(name = "retry-after-ms")]
    retry_after_ms: Option<u64>,
}

/// `hook-error`, as the interface has it.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
enum GuestError {
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "wait")]
    Wait(GuestFailure),
    #[component(name = "retry")]
    Retry(GuestFailure),
    #[component(name = "internal")]
    Internal(String),
}

type Function = TypedFunc<(String,), (Result<String, GuestError>,)>;
type Describe = TypedFunc<(), (Result<String, GuestError>,)>;

/// A hook of a loaded plugin: found by name once, when it was loaded.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) name: &'static str,
    pub(crate) index: ComponentExportIndex,
}

/// What is needed to call a plugin.
pub(crate) struct Callee<'a> {
    pub(crate) runtime: &'a Inner,
    pub(crate) plugin: &'a str,
    pub(crate) instance: &'a InstancePre<CallState>,
    pub(crate) gate: &'a Gate,
    pub(crate) inside: Inside,
    pub(crate) outside: Outside,
    /// What its clocks and random numbers are; none = it imports no WASI.
    pub(crate) wasi: Option<Ground>,
}

impl Callee<'_> {
    /// What follows from the input, which a plugin without WASI never asks.
    fn wasi(&self, (hook, input): (&str, &str), limits: &CallLimits) -> Wasi {
        match self.wasi {
            Some(ground) => Wasi::new(ground, hook, input, limits.handles),
            None => Wasi::new(Ground::Pure, "", "", 0),
        }
    }

    /// Calls the hook with this document; blocks.
    pub(crate) fn call(
        &self,
        hook: &Hook,
        input: &str,
        answers: Vec<NamedAnswer>,
        limits: &CallLimits,
    ) -> Call<String> {
        self.run((hook.name, input), answers, limits, |store, instance| {
            let function =
                typed(store, instance, hook).map_err(|reason| CallError::Host { reason })?;
            let bytes = u64::try_from(input.len()).unwrap_or(u64::MAX);
            store.data_mut().bytes_in = bytes;
            let (output,) = function
                .call(&mut *store, (input.to_owned(),))
                .map_err(|error| ended(&error, store.data()))?;
            document::check(output.map_err(hook_error)?, limits)
        })
    }

    /// Calls `describe`; blocks.
    pub(crate) fn describe(&self, hook: &Hook, limits: &CallLimits) -> Call<String> {
        self.run((hook.name, ""), Vec::new(), limits, |store, instance| {
            let function: Describe =
                instance
                    .get_typed_func(&mut *store, hook.index)
                    .map_err(|error| CallError::Host {
                        reason: format!("hook `{}`: {error:#}", hook.name),
                    })?;
            let (output,) = function
                .call(&mut *store, ())
                .map_err(|error| ended(&error, store.data()))?;
            let output = output.map_err(|error| match error {
                GuestError::Invalid(told) => CallError::Hook(HookError::Invalid(lines(&told))),
                other => hook_error(other),
            });
            document::check(output?, limits)
        })
    }

    /// Makes an instance and looks whether these hooks have the right types.
    pub(crate) fn probe(&self, hooks: &[&Hook], limits: &CallLimits) -> Result<(), LoadError> {
        let mut mismatch = None;
        let probe = self.run(("", ""), Vec::new(), limits, |store, instance| {
            mismatch = hooks
                .iter()
                .find_map(|hook| typed(store, instance, hook).err());
            Ok(())
        });
        probe.result.map_err(LoadError::Probe)?;
        match mismatch {
            None => Ok(()),
            Some(reason) => Err(LoadError::Interface {
                reason,
                offered: PACKAGE,
            }),
        }
    }

    fn run<T: Length>(
        &self,
        called: (&str, &str),
        answers: Vec<NamedAnswer>,
        limits: &CallLimits,
        work: impl FnOnce(&mut Store<CallState>, &Instance) -> Result<T, CallError>,
    ) -> Call<T> {
        let limits = &CallLimits {
            memory: limits.memory.min(self.runtime.config.max_memory),
            ..limits.clone()
        };
        let waiting = Stopwatch::start();
        let Some(_pass) = self.gate.enter(limits.wait) else {
            return Call {
                result: Err(CallError::Busy),
                usage: Usage {
                    wall_time: waiting.wall(),
                    ..Usage::default()
                },
            };
        };
        let _ticking = self.runtime.ticker.begin();
        let working = Stopwatch::start();
        let mut store = Store::new(
            &self.runtime.engine,
            CallState::new(
                self.plugin,
                answers,
                limits,
                Arc::clone(&self.runtime.memory),
                self.inside.of(called.1),
                self.outside.clone(),
                self.wasi(called, limits),
            ),
        );
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            store.data().check()?;
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_hostcall_fuel(copied(limits));
        store.set_max_component_handles(limits.handles.saturating_add(SPARE_HANDLES));

        let result = self
            .instance
            .instantiate(&mut store)
            .map_err(|error| match ended(&error, store.data()) {
                // Nothing was returned yet, so nothing can be malformed.
                CallError::MalformedOutput { reason } => CallError::Host { reason },
                other => other,
            })
            .and_then(|instance| work(&mut store, &instance));

        let mut state = store.into_data();
        state.finish_printing();
        state.log.finish();
        let usage = Usage {
            time: working.cpu(),
            wall_time: waiting.wall(),
            peak_memory: state.limiter.peak(),
            rows: state.rows,
            bytes_in: state.bytes_in,
            bytes_out: result.as_ref().map_or(0, Length::length),
            log_lines: state.log.lines,
            log_dropped: state.log.dropped,
        };
        Call { result, usage }
    }
}

/// Bytes that the host copies of what a guest hands over at once, before it is measured: enough to
/// say by how much a document is too large, and never as much as a large guest's memory.
fn copied(limits: &CallLimits) -> usize {
    let largest = limits.output_bytes.max(limits.http_bytes);
    largest.saturating_mul(COPIED).min(limits.memory)
}

/// How much a result adds to the bytes that came out.
trait Length {
    fn length(&self) -> u64;
}

impl Length for String {
    fn length(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }
}

impl Length for () {
    fn length(&self) -> u64 {
        0
    }
}

fn typed(
    store: &mut Store<CallState>,
    instance: &Instance,
    hook: &Hook,
) -> Result<Function, String> {
    instance
        .get_typed_func(&mut *store, hook.index)
        .map_err(|error| format!("hook `{}`: {error:#}", hook.name))
}

fn hook_error(error: GuestError) -> CallError {
    let failure = |failure: GuestFailure| Failure {
        message: cut(&failure.message, MESSAGE),
        retry_after_ms: failure.retry_after_ms,
    };
    CallError::Hook(match error {
        // Of what is wrong with an input the place is shown, over several lines.
        GuestError::Invalid(message) => HookError::Invalid(lines(&message)),
        GuestError::Wait(wait) => HookError::Wait(failure(wait)),
        GuestError::Retry(retry) => HookError::Retry(failure(retry)),
        GuestError::Internal(message) => HookError::Internal(cut(&message, MESSAGE)),
    })
}

/// What the engine's error means. It never depends on an error's text.
fn ended(error: &wasmtime::Error, state: &CallState) -> CallError {
    if error.is::<Stopped>() {
        return CallError::Stopped;
    }
    if let Some(OutOfTime { limit }) = error.downcast_ref() {
        return CallError::OutOfTime { limit: *limit };
    }
    if let Some(OutOfMemory { limit }) = error.downcast_ref() {
        return CallError::OutOfMemory { limit: *limit };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Busy;
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return CallError::Trap {
            message: trap_message(&trap.to_string(), error, state),
        };
    }
    let reason = cut(&error.root_cause().to_string(), MESSAGE);
    // A host function refused what it was called with, or a returned value breaks the rules of
    // the component model; in the first case there are guest frames on the stack.
    if error.is::<WasmBacktrace>() {
        CallError::Trap {
            message: trap_message(&reason, error, state),
        }
    } else {
        CallError::MalformedOutput { reason }
    }
}

fn trap_message(trap: &str, error: &wasmtime::Error, state: &CallState) -> String {
    let mut message = trap.trim_start_matches("wasm trap: ").to_owned();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let backtrace = backtrace.to_string();
        tracing::debug!(target: "plugin", backtrace, "the plugin trapped");
        if let Some(function) = culprit(&backtrace) {
            message.push_str(&format!(" in `{}`", cut(function, 200)));
        }
    }
    if let Some(logged) = state.log.reason() {
        message.push_str(&format!("; its last error: {logged}"));
    }
    cut(&message, MESSAGE)
}

/// The innermost function that is not the language's own panic machinery; for people only.
/// The names are in the text because only there they are demangled.
fn culprit(backtrace: &str) -> Option<&str> {
    let machinery = ["core", "std", "alloc", "__rustc", "dlmalloc"];
    backtrace
        .lines()
        .filter_map(|line| line.split_once('!'))
        .map(|(_, function)| match function.trim().rsplit_once("::h") {
            // The compiler's own hash at the end of a name says nothing to anybody.
            Some((path, hash)) if hash.len() == 16 => path,
            _ => function.trim(),
        })
        .find(|function| {
            let path = function.trim_start_matches('<');
            let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
            let crate_name = end.and_then(|end| path.get(..end)).unwrap_or(path);
            !machinery.contains(&crate_name) && !crate_name.starts_with("rust_")
        })
}

/// What is wrong with a bundle or a resource, line by line: a place, a message, and what is there.
fn lines(text: &str) -> String {
    let end = text.floor_char_boundary(REPORT);
    let kept = text.get(..end).unwrap_or_default();
    let told = kept.lines().map(|line| cut(line, MESSAGE));
    let mut told = told.collect::<Vec<_>>().join("\n");
    if end < text.len() {
        told.push_str("\n[cut]");
    }
    told
}

fn cut(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    printable(text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invalid_keeps_the_lines_that_show_its_place() {
        let text = "t.yaml:6:3: no\n6 |   x\n  |   ^\u{1b}[31m";
        let told = |error| match hook_error(error) {
            CallError::Hook(HookError::Invalid(text) | HookError::Internal(text)) => text,
            other => panic!("{other:?}"),
        };
        let shown = "t.yaml:6:3: no\n6 |   x\n  |   ^\u{fffd}[31m";
        assert_eq!(told(GuestError::Invalid(text.into())), shown);
        let line = shown.replace('\n', " ");
        assert_eq!(told(GuestError::Internal(text.into())), line);
    }

    #[test]
    fn the_culprit_is_not_the_panic_machinery() {
        let backtrace = "error while executing at wasm backtrace:
    0:   0x10 - evil.wasm!__rustc[1f]::__rust_abort
    1:   0x20 - evil.wasm!std[a5]::panicking::panic_with_hook
    1:   0x28 - evil.wasm!rust_panic
    2:   0x30 - evil.wasm!<core::option::Option<T>>::unwrap
    3:   0x40 - evil.wasm!evil::modes::decide::hcfe266b77a0d5be8
    4:   0x50 - evil.wasm!evil::main";
        assert_eq!(culprit(backtrace), Some("evil::modes::decide"));
        assert_eq!(culprit("no frames"), None);
    }
}
