//! What can be done to a request.

use crate::ask::{Ask, Verb};
use crate::pattern::Pattern;
use std::fmt;
use std::sync::Arc;

/// Called when a write has taken effect; blocks its answer for as long as it runs.
pub(crate) type Hook = Arc<dyn Fn(&Ask) + Send + Sync>;

/// Which of the requests that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// That one, counted from 1.
    Nth(u64),
    /// The first so many.
    First(u64),
    /// That one, counted from 1, and then every so many.
    Every {
        /// The first.
        first: u64,
        /// How many from one to the next.
        step: u64,
    },
    /// All.
    Each,
}

impl When {
    pub(crate) fn is_due(self, count: u64) -> bool {
        match self {
            Self::Nth(n) => count == n,
            Self::First(n) => count <= n,
            Self::Every { first, step } => count
                .checked_sub(first)
                .is_some_and(|after| after % step.max(1) == 0),
            Self::Each => true,
        }
    }
}

/// One fault.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) pattern: Pattern,
    pub(crate) when: When,
    pub(crate) deed: Deed,
}

/// What is done.
#[derive(Clone)]
pub(crate) enum Deed {
    /// Answered so; the API server never hears of it.
    Refuse { code: u16, retry_after: Option<u32> },
    /// Never answered; the API server never hears of it.
    Silence,
    /// The list, or where a watch goes on, is that of an earlier resourceVersion.
    Older { version: String },
    /// The API server's answer is lost, and its connection with it.
    LoseAnswer,
    /// The same, after this was called.
    After(Hook),
}

impl Deed {
    /// Whether it needs the API server's consent first: only writes that took effect are counted.
    pub(crate) fn follows_effect(&self) -> bool {
        matches!(self, Self::LoseAnswer | Self::After(_))
    }
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse { code, .. } => write!(f, "Refuse({code})"),
            Self::Silence => f.write_str("Silence"),
            Self::Older { version } => write!(f, "Older({version})"),
            Self::LoseAnswer => f.write_str("LoseAnswer"),
            Self::After(_) => f.write_str("After"),
        }
    }
}

impl Fault {
    /// Requests answered with this code without reaching the API server; a 429 says Retry-After 1.
    #[must_use]
    pub fn refuse(pattern: Pattern, when: When, code: u16) -> Self {
        let retry_after = (code == 429).then_some(1);
        Self::new(pattern, when, Deed::Refuse { code, retry_after })
    }

    /// The same with another Retry-After, in seconds.
    #[must_use]
    pub fn refuse_for(pattern: Pattern, when: When, code: u16, seconds: u32) -> Self {
        let retry_after = Some(seconds);
        Self::new(pattern, when, Deed::Refuse { code, retry_after })
    }

    /// Requests that are never answered and never reach the API server.
    #[must_use]
    pub fn silence(pattern: Pattern, when: When) -> Self {
        Self::new(pattern, when, Deed::Silence)
    }

    /// Writes whose answer is lost after they took effect. Counted are those that did.
    #[must_use]
    pub fn lose_answer(pattern: Pattern, when: When) -> Self {
        Self::new(pattern, when, Deed::LoseAnswer)
    }

    /// Writes after which `hook` is called: they took effect, and their answer is lost. A hook that
    /// kills the host is a crash after that write. Counted are those that took effect.
    #[must_use]
    pub fn after(
        pattern: Pattern,
        when: When,
        hook: impl Fn(&Ask) + Send + Sync + 'static,
    ) -> Self {
        Self::new(pattern, when, Deed::After(Arc::new(hook)))
    }

    /// Lists, streamed or not, that are answered as they were at `resource_version`: an API server
    /// behind the one that was asked before. What follows on a streamed one follows from there.
    #[must_use]
    pub fn older_list(pattern: Pattern, when: When, resource_version: &str) -> Self {
        let version = resource_version.to_owned();
        let lists = |ask: &Ask| ask.verb == Verb::List || ask.initial_events;
        Self::new(pattern.and(lists), when, Deed::Older { version })
    }

    /// Resumed watches that go on from `resource_version`, whatever they asked for: what came since
    /// comes once more, as it was then.
    #[must_use]
    pub fn replay(pattern: Pattern, when: When, resource_version: &str) -> Self {
        let version = resource_version.to_owned();
        let resumed = |ask: &Ask| ask.verb == Verb::Watch && !ask.initial_events;
        Self::new(pattern.and(resumed), when, Deed::Older { version })
    }

    fn new(pattern: Pattern, when: When, deed: Deed) -> Self {
        Self {
            pattern,
            when,
            deed,
        }
    }
}

/// What a fault did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// To which request.
    pub ask: Ask,
    /// What the API server had answered, if it was asked.
    pub code: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_so_many_begins_where_it_is_told_to() {
        let due = |first, step| {
            let when = When::Every { first, step };
            (1..=9).filter(|count| when.is_due(*count)).collect()
        };
        let all: [Vec<u64>; 3] = [due(1, 4), due(4, 4), due(3, 0)];
        assert_eq!(all[0], [1, 5, 9]);
        assert_eq!(all[1], [4, 8]);
        assert_eq!(all[2], [3, 4, 5, 6, 7, 8, 9], "a step of none is one");
    }
}
