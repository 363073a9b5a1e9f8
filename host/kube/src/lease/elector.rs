//! Decides what an elector does next: a pure state machine over the Lease's record and time.
//!
//! # States
//! *Standby* remembers the record and when it last changed, by the local clock. *Leading* remembers
//! until when the lease holds. A lost race or a foreign record leads back to standby.

use std::time::Duration;

use super::{LeaderState, LeaseConfig, record::Record};

/// What the thread is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Read the Lease.
    Read,
    /// Create it, held by this replica.
    Create,
    /// Replace this record by one held by this replica.
    Hold(Box<Record>),
    /// Pause for one retry period.
    Pause,
}

/// What the thread reports; `sent` is when the request left, `now` when it came back.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// The pause is over.
    Rested,
    /// The Lease as it is, or its absence.
    Read(Option<Record>),
    /// A create or an update succeeded.
    Held { record: Record, sent: Duration },
    /// Somebody else was faster.
    LostRace,
    /// No usable answer.
    Failed,
}

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct Elector {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Standby { seen: Option<Seen> },
    Leading { record: Record, renewed: Duration },
}

#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    /// When this version was first seen.
    at: Duration,
}

impl Elector {
    pub(super) fn new() -> Elector {
        Elector {
            state: State::Standby { seen: None },
        }
    }

    pub(super) fn step(
        self,
        input: Input,
        now: Duration,
        config: &LeaseConfig,
    ) -> (Elector, Action) {
        let (state, action) = match (self.state, input) {
            (State::Standby { seen }, Input::Rested) => (State::Standby { seen }, Action::Read),
            (State::Standby { .. }, Input::Read(None)) => {
                (State::Standby { seen: None }, Action::Create)
            }
            (State::Standby { seen }, Input::Read(Some(record))) => {
                standby(seen, record, now, config)
            }
            (State::Leading { record, renewed }, Input::Rested) => {
                let action = Action::Hold(Box::new(record.clone()));
                (State::Leading { record, renewed }, action)
            }
            // The lease holds from when the request left: the server may have acted at once.
            (_, Input::Held { record, sent }) => (
                State::Leading {
                    record,
                    renewed: sent,
                },
                Action::Pause,
            ),
            (State::Standby { .. }, Input::LostRace) => {
                (State::Standby { seen: None }, Action::Pause)
            }
            // Our own record changed under us: by somebody else, or by an update of ours whose
            // answer was lost. Reading tells.
            (state @ State::Leading { .. }, Input::LostRace) => (state, Action::Read),
            (State::Leading { renewed, .. }, Input::Read(Some(record)))
                if record.holder.as_deref() == Some(&config.identity) =>
            {
                let action = Action::Hold(Box::new(record.clone()));
                (State::Leading { record, renewed }, action)
            }
            (State::Leading { .. }, Input::Read(Some(record))) => {
                let seen = Some(Seen { record, at: now });
                (State::Standby { seen }, Action::Pause)
            }
            (State::Leading { .. }, Input::Read(None)) => {
                (State::Standby { seen: None }, Action::Pause)
            }
            (state, Input::Failed) => (state, Action::Pause),
        };
        (
            Elector {
                state: give_up(state, now, config),
            },
            action,
        )
    }

    /// Until when writes may go on; nothing when this replica does not lead.
    pub(super) fn until(&self, config: &LeaseConfig) -> Option<Duration> {
        match &self.state {
            State::Leading { renewed, .. } => Some(renewed.saturating_add(config.lease)),
            State::Standby { .. } => None,
        }
    }

    pub(super) fn state(&self) -> LeaderState {
        match &self.state {
            State::Leading { .. } => LeaderState::Leading,
            State::Standby { seen } => LeaderState::Standby {
                holder: seen.as_ref().and_then(|seen| seen.record.holder.clone()),
            },
        }
    }

    /// The record to give back, when this replica leads.
    pub(super) fn to_release(&self) -> Option<&Record> {
        match &self.state {
            State::Leading { record, .. } => Some(record),
            State::Standby { .. } => None,
        }
    }

    /// By when the present request must have answered to be of use.
    pub(super) fn deadline(&self, now: Duration, config: &LeaseConfig) -> Duration {
        match &self.state {
            State::Leading { renewed, .. } => renewed
                .saturating_add(config.renew_deadline)
                .saturating_sub(now)
                .max(config.retry / 2),
            State::Standby { .. } => config.renew_deadline,
        }
    }
}

