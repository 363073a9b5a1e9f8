//! Revisions beside the one that decides: for CRs that name them, and on trial.

use crate::world::{World, active, apply, cr, map, plan};
use kybern_interface::{Failure, HookError, Plan, Situation};
use kybern_reconcile::{Active, Crash, DecideError, Revision, TrialRules, Trialled};
use serde_json::json;
use std::time::Duration;

const NEW: &str = "sha256:2";
const MANY: usize = 200;

/// One ConfigMap that says which revision made it.
fn by(revision: &'static str) -> impl Fn(&Situation) -> Result<Plan, DecideError> + Send + Sync {
    move |situation| {
        let name = situation.object["metadata"]["name"].as_str().unwrap();
        let child = apply(map(&format!("{name}-x"), json!({ "by": revision })));
        Ok(plan(json!([child])))
    }
}

fn trap(_: &Situation) -> Result<Plan, DecideError> {
    Err(DecideError::Crashed {
        kind: Crash::Trap,
        message: "unreachable".into(),
    })
}

/// The registration with a second revision.
fn two() -> Active {
    let mut two = active("reg");
    two.revisions.push(Revision {
        digest: NEW.into(),
        manifest: two.manifest.clone(),
        settings: two.settings.clone(),
        has_sense: false,
    });
    two
}

fn on_trial(shadow: bool, share: u8, max_differences: Option<u8>) -> Active {
    let mut two = two();
    two.trial = Some(TrialRules {
        digest: NEW.into(),
        shadow,
        share,
        max_failures: 5,
        max_differences,
    });
    two
}

/// So many CRs that came to rest under the first revision.
async fn world() -> World {
    let world = World::new();
    world.decide(by("old"));
    world.decide_as(NEW, by("new"));
    for n in 0..MANY {
        world.api.put("user", cr(&format!("a{n}"), json!({})));
    }
    world.settle().await;
    world.api.writes();
    world
}

fn made_by(world: &World, name: &str) -> String {
    let child = world
        .api
        .get("ConfigMap", "ns", &format!("{name}-x"))
        .unwrap();
    child["data"]["by"].as_str().unwrap().to_owned()
}

fn made_by_the_new_one(world: &World) -> Vec<usize> {
    let new = |n: &usize| made_by(world, &format!("a{n}")) == "new";
    (0..MANY).filter(new).collect()
}

fn trialled(world: &World) -> Trialled {
    world.engine.trials().borrow()["reg"].clone()
}

fn pin(world: &World, name: &str, digest: Option<&'static str>) {
    world.api.edit("user", "App", "ns", name, |app| {
        app["metadata"]["annotations"] = match digest {
            Some(digest) => json!({ "kybern.dev/plugin-revision": digest }),
            None => json!({}),
        };
    });
}

