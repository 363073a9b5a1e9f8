//! Releases under way: each is a task of its own that tries until nothing is held any more.
//!
//! *Why.* A release may be refused for a long time: by admission, by missing rights, by a kind
//! that cannot be listed. It holds up nobody else, and asks less and less often.

use super::problem::Problem;
use futures::future::BoxFuture;
use kybern_reconcile::{Entropy, backoff};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Longest pause after the first failure; doubles with each.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause.
const LAST: Duration = Duration::from_secs(30);
/// Pause while it is not known what is held: each try is a look at the host's own memory.
const UNSEEN: Duration = Duration::from_millis(250);

/// What one try came to.
pub(crate) enum Tried {
    /// Nothing is held any more.
    Released,
    /// What is held is not known; why, unless a table is just being listed. Nothing was asked.
    Unseen(Option<Problem>),
    /// Something was refused.
    Refused(Problem),
}

/// One try after the other.
pub(super) type Attempt = Box<dyn FnMut() -> BoxFuture<'static, Tried> + Send>;

/// How far a release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is in the way so far.
    Running,
    /// Why the last try did not do it; tried again.
    Failing(Problem),
    /// Nothing is held any more.
    Released,
}

/// Which release it is: of another object, generation or extent it is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// uid of the registration.
    pub(super) uid: String,
    /// Its generation: a changed registration is tried at once.
    pub(super) generation: i64,
    /// Whether all of it goes.
    pub(super) whole: bool,
}

struct Job {
    key: Key,
    progress: Arc<Mutex<Progress>>,
    _task: AbortOnDropHandle<()>,
}

/// All releases of one term.
pub(super) struct Releases {
    jobs: BTreeMap<String, Job>,
    news: watch::Sender<u64>,
    heard: watch::Receiver<u64>,
    entropy: Arc<dyn Entropy>,
}

impl Releases {
    /// None yet.
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        let (news, heard) = watch::channel(0);
        Self {
            jobs: BTreeMap::new(),
            news,
            heard,
            entropy,
        }
    }

    /// How far this release is; none = it was not begun.
    pub(super) fn progress(&self, name: &str, key: &Key) -> Option<Progress> {
        let job = self.jobs.get(name).filter(|job| job.key == *key)?;
        Some(job.progress.lock().clone())
    }

    /// Begins the release unless it was begun, and says how far it is. Another one of the same name ends.
    pub(super) fn follow(
        &mut self,
        name: &str,
        key: Key,
        attempt: impl FnOnce() -> Attempt,
    ) -> Progress {
        if let Some(progress) = self.progress(name, &key) {
            return progress;
        }
        self.jobs.remove(name);
        let progress = Arc::new(Mutex::new(Progress::Running));
        let (told, news) = (Arc::clone(&progress), self.news.clone());
        let tell = move |now: Progress| {
            let mut progress = told.lock();
            let changed = *progress != now;
            *progress = now;
            drop(progress);
            if changed {
                news.send_modify(|n| *n = n.wrapping_add(1));
            }
        };
        let task = until_released(attempt(), Arc::clone(&self.entropy), tell);
        let task = TaskTracker::new().spawn(task);
        self.jobs.insert(
            name.to_owned(),
            Job {
                key,
                progress,
                _task: AbortOnDropHandle::new(task),
            },
        );
        Progress::Running
    }

    /// Ends the release of this name unless it is this one.
    pub(super) fn keep(&mut self, name: &str, key: Option<&Key>) {
        if self.jobs.get(name).is_some_and(|job| Some(&job.key) != key) {
            self.jobs.remove(name);
        }
    }

    /// Keeps the releases of these registrations; the others end.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.jobs.retain(|name, _| kept(name));
    }

    /// Returns when one of them got further.
    pub(super) async fn changed(&mut self) {
        // The sender is ours: it cannot be gone.
        let _ = self.heard.changed().await;
    }
}

