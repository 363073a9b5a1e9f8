//! Long work for registrations: each piece is a task of its own, so that what is slow holds up nobody else.
//!
//! *Limits.* One piece for each name; how many run at once is the bound of who does it.

use super::problem::Problem;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What came of it; none while it runs.
type Outcome<T> = Arc<Mutex<Option<Result<T, Problem>>>>;

struct Piece<K, T> {
    /// What was asked for.
    key: K,
    outcome: Outcome<T>,
    /// Whether its end was told.
    told: bool,
    task: AbortOnDropHandle<()>,
}

impl<K, T> Piece<K, T> {
    /// Whether nothing more comes of it: a task that panicked leaves nothing.
    fn has_ended(&self) -> bool {
        self.outcome.lock().is_some() || self.task.is_finished()
    }
}

/// How far it is.
#[derive(Debug, PartialEq)]
pub(super) enum Job<T> {
    /// Nobody began it.
    Unknown,
    /// It runs.
    Running,
    /// It ended. A failure is forgotten with this; what came is kept until it is of no use any more.
    Ended(Result<T, Problem>),
}

/// All pieces of one sort of work.
pub(super) struct Jobs<K, T> {
    pieces: BTreeMap<String, Piece<K, T>>,
    news: Arc<Notify>,
}

impl<K, T> Default for Jobs<K, T> {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            news: Arc::default(),
        }
    }
}

impl<K: PartialEq, T: Clone + Send + 'static> Jobs<K, T> {
    /// How far this is. Another piece for the same name ends.
    pub(super) fn take(&mut self, name: &str, key: &K) -> Job<T> {
        let Some(piece) = self.pieces.get(name) else {
            return Job::Unknown;
        };
        if piece.key != *key {
            self.pieces.remove(name);
            return Job::Unknown;
        }
        if !piece.has_ended() {
            return Job::Running;
        }
        let outcome = piece.outcome.lock().clone();
        if !matches!(outcome, Some(Ok(_))) {
            self.pieces.remove(name);
        }
        outcome.map_or(Job::Unknown, Job::Ended)
    }

    /// Begins it.
    pub(super) fn begin(
        &mut self,
        name: &str,
        key: K,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) {
        let outcome = Outcome::default();
        let (ended, news) = (Arc::clone(&outcome), Arc::clone(&self.news));
        let task = TaskTracker::new().spawn(async move {
            let got = work.await;
            *ended.lock() = Some(got);
            news.notify_one();
        });
        let piece = Piece {
            key,
            outcome,
            told: false,
            task: AbortOnDropHandle::new(task),
        };
        self.pieces.insert(name.to_owned(), piece);
    }

    /// What came for this name is of no use any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.pieces.remove(name);
    }

    /// The names whose piece ended since this was asked last.
    pub(super) fn ended(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for (name, piece) in &mut self.pieces {
            if !piece.told && piece.has_ended() {
                piece.told = true;
                ended.push(name.clone());
            }
        }
        ended
    }

    /// Keeps the pieces of these names; the others end.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.pieces.retain(|name, _| kept(name));
    }

    /// Returns when one of them ended.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_told_once_and_what_hangs_holds_up_no_other() {
        let mut jobs = Jobs::default();
        assert_eq!(jobs.take("a", &1), Job::Unknown);
        jobs.begin("hangs", 1, std::future::pending());
        jobs.begin("a", 1, async { Ok("came") });
        jobs.changed().await;
        assert_eq!(jobs.ended(), ["a"]);
        assert_eq!(jobs.ended(), [""; 0], "told once");
        assert_eq!(jobs.take("hangs", &1), Job::Running);
        assert_eq!(jobs.take("a", &1), Job::Ended(Ok("came")));
        assert_eq!(jobs.take("a", &1), Job::Ended(Ok("came")), "kept");
        jobs.forget("a");
        assert_eq!(jobs.take("a", &1), Job::Unknown);
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_then_it_can_be_begun_anew() {
        let mut jobs: Jobs<u8, ()> = Jobs::default();
        let why = Problem::new("No", "no");
        let failing = why.clone();
        jobs.begin("a", 1, async { Err(failing) });
        jobs.changed().await;
        assert_eq!(jobs.take("a", &1), Job::Ended(Err(why)));
        assert_eq!(jobs.take("a", &1), Job::Unknown);
    }

    #[tokio::test]
    async fn what_panicked_is_begun_anew() {
        let mut jobs: Jobs<u8, ()> = Jobs::default();
        jobs.begin("a", 1, async { panic!("a defect") });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(jobs.ended(), ["a"]);
        assert_eq!(jobs.take("a", &1), Job::Unknown);
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_ends() {
        let mut jobs: Jobs<u8, ()> = Jobs::default();
        let (here, gone) = tokio::sync::oneshot::channel::<()>();
        jobs.begin("a", 1, async move {
            let _here = here;
            std::future::pending().await
        });
        assert_eq!(jobs.take("a", &2), Job::Unknown);
        assert!(gone.await.is_err(), "the task is dropped");
    }
}
