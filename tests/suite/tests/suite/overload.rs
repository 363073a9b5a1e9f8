//! An API server that fails each list of one kind, for as long as a test wants: its objects are
//! stored in one version, asked for in another, and who converts them is not there.

use crate::lifecycle::own_plane;
use crate::scene::{APP, SOON, Scene, condition, kybern};
use anyhow::Result;
use kybern_testcluster::{Client, Object, Progress, guest, until};
use serde_json::{Value, json};

/// AppServices that are stored as v2; the host reads v1.
struct Conversion {
    client: &'static Client,
    crd: Object,
}

impl Conversion {
    /// Installs the kind, still readable.
    fn install(scene: &Scene) -> Result<Self> {
        let plugin = guest("appservice")?;
        let shown = kybern(&["plugin", "inspect", &plugin.to_string_lossy()])?;
        let shown: Value = serde_saphyr::from_str(&shown)?;
        let mut crd = shown["manifest"]["crds"][0].clone();
        let mut first = crd["spec"]["versions"][0].clone();
        let mut second = first.clone();
        first["storage"] = json!(false);
        second["name"] = json!("v2");
        crd["spec"]["versions"] = json!([first, second]);
        scene.plane.install_crd(&crd)?;
        Ok(Self {
            client: scene.client(),
            crd: Object::of(&crd)?,
        })
    }

    /// From here on no object can be read as v1.
    fn break_down(&self) -> Result<()> {
        let nobody = json!({
            "strategy": "Webhook",
            "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": { "url": "https://127.0.0.1:1/convert" },
            },
        });
        self.convert(&nobody)?;
        until("lists to fail", SOON, || {
            Ok(match self.client.list(APP, "AppService", None) {
                Err(error) if error.code().is_some_and(|c| c == 429 || c >= 500) => {
                    Progress::Done(())
                }
                other => Progress::Waiting(format!("{other:?}")),
            })
        })
    }

    /// Both versions look the same, so nobody need convert.
    fn repair(&self) -> Result<()> {
        self.convert(&json!({ "strategy": "None", "webhook": null }))?;
        until("lists to come", SOON, || {
            Ok(match self.client.list(APP, "AppService", None) {
                Ok(_) => Progress::Done(()),
                Err(error) => Progress::Waiting(error.to_string()),
            })
        })
    }

    fn convert(&self, how: &Value) -> Result<()> {
        let patch = json!({ "spec": { "conversion": how } });
        self.client.merge_patch(&self.crd, &patch)?;
        Ok(())
    }
}

/// Waits until the watch of AppServices has failed so often more.
fn tries(scene: &Scene, count: f64) -> Result<()> {
    let seen = || scene.metric("kybern_watch_interruptions_total", "AppService\"");
    let before = seen()?;
    until("more tries", SOON, || {
        let more = seen()? - before;
        Ok(if more >= count {
            Progress::Done(())
        } else {
            Progress::Waiting(more.to_string())
        })
    })
}

#[test]
fn a_list_that_goes_on_failing_is_named_concerns_only_who_needs_it_and_heals() -> Result<()> {
    let mut scene = Scene::on(own_plane()?, "overload")?;
    let (mut app, evil) = (scene.appservice()?, scene.evil()?);
    app["spec"]["crds"] = json!("Skip");
    let all = [app.clone(), evil.clone()];
    scene.grant(&all)?;
    let conversion = Conversion::install(&scene)?;
    scene.client().create(&scene.app("web", 1))?;
    conversion.break_down()?;
    scene.start_host()?;
    for registration in &all {
        scene.client().create(registration)?;
    }
    let (app, evil) = (Object::of(&app)?, Object::of(&evil)?);
    let refused = condition(scene.client(), &app, "Ready", |c| {
        c["reason"] == "KindUnreadable"
    })?;
    assert_eq!(refused["status"], "False");
    let message = refused["message"].as_str().unwrap_or_default();
    let place = format!(
        "appservices.app.example.com in namespace {}",
        scene.namespace
    );
    for words in [&place, "cannot be listed for now", "HTTP "] {
        assert!(message.contains(words), "`{words}` in: {message}");
    }
    assert!(scene.metric("kybern_table_readable", "AppService\"")? < 1.0);
    // Others go on.
    scene.plugin_condition(&evil, "Ready", "True")?;
    scene.create_evil("ok")?;
    scene.wait(&scene.object("v1", "ConfigMap", "ok"), |_| true)?;
    // Tried again, with pauses, and nobody acts as if there were none.
    let mark = scene.plane.audit().mark()?;
    tries(&scene, 2.0)?;
    let asked = scene.plane.audit().since(mark)?;
    let asked = asked
        .iter()
        .filter(|r| r.user == scene.user.name() && r.resource == "appservices")
        .count();
    assert!(asked <= 4, "{asked} requests");
    let (_, deployment, service) = scene.app_objects("web");
    assert!(scene.client().find(&deployment)?.is_none());
    conversion.repair()?;
    scene.plugin_condition(&app, "Ready", "True")?;
    scene.wait(&deployment, |_| true)?;
    scene.wait(&service, |_| true)?;
    assert!(scene.metric("kybern_table_readable", "AppService\"")? >= 1.0);
    Ok(())
}

#[test]
fn a_table_that_was_complete_is_kept_while_its_kind_cannot_be_listed() -> Result<()> {
    let mut scene = Scene::on(own_plane()?, "kept")?;
    let mut registration = scene.appservice()?;
    registration["spec"]["crds"] = json!("Skip");
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let conversion = Conversion::install(&scene)?;
    let registration = scene.register(&registration)?;
    let (app, deployment, _) = scene.create_app("web", 2)?;
    // The watch breaks, and neither it nor a list comes back.
    conversion.break_down()?;
    tries(&scene, 7.0)?;
    scene
        .client()
        .merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 2)?;
    scene.plugin_condition(&registration, "Ready", "True")?;
    assert!(scene.metric("kybern_table_readable", "AppService\"")? >= 1.0);
    conversion.repair()?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    Ok(())
}
