//! Decides which occurrences become new Events, which patch a series, and which wait: pure.

use std::{collections::HashMap, time::Duration};

use super::{Occurrence, RecorderConfig};

/// What to do about an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Create an Event; [`Aggregator::created`] tells its name.
    Create,
    /// It is counted; a later [`Aggregator::due`] tells when to patch.
    Counted,
    /// The rate is exceeded.
    Drop,
}

/// A series to be patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) occurrence: Occurrence,
    pub(super) name: String,
    pub(super) count: u32,
    /// When it was last observed.
    pub(super) last: jiff::Timestamp,
}

/// Remembers Events for their repeats.
#[derive(Debug)]
pub(super) struct Aggregator {
    known: HashMap<Occurrence, Entry>,
    tokens: TokenBucket,
}

#[derive(Debug)]
struct Entry {
    /// Absent until the Event is stored.
    name: Option<String>,
    count: u32,
    written: u32,
    seen: Duration,
    seen_at: jiff::Timestamp,
    patched: Duration,
}

impl Aggregator {
    pub(super) fn new(config: &RecorderConfig) -> Aggregator {
        Aggregator {
            known: HashMap::new(),
            tokens: TokenBucket::new(config),
        }
    }

    pub(super) fn record(
        &mut self,
        occurrence: &Occurrence,
        now: Duration,
        at: jiff::Timestamp,
        config: &RecorderConfig,
    ) -> Decision {
        if let Some(entry) = self.known.get_mut(occurrence)
            && now.saturating_sub(entry.seen) <= config.series_gap
        {
            entry.count = entry.count.saturating_add(1);
            entry.seen = now;
            entry.seen_at = at;
            return Decision::Counted;
        }
        if !self.tokens.take(now, config) {
            return Decision::Drop;
        }
        self.make_room(config);
        let entry = Entry {
            name: None,
            count: 1,
            written: 1,
            seen: now,
            seen_at: at,
            patched: now,
        };
        self.known.insert(occurrence.clone(), entry);
        Decision::Create
    }

    /// The Event of an occurrence is stored under this name.
    pub(super) fn created(&mut self, occurrence: &Occurrence, name: String) {
        if let Some(entry) = self.known.get_mut(occurrence) {
            entry.name = Some(name);
        }
    }

    /// The Event of an occurrence is not there (any more): its next occurrence makes a new one.
    pub(super) fn forget(&mut self, occurrence: &Occurrence) {
        self.known.remove(occurrence);
    }

    /// The series to patch now. With `all`, those that would still wait too.
    pub(super) fn due(&mut self, now: Duration, all: bool, config: &RecorderConfig) -> Vec<Patch> {
        let mut patches = Vec::new();
        for (occurrence, entry) in &mut self.known {
            let rested = now.saturating_sub(entry.patched) >= config.patch_every;
            let Some(name) = &entry.name else { continue };
            if entry.count == entry.written || !(rested || all) {
                continue;
            }
            if !self.tokens.take(now, config) {
                break;
            }
            entry.written = entry.count;
            entry.patched = now;
            patches.push(Patch {
                occurrence: occurrence.clone(),
                name: name.clone(),
                count: entry.count,
                last: entry.seen_at,
            });
        }
        self.known.retain(|_, entry| {
            entry.count != entry.written || now.saturating_sub(entry.seen) <= config.series_gap
        });
        patches
    }

    fn make_room(&mut self, config: &RecorderConfig) {
        while self.known.len() >= config.remembered.max(1) {
            let oldest = self.known.iter().min_by_key(|(_, entry)| entry.seen);
            let Some(oldest) = oldest.map(|(occurrence, _)| occurrence.clone()) else {
                return;
            };
            self.known.remove(&oldest);
        }
    }
}

/// A rate with bursts, in thousandths of a write.
#[derive(Debug)]
struct TokenBucket {
    thousandths: u64,
    filled: Option<Duration>,
}

impl TokenBucket {
    fn new(config: &RecorderConfig) -> TokenBucket {
        TokenBucket {
            thousandths: u64::from(config.burst).saturating_mul(1000),
            filled: None,
        }
    }