fn standby(
    seen: Option<Seen>,
    record: Record,
    now: Duration,
    config: &LeaseConfig,
) -> (State, Action) {
    let at = match &seen {
        Some(seen) if seen.record.resource_version == record.resource_version => seen.at,
        _ => now,
    };
    // A record of our own identity is one whose acquisition got lost on the way back: identities are
    // not shared, so nobody else renews it.
    let ours = record.holder.as_deref() == Some(&config.identity);
    let free = record.holder.is_none() || ours;
    // The holder's own duration counts: it may be configured with another one.
    let lasts = if record.lease.is_zero() {
        config.lease
    } else {
        record.lease
    };
    let expired = now.saturating_sub(at) >= lasts;
    let action = if free || expired {
        Action::Hold(Box::new(record.clone()))
    } else {
        Action::Pause
    };
    (
        State::Standby {
            seen: Some(Seen { record, at }),
        },
        action,
    )
}

fn give_up(state: State, now: Duration, config: &LeaseConfig) -> State {
    match state {
        State::Leading { record, renewed }
            if now.saturating_sub(renewed) >= config.renew_deadline =>
        {
            State::Standby {
                seen: Some(Seen { record, at: now }),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(identity: &str) -> LeaseConfig {
        LeaseConfig::new("n", "l", identity)
    }

    fn record(version: u32, holder: Option<&str>) -> Record {
        Record {
            resource_version: version.to_string(),
            holder: holder.map(str::to_owned),
            lease: Duration::from_secs(10),
            transitions: 0,
            acquired: None,
            metadata: serde_json::Map::new(),
        }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_absent_lease_is_created_and_counts_from_when_the_request_left() {
        let config = config("a");
        let (elector, action) = Elector::new().step(Input::Rested, s(100), &config);
        assert_eq!(action, Action::Read);
        let (elector, action) = elector.step(Input::Read(None), s(100), &config);
        assert_eq!(action, Action::Create);
        let held = Input::Held {
            record: record(1, Some("a")),
            sent: s(100),
        };
        let (elector, action) = elector.step(held, s(103), &config);
        assert_eq!(
            (elector.state(), action),
            (LeaderState::Leading, Action::Pause)
        );
        assert_eq!(elector.until(&config), Some(s(110)));
    }

    #[test]
    fn a_foreign_lease_is_taken_only_after_it_stood_still_for_its_whole_duration() {
        let config = config("b");
        let read = |version| Input::Read(Some(record(version, Some("a"))));
        let (elector, action) = Elector::new().step(read(1), s(100), &config);
        assert_eq!(action, Action::Pause);
        let (elector, action) = elector.step(read(2), s(109), &config);
        assert_eq!(action, Action::Pause, "it was renewed");
        let (elector, action) = elector.step(read(2), s(118), &config);
        assert_eq!(action, Action::Pause, "nine seconds are not ten");
        let (_, action) = elector.step(read(2), s(119), &config);
        assert!(matches!(action, Action::Hold(_)));
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let read = Input::Read(Some(record(5, None)));
        let (_, action) = Elector::new().step(read, s(1), &config("b"));
        assert!(matches!(action, Action::Hold(_)));
    }

    #[test]
    fn a_leader_without_renewal_gives_up_before_its_lease_ends() {
        let config = config("a");
        let held = Input::Held {
            record: record(1, Some("a")),
            sent: s(100),
        };
        let (elector, _) = Elector::new().step(held, s(100), &config);
        let (elector, _) = elector.step(Input::Failed, s(106), &config);
        assert_eq!(elector.state(), LeaderState::Leading);
        let (elector, _) = elector.step(Input::Failed, s(107), &config);
        assert_ne!(elector.state(), LeaderState::Leading);
        assert_eq!(elector.until(&config), None);
    }

    #[test]
    fn a_leader_that_lost_its_record_stands_by() {
        let config = config("a");
        let held = Input::Held {
            record: record(1, Some("a")),
            sent: s(100),
        };
        let (elector, _) = Elector::new().step(held, s(100), &config);
        let (elector, action) = elector.step(Input::LostRace, s(102), &config);
        assert_eq!(action, Action::Read);
        let foreign = Input::Read(Some(record(9, Some("b"))));
        let (elector, _) = elector.step(foreign, s(102), &config);
        assert_eq!(
            elector.state(),
            LeaderState::Standby {
                holder: Some("b".to_owned())
            }
        );
    }

    #[test]
    fn a_leader_whose_renewal_was_answered_into_the_void_goes_on() {
        let config = config("a");
        let held = Input::Held {
            record: record(1, Some("a")),
            sent: s(100),
        };
        let (elector, _) = Elector::new().step(held, s(100), &config);
        let (elector, _) = elector.step(Input::LostRace, s(102), &config);
        let own = Input::Read(Some(record(2, Some("a"))));
        let (elector, action) = elector.step(own, s(102), &config);
        assert_eq!(elector.state(), LeaderState::Leading);
        assert_eq!(action, Action::Hold(Box::new(record(2, Some("a")))));
    }
}
