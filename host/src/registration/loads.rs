//! Components on their way: fetched, then compiled, beside the syncs that ask for them.

use super::bundled::bundle_of;
use super::controller::Controller;
use super::jobs::{Job, Jobs};
use super::problem::{Problem, of_load};
use crate::source::{Fetch, Fetched};
use kybern_interface::ResolvedImage;
use kybern_plugin::Plugin;
use std::time::Duration;

/// How often it is looked whether what a component needs beside its own code is ready.
const READY: Duration = Duration::from_millis(250);

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Arrived {
    /// It is on disk; what its OCI reference was resolved to.
    Kept(Option<ResolvedImage>),
    /// It could not be kept, and is here.
    Here(Fetched),
}

/// All that is under way, by registration (or what else it is for).
#[derive(Default)]
pub(super) struct Loads {
    /// Fetches. One that came is kept while it is compiled: a tag is resolved once for it.
    pub(super) downloads: Jobs<Fetch, Arrived>,
    /// Components that are compiled, by digest.
    compiles: Jobs<String, Plugin>,
}

impl Loads {
    /// What came for this name was used, or is of no use: the next look asks anew.
    pub(super) fn settle(&mut self, name: &str) {
        self.downloads.forget(name);
        self.downloads.forget(&bundle_of(name));
        self.compiles.forget(name);
    }

    /// The registrations for which something ended since this was asked last.
    pub(super) fn ended(&mut self) -> Vec<String> {
        let mut ended = self.downloads.ended();
        ended.extend(self.compiles.ended());
        ended
    }

    /// Keeps what is for these names; the rest ends.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.downloads.retain(&kept);
        self.compiles.retain(&kept);
    }

    /// Returns when something ended.
    pub(super) async fn changed(&self) {
        tokio::select! {
            () = self.downloads.changed() => {}
            () = self.compiles.changed() => {}
        }
    }
}

impl Controller {
    /// The plugin, at once if its code is there; else it is compiled, and is here another time.
    pub(super) async fn loaded(
        &self,
        name: &str,
        fetched: &Fetched,
        loads: &mut Loads,
    ) -> Result<Plugin, Problem> {
        let digest = fetched.digest.clone();
        match loads.compiles.take(name, &digest) {
            Job::Running => Err(waiting(self.runtime.ready_for(&fetched.bytes))),
            Job::Ended(got) if !got.as_ref().is_err_and(Problem::is_under_way) => got,
            Job::Ended(_) | Job::Unknown => {
                let (runtime, bytes) = (self.runtime.clone(), fetched.bytes.clone());
                let ready = runtime.ready_for(&bytes);
                let near = ready.is_ok() && runtime.is_near(&bytes);
                let said = ready.clone();
                let loading = async move {
                    // What it needs beside its own code is made ready by somebody else.
                    while let Err(why) = runtime.ready_for(&bytes) {
                        if said.as_ref().err() != Some(&why) {
                            // Something else than was said.
                            return Err(waiting(Err(why)));
                        }
                        tokio::time::sleep(READY).await;
                    }
                    let loading = tokio::task::spawn_blocking(move || runtime.load(&bytes));
                    let loaded = loading.await;
                    loaded
                        .map_err(|_| Problem::passing("LoadFailed", "loading was interrupted"))?
                        .map_err(|error| of_load(&error))
                };
                if !near {
                    loads.compiles.begin(name, digest, loading);
                    return Err(waiting(ready));
                }
                loading.await
            }
        }
    }
}

/// What is said while it is compiled, or while what it needs beside its own code is not there.
fn waiting(ready: Result<(), String>) -> Problem {
    let compiling = Problem::compiling();
    let message = ready.err().unwrap_or(compiling.message);
    Problem {
        message,
        ..compiling
    }
}