    fn take(&mut self, now: Duration, config: &RecorderConfig) -> bool {
        let passed = now.saturating_sub(self.filled.unwrap_or(now)).as_millis();
        let gained = u64::try_from(passed)
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(config.writes_per_second));
        let full = u64::from(config.burst).saturating_mul(1000);
        self.thousandths = self.thousandths.saturating_add(gained).min(full);
        self.filled = Some(now);
        let Some(rest) = self.thousandths.checked_sub(1000) else {
            return false;
        };
        self.thousandths = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Regarding, Severity};
    use proptest::prelude::*;

    fn config() -> RecorderConfig {
        RecorderConfig::new("kybern.dev/test", "test")
    }

    fn occurrence(note: &str) -> Occurrence {
        Occurrence {
            regarding: Regarding {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                namespace: Some("a".to_owned()),
                name: "p".to_owned(),
                uid: "u".to_owned(),
            },
            severity: Severity::Warning,
            reason: "Failed".to_owned(),
            action: "Apply".to_owned(),
            note: note.to_owned(),
        }
    }

    fn at(seconds: u64) -> (Duration, jiff::Timestamp) {
        let time = jiff::Timestamp::from_second(i64::try_from(seconds).expect("small"));
        (Duration::from_secs(seconds), time.expect("in range"))
    }

    #[test]
    fn repeats_become_one_patch_per_period() {
        let config = config();
        let mut aggregator = Aggregator::new(&config);
        let one = occurrence("x");
        let (now, time) = at(100);
        assert_eq!(
            aggregator.record(&one, now, time, &config),
            Decision::Create
        );
        aggregator.created(&one, "p.1".to_owned());
        for second in 101..109 {
            let (now, time) = at(second);
            assert_eq!(
                aggregator.record(&one, now, time, &config),
                Decision::Counted
            );
            assert!(aggregator.due(now, false, &config).is_empty());
        }
        let patches = aggregator.due(at(110).0, false, &config);
        assert_eq!(patches.len(), 1);
        assert_eq!((patches[0].count, patches[0].name.as_str()), (9, "p.1"));
        assert_eq!(patches[0].last, at(108).1);
        assert!(
            aggregator.due(at(130).0, false, &config).is_empty(),
            "nothing new"
        );
    }

    #[test]
    fn a_repeat_after_a_long_pause_is_a_new_event() {
        let config = config();
        let mut aggregator = Aggregator::new(&config);
        let one = occurrence("x");
        assert_eq!(
            aggregator.record(&one, at(0).0, at(0).1, &config),
            Decision::Create
        );
        assert_eq!(
            aggregator.record(&one, at(361).0, at(361).1, &config),
            Decision::Create
        );
    }

    #[test]
    fn the_last_round_patches_what_would_still_wait() {
        let config = config();
        let mut aggregator = Aggregator::new(&config);
        let one = occurrence("x");
        aggregator.record(&one, at(0).0, at(0).1, &config);
        aggregator.created(&one, "p.1".to_owned());
        aggregator.record(&one, at(1).0, at(1).1, &config);
        assert_eq!(aggregator.due(at(1).0, true, &config).len(), 1);
    }

    proptest! {
        #[test]
        fn writes_stay_within_the_rate_and_memory_within_its_bound(
            steps in prop::collection::vec((0_u64..3_000, 0_u32..200), 1..400),
        ) {
            let config = RecorderConfig { remembered: 16, burst: 10, ..config() };
            let mut aggregator = Aggregator::new(&config);
            let (mut now, mut writes) = (Duration::from_secs(1000), 0_u64);
            let start = now;
            for (millis, note) in steps {
                now += Duration::from_millis(millis);
                let one = occurrence(&note.to_string());
                if aggregator.record(&one, now, jiff::Timestamp::UNIX_EPOCH, &config) == Decision::Create {
                    writes += 1;
                    aggregator.created(&one, "n".to_owned());
                }
                writes += u64::try_from(aggregator.due(now, false, &config).len()).expect("small");
                prop_assert!(aggregator.known.len() <= 16);
                let thousandths = u64::try_from((now - start).as_millis()).expect("small") * 5;
                prop_assert!(writes * 1000 <= 10_000 + thousandths);
            }
        }
    }
}
