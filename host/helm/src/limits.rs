//! What one render may use, and what all of them may.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// What renders may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request. Default 32 MiB.
    pub request: usize,
    /// Bytes of a response. Default 8 MiB.
    pub response: usize,
    /// Bytes of linear memory of one render. Default 256 MiB.
    pub memory: usize,
    /// CPU time of one render. A key of 4096 bits takes seconds. Default 20 s.
    pub time: Duration,
    /// Time on the clock, for a render that gets no CPU. Default 60 s.
    pub wall_time: Duration,
    /// Renders at the same time; more wait. Default 4.
    pub renders: usize,
    /// How long one waits. Default 20 s.
    pub wait: Duration,
    /// Bytes of responses that are kept, the least recently used go first. Default 64 MiB.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: 32 * MIB,
            response: 8 * MIB,
            memory: 256 * MIB,
            time: Duration::from_secs(20),
            wall_time: Duration::from_secs(60),
            renders: 4,
            wait: Duration::from_secs(20),
            kept: 64 * MIB,
        }
    }
}
