//! What one hook call may use.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What one hook call may use.
///
/// Two limits are the engine's and therefore in [`RuntimeConfig`]: the stack
/// (`max_stack`) and the largest memory that any call may be given
/// (`max_memory`).
///
/// [`RuntimeConfig`]: crate::RuntimeConfig
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// Bytes of linear memory, all memories of the component together; at most the
    /// runtime's `max_memory`. Default 64 MiB.
    pub memory: usize,
    /// CPU time of the guest's thread, host functions included, checked every
    /// few milliseconds. CPU time, so that a busy node does not fail a call.
    /// Default 500 ms.
    pub time: Duration,
    /// Time on the clock, for a call whose thread gets no CPU. Default 10 s.
    pub wall_time: Duration,
    /// How long to wait for a free instance. Default 5 s.
    pub wait: Duration,
    /// Elements of all tables together. Default 20,000.
    pub table_elements: usize,
    /// Core instances, tables and memories, each. Default 64.
    pub instances: usize,
    /// Cursors that are open at the same time. Default 64.
    pub handles: usize,
    /// Bytes that one host call hands to the guest: an Arrow stream or a JSON array. Default 8 MiB.
    pub host_call_bytes: usize,
    /// Bytes of one body of a request that is sent, or of its answer. Default 1 MiB.
    pub http_bytes: usize,
    /// Requests that one call sends. Default 64.
    pub http_requests: u32,
    /// Charts that one call has rendered. Default 64.
    pub renders: u32,
    /// Bytes of log messages; each message counts 64 bytes more than its text. Default 64 KiB.
    pub log_bytes: usize,
    /// Bytes of the returned document. Default 4 MiB.
    pub output_bytes: usize,
    /// Depth of the returned document; `[]` and `{}` have depth 1. Default 64.
    pub output_depth: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            time: Duration::from_millis(500),
            wall_time: Duration::from_secs(10),
            wait: Duration::from_secs(5),
            table_elements: 20_000,
            instances: 64,
            handles: 64,
            host_call_bytes: 8 * MIB,
            http_bytes: MIB,
            http_requests: 64,
            renders: 64,
            log_bytes: 64 * KIB,
            output_bytes: 4 * MIB,
            output_depth: 64,
        }
    }
}
