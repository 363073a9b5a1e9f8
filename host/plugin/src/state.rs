//! What the host keeps for one call while the guest runs.

use crate::answer::{Answers, NamedAnswer};
use crate::inside::Inside;
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
    /// How often it may still have something rendered.
    pub(crate) renders: u32,
    pub(crate) inside: Inside,
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
        inside: Inside,
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
            renders: limits.renders,
            inside,
            outside,
            wasi,
            rows: 0,
            bytes_in: 0,
        }
    }

    /// Counts bytes that the guest is given.
    pub(crate) fn hand_over(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes_in = self.bytes_in.saturating_add(bytes);
    }

    /// Whether the guest may go on. Every host function asks this first: between two calls that stand
    /// one after the other in a guest's code the engine does not ask.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        self.outside.check()?;
        self.deadline.check()?;
        Ok(())
    }
}
