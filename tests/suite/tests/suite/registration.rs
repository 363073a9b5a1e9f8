//! Registrations that change: kinds that are dropped, releases that are refused, CRDs that stay as they are.

use crate::scene::{SOON, Scene, condition, pass_time};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, Progress, Request, until};
use serde_json::{Value, json};
use std::time::Duration;

/// The API version of the hostile plugin's kinds.
const EVIL: &str = "evil.example.com/v1";

/// The second kind of the hostile plugin, whose CRD it does not bring along.
fn fiends(scene: &Scene) -> Result<()> {
    scene.plane.install_crd(&json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "fiends.evil.example.com" },
        "spec": {
            "group": "evil.example.com", "scope": "Namespaced",
            "names": { "kind": "Fiend", "listKind": "FiendList", "plural": "fiends", "singular": "fiend" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                } },
            }],
        },
    }))
}

/// A kind of the hostile plugin, as far as its objects are this corner's: the host of such a test
/// sees all namespaces, those of its neighbours too.
fn resource(corner: &str, kind: &str) -> Value {
    json!({
        "group": "evil.example.com", "version": "v1", "kind": kind,
        "selector": { "matchLabels": { "corner": corner } },
    })
}

/// A corner with a namespace beside it, where children have no owner that the collector knows.
struct Two {
    scene: Scene,
    beside: String,
    registration: Value,
    plugin: Object,
}

impl Two {
    /// The host runs the hostile plugin for both of its kinds.
    fn start(name: &str, removal: &str) -> Result<Self> {
        let mut scene = Scene::new(name)?;
        fiends(&scene)?;
        let beside = scene.plane.namespace(&format!("{name}-beside"))?;
        let mut registration = scene.evil()?;
        let spec = &mut registration["spec"];
        spec["onRemoval"] = json!(removal);
        spec["resources"] = json!([
            resource(&scene.namespace, "Evil"),
            resource(&scene.namespace, "Fiend"),
        ]);
        spec["grants"]["write"] = json!([
            { "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"], "scope": "Cluster" },
            { "group": "", "kinds": ["ServiceAccount"], "verbs": ["apply", "delete"], "scope": "Cluster" },
        ]);
        scene.grant(std::slice::from_ref(&registration))?;
        scene.start_host_everywhere(&[])?;
        let plugin = scene.register(&registration)?;
        Ok(Self {
            scene,
            beside,
            registration,
            plugin,
        })
    }

    /// Creates a custom resource whose children are in this namespace, and waits until it is Ready.
    fn create(&self, kind: &str, name: &str, mode: &str, namespace: &str) -> Result<Object> {
        self.scene.client().create(&json!({
            "apiVersion": EVIL, "kind": kind,
            "metadata": {
                "name": name, "namespace": self.scene.namespace,
                "labels": { "corner": self.scene.namespace },
            },
            "spec": { "mode": mode, "namespace": namespace },
        }))?;
        let object = self.scene.object(EVIL, kind, name);
        self.scene
            .ready_reason(&object, kind, |c| c["status"] == "True")?;
        Ok(object)
    }

    /// Changes the registration's spec and waits until that is what runs.
    fn change(&self, spec: &Value) -> Result<()> {
        let changed = self
            .scene
            .client()
            .merge_patch(&self.plugin, &json!({ "spec": spec }))?;
        let generation = changed["metadata"]["generation"].clone();
        self.scene.wait(&self.plugin, |p| {
            p["status"]["observedGeneration"] == generation
        })?;
        Ok(())
    }

    /// Waits until the status names these kinds, in charge of and written.
    fn holds(&self, resources: &[&str], written: &[&str]) -> Result<Value> {
        let kinds = |list: &Value| -> Vec<String> {
            list.as_array()
                .into_iter()
                .flatten()
                .filter_map(|k| Some(k["kind"].as_str()?.to_owned()))
                .collect()
        };
        self.scene.wait(&self.plugin, |p| {
            kinds(&p["status"]["resources"]) == resources
                && kinds(&p["status"]["written"]) == written
        })
    }
}

/// Whether a finalizer of ours is on the object.
fn held(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|f| f.as_str().is_some_and(|f| f.contains("kybern.dev")))
}

