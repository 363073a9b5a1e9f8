//! The memory guard: stops the host in good order before the kernel kills it.
//!
//! *Why.* A container that reaches its limit is killed in the middle of whatever it does, and
//! says nothing. Nothing would be lost (all state is in the cluster), but nobody would know why,
//! and the next leader would wait for the lease to run out.
//!
//! *Contract.* The limit is the container's, read anew at each look, for it can be changed while
//! the Pod runs; `--memory-limit` sets one for the process where there is no container. What counts
//! as used is what `kubectl top` shows: the working set, all but file pages that wait to be dropped.
//!
//! *States.* Roomy; tight, from four fifths on: one warning. Full, when the [`reserve`] is
//! touched: the allocator gives back what it holds, then plugins that are being compiled are given up; if
//! that is not enough, the [`message`] goes to
//! the log and to the termination log, and the host ends with [`EXHAUSTED`].
//!
//! *Limits.* One allocation that is larger than the reserve still meets the kernel.

mod cgroup;
mod guard;
mod level;
mod message;
mod meter;
mod metrics;
#[cfg(test)]
mod tests;

pub(crate) use guard::{Guard, GuardConfig};
pub(crate) use meter::Meter;
pub(crate) use metrics::register;

/// Exit code of a host that ran out of memory: `EX_TEMPFAIL` of sysexits, for a later try with
/// more memory will succeed.
pub(crate) const EXHAUSTED: u8 = 75;

/// What must stay free: a twentieth of the limit, and at least the 8 MiB that a look can be late for.
pub(crate) fn reserve(limit: u64) -> u64 {
    (limit / 20).max(8 << 20)
}
