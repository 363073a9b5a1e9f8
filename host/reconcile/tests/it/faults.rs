//! A crash, a lost answer or a conflict at every write: the same end state, no write twice.

use crate::api::Api;
use crate::world::{World, cr};
use kybern_reconcile::{Refusal, WriteBody, WriteError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The changes that the tests make to the cluster, one after the other.
pub(crate) const STEPS: usize = 5;

pub(crate) fn step(api: &Api, n: usize) {
    match n {
        0 => {
            api.put(
                "user",
                cr(
                    "a",
                    json!({ "maps": { "x": "1", "y": "2" }, "image": "i:1" }),
                ),
            );
        }
        1 => {
            api.put("user", cr("b", json!({ "maps": { "x": "1" } })));
        }
        2 => {
            api.edit("user", "App", "ns", "a", |a| {
                a["spec"] = json!({ "maps": { "x": "7", "z": "3" }, "image": "i:2" })
            });
        }
        3 => api.delete("ConfigMap", "ns", "b-x"),
        _ => {
            api.edit("user", "App", "ns", "a", |a| {
                a["spec"]["maps"] = json!({ "z": "3" })
            });
        }
    }
}

pub(crate) async fn clean_run() -> (Vec<Value>, usize) {
    let world = World::new();
    let mut writes = 0;
    for n in 0..STEPS {
        step(&world.api, n);
        world.settle().await;
        writes += world.api.writes().len();
    }
    (world.api.picture(), writes)
}

/// Runs the steps with a fault at the k-th write; what `fault` does with it is its own matter.
async fn run(
    k: usize,
    restart: bool,
    error: impl Fn() -> WriteError + Send + Sync + Clone + 'static,
) -> Vec<Value> {
    let mut world = World::new();
    let count = Arc::new(AtomicUsize::new(0));
    for n in 0..STEPS {
        let (count, error) = (count.clone(), error.clone());
        let seen = count.clone();
        world.api.fail_with(move |_| {
            let at = seen.fetch_add(1, Ordering::SeqCst);
            // A crash: this write and all after it never happen.
            let hit = if restart { at >= k } else { at == k };
            hit.then(&error)
        });
        step(&world.api, n);
        if restart && count.load(Ordering::SeqCst) <= k {
            // Until the crash has come.
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            if count.load(Ordering::SeqCst) > k {
                world.api.heal();
                world.kill().await;
            }
        }
        if restart && count.load(Ordering::SeqCst) > k {
            world.api.heal();
        }
        world.settle().await;
    }
    world.settle().await;
    world.api.picture()
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_any_write_ends_in_the_same_state() {
    let (clean, writes) = clean_run().await;
    assert!(writes > 12, "{writes}");
    for k in 0..writes {
        let end = run(k, true, || WriteError::Lost("crash".into())).await;
        assert_eq!(end, clean, "crash at write {k}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_or_refusal_at_any_write_ends_in_the_same_state() {
    let (clean, writes) = clean_run().await;
    let refusal = |code: u16, reason: &'static str| {
        move || {
            WriteError::Refused(Refusal {
                code,
                reason: reason.into(),
                message: "fault".into(),
                ..Refusal::default()
            })
        }
    };
    for k in 0..writes {
        assert_eq!(
            run(k, false, refusal(409, "Conflict")).await,
            clean,
            "conflict at {k}"
        );
        assert_eq!(
            run(k, false, refusal(500, "InternalError")).await,
            clean,
            "500 at {k}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_not_made_twice() {
    let (clean, writes) = clean_run().await;
    for k in 0..writes {
        let world = World::new();
        world.api.lose_answer(k);
        for n in 0..STEPS {
            step(&world.api, n);
            world.settle().await;
        }
        assert_eq!(world.api.picture(), clean, "answer {k} lost");
        let creates = world
            .api
            .writes()
            .into_iter()
            .filter(|w| w.starts_with("create"))
            .count();
        // x, y, Deployment, b-x, z, and b-x again.
        assert_eq!(creates, 6, "answer {k} lost");
    }
}

/// The first apply of a child begins with a patch for its managedFields. The host does not hear that
/// the patch was made, and its watch does not tell either.
#[tokio::test(start_paused = true)]
async fn a_lost_patch_is_found_out_without_the_watch() {
    let world = World::new();
    let api = &world.api;
    api.put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    let patches = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&patches);
    api.fail_with(move |write| {
        if matches!(write.body, WriteBody::JsonPatch { .. }) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        None
    });
    api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"] = json!({ "x": "7" })
    });
    api.hold();
    api.lose_answer(0);
    world.settle().await;
    let child = api.get("ConfigMap", "ns", "a-x").unwrap();
    assert_eq!(
        child["data"],
        json!({ "v": "7" }),
        "while the watch is late"
    );
    let patches = patches.load(Ordering::SeqCst);
    assert!(patches <= 3, "{patches} patches");
}
