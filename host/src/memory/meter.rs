//! How much memory is used of how much: the container's figures, or the process's own.

use super::cgroup::Cgroup;
use std::path::{Path, PathBuf};

/// One reading, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What may be used; `None` without any limit.
    pub(crate) limit: Option<u64>,
    /// What is used.
    pub(crate) used: u64,
}

impl Reading {
    /// What is free below the limit.
    fn free(self) -> u64 {
        self.limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.used))
    }
}

/// Reads the figures anew each time.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    cgroup: Option<Cgroup>,
    /// `/proc/self/status`.
    status: PathBuf,
    /// What the user allows the process.
    given: Option<u64>,
}

impl Meter {
    /// `given` is the user's limit for the process; `root` is `/` but in tests.
    pub(crate) fn new(root: &Path, given: Option<u64>) -> Self {
        Self {
            cgroup: Cgroup::find(root),
            status: root.join("proc/self/status"),
            given,
        }
    }

    /// The figures; where both the container and the user set a limit, of the one with less room.
    pub(crate) fn read(&self) -> Option<Reading> {
        self.with(Cgroup::working_set)
    }

    /// Like [`Self::read`], but file pages may count as used: enough to see that there is room.
    pub(crate) fn glance(&self) -> Option<Reading> {
        self.with(Cgroup::usage)
    }

    /// The container's figures alone, if it has a limit: the one that the kernel enforces.
    pub(crate) fn container(&self) -> Option<Reading> {
        self.container_with(&Cgroup::working_set)
    }

    fn container_with(&self, used: &dyn Fn(&Cgroup) -> Option<u64>) -> Option<Reading> {
        let cgroup = self.cgroup.as_ref()?;
        // Without a limit a cgroup may hold other processes too: a whole session's, or the machine's.
        let limit = Some(cgroup.limit()?);
        let used = used(cgroup)?;
        Some(Reading { limit, used })
    }

    fn with(&self, used: impl Fn(&Cgroup) -> Option<u64>) -> Option<Reading> {
        let container = self.container_with(&used);
        if container.is_some() && self.given.is_none() {
            return container;
        }
        let process = self.resident().map(|used| Reading {
            limit: self.given,
            used,
        });
        container
            .into_iter()
            .chain(process)
            .min_by_key(|r| r.free())
    }

    /// What the process may use: the lower of the container's limit and the user's.
    pub(crate) fn limit(&self) -> Option<u64> {
        let container = self.cgroup.as_ref().and_then(Cgroup::limit);
        container.into_iter().chain(self.given).min()
    }

    /// Where the limit comes from, for messages.
    pub(crate) fn source(&self) -> String {
        match (&self.cgroup, self.given) {
            (Some(cgroup), None) if cgroup.limit().is_some() => {
                cgroup.folder().display().to_string()
            }
            (Some(cgroup), Some(_)) if cgroup.limit().is_some() => {
                format!("--memory-limit and {}", cgroup.folder().display())
            }
            (_, Some(_)) => "--memory-limit".to_owned(),
            _ => "none".to_owned(),
        }
    }

    /// The process's own pages, without the program's text and other files.
    fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(&self.status).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        };
        field("RssAnon:").or_else(|| field("VmRSS:"))
    }
}
