//! Components on their way: each fetch is a task of its own, so that a slow server holds up nobody else.
//!
//! *Limits.* One for each registration; how many run at once is the sources' own bound.

use super::problem::Problem;
use crate::source::{Fetch, Fetched};
use kybern_interface::ResolvedImage;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What came of a fetch.
#[derive(Debug, PartialEq)]
pub(super) enum Arrived {
    /// It is on disk; what its OCI reference was resolved to.
    Kept(Option<ResolvedImage>),
    /// It could not be kept, and is here.
    Here(Fetched),
}

/// What came of a fetch; none while it runs.
type Outcome = Arc<Mutex<Option<Result<Arrived, Problem>>>>;

struct Job {
    fetch: Fetch,
    outcome: Outcome,
    /// Whether its end was told.
    told: bool,
    task: AbortOnDropHandle<()>,
}

impl Job {
    /// Whether nothing more comes of it: a task that panicked leaves nothing.
    fn has_ended(&self) -> bool {
        self.outcome.lock().is_some() || self.task.is_finished()
    }
}

/// How far a fetch is.
#[derive(Debug, PartialEq)]
pub(super) enum Download {
    /// Nobody began it.
    Unknown,
    /// It runs.
    Running,
    /// It ended; it is forgotten with this.
    Ended(Result<Arrived, Problem>),
}

/// All fetches under way.
#[derive(Default)]
pub(super) struct Downloads {
    jobs: BTreeMap<String, Job>,
    news: Arc<Notify>,
}

impl Downloads {
    /// How far this fetch is. Another one for the same registration ends.
    pub(super) fn take(&mut self, name: &str, fetch: &Fetch) -> Download {
        let Some(job) = self.jobs.get(name) else {
            return Download::Unknown;
        };
        if job.fetch != *fetch {
            self.jobs.remove(name);
            return Download::Unknown;
        }
        if !job.has_ended() {
            return Download::Running;
        }
        let outcome = job.outcome.lock().take();
        self.jobs.remove(name);
        outcome.map_or(Download::Unknown, Download::Ended)
    }

    /// Begins a fetch.
    pub(super) fn begin(
        &mut self,
        name: &str,
        fetch: Fetch,
        fetching: impl Future<Output = Result<Arrived, Problem>> + Send + 'static,
    ) {
        let outcome = Outcome::default();
        let (ended, news) = (Arc::clone(&outcome), Arc::clone(&self.news));
        let task = TaskTracker::new().spawn(async move {
            let got = fetching.await;
            *ended.lock() = Some(got);
            news.notify_one();
        });
        let job = Job {
            fetch,
            outcome,
            told: false,
            task: AbortOnDropHandle::new(task),
        };
        self.jobs.insert(name.to_owned(), job);
    }

    /// The registrations whose fetch ended since this was asked last.
    pub(super) fn ended(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for (name, job) in &mut self.jobs {
            if !job.told && job.has_ended() {
                job.told = true;
                ended.push(name.clone());
            }
        }
        ended
    }

    /// Keeps the fetches of these registrations; the others end.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.jobs.retain(|name, _| kept(name));
    }

    /// Returns when one of them ended.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kybern_interface::Source;

    fn fetch(digest: &str) -> Fetch {
        Fetch {
            source: Source::default(),
            digest: Some(digest.to_owned()),
            resolved: None,
        }
    }

    #[tokio::test]
    async fn a_fetch_is_told_once_and_one_that_hangs_holds_up_no_other() {
        let mut downloads = Downloads::default();
        assert_eq!(downloads.take("a", &fetch("1")), Download::Unknown);
        downloads.begin("hangs", fetch("1"), std::future::pending());
        downloads.begin("a", fetch("1"), async { Ok(Arrived::Kept(None)) });
        downloads.changed().await;
        assert_eq!(downloads.ended(), ["a"]);
        assert_eq!(downloads.ended(), [""; 0], "told once");
        assert_eq!(downloads.take("hangs", &fetch("1")), Download::Running);
        let ended = downloads.take("a", &fetch("1"));
        assert_eq!(ended, Download::Ended(Ok(Arrived::Kept(None))));
        assert_eq!(downloads.take("a", &fetch("1")), Download::Unknown);
    }

    #[tokio::test]
    async fn a_fetch_that_panicked_is_begun_anew() {
        let mut downloads = Downloads::default();
        downloads.begin("a", fetch("1"), async { panic!("a defect") });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(downloads.ended(), ["a"]);
        assert_eq!(downloads.take("a", &fetch("1")), Download::Unknown);
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_ends() {
        let mut downloads = Downloads::default();
        let (here, gone) = tokio::sync::oneshot::channel::<()>();
        downloads.begin("a", fetch("1"), async move {
            let _here = here;
            std::future::pending().await
        });
        assert_eq!(downloads.take("a", &fetch("2")), Download::Unknown);
        assert!(gone.await.is_err(), "the task is dropped");
    }
}
