//! Waiting for a condition with a deadline: the one place that reads the clock and sleeps.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Time between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// What a look at the condition found.
#[derive(Debug)]
pub enum Progress<T> {
    /// It holds.
    Done(T),
    /// It does not hold yet; what was seen instead, for the message when time is up.
    Waiting(String),
}

impl<T> From<Option<T>> for Progress<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Self::Waiting("nothing".to_owned()), Self::Done)
    }
}

/// Time since it was started.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Looks at `probe` until it is done, at most for `limit`; an error ends the waiting.
///
/// # Errors
/// The probe's own, or time is up: then the message names `what` and the last thing seen.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Progress<T>>,
) -> Result<T> {
    let watch = Stopwatch::start();
    loop {
        let seen = match probe()? {
            Progress::Done(value) => return Ok(value),
            Progress::Waiting(seen) => seen,
        };
        if watch.elapsed() >= limit {
            bail!("{what}: not within {limit:?}; last seen: {seen}");
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that sleeps, between two looks"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_when_done() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(Progress::from((looks == 3).then_some(looks)))
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn says_what_was_seen_when_time_is_up() {
        let error = until::<()>("the moon", Duration::from_millis(30), || {
            Ok(Progress::Waiting("clouds".to_owned()))
        })
        .unwrap_err()
        .to_string();
        assert!(error.starts_with("the moon: not within"), "{error}");
        assert!(error.ends_with("last seen: clouds"), "{error}");
    }

    #[test]
    fn an_error_ends_the_waiting() {
        let watch = Stopwatch::start();
        let found = until::<()>("never", Duration::from_secs(60), || bail!("broken"));
        assert_eq!(found.unwrap_err().to_string(), "broken");
        assert!(watch.elapsed() < Duration::from_secs(30));
    }
}