/// Tries until nothing is held any more, with growing pauses.
async fn until_released(mut attempt: Attempt, entropy: Arc<dyn Entropy>, tell: impl Fn(Progress)) {
    let mut failures = 0;
    loop {
        let pause = match attempt().await {
            Tried::Released => return tell(Progress::Released),
            Tried::Unseen(why) => {
                if let Some(problem) = why {
                    tell(Progress::Failing(problem));
                }
                UNSEEN
            }
            Tried::Refused(problem) => {
                tell(Progress::Failing(problem));
                let pause = backoff(FIRST, LAST, failures, entropy.unit());
                failures = failures.saturating_add(1);
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::time::Instant;

    struct Full;

    impl Entropy for Full {
        fn unit(&self) -> f64 {
            1.0
        }
    }

    fn key(generation: i64) -> Key {
        Key {
            uid: "u".into(),
            generation,
            whole: true,
        }
    }

    fn refused() -> Tried {
        Tried::Refused(Problem::new("Refused", "a policy says no"))
    }

    /// An attempt that notes when it is made, and what it comes to.
    fn noted(
        tries: &Arc<Mutex<Vec<Duration>>>,
        come_to: impl Fn(usize) -> Tried + Send + Sync + 'static,
    ) -> Attempt {
        let (tries, began) = (Arc::clone(tries), Instant::now());
        let come_to = Arc::new(come_to);
        Box::new(move || {
            let (tries, come_to) = (Arc::clone(&tries), Arc::clone(&come_to));
            async move {
                let mut tries = tries.lock();
                tries.push(began.elapsed());
                come_to(tries.len())
            }
            .boxed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_release_is_tried_less_and_less_often_and_at_last_every_half_minute() {
        let mut releases = Releases::new(Arc::new(Full));
        let tries = Arc::default();
        releases.follow("a", key(1), || noted(&tries, |_| refused()));
        tokio::time::sleep(Duration::from_secs(200)).await;
        let tries = tries.lock().clone();
        let pauses: Vec<u128> = tries
            .windows(2)
            .map(|w| (w[1] - w[0]).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [
                500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000
            ]
        );
        let Some(Progress::Failing(problem)) = releases.progress("a", &key(1)) else {
            panic!("it is failing");
        };
        assert_eq!(problem.message, "a policy says no");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_or_is_refused_holds_up_no_other() {
        let mut releases = Releases::new(Arc::new(Full));
        releases.follow("hangs", key(1), || {
            Box::new(|| std::future::pending().boxed())
        });
        let tries = Arc::default();
        releases.follow("refused", key(1), || noted(&tries, |_| refused()));
        let good = Arc::default();
        releases.follow("good", key(1), || {
            noted(&good, |n| {
                if n < 3 {
                    Tried::Unseen(None)
                } else {
                    Tried::Released
                }
            })
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(releases.progress("hangs", &key(1)), Some(Progress::Running));
        assert_eq!(releases.progress("good", &key(1)), Some(Progress::Released));
        assert_eq!(good.lock().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_registration_is_tried_at_once_and_the_same_one_is_not_begun_twice() {
        let mut releases = Releases::new(Arc::new(Full));
        let first = Arc::default();
        releases.follow("a", key(1), || noted(&first, |_| refused()));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = first.lock().len();
        releases.follow("a", key(1), || panic!("it was begun"));
        let second = Arc::default();
        releases.follow("a", key(2), || noted(&second, |_| Tried::Released));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(second.lock().first(), Some(&Duration::ZERO));
        assert_eq!(first.lock().len(), before, "the old one has ended");
        releases.keep("a", Some(&key(2)));
        assert_eq!(releases.progress("a", &key(2)), Some(Progress::Released));
        releases.keep("a", None);
        assert_eq!(releases.progress("a", &key(2)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_hears_of_a_failure_once_and_of_the_end() {
        let mut releases = Releases::new(Arc::new(Full));
        let tries = Arc::default();
        releases.follow("a", key(1), || {
            noted(&tries, |n| if n < 5 { refused() } else { Tried::Released })
        });
        releases.changed().await;
        assert!(matches!(
            releases.progress("a", &key(1)),
            Some(Progress::Failing(_))
        ));
        releases.changed().await;
        assert_eq!(releases.progress("a", &key(1)), Some(Progress::Released));
        assert_eq!(tries.lock().len(), 5);
    }
}
