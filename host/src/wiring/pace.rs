//! How much is taken in before the budget is looked at again.
//!
//! *Why.* Looks come by the clock, and a first list may come faster than the clock of a busy machine
//! lets the keeper look: the whole kind would be there before anybody asked whether it fits.
//!
//! *Contract.* What watches hand over is counted. Once it is [`SHARE`] of the room that the last look
//! saw, the writer waits for a look that began after that. It waits for nothing else: while the
//! keeper waits for the writer the pace is off, and so it is without a keeper.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

/// What may be taken of the room between two looks: this part.
const SHARE: u64 = 2;
/// What may be taken however little room there is: kinds that are watched go on.
const LEAST: u64 = 512 << 10;
/// No look is needed, and none is waited for.
const OFF: u64 = u64::MAX;

/// The agreement between the writer and the keeper; cheap to clone.
#[derive(Clone)]
pub(crate) struct Pace {
    shared: Arc<Shared>,
}

struct Shared {
    /// Bytes that may be taken in from one look to the next.
    allowance: AtomicU64,
    /// Looks that the writer has asked for so far.
    asked: AtomicU64,
    /// Of those, the ones that were answered.
    answered: watch::Sender<u64>,
    news: Notify,
}

/// A look that has begun, and what it will answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look(u64);

/// The pace is off as long as this lives.
pub(crate) struct Off {
    pace: Pace,
    before: (u64, u64),
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                allowance: AtomicU64::new(OFF),
                asked: AtomicU64::new(0),
                answered: watch::Sender::new(OFF),
                news: Notify::new(),
            }),
        }
    }
}

impl Pace {
    /// Bytes that may be taken in from one look to the next.
    pub(crate) fn allowance(&self) -> u64 {
        self.shared.allowance.load(Ordering::Acquire)
    }

    /// Waits for a look that begins from now on, unless the pace is off.
    pub(crate) async fn look(&self) {
        let mut answers = self.shared.answered.subscribe();
        let asked = self.shared.asked.fetch_add(1, Ordering::AcqRel);
        let number = asked.saturating_add(1);
        self.shared.news.notify_one();
        // The sender lives as long as this.
        let _ = answers.wait_for(|answered| *answered >= number).await;
    }

    /// Waits until the writer wants a look.
    pub(crate) async fn wanted(&self) {
        self.shared.news.notified().await;
    }

    /// A look begins.
    pub(crate) fn begin(&self) -> Look {
        Look(self.shared.asked.load(Ordering::Acquire))
    }

    /// It has ended, and saw so much room.
    pub(crate) fn answer(&self, look: Look, room: u64) {
        self.set((room / SHARE).max(LEAST), look.0);
    }

    /// Nobody waits for a look, as long as the answer lives.
    pub(crate) fn off(&self) -> Off {
        let before = (self.allowance(), *self.shared.answered.borrow());
        self.end();
        Off {
            pace: self.clone(),
            before,
        }
    }

    /// Nobody looks any more.
    pub(crate) fn end(&self) {
        self.set(OFF, OFF);
    }

    fn set(&self, allowance: u64, answered: u64) {
        self.shared.allowance.store(allowance, Ordering::Release);
        self.shared.answered.send_replace(answered);
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        let (allowance, answered) = self.before;
        self.pace.set(allowance, answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn without_a_keeper_nobody_waits() {
        let pace = Pace::default();
        assert_eq!(pace.allowance(), OFF);
        assert!(pace.look().now_or_never().is_some());
    }

    #[tokio::test]
    async fn only_a_look_that_began_after_it_was_wanted_is_an_answer() {
        let pace = Pace::default();
        let early = pace.begin();
        pace.answer(early, 10 * LEAST);
        assert_eq!(pace.allowance(), 5 * LEAST);
        let mut waiting = Box::pin(pace.look());
        assert!(waiting.as_mut().now_or_never().is_none());
        pace.wanted().now_or_never().expect("the keeper is told");
        pace.answer(early, 0);
        assert!(waiting.as_mut().now_or_never().is_none());
        let late = pace.begin();
        pace.answer(late, 0);
        assert!(waiting.now_or_never().is_some());
        assert_eq!(pace.allowance(), LEAST);
    }

    #[tokio::test]
    async fn while_the_keeper_waits_for_the_writer_nobody_waits_for_the_keeper() {
        let pace = Pace::default();
        pace.answer(pace.begin(), 0);
        let mut waiting = Box::pin(pace.look());
        assert!(waiting.as_mut().now_or_never().is_none());
        let off = pace.off();
        assert!(waiting.now_or_never().is_some());
        drop(off);
        assert_eq!(pace.allowance(), LEAST);
        let mut waiting = Box::pin(pace.look());
        assert!(waiting.as_mut().now_or_never().is_none());
        pace.end();
        assert!(waiting.now_or_never().is_some());
    }
}