#[tokio::test(start_paused = true)]
async fn a_cr_gets_the_revision_that_it_names() {
    let world = world().await;
    pin(&world, "a1", Some(NEW));
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Nobody has looked for it yet: it waits as it is, and nothing is said.
    assert_eq!(world.ready("a1").0, "True");
    assert_eq!(world.api.writes(), [""; 0]);
    let mut in_vain = active("reg");
    in_vain.missing.insert(NEW.to_owned());
    world.engine.register(in_vain);
    world.settle().await;
    assert_eq!(world.ready("a1").1, "RevisionUnknown");
    let pinned = world.engine.pinned().borrow().clone();
    assert_eq!(pinned["reg"].iter().collect::<Vec<_>>(), [NEW]);

    world.engine.register(two());
    world.settle().await;
    assert_eq!(made_by_the_new_one(&world), [1]);
    assert_eq!(world.ready("a1").0, "True");

    pin(&world, "a1", None);
    world.settle().await;
    assert_eq!(made_by_the_new_one(&world), [0; 0]);
    assert!(world.engine.pinned().borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_canary_decides_for_its_share_and_for_the_same_in_a_larger_one() {
    let world = world().await;
    world.engine.register(on_trial(false, 10, None));
    world.settle().await;
    let few = made_by_the_new_one(&world);
    assert!((8..=35).contains(&few.len()), "{}", few.len());
    let told = trialled(&world);
    assert_eq!((told.tried, told.failed, told.over), (few.len(), 0, false));
    // Nobody was asked twice for it.
    assert_eq!(told.compared, 0);

    world.engine.register(on_trial(false, 60, None));
    world.settle().await;
    let more = made_by_the_new_one(&world);
    assert!((90..=150).contains(&more.len()), "{}", more.len());
    assert!(few.iter().all(|n| more.contains(n)));

    // Without the trial all are as before.
    world.engine.register(active("reg"));
    world.settle().await;
    assert_eq!(made_by_the_new_one(&world), [0; 0]);
    assert!(world.engine.trials().borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_is_over_and_its_resources_go_back() {
    let world = world().await;
    world.decide_as(NEW, trap);
    world.engine.register(on_trial(false, 50, None));
    world.settle().await;
    let told = trialled(&world);
    assert!(told.over);
    assert!(told.failed > 0 && told.tried < 20, "{told:?}");
    assert!(
        told.failures[0].contains(": PluginTrapped: unreachable"),
        "{told:?}"
    );
    for n in 0..MANY {
        assert_eq!(world.ready(&format!("a{n}")).0, "True", "a{n}");
    }
    // The plugin that decides is not to blame.
    assert_eq!(world.engine.metrics().plugins["reg"].trips, 0);
    // What was seen is kept when something else changes beside it.
    let mut beside = on_trial(false, 50, None);
    beside.missing.insert("sha256:9".into());
    world.engine.register(beside);
    world.settle().await;
    assert!(trialled(&world).over);
    assert_eq!(made_by_the_new_one(&world), [0; 0]);
    // Who names it gets it all the same.
    world.decide_as(NEW, by("new"));
    pin(&world, "a7", Some(NEW));
    world.settle().await;
    assert_eq!(made_by_the_new_one(&world), [7]);
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_a_trial_is_not_its_fault() {
    let world = world().await;
    world.decide(|_| {
        let failure = Failure {
            message: "not yet".into(),
            retry_after_ms: None,
        };
        Err(DecideError::Hook(HookError::Retry(failure)))
    });
    world.decide_as(NEW, trap);
    let mut other = active("reg");
    other.settings = json!({ "everybody": "is asked" });
    world.engine.register(other);
    world.settle().await;
    assert_eq!(world.ready("a0").0, "False");
    world.engine.register(on_trial(false, 50, None));
    world.settle().await;
    let trials = world.engine.trials().borrow().clone();
    assert!(trials.is_empty(), "{trials:?}");
}

#[tokio::test(start_paused = true)]
async fn a_few_failures_are_borne_as_far_as_they_are_allowed() {
    let world = world().await;
    world.decide_as(NEW, |situation| {
        match situation.object["metadata"]["name"] == "a3" {
            true => trap(situation),
            false => by("new")(situation),
        }
    });
    let mut trial = on_trial(false, 100, None);
    trial.trial.as_mut().unwrap().max_failures = 50;
    // Nobody is in the share of the others before the one that fails.
    world.engine.register(trial);
    world.settle().await;
    let told = trialled(&world);
    assert_eq!(
        (told.tried, told.failed, told.over),
        (MANY, 1, false),
        "{told:?}"
    );
    assert_eq!(made_by_the_new_one(&world).len(), MANY - 1);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_is_compared_and_nothing_of_it_is_done() {
    let world = world().await;
    world.decide_as(
        NEW,
        |situation| match situation.object["metadata"]["name"].as_str() {
            Some("a3") => trap(situation),
            Some("a4") => by("new")(situation),
            _ => by("old")(situation),
        },
    );
    world.engine.register(on_trial(true, 0, None));
    world.settle().await;
    assert_eq!(world.api.writes(), [""; 0]);
    assert_eq!(made_by_the_new_one(&world), [0; 0]);
    let told = trialled(&world);
    assert_eq!((told.tried, told.failed), (MANY, 1));
    assert_eq!(
        (told.compared, told.differed, told.over),
        (MANY - 1, 1, false)
    );
    assert_eq!(told.failures, ["ns/a3: PluginTrapped: unreachable"]);
    assert_eq!(
        told.differences,
        ["ns/a4: apply ConfigMap a4-x: object.data.by"]
    );
    assert_eq!(world.ready("a3").0, "True");

    // A plan outside the grants is none.
    world.decide_as(NEW, |_| {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": "r" }, "rules": [],
        });
        Ok(plan(json!([apply(role)])))
    });
    let mut anew = on_trial(true, 0, None);
    anew.settings = json!({ "everybody": "is asked" });
    world.engine.register(anew);
    world.settle().await;
    let told = trialled(&world);
    assert_eq!((told.failed, told.compared), (MANY, 0));
    assert_eq!(world.api.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_plans_something_else_than_allowed_is_over() {
    let world = world().await;
    world.engine.register(on_trial(false, 50, Some(0)));
    world.settle().await;
    let told = trialled(&world);
    assert!(
        told.over && told.failed == 0 && told.differed > 0,
        "{told:?}"
    );
    assert!(
        told.differences[0].ends_with("-x: object.data.by"),
        "{told:?}"
    );
    assert_eq!(made_by_the_new_one(&world), [0; 0]);
    // The same plans are no difference.
    world.decide_as(NEW, by("old"));
    world.engine.register(on_trial(false, 60, Some(0)));
    world.settle().await;
    let told = trialled(&world);
    assert_eq!((told.differed, told.over), (0, false));
    assert_eq!(told.compared, told.tried);
}
