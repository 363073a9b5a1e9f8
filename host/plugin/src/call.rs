//! The outcome of one hook call: a result or an error, and what it used.

use kybern_interface::HookError;
use std::time::Duration;

/// The outcome of one hook call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<T> {
    /// What the hook returned, or why it did not.
    pub result: Result<T, CallError>,
    /// What the call used, whether it succeeded or not.
    pub usage: Usage,
}

/// What one hook call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time of the guest's thread, from instantiation to the checked document.
    pub time: Duration,
    /// Time on the clock, waiting for an instance included.
    pub wall_time: Duration,
    /// Most bytes of linear memory at one time.
    pub peak_memory: usize,
    /// Rows that the guest read.
    pub rows: u64,
    /// Bytes handed to the guest: the input document and rows.
    pub bytes_in: u64,
    /// Bytes of the returned document.
    pub bytes_out: u64,
    /// Messages logged.
    pub log_lines: u32,
    /// Messages dropped, because the call had logged too much.
    pub log_dropped: u32,
}

impl Usage {
    /// Both calls together; the larger of the two peaks.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            time: self.time.saturating_add(other.time),
            wall_time: self.wall_time.saturating_add(other.wall_time),
            peak_memory: self.peak_memory.max(other.peak_memory),
            rows: self.rows.saturating_add(other.rows),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            log_lines: self.log_lines.saturating_add(other.log_lines),
            log_dropped: self.log_dropped.saturating_add(other.log_dropped),
        }
    }
}

/// Why a hook call gave no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The hook returned an error; its kind says whether a retry can help.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The guest trapped: a defect of the plugin. The same input traps again.
    #[error("the plugin trapped: {message}")]
    Trap {
        /// The trap, where it was, and the last error that the plugin logged.
        message: String,
    },
    /// The guest ran too long. The same input will again, unless the time was clock time on a busy node.
    #[error("the plugin ran longer than its limit of {} ms", .limit.as_millis())]
    OutOfTime {
        /// The limit that was reached: CPU time or clock time.
        limit: Duration,
    },
    /// The guest wanted more memory or table elements than it may have. The same input will again.
    #[error("the plugin needs more memory than its limit of {limit} bytes")]
    OutOfMemory {
        /// Bytes that it may have.
        limit: usize,
    },
    /// The returned document is too large. The same input gives the same again.
    #[error("the plugin returned {bytes} bytes, more than the limit of {limit}")]
    OutputTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is accepted.
        limit: usize,
    },
    /// What was returned is not a JSON document that the host accepts. The same input gives the same again.
    #[error("the plugin returned a malformed document: {reason}")]
    MalformedOutput {
        /// What is wrong with it.
        reason: String,
    },
    /// The same input gave two documents ([`Plugin::decide_strict`](crate::Plugin::decide_strict) only): a defect of the plugin.
    #[error("the plugin is not pure: the same situation gave different plans: {difference}")]
    NotPure {
        /// The first place where they differ, and both values.
        difference: String,
    },
    /// The component does not export the hook.
    #[error("the plugin has no `{hook}` hook")]
    NoHook {
        /// Which hook.
        hook: &'static str,
    },
    /// The call was stopped ([`Stop`](crate::Stop)): nobody waits for it.
    #[error("the call was stopped")]
    Stopped,
    /// No instance became free in time. A retry can help.
    #[error("all plugin instances are busy")]
    Busy,
    /// The host could not make the call: a defect or a shortage of the host. A retry can help.
    #[error("the host could not call the plugin: {reason}")]
    Host {
        /// What failed.
        reason: String,
    },
}
