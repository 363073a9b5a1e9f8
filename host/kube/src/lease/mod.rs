//! Leader election by a `coordination.k8s.io/v1` Lease.
//!
//! # Why
//! A replica that was suspended must not write when it wakes up, and a busy runtime must not cost
//! leadership. So the election runs on a thread and a runtime of its own, over connections of its own,
//! and time is `CLOCK_BOOTTIME`, which goes on during suspension.
//!
//! # Contract
//! * [`start`] begins to stand for election; [`Leadership`] tells who leads and is the [`Fence`] of writes.
//! * A lease that was renewed by a request sent at `t` is relied upon until `t + lease`, never longer,
//!   and leadership is given up when no renewal succeeded for `renew_deadline`.
//! * Others take over `lease` after they last saw the record change, by their own clock: wall clocks
//!   are written for people and never compared.
//! * [`Election::stop`] gives the lease back, so that the next replica need not wait.
//!
//! # States
//! See [`elector`]: a pure machine; the thread only performs its requests.

mod elector;
mod record;
mod thread;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    clock::Clock,
    cluster::ClusterError,
    fence::{Fence, NotLeading},
};

pub use thread::{Election, start};

/// Who stands for election, for which lease, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Name of this replica; must differ from every other's, over restarts too.
    pub identity: String,
    /// How long a renewed lease lasts; 10 s unless told. Whole seconds.
    pub lease: Duration,
    /// Without a renewal for so long, leadership is given up; 7 s unless told.
    pub renew_deadline: Duration,
    /// Pause between attempts; 2 s unless told.
    pub retry: Duration,
    /// After a standstill longer than this, connections are replaced; 1 s unless told.
    pub gap: Duration,
}

impl LeaseConfig {
    /// The defaults for one lease and one replica.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str) -> LeaseConfig {
        LeaseConfig {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease: Duration::from_secs(10),
            renew_deadline: Duration::from_secs(7),
            retry: Duration::from_secs(2),
            gap: Duration::from_secs(1),
        }
    }

    fn check(&self) -> Result<(), LeaseError> {
        let ordered = self.retry > Duration::ZERO
            && self.retry < self.renew_deadline
            && self.renew_deadline < self.lease
            && self.lease >= Duration::from_secs(1);
        if ordered && !self.identity.is_empty() {
            Ok(())
        } else {
            Err(LeaseError::Config)
        }
    }
}

/// Cannot stand for election. None of these is cured by a retry.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The durations contradict each other.
    #[error(
        "leader election needs an identity and 0 < retry < renew deadline < lease, with a lease of 1 s or more"
    )]
    Config,
    /// The election's own connection cannot be set up.
    #[error("leader election cannot connect")]
    Cluster(#[from] ClusterError),
    /// The election's thread or runtime cannot be started.
    #[error("leader election cannot start its thread")]
    Thread(#[source] std::io::Error),
}

/// Who leads, as this replica knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderState {
    /// Another replica leads, or nobody does yet.
    Standby {
        /// The leader's identity, when there is one.
        holder: Option<String>,
    },
    /// This replica leads.
    Leading,
    /// This replica stands no more.
    Stopped,
}

/// Tells who leads; the fence of writes. Cheap to clone.
#[derive(Clone)]
pub struct Leadership {
    shared: Arc<Shared>,
    state: watch::Receiver<LeaderState>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    /// Until when the lease holds, in nanoseconds since boot; 0 when this replica does not lead.
    until: AtomicU64,
}

impl Leadership {
    /// Follows the state; the first value is the present one.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LeaderState> {
        self.state.clone()
    }

    /// Whether this replica leads now.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.allowed(Duration::ZERO).is_ok()
    }
}

impl Fence for Leadership {
    fn allowed(&self, needed: Duration) -> Result<(), NotLeading> {
        self.shared.allowed(needed)
    }
}

impl Shared {
    fn allowed(&self, needed: Duration) -> Result<(), NotLeading> {
        let until = Duration::from_nanos(self.until.load(Ordering::Acquire));
        let remaining = until.saturating_sub(self.clock.since_boot());
        if remaining > needed {
            Ok(())
        } else {
            Err(NotLeading { remaining, needed })
        }
    }

    fn set_until(&self, until: Option<Duration>) {
        let nanos = until.map_or(0, |until| {
            u64::try_from(until.as_nanos()).unwrap_or(u64::MAX)
        });
        self.until.store(nanos, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradicting_durations_are_refused() {
        let good = LeaseConfig::new("n", "l", "a");
        assert!(good.check().is_ok());
        let renew_too_late = LeaseConfig {
            renew_deadline: good.lease,
            ..good.clone()
        };
        assert!(renew_too_late.check().is_err());
        let nobody = LeaseConfig {
            identity: String::new(),
            ..good
        };
        assert!(nobody.check().is_err());
    }

    struct At(Duration);

    impl Clock for At {
        fn since_boot(&self) -> Duration {
            self.0
        }
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
    }

    #[test]
    fn a_write_needs_a_lease_that_outlasts_it() {
        let shared = Shared {
            clock: Arc::new(At(Duration::from_secs(100))),
            until: AtomicU64::new(0),
        };
        assert!(shared.allowed(Duration::ZERO).is_err());
        shared.set_until(Some(Duration::from_secs(106)));
        assert!(shared.allowed(Duration::from_secs(5)).is_ok());
        assert_eq!(
            shared.allowed(Duration::from_secs(6)),
            Err(NotLeading {
                remaining: Duration::from_secs(6),
                needed: Duration::from_secs(6)
            })
        );
        shared.set_until(None);
        assert!(shared.allowed(Duration::ZERO).is_err());
    }
}
