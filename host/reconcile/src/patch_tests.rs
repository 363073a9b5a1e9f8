//! When a patch is as planned.

use super::*;
use kybern_interface::Target;

const US: &str = "kybern/reg/u1";

fn intent(patch: Value) -> PatchIntent {
    let gvk = Gvk::new("", "v1", "ConfigMap");
    let action = PatchObject::new(Target::new(gvk.clone(), "ns", "m"), patch);
    let target = ObjectRef {
        gvk,
        plural: "configmaps".into(),
        namespace: "ns".into(),
        name: "m".into(),
    };
    PatchIntent::of(&action, target, Part::Main)
}

fn live(data: Value, ours: Value) -> Value {
    json!({
        "metadata": { "uid": "u7", "resourceVersion": "3", "managedFields": [
            { "manager": "kubectl", "operation": "Update", "fieldsV1": { "f:data": { "f:x": {} } } },
            { "manager": US, "operation": "Apply", "fieldsV1": ours },
        ] },
        "data": data,
    })
}

#[test]
fn a_patch_holds_with_its_fields_and_values_and_no_others_of_ours() {
    let ours = json!({ "f:data": { "f:a": {} } });
    let holds = |wanted: Value, live: &Value| intent(wanted).holds(live, US, None);
    let now = live(json!({ "a": "1", "x": "9" }), ours.clone());
    let wanted = json!({ "data": { "a": "1" } });
    assert!(holds(wanted.clone(), &now));
    assert!(holds(json!({ "data": { "a": "1", "b": null } }), &now));
    assert!(!holds(json!({ "data": { "a": "2" } }), &now), "value");
    assert!(!holds(json!({ "data": { "a": "1", "b": "1" } }), &now));
    // What another patch of before left, and what somebody took.
    let more = json!({ "f:data": { "f:a": {}, "f:b": {} } });
    let more = live(json!({ "a": "1", "b": "1" }), more);
    assert!(!holds(wanted.clone(), &more));
    let taken = live(json!({ "a": "1" }), json!({}));
    assert!(!holds(wanted, &taken));
}

#[test]
fn what_the_api_server_made_of_a_patch_counts_for_that_patch_alone() {
    let ours = json!({ "f:data": { "f:a": {} } });
    let made = live(json!({ "a": "one" }), ours.clone());
    let task = |wanted: Value| PatchTask {
        intent: intent(wanted),
        patched: None,
        verdict: Verdict::Patch,
        baseline: None,
    };
    let sent = task(json!({ "data": { "a": "1" } }));
    let patched = Patched::new(&sent.intent.target, "u7".into(), Part::Main);
    let listed = sent.came(&patched, &made, US).patched;
    let came = listed.came.as_ref();
    assert!(came.is_some());
    assert!(sent.intent.holds(&made, US, came));
    let other = task(json!({ "data": { "a": "2" } }));
    assert!(!other.intent.holds(&made, US, came));
    let drifted = live(json!({ "a": "two" }), ours.clone());
    assert!(!sent.intent.holds(&drifted, US, came));
    // Nothing is noted of what came as it was sent.
    let literal = task(json!({ "data": { "a": "one" } }));
    assert_eq!(literal.came(&patched, &made, US).patched.came, None);
}

#[test]
fn what_a_record_says_of_a_patch_is_the_same_in_every_host() {
    let ours = json!({ "f:data": { "f:a": {} } });
    let made = live(json!({ "a": "one", "x": "9" }), ours);
    let print = print(&entry(&made, US, Part::Main), &made);
    assert_eq!(print, "7c04ba97addfed83ffad46c355b04e88");
}

#[test]
fn a_patch_reads_only_what_it_says() {
    let read = intent(json!({ "data": { "a": "1" }, "metadata": { "labels": { "l": "1" } } }));
    let columns = ["data", "labels"].map(str::to_owned).into();
    assert_eq!(read.read().columns, Columns::Named(columns));
    assert!(!read.says_nothing());
    assert!(intent(json!({ "data": {}, "metadata": { "labels": null } })).says_nothing());
}
