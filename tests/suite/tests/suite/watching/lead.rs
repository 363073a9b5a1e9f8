//! etcd is restored while nobody leads: the next leader's watches are new ones, and only the tables
//! know what was there before.

use crate::lifecycle::own_plane;
use crate::scene::{SOON, Scene};
use anyhow::{Result, ensure};
use kybern_testcluster::{Progress, until};
use serde_json::json;

/// Waits until the host leads, or does not.
fn until_leading(scene: &Scene, leading: bool) -> Result<()> {
    let wanted = if leading { 1.0 } else { 0.0 };
    until(&format!("leading to be {leading}"), SOON, || {
        let now = scene.metric("kybern_leading", "")?;
        Ok(if (now - wanted).abs() < 0.5 {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{now}"))
        })
    })
}

#[test]
fn a_leader_that_comes_back_to_a_restored_etcd_does_not_believe_its_tables() -> Result<()> {
    let plane = own_plane()?;
    let mut scene = Scene::on(plane, "comeback")?;
    let registration = scene.appservice()?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host_with(&["--leader-elect=true"])?;
    until_leading(&scene, true)?;
    scene.register(&registration)?;
    let (app, deployment, _) = scene.create_app("kept", 1)?;
    scene.converged()?;
    let copy = plane.store().copy()?;
    // What will not have been: a change, and an application.
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    let (_, lost, _) = scene.create_app("lost", 1)?;
    scene.converged()?;
    let rows = |table: &str| scene.metric("kybern_table_rows", &format!("table=\"{table}\""));
    ensure!((rows("apps/v1/Deployment")? - 2.0).abs() < 0.5);

    plane.stop_api_server()?;
    until_leading(&scene, false)?;
    plane.store().restore(&copy)?;
    plane.start_api_server()?;
    until_leading(&scene, true)?;
    // The table is what the API server has, and what happens next is seen and answered.
    until("the lost rows to go", SOON, || {
        let now = rows("apps/v1/Deployment")?;
        Ok(if (now - 1.0).abs() < 0.5 {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{now} rows"))
        })
    })?;
    ensure!(scene.client().find(&lost)?.is_none(), "nobody made it anew");
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 2 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 2)?;
    let epochs = scene.metric("kybern_watch_epochs_total", "table=\"apps/v1/Deployment\"")?;
    ensure!(epochs > 0.5, "nobody noticed: {epochs}");
    Ok(())
}
