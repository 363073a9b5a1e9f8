//! Changes of custom resources at a rate, until it is told to end.

use super::crowd::{Crowd, at_once, name};
use crate::scene::{APP, pass_time};
use anyhow::Result;
use kybern_testcluster::{Client, Object, Stopwatch};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// At once; each waits for its answer.
const CHANGERS: usize = 8;

/// Changes under way.
#[derive(Debug)]
pub(super) struct Churn {
    client: &'static Client,
    namespace: String,
    /// Custom resources.
    n: usize,
    /// Changes before these.
    first: usize,
    over: AtomicBool,
    made: AtomicUsize,
}

impl Churn {
    pub(super) fn new(crowd: &Crowd) -> Self {
        Self {
            client: crowd.scene.client(),
            namespace: crowd.scene.namespace.clone(),
            n: crowd.n,
            first: crowd.changes,
            over: AtomicBool::default(),
            made: AtomicUsize::default(),
        }
    }

    /// So many a second, as far as the API server keeps up; how long it went on.
    pub(super) fn run(&self, rate: u32) -> Result<Duration> {
        let watch = Stopwatch::start();
        at_once(CHANGERS, usize::MAX, |number| {
            let due = Duration::from_secs(1) * u32::try_from(number)? / rate;
            pass_time(due.saturating_sub(watch.elapsed()))?;
            if self.over.load(Ordering::Relaxed) {
                return Ok(false);
            }
            self.change(self.first + number)?;
            self.made.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        })?;
        Ok(watch.elapsed())
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Changes until now.
    pub(super) fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Every change differs from all before it: the Deployment's, and every other one the Service's.
    fn change(&self, number: usize) -> Result<()> {
        let mut spec = json!({ "size": number + 2 });
        if number % 2 == 1 {
            let port = 1_000 + number % 50_000;
            spec["ports"] = json!([{ "port": port, "targetPort": port }]);
        }
        let name = name(number.wrapping_mul(7_919) % self.n);
        let app = Object::new(APP, "AppService", &self.namespace, &name);
        self.client.merge_patch(&app, &json!({ "spec": spec }))?;
        Ok(())
    }
}
