//! Many pods: how they come to be, change and go.

use crate::scene::pass_time;
use anyhow::{Context, Result, bail};
use kybern_seed::Pods;
use kybern_testcluster::{ClientError, ControlPlane, Object};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A pod that changes all the time, so that no watch is silent without a reason.
pub(super) const PULSE: &str = "pulse";
const BEAT: Duration = Duration::from_millis(400);
/// Who write at the same time.
const WRITERS: u64 = 4;

/// The pods of one control plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    plane: &'static ControlPlane,
    pods: Pods,
    count: u64,
}

impl Crowd {
    /// So many pods, written into the store, and their namespaces.
    pub(super) fn fill(plane: &'static ControlPlane, count: u64) -> Result<Self> {
        let pods = Pods::new(5);
        let mut namespaces: Vec<String> = (0..count).map(|n| pods.namespace(n)).collect();
        namespaces.sort();
        namespaces.dedup();
        for name in namespaces {
            let namespace =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            plane.client().create(&namespace)?;
        }
        let pairs = (0..count).map(|number| {
            let key = format!(
                "/registry/pods/{}/{}",
                pods.namespace(number),
                pods.name(number)
            );
            (key, pods.pod(number, 0))
        });
        plane.store().put(pairs)?;
        Ok(Self { plane, pods, count })
    }

    fn pod(&self, number: u64) -> Object {
        let number = number % self.count;
        Object::new(
            "v1",
            "Pod",
            &self.pods.namespace(number),
            &self.pods.name(number),
        )
    }

    /// One change of one pod: most get an annotation, some go, some are new. Whether the API server
    /// did it: pods may be gone already, and the server away.
    fn write(&self, number: u64) -> std::result::Result<(), ClientError> {
        let client = self.plane.client();
        let object = self.pod(number.wrapping_mul(7_919));
        match number % 10 {
            0..=6 => {
                let patch =
                    json!({ "metadata": { "annotations": { "changed": number.to_string() } } });
                client.merge_patch(&object, &patch)?;
            }
            7..=8 => {
                client.delete_with(&object, &json!({ "gracePeriodSeconds": 0 }))?;
            }
            _ => {
                client.create(&json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": { "name": format!("new-{number}"), "namespace": self.pods.namespace(number % self.count) },
                    "spec": { "containers": [{ "name": "web", "image": "nginx:1.7.9" }] },
                }))?;
            }
        }
        Ok(())
    }

    /// Changes numbered from `first`, at the same time by several writers; how many were done. Each
    /// range of numbers is to be used once.
    pub(super) fn change(&self, first: u64, count: u64) -> u64 {
        let done = AtomicU64::new(0);
        std::thread::scope(|threads| {
            for writer in 0..WRITERS {
                let done = &done;
                threads.spawn(move || {
                    let numbers = (first..first + count).filter(|n| n % WRITERS == writer);
                    for number in numbers {
                        if self.write(number).is_ok() {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        done.into_inner()
    }

    /// Marks the first pod that is still there; it, and its resourceVersion then.
    pub(super) fn mark(&self, mark: &str) -> Result<(Object, u64)> {
        let patch = json!({ "metadata": { "annotations": { "mark": mark } } });
        for number in 0..self.count {
            let pod = self.pod(number);
            match self.plane.client().merge_patch(&pod, &patch) {
                Ok(marked) => {
                    let version = marked["metadata"]["resourceVersion"].as_str();
                    return Ok((pod, version.context("a resourceVersion")?.parse()?));
                }
                Err(error) if error.code() == Some(404) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("no pod is left")
    }

    /// Runs `work` while one pod changes all the time.
    pub(super) fn with_pulse<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let store = self.plane.store();
                for beat in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let pod = self.pods.pod(self.count, beat % 1000);
                    let pod = pod.replace(&self.pods.name(self.count), PULSE);
                    let key = format!("/registry/pods/{}/{PULSE}", self.pods.namespace(self.count));
                    // The store may be away.
                    let _ = store.put([(key, pod)]);
                    let _ = pass_time(BEAT);
                }
            });
            let done = work();
            stop.store(true, Ordering::Relaxed);
            done
        })
    }
}
