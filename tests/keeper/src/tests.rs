//! The plugin natively.

use super::*;
use kybern_sdk::Value;
use kybern_sdk::testing;

fn situation(idle: bool, live: Option<u32>) -> testing::Situation {
    testing::Situation::new(json!({
        "apiVersion": "keeper.example.com/v1", "kind": "Sleeper",
        "metadata": { "name": "web" }, "spec": { "idle": idle, "secret": "s" },
    }))
    .rows("live", live.map(|replicas| json!({ "replicas": replicas })))
}

fn replicas(plan: &testing::Decided) -> Value {
    plan.child("Deployment", "web").unwrap()["spec"]["replicas"].clone()
}

#[test]
fn idle_remembers_what_was_there() {
    let plan = situation(true, Some(7)).decide::<Sleeper>().unwrap();
    assert_eq!(replicas(&plan), 0);
    let text = format!("{plan:?}");
    assert!(text.contains("SetState") && text.contains('7'), "{text}");
}

#[test]
fn a_note_is_a_patch_under_the_resources_own_name() {
    let noted = testing::Situation::new(json!({
        "apiVersion": "keeper.example.com/v1", "kind": "Sleeper",
        "metadata": { "name": "web", "namespace": "ns" }, "spec": { "note": "here" },
    }));
    let plan = noted.decide::<Sleeper>().unwrap();
    let patch = plan.patch("ConfigMap", "board").unwrap();
    assert_eq!(patch["data"], json!({ "web": "here" }));
}

#[test]
fn awake_goes_back_to_it() {
    let asleep = situation(false, Some(0)).state(json!({ "replicas": 7, "secret": "s" }));
    assert_eq!(replicas(&asleep.decide::<Sleeper>().unwrap()), 7);
    assert_eq!(
        replicas(&situation(false, None).decide::<Sleeper>().unwrap()),
        1
    );
}
