//! Answers that are asked for together: whatever happens between the asking and a pass, the pass is
//! as good as one that asked for itself.

use crate::api::Api;
use crate::world::{World, active, cr, map};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::Duration;

const CRS: u8 = 24;

#[derive(Debug, Clone)]
enum Op {
    /// What every CR reads.
    Settings(u8),
    Spec(u8, u8),
    Drift(u8),
    DeleteChild(u8),
    Recreate(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => any::<u8>().prop_map(Op::Settings),
        3 => (0..CRS, any::<u8>()).prop_map(|(c, v)| Op::Spec(c, v)),
        1 => (0..CRS).prop_map(Op::Drift),
        1 => (0..CRS).prop_map(Op::DeleteChild),
        1 => (0..CRS).prop_map(Op::Recreate),
    ]
}

fn name(cr: u8) -> String {
    format!("c{cr}")
}

fn child(cr: u8) -> String {
    format!("c{cr}-m")
}

fn put(api: &Api, number: u8, value: u8) {
    let spec = json!({ "maps": { "m": value.to_string() } });
    api.put("user", cr(&name(number), spec));
}

fn settings(api: &Api, value: u8) {
    let mut object = map("settings", json!({ "v": value.to_string() }));
    object["metadata"]["namespace"] = json!("ns");
    api.put("user", object);
}

fn perform(api: &Api, op: &Op) {
    match op {
        Op::Settings(value) => settings(api, *value),
        Op::Spec(c, value) => put(api, *c, *value),
        Op::Drift(c) if api.get("ConfigMap", "ns", &child(*c)).is_some() => {
            api.edit("kubectl", "ConfigMap", "ns", &child(*c), |o| {
                o["data"]["v"] = json!("drift");
            });
        }
        Op::Drift(_) => {}
        Op::DeleteChild(c) => api.delete("ConfigMap", "ns", &child(*c)),
        Op::Recreate(c) => {
            api.delete("App", "ns", &name(*c));
            put(api, *c, 200);
        }
    }
}

/// So many CRs at rest that read the settings and ask together.
async fn crowd() -> World {
    let mut world = World::bare();
    let mut slow = active("reg");
    slow.limits.concurrency = 2;
    world.engine.register(slow);
    world.start();
    *world.hooks.reads.lock() = Some("settings".into());
    *world.hooks.company.lock() = Some(2);
    settings(&world.api, 0);
    for number in 0..CRS {
        put(&world.api, number, 0);
    }
    world.settle().await;
    world
}

/// Every child is as its CR says, and every last pass saw the settings as they are.
fn check(world: &World) {
    let mut fingerprints = BTreeSet::new();
    for number in 0..CRS {
        let cr = world.api.get("App", "ns", &name(number)).unwrap();
        let map = world.api.get("ConfigMap", "ns", &child(number)).unwrap();
        assert_eq!(
            map["data"]["v"],
            cr["spec"]["maps"]["m"],
            "{}",
            name(number)
        );
        fingerprints.insert(world.report(&name(number)).answers[0].fingerprint);
    }
    assert_eq!(fingerprints.len(), 1, "passes saw different settings");
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_are_asked_for_with_the_first_and_each_has_its_pass() {
    let world = crowd().await;
    world.hooks.together.lock().clear();
    world.decides();
    settings(&world.api, 1);
    world.settle().await;
    check(&world);
    // Two passes run at once, the other 22 wait: the first asked for them as well.
    let together = world.hooks.together.lock().clone();
    assert_eq!(together, [23]);
    assert_eq!(world.decides(), usize::from(CRS), "one for each");
    assert_eq!(world.engine.metrics().answered_ahead, 0, "all were taken");
}

#[tokio::test(start_paused = true)]
async fn without_company_each_asks_for_itself() {
    let world = crowd().await;
    *world.hooks.company.lock() = None;
    world.hooks.together.lock().clear();
    settings(&world.api, 1);
    world.settle().await;
    check(&world);
    assert!(world.hooks.together.lock().is_empty());
}

#[test]
fn whoever_reads_the_metrics_meanwhile_waits_for_nobody_for_ever() {
    let (ended, ends) = mpsc::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = crowd().await;
            let engine = world.engine.clone();
            let (stop, stopped) = mpsc::channel::<()>();
            let reader = std::thread::spawn(move || {
                while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    engine.metrics();
                }
            });
            for value in 1..100 {
                settings(&world.api, value);
                world.settle().await;
            }
            drop(stop);
            reader.join().unwrap();
        });
        ended.send(()).unwrap();
    };
    // A thread that waits for ever cannot be ended: the test ends without it.
    let _worker = std::thread::spawn(work);
    ends.recv_timeout(Duration::from_secs(120))
        .expect("nobody holds a lock for ever");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_between_the_asking_and_a_pass(
        ops in prop::collection::vec((0u8..120, op()), 1..12),
        held in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = crowd().await;
            settings(&world.api, 1);
            if held {
                world.api.hold();
            }
            // A task like those of the passes: it has its turn between theirs.
            let api = Arc::clone(&world.api);
            let mut others = tokio::task::JoinSet::new();
            others.spawn(async move {
                for (yields, op) in &ops {
                    for _ in 0..*yields {
                        tokio::task::yield_now().await;
                    }
                    perform(&api, op);
                }
            });
            others.join_next().await.unwrap().unwrap();
            if held {
                world.api.deliver(|events| events);
            }
            world.settle().await;
            // What was deleted with its CR goes, and is made again for the new one.
            world.api.collect_garbage();
            world.settle().await;
            check(&world);
        });
    }
}
