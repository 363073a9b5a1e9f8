//! A plugin that fails whatever it is asked is asked now and then, says so, and recovers.

use crate::world::{World, active, cr, simple};
use kybern_interface::Situation;
use kybern_reconcile::{Crash, DecideError, PassResult};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const MANY: usize = 200;

fn trap(_: &Situation) -> Result<kybern_interface::Plan, DecideError> {
    Err(DecideError::Crashed {
        kind: Crash::Trap,
        message: "unreachable".into(),
    })
}

/// So many CRs, and a plugin that traps.
async fn failing() -> World {
    let world = World::new();
    world.decide(trap);
    for n in 0..MANY {
        let cr = cr(&format!("a{n}"), json!({ "maps": { "x": "1" } }));
        world.api.put("user", cr);
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world
}

fn failing_now(world: &World) -> Vec<String> {
    let failing = world.engine.metrics().failing;
    failing.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_always_traps_is_asked_now_and_then_and_says_so_once() {
    let world = failing().await;
    let asked = world.decides();
    // Without the breaker: 200 resources, each again and again with its own backoff.
    assert!((100..=400).contains(&asked), "{asked}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let asked = world.decides();
    assert!((110..=130).contains(&asked), "{asked} in an hour");
    assert_eq!(failing_now(&world), ["reg"]);
    assert_eq!(world.engine.metrics().plugins["reg"].trips, 1);
    let troubles = world.engine.troubles().borrow().clone();
    assert_eq!(troubles["reg"].reason, "PluginTrapped");
    let told = troubles["reg"].told();
    assert!(told.ends_with("PluginTrapped: unreachable"), "{told}");

    // It returns again: everything is made up for, by itself.
    world.decide(simple);
    tokio::time::sleep(Duration::from_secs(600)).await;
    for n in 0..MANY {
        assert_eq!(world.ready(&format!("a{n}")).0, "True");
    }
    assert_eq!(failing_now(&world), [""; 0]);
    assert!(world.engine.troubles().borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_user_changes_is_tried_though_the_breaker_is_open() {
    let world = failing().await;
    world.decides();
    world.decide(
        |situation| match situation.object["spec"]["maps"]["x"] == "2" {
            true => simple(situation),
            false => trap(situation),
        },
    );
    world.api.edit("user", "App", "ns", "a7", |app| {
        app["spec"]["maps"]["x"] = json!("2");
        app["metadata"]["generation"] = json!(2);
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.ready("a7").0, "True");
    // It closed, was tried with the others, and opened again soon: few calls are lost by that.
    assert_eq!(world.engine.metrics().plugins["reg"].trips, 2);
    let asked = world.decides();
    assert!((11..=40).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn another_version_is_another_plugin() {
    let world = failing().await;
    world.decide(simple);
    let mut next = active("reg");
    next.digest = "sha256:2".into();
    world.engine.register(next);
    assert_eq!(failing_now(&world), [""; 0]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let metrics = world.engine.metrics();
    let good = metrics.plugins["reg"].ended(PassResult::Succeeded);
    assert!(good >= u64::try_from(MANY).unwrap(), "{good}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_plugins_fault_opens_nothing() {
    let world = World::new();
    let answers: [Arc<dyn Fn() -> DecideError + Send + Sync>; 2] = [
        Arc::new(|| DecideError::Hook(kybern_interface::HookError::Invalid("no".into()))),
        Arc::new(|| DecideError::Crashed {
            kind: Crash::Busy,
            message: String::new(),
        }),
    ];
    for answer in answers {
        world.decide(move |_| Err(answer()));
        for n in 0..MANY {
            let cr = cr(&format!("a{n}"), json!({ "maps": { "x": "1" } }));
            world.api.put("user", cr);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(failing_now(&world), [""; 0]);
    }
}
