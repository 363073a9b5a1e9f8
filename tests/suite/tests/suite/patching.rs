//! Patches of objects that are not children, on a real API server.

use crate::record::with_keeper;
use crate::scene::{SOON, Scene, kybern};
use anyhow::Result;
use kybern_testcluster::Object;
use serde_json::{Value, json};

/// A ConfigMap of somebody's, on which resources put notes.
fn board(scene: &Scene) -> Result<Object> {
    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "board", "namespace": scene.namespace },
        "data": { "theirs": "1" },
    });
    scene.client().create(&manifest)?;
    Object::of(&manifest)
}

/// A Sleeper that puts a note on the board.
fn noting(scene: &Scene, name: &str, note: &str) -> Result<Object> {
    let manifest = json!({
        "apiVersion": "keeper.example.com/v1", "kind": "Sleeper",
        "metadata": { "name": name, "namespace": scene.namespace },
        "spec": { "note": note },
    });
    scene.client().create(&manifest)?;
    Object::of(&manifest)
}

fn note(scene: &Scene, sleeper: &Object, note: Value) -> Result<()> {
    let spec = json!({ "spec": { "note": note } });
    scene.client().merge_patch(sleeper, &spec)?;
    Ok(())
}

fn says(scene: &Scene, board: &Object, data: Value) -> Result<Value> {
    scene.wait(board, |board| board["data"] == data)
}

/// Which field managers an object has.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let names = entries.into_iter().flatten();
    names
        .map(|entry| entry["manager"].as_str().unwrap().to_owned())
        .collect()
}

fn of_ours(object: &Value) -> Vec<String> {
    let mut managers = managers(object);
    managers.retain(|manager| manager.starts_with("kybern"));
    managers
}

#[test]
fn two_resources_that_patch_one_object_do_not_erase_each_other() -> Result<()> {
    let (mut scene, _) = with_keeper("patchtwo")?;
    let board = board(&scene)?;
    for (first, second) in [("a", "b"), ("b", "a")] {
        let [one, other] = [noting(&scene, "a", "1")?, noting(&scene, "b", "1")?];
        let both = json!({ "theirs": "1", "a": "1", "b": "1" });
        let live = says(&scene, &board, both)?;
        assert_eq!(of_ours(&live).len(), 2, "{live}");
        let (first_object, second_object) = match first {
            "a" => (&one, &other),
            _ => (&other, &one),
        };
        note(&scene, first_object, json!("2"))?;
        says(
            &scene,
            &board,
            json!({ "theirs": "1", (first): "2", (second): "1" }),
        )?;
        scene.converged()?;
        let before = scene.client().get(&board)?;
        scene.kill_host();
        scene.start_host()?;
        scene.converged()?;
        assert_eq!(scene.client().get(&board)?, before, "not a write too many");

        scene.client().delete(first_object)?;
        scene.client().wait_gone(first_object, SOON)?;
        says(&scene, &board, json!({ "theirs": "1", (second): "1" }))?;
        scene.kill_host();
        scene.client().delete(second_object)?;
        scene.start_host()?;
        scene.client().wait_gone(second_object, SOON)?;
        let live = says(&scene, &board, json!({ "theirs": "1" }))?;
        assert_eq!(of_ours(&live), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn a_patch_waits_for_its_object_and_never_takes_what_others_own() -> Result<()> {
    let (scene, _) = with_keeper("patchown")?;
    let client = scene.client();
    let sleeper = noting(&scene, "theirs", "2")?;
    let reason = |reason: &'static str| {
        scene.ready_reason(&sleeper, "Sleeper", move |c| c["reason"] == reason)
    };
    reason("PatchTargetMissing")?;
    let board = board(&scene)?;
    let condition = reason("PatchConflict")?;
    let message = condition["message"].as_str().unwrap_or_default();
    let manager = managers(&client.get(&board)?).remove(0);
    assert!(message.contains(".data.theirs"), "{message}");
    assert!(message.contains(&manager), "{message}");
    assert_eq!(client.get(&board)?["data"]["theirs"], "1");
    scene.event("theirs", "PatchConflict")?;
    // They give it up.
    client.merge_patch(&board, &json!({ "data": { "theirs": null, "x": "1" } }))?;
    says(&scene, &board, json!({ "theirs": "2", "x": "1" }))?;
    reason("Progressing")?;
    // Drift is put right.
    client.merge_patch(&board, &json!({ "data": { "theirs": null } }))?;
    says(&scene, &board, json!({ "theirs": "2", "x": "1" }))?;
    scene.converged()?;
    // Another of its name is another object.
    client.delete(&board)?;
    client.wait_gone(&board, SOON)?;
    reason("PatchTargetMissing")?;
    client.create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "board", "namespace": scene.namespace },
    }))?;
    says(&scene, &board, json!({ "theirs": "2" }))?;
    // Dropped, it is taken back, and nothing holds the resource any more.
    note(&scene, &sleeper, Value::Null)?;
    let live = scene.wait(&board, |board| board.get("data").is_none())?;
    assert_eq!(of_ours(&live), Vec::<String>::new());
    scene.wait(&sleeper, |s| s["metadata"].get("finalizers").is_none())?;
    scene.converged()
}

/// What is left on the board when the registration goes, by the host's doing or by the command's.
fn left(name: &str, policy: &str, hosted: bool) -> Result<Value> {
    let (mut scene, plugin) = with_keeper(name)?;
    let board = board(&scene)?;
    let sleeper = noting(&scene, "a", "1")?;
    says(&scene, &board, json!({ "theirs": "1", "a": "1" }))?;
    let spec = json!({ "spec": { "onRemoval": policy } });
    scene.client().merge_patch(&plugin, &spec)?;
    if hosted {
        scene.client().delete(&plugin)?;
    } else {
        scene.kill_host();
        let kubeconfig = scene.plane.admin_kubeconfig()?.display().to_string();
        kybern(&[
            "uninstall",
            "--kubeconfig",
            &kubeconfig,
            "--class",
            &scene.class,
            "--yes",
        ])?;
    }
    scene.client().wait_gone(&plugin, SOON)?;
    let live = scene.client().get(&board)?;
    assert_eq!(of_ours(&live), Vec::<String>::new(), "{policy}");
    let sleeper = scene.client().get(&sleeper)?;
    assert_eq!(sleeper["metadata"].get("finalizers"), None);
    Ok(live["data"].clone())
}

#[test]
fn a_registration_that_goes_hands_its_patches_over_or_takes_them_back() -> Result<()> {
    let (patched, bare) = (json!({ "theirs": "1", "a": "1" }), json!({ "theirs": "1" }));
    assert_eq!(left("patchorphan", "Orphan", true)?, patched);
    assert_eq!(left("patchundo", "DeleteChildren", true)?, bare);
    assert_eq!(left("patchgone", "DeleteChildren", false)?, bare);
    Ok(())
}
