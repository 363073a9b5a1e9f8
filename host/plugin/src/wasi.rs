//! WASI 0.2, for languages whose runtime cannot do without it: linked, and leading nowhere.
//!
//! # Contract
//! - No function here opens, reads or sends anything: there are no files, no sockets, no environment
//!   and no arguments, and standard input is at its end. What a guest prints goes into its capped log.
//! - In a pure hook the same input gives the same answers: clocks show the input's `now`, and random
//!   numbers follow from the hook's name and input. In `act` both are real.
//! - Nothing waits in a pure hook: a sleep moves the call's own clock. In `act` a sleep ends with the
//!   call's time or when it is stopped.
//! - `wasi:http` is not linked: requests are `kybern:operator/http`, which registrations grant.
//!
//! # Why not wasmtime-wasi
//! See docs/decisions/027-wasi.md.

mod cli;
mod clock;
mod denied;
mod poll;
mod random;
mod streams;
#[cfg(test)]
mod tests;

use crate::state::CallState;
use clock::Clock;
use random::Random;
use serde::Deserialize;
use streams::Printed;
use wasmtime::Result;
use wasmtime::component::{Linker, ResourceTable};

/// The version under which everything is linked; guests may name any 0.2.x.
pub(crate) const VERSION: [u64; 3] = [0, 2, 0];

/// What is linked: package, interface, and what a plugin gets from it.
const INTERFACES: [(&str, &str, &str); 25] = [
    ("cli", "environment", cli::NOTHING),
    ("cli", "exit", "an exit ends the call as a trap"),
    ("cli", "stdin", "nothing: it is at its end"),
    ("cli", "stdout", "lines of the plugin's log, level info"),
    ("cli", "stderr", "lines of the plugin's log, level warn"),
    ("cli", "terminal-input", cli::NO_TERMINAL),
    ("cli", "terminal-output", cli::NO_TERMINAL),
    ("cli", "terminal-stdin", cli::NO_TERMINAL),
    ("cli", "terminal-stdout", cli::NO_TERMINAL),
    ("cli", "terminal-stderr", cli::NO_TERMINAL),
    ("clocks", "monotonic-clock", clock::GIVEN),
    ("clocks", "wall-clock", clock::GIVEN),
    ("filesystem", "preopens", denied::NO_FILES),
    ("filesystem", "types", denied::NO_FILES),
    ("io", "error", "errors of streams"),
    ("io", "poll", "waiting: a sleep takes no time but in act"),
    ("io", "streams", "standard input, output and error"),
    ("random", "insecure", random::GIVEN),
    ("random", "insecure-seed", random::GIVEN),
    ("random", "random", random::GIVEN),
    ("sockets", "instance-network", denied::NO_SOCKETS),
    ("sockets", "ip-name-lookup", denied::NO_SOCKETS),
    ("sockets", "network", denied::NO_SOCKETS),
    ("sockets", "tcp", denied::NO_SOCKETS),
    ("sockets", "udp", denied::NO_SOCKETS),
];

/// What a plugin gets from this interface of `wasi:PACKAGE`; none = it is not linked.
pub(crate) fn given(package: &str, interface: &str) -> Option<&'static str> {
    // Whoever may make a socket knows the interface of sockets.
    let interface = interface
        .strip_suffix("-create-socket")
        .unwrap_or(interface);
    let found = INTERFACES
        .iter()
        .find(|(of, name, _)| (*of, *name) == (package, interface));
    found.map(|(_, _, given)| *given)
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// A pure hook: everything follows from its input.
    Pure,
    /// The act hook: time passes, and random numbers are random.
    Real,
}

/// What WASI keeps for one call.
#[derive(Debug)]
pub(crate) struct Wasi {
    clock: Clock,
    random: Random,
    pollables: ResourceTable,
    printed: Printed,
}

impl Wasi {
    /// For one call of a hook with this input; at most so many handles.
    pub(crate) fn new(ground: Ground, hook: &str, input: &str, handles: usize) -> Self {
        let (clock, random) = match ground {
            Ground::Pure => (Clock::frozen(now(input)), Random::seeded(hook, input)),
            Ground::Real => (Clock::real(), Random::Real),
        };
        let mut pollables = ResourceTable::new();
        pollables.set_max_capacity(handles);
        Self {
            clock,
            random,
            pollables,
            printed: Printed::default(),
        }
    }
}

impl CallState {
    /// Hands what was printed without an end of line to the log. The call is over.
    pub(crate) fn finish_printing(&mut self) {
        self.wasi.printed.finish(&mut self.log);
    }
}

/// The input's `now`; none = it has none that is a time.
fn now(input: &str) -> Option<jiff::Timestamp> {
    #[derive(Deserialize)]
    struct Dated<'a> {
        #[serde(borrow)]
        now: std::borrow::Cow<'a, str>,
    }
    let dated: Dated<'_> = serde_json::from_str(input).ok()?;
    dated.now.parse().ok()
}

/// Gives guests WASI.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    poll::add_to_linker(linker)?;
    streams::add_to_linker(linker)?;
    cli::add_to_linker(linker)?;
    clock::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    denied::add_to_linker(linker)
}