/// Whether anything of ours is on a child: owner, inventory label, intent.
fn marked(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["ownerReferences"].is_null()
        || !metadata["labels"]["applyset.kubernetes.io/part-of"].is_null()
        || !metadata["annotations"]["kybern.dev/intent"].is_null()
}

#[test]
fn a_dropped_kind_loses_our_finalizers_and_its_children_stay_as_orphans() -> Result<()> {
    let two = Two::start("dropkind", "Orphan")?;
    let client = two.scene.client();
    let far = two.create("Fiend", "far", "ok", &two.beside)?;
    let near = two.create("Fiend", "near", "ok", &two.scene.namespace)?;
    let kept = two.create("Evil", "kept", "ok", &two.beside)?;
    assert!(held(&client.get(&far)?) && held(&client.get(&kept)?));
    two.holds(&["Evil", "Fiend"], &["ConfigMap", "ServiceAccount"])?;

    two.change(&json!({ "resources": [resource(&two.scene.namespace, "Evil")] }))?;
    two.scene.wait(&far, |f| !held(f))?;
    let maps = [(&two.beside, "far"), (&two.scene.namespace, "near")]
        .map(|(namespace, name)| Object::new("v1", "ConfigMap", namespace, name));
    for map in &maps {
        two.scene.wait(map, |m| !marked(m))?;
    }
    two.holds(&["Evil"], &["ConfigMap", "ServiceAccount"])?;
    let plugin = two.scene.wait(&two.plugin, |p| {
        p["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().all(|c| c["type"] != "Releasing"))
    })?;
    assert!(
        plugin["status"]["conditions"][0]["status"] == "True",
        "{plugin}"
    );

    // Nobody holds them up, and nobody takes the children along.
    for object in [&far, &near] {
        client.delete(object)?;
        client.wait_gone(object, SOON)?;
    }
    for map in &maps {
        assert_eq!(client.get(map)?["data"]["mode"], "ok");
    }
    // What is still named is held and followed as before.
    let map = Object::new("v1", "ConfigMap", &two.beside, "kept");
    assert!(held(&client.get(&kept)?) && marked(&client.get(&map)?));
    client.delete(&kept)?;
    client.wait_gone(&kept, SOON)?;
    client.wait_gone(&map, SOON)?;
    two.scene.converged()
}

#[test]
fn a_kind_dropped_while_no_host_ran_loses_its_children_with_delete_children() -> Result<()> {
    let mut two = Two::start("dropoff", "DeleteChildren")?;
    let far = two.create("Fiend", "far", "ok", &two.beside)?;
    two.scene.stop_host()?;
    let spec = json!({ "resources": [resource(&two.scene.namespace, "Evil")] });
    two.scene
        .client()
        .merge_patch(&two.plugin, &json!({ "spec": spec }))?;
    two.scene.start_host_everywhere(&[])?;
    two.scene.wait(&far, |f| !held(f))?;
    let map = Object::new("v1", "ConfigMap", &two.beside, "far");
    two.scene.client().wait_gone(&map, SOON)?;
    two.holds(&["Evil"], &["ConfigMap", "ServiceAccount"])?;
    two.scene.client().delete(&far)?;
    two.scene.client().wait_gone(&far, SOON)
}

#[test]
fn a_kind_dropped_from_the_grants_is_let_go_of_and_the_rest_goes_on() -> Result<()> {
    let two = Two::start("dropgrant", "Orphan")?;
    let client = two.scene.client();
    let evil = two.create("Evil", "both", "two", &two.beside)?;
    let account = Object::new("v1", "ServiceAccount", &two.beside, "both");
    let map = Object::new("v1", "ConfigMap", &two.beside, "both");
    assert!(marked(&client.get(&account)?));
    two.change(
        &json!({ "grants": { "write": [two.registration["spec"]["grants"]["write"][0]] } }),
    )?;
    two.scene.wait(&account, |a| !marked(a))?;
    two.holds(&["Evil", "Fiend"], &["ConfigMap"])?;
    // The plan is outside of its grants now; once it is not, the CR goes on with what is granted.
    client.merge_patch(&evil, &json!({ "spec": { "mode": "ok" } }))?;
    two.scene
        .ready_reason(&evil, "Evil", |c| c["status"] == "True")?;
    assert!(held(&client.get(&evil)?) && marked(&client.get(&map)?));
    client.delete(&evil)?;
    client.wait_gone(&evil, SOON)?;
    client.wait_gone(&map, SOON)?;
    assert!(client.find(&account)?.is_some());
    Ok(())
}

#[test]
fn a_mistake_in_the_spec_lets_go_of_nothing() -> Result<()> {
    let two = Two::start("dropslip", "DeleteChildren")?;
    let client = two.scene.client();
    let far = two.create("Fiend", "far", "ok", &two.beside)?;
    two.change(&json!({ "resources": [resource(&two.scene.namespace, "Fient")] }))?;
    let condition = two.scene.plugin_condition(&two.plugin, "Ready", "False")?;
    assert_eq!(condition["reason"], "ResourceNotInManifest", "{condition}");
    pass_time(Duration::from_secs(3))?;
    let map = Object::new("v1", "ConfigMap", &two.beside, "far");
    assert!(held(&client.get(&far)?) && marked(&client.get(&map)?));
    // Uninstalling finds it all the same.
    client.delete(&two.plugin)?;
    client.wait_gone(&two.plugin, SOON)?;
    assert!(!held(&client.get(&far)?));
    client.wait_gone(&map, SOON)
}

#[test]
fn uninstalling_without_a_host_finds_kinds_that_were_dropped() -> Result<()> {
    let mut two = Two::start("dropun", "Orphan")?;
    let far = two.create("Fiend", "far", "ok", &two.beside)?;
    two.scene.stop_host()?;
    let client = two.scene.client();
    let spec = json!({ "resources": [resource(&two.scene.namespace, "Evil")] });
    client.merge_patch(&two.plugin, &json!({ "spec": spec }))?;
    let kubeconfig = two.scene.plane.admin_kubeconfig()?;
    crate::scene::kybern(&[
        "uninstall",
        "--kubeconfig",
        &kubeconfig.to_string_lossy(),
        "--class",
        &two.scene.class,
        "--yes",
    ])?;
    client.wait_gone(&two.plugin, SOON)?;
    assert!(!held(&client.get(&far)?));
    let map = Object::new("v1", "ConfigMap", &two.beside, "far");
    assert!(!marked(&client.get(&map)?));
    Ok(())
}

#[test]
fn a_release_that_is_refused_is_told_retried_rarely_and_holds_up_nobody() -> Result<()> {
    let scene = Scene::with_evil("refusedrelease")?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    scene.converged()?;
    // Children of AppService can be seen but not be let go of.
    let deployments = |rule: &Value| rule["resources"] == json!(["deployments"]);
    scene.change_rules(
        |rule| !deployments(rule),
        &[json!({ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"] })],
    )?;
    let plugin = Object::cluster("kybern.dev/v1alpha1", "Plugin", &scene.namespace);
    let mark = scene.plane.audit().mark()?;
    scene.client().delete(&plugin)?;
    let told = condition(scene.client(), &plugin, "Releasing", |c| {
        c["status"] == "True" && c["reason"] == "WriteRefused"
    })?;
    let message = told["message"].as_str().unwrap_or_default();
    for word in ["Deployment", "web", "deployments.apps", "tried again"] {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    let ready = condition(scene.client(), &plugin, "Ready", |c| c["status"] == "False")?;
    assert_eq!(ready["reason"], "Releasing", "{ready}");

    // Pauses double from half a second, and are half of that by chance: eight tries take at least
    // 0.25 s * (1 + 2 + .. + 64) > 30 s. Every half second there would be twenty.
    let window = Duration::from_secs(10);
    pass_time(window)?;
    let tries: Vec<Request> = scene
        .plane
        .audit()
        .writes_of(&scene.user, mark)?
        .into_iter()
        .filter(|r| r.resource == "deployments")
        .collect();
    assert!((2..8).contains(&tries.len()), "{tries:#?}");

    // Others come, work and go meanwhile.
    let evil = scene.create_evil("ok")?;
    scene.ready_reason(&evil, "Evil", |c| c["status"] == "True")?;
    let other = Object::cluster(
        "kybern.dev/v1alpha1",
        "Plugin",
        &format!("{}-evil", scene.namespace),
    );
    scene.client().delete(&other)?;
    scene.client().wait_gone(&other, SOON)?;
    assert!(scene.client().find(&plugin)?.is_some());
    assert!(marked(&scene.client().get(&deployment)?));

    scene.grant(&[scene.appservice()?, scene.evil()?])?;
    scene.client().wait_gone(&plugin, SOON)?;
    assert!(!marked(&scene.client().get(&deployment)?));
    assert!(!held(&scene.client().get(&app)?));
    Ok(())
}

#[test]
fn nothing_is_let_go_of_while_it_is_unknown_what_is_served() -> Result<()> {
    let mut scene = Scene::new("unknown")?;
    let group = format!("{}.example.org", scene.namespace);
    let mut registration = scene.appservice()?;
    // A kind of a group that an extension server serves: without that server nobody knows it.
    registration["spec"]["grants"]["write"]
        .as_array_mut()
        .context("grants")?
        .push(json!({ "group": group, "kinds": ["Widget"], "verbs": ["apply"] }));
    scene.grant(std::slice::from_ref(&registration))?;
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": format!("v1.{group}") },
        "spec": {
            "group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "insecureSkipTLSVerify": true,
            "service": { "namespace": scene.namespace, "name": "nobody" },
        },
    });
    scene.client().create(&service)?;
    let service = Object::of(&service)?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    let (_, deployment, _) = scene.create_app("web", 1)?;
    scene.client().delete(&plugin)?;
    let told = condition(scene.client(), &plugin, "Releasing", |c| {
        c["status"] == "True"
    })?;
    assert_eq!(told["reason"], "KindUnknown", "{told}");
    let message = told["message"].as_str().unwrap_or_default();
    assert!(message.contains(&group), "{message}");
    pass_time(Duration::from_secs(3))?;
    assert!(held(&scene.client().get(&plugin)?));
    assert!(marked(&scene.client().get(&deployment)?));
    // Once it is known that there is no such kind, there is nothing to wait for.
    scene.client().delete(&service)?;
    scene.client().wait_gone(&plugin, SOON)?;
    assert!(!marked(&scene.client().get(&deployment)?));
    Ok(())
}

#[test]
fn a_second_start_writes_no_crd_and_a_changed_one_is_put_right() -> Result<()> {
    let plane = crate::lifecycle::own_plane()?;
    let mut scene = Scene::on(plane, "crdquiet")?;
    let mut registration = scene.appservice()?;
    registration["spec"]["crds"] = json!("CreateReplace");
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    scene.create_app("web", 1)?;
    scene.converged()?;
    scene.stop_host()?;

    let mark = plane.audit().mark()?;
    let crds = |mark| -> Result<Vec<Request>> {
        let mut writes = plane.audit().writes_of(&scene.user, mark)?;
        writes.retain(|r| r.resource == "customresourcedefinitions");
        Ok(writes)
    };
    // Both ways to begin a term.
    for arguments in [&["--leader-elect=false"], &["--leader-elect=true"]] {
        let mut host = scene.launch(arguments)?;
        host.wait_ready()?;
        until("the host to lead", SOON, || {
            Ok(
                if host.metrics()?.lines().any(|l| l == "kybern_leading 1.0") {
                    Progress::Done(())
                } else {
                    Progress::Waiting("standby".into())
                },
            )
        })?;
        pass_time(Duration::from_secs(5))?;
        assert!(crds(mark)?.is_empty(), "{arguments:?}: {:#?}", crds(mark)?);
        host.stop()?;
    }

    // What somebody else changed is ours again.
    let crd = Object::cluster(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "appservices.app.example.com",
    );
    let before = plane.client().get(&crd)?["spec"]["versions"].clone();
    let mut versions = before.clone();
    versions[0]["additionalPrinterColumns"] =
        json!([{ "name": "By-Hand", "type": "string", "jsonPath": ".spec.image" }]);
    plane
        .client()
        .merge_patch(&crd, &json!({ "spec": { "versions": versions } }))?;
    let mut host = scene.launch(&[])?;
    host.wait_ready()?;
    plane
        .client()
        .wait_for(&crd, "its own versions", SOON, |c| {
            c["spec"]["versions"] == before
        })?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    assert_eq!(crds(mark)?.len(), 1, "{:#?}", crds(mark)?);
    host.stop()?;
    Ok(())
}
