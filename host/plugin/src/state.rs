//! What the host keeps for one call while the guest runs.

use crate::answer::{Answers, NamedAnswer};
use crate::limiter::Limiter;
use crate::limits::CallLimits;
use crate::log::CallLog;
use crate::meter::Deadline;
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
            rows: 0,
            bytes_in: 0,
        }
    }
}
