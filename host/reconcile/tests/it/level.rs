//! Level-triggered: dropping, repeating and reordering events ends in the same state.

use crate::api::Api;
use crate::world::{World, cr};
use kybern_table::Change;
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Debug, Clone)]
enum Op {
    Spec(u8, Vec<(u8, u8)>),
    DeleteCr(u8),
    DeleteChild(u8, u8),
    Drift(u8, u8),
    Foreign(u8, u8),
    Settle,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..2, prop::collection::vec((0u8..3, 0u8..3), 0..3)).prop_map(|(c, maps)| Op::Spec(c, maps)),
        1 => (0u8..2).prop_map(Op::DeleteCr),
        2 => (0u8..2, 0u8..3).prop_map(|(c, m)| Op::DeleteChild(c, m)),
        2 => (0u8..2, 0u8..3).prop_map(|(c, m)| Op::Drift(c, m)),
        1 => (0u8..2, 0u8..3).prop_map(|(c, m)| Op::Foreign(c, m)),
        2 => Just(Op::Settle),
        1 => Just(Op::Restart),
    ]
}

fn child(cr: u8, map: u8) -> String {
    format!("c{cr}-m{map}")
}

fn exists(api: &Api, cr: u8, map: u8) -> bool {
    api.get("ConfigMap", "ns", &child(cr, map)).is_some()
}

fn perform(api: &Api, op: &Op) {
    match op {
        Op::Spec(c, maps) => {
            let maps: serde_json::Map<String, Value> = maps
                .iter()
                .map(|(m, v)| (format!("m{m}"), json!(v.to_string())))
                .collect();
            api.put("user", cr(&format!("c{c}"), json!({ "maps": maps })));
        }
        Op::DeleteCr(c) => api.delete("App", "ns", &format!("c{c}")),
        Op::DeleteChild(c, m) => api.delete("ConfigMap", "ns", &child(*c, *m)),
        Op::Drift(c, m) if exists(api, *c, *m) => {
            api.edit("kubectl", "ConfigMap", "ns", &child(*c, *m), |o| {
                o["data"]["v"] = json!("drift")
            });
        }
        Op::Foreign(c, m) if exists(api, *c, *m) => {
            api.edit("kubectl", "ConfigMap", "ns", &child(*c, *m), |o| {
                o["metadata"]["labels"]["x"] = json!("y")
            });
        }
        _ => {}
    }
}

/// What there must be in the end, from the CRs alone.
fn expected(api: &Api) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for c in 0..2u8 {
        let Some(cr) = api.get("App", "ns", &format!("c{c}")) else {
            continue;
        };
        for (name, value) in cr["spec"]["maps"].as_object().unwrap() {
            out.push((format!("c{c}-{name}"), value.clone()));
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

fn children(api: &Api) -> Vec<(String, Value)> {
    api.picture()
        .into_iter()
        .filter(|o| o["kind"] == "ConfigMap")
        .map(|o| {
            (
                o["metadata"]["name"].as_str().unwrap().to_owned(),
                o["data"]["v"].clone(),
            )
        })
        .collect()
}

/// Repeats, reorders and drops events. What is dropped comes with the relist at the end.
fn disturb(events: Vec<Change>, seed: u64) -> Vec<Change> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out = Vec::new();
    for event in events {
        match next() % 4 {
            0 => {}
            1 => {
                out.push(event.clone());
                out.push(event);
            }
            _ => out.push(event),
        }
    }
    for at in (1..out.len()).rev() {
        let other = usize::try_from(next() % (u64::try_from(at).unwrap() + 1)).unwrap();
        out.swap(at, other);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_events_the_end_is_what_the_crs_say(
        ops in prop::collection::vec(op(), 1..14),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for (at, op) in ops.iter().enumerate() {
                world.api.hold();
                perform(&world.api, op);
                match op {
                    Op::Settle => {
                        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                    }
                    Op::Restart => world.kill().await,
                    _ => tokio::task::yield_now().await,
                }
                let salt = seed.wrapping_add(u64::try_from(at).unwrap());
                world.api.deliver(|events| disturb(events, salt));
            }
            world.api.relist();
            world.settle().await;
            // A pass under way may have made children of a CR that was gone by then.
            world.api.collect_garbage();
            world.settle().await;
            assert_eq!(children(&world.api), expected(&world.api));
            world.api.writes();
            world.settle().await;
            assert_eq!(world.api.writes(), Vec::<String>::new(), "not quiet");
            world.restart().await;
            world.settle().await;
            assert_eq!(world.api.writes(), Vec::<String>::new(), "not quiet after a restart");
        });
    }
}
