//! What the host keeps for one call while the guest runs.

use crate::answer::{Answers, NamedAnswer};
use crate::limiter::Limiter;
use crate::limits::CallLimits;
use crate::log::CallLog;
use crate::meter::Deadline;
use crate::outside::Outside;
use crate::wasi::Wasi;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use wasmtime::component::ResourceTable;

/// What the host keeps for one call while the guest runs.
pub(crate) struct CallState {
    pub(crate) limiter: Limiter,
    pub(crate) deadline: Deadline,
    pub(crate) log: CallLog,
    pub(crate) answers: Answers,
    /// Open cursors.
    pub(crate) cursors: ResourceTable,
    pub(crate) host_call_bytes: usize,
    /// Bytes of one body of a request or an answer.
    pub(crate) http_bytes: usize,
    /// Requests that it may still send.
    pub(crate) http_requests: u32,
    pub(crate) outside: Outside,
    pub(crate) wasi: Wasi,
    pub(crate) rows: u64,
    pub(crate) bytes_in: u64,
}

impl CallState {
    /// `memory` counts the linear memory of all calls that run.
    pub(crate) fn new(
        plugin: &str,
        answers: Vec<NamedAnswer>,
        limits: &CallLimits,
        memory: Arc<AtomicUsize>,
        outside: Outside,
        wasi: Wasi,
    ) -> Self {
        let mut cursors = ResourceTable::new();
        cursors.set_max_capacity(limits.handles);
        Self {
            limiter: Limiter::new(limits, memory),
            deadline: Deadline::start(limits.time, limits.wall_time),
            log: CallLog::new(plugin, limits.log_bytes),
            answers: Answers::new(answers),
            cursors,
            host_call_bytes: limits.host_call_bytes,
            http_bytes: limits.http_bytes,
            http_requests: limits.http_requests,
            outside,
            wasi,
            rows: 0,
            bytes_in: 0,
        }
    }

    /// Whether the guest may go on. Every host function asks this first: between two calls that stand
    /// one after the other in a guest's code the engine does not ask.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        self.outside.check()?;
        self.deadline.check()?;
        Ok(())
    }
}
