//! MicroServiceDeploy, an operator without code, over the life of one microservice.

use super::{registration, started_with, version_of};
use crate::lifecycle::with_collector;
use crate::scene::folder;
use crate::scene::{SOON, Scene};
use anyhow::Result;
use kybern_testcluster::Object;
use serde_json::{Value, json};

const NAME: &str = "ms-sample-v1s0";

/// The published resource, in this corner.
fn fixture(scene: &Scene) -> Result<Value> {
    let text = std::fs::read_to_string(folder("tests/fixtures/microservicedeploy.yaml"))?;
    let mut resource: Value = serde_saphyr::from_str(&text)?;
    resource["metadata"]["namespace"] = json!(scene.namespace);
    Ok(resource)
}

#[test]
fn a_microservice_is_made_rolled_put_to_sleep_scaled_and_cleaned_up() -> Result<()> {
    let mut scene = Scene::on(with_collector()?, "microservice")?;
    let mut registration = registration(&scene, &folder("plugins/bundles/microservicedeploy"))?;
    registration["spec"]["settings"]["domain"] = json!("shop.test");
    registration["spec"]["settings"]["authSeed"] = json!("0123456789abcdef");
    started_with(&mut scene, &registration)?;
    let client = scene.client();
    let manifest = fixture(&scene)?;
    let resource = Object::of(&manifest)?;
    let made = client.create(&manifest)?;
    let object = |version: &str, kind: &str| scene.object(version, kind, NAME);
    let deployment = object("apps/v1", "Deployment");
    let service = object("v1", "Service");
    let ingress = object("networking.k8s.io/v1", "Ingress");
    let config = object("v1", "ConfigMap");
    let quota = object("v1", "ResourceQuota");
    let autoscaler = object("autoscaling/v2", "HorizontalPodAutoscaler");
    let secret = scene.object("v1", "Secret", &format!("{NAME}-auth"));
    let all = [
        &object("v1", "ServiceAccount"),
        &service,
        &ingress,
        &config,
        &quota,
        &secret,
        &deployment,
        &autoscaler,
    ];
    for child in all {
        let child = scene.wait(child, |_| true)?;
        let owner = &child["metadata"]["ownerReferences"][0]["uid"];
        assert_eq!(*owner, made["metadata"]["uid"], "{child}");
        assert_eq!(child["metadata"]["labels"]["instance"], NAME, "{child}");
    }
    let live = client.get(&deployment)?;
    assert_eq!(live["spec"]["replicas"], 3);
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["name"], "ms-sample");
    assert_eq!(container["image"], "just a image url");
    let needs = json!({ "cpu": "2", "memory": "4Gi" });
    assert_eq!(
        container["resources"],
        json!({ "limits": needs, "requests": needs })
    );
    let created = &live["metadata"]["annotations"]["custom.ops/creation-timestamp"];
    assert_eq!(created, "1535546718115");
    assert_eq!(client.get(&service)?["spec"]["selector"]["instance"], NAME);
    let password = json!({ "config": "password=88888888" });
    assert_eq!(client.get(&config)?["data"], password);
    assert_eq!(client.get(&quota)?["spec"]["hard"]["pods"], "11");
    let scaling = client.get(&autoscaler)?["spec"].clone();
    assert_eq!(
        (&scaling["minReplicas"], &scaling["maxReplicas"]),
        (&json!(3), &json!(10))
    );
    let live = client.get(&ingress)?;
    assert_eq!(live["spec"]["rules"][0]["host"], "v1.ms-sample.shop.test");
    let annotations = &live["metadata"]["annotations"];
    let of_auth = &annotations["nginx.ingress.kubernetes.io/auth-secret"];
    assert_eq!(*of_auth, format!("{NAME}-auth"));
    scene.wait(&resource, |cr| {
        cr["status"]["host"] == "v1.ms-sample.shop.test"
    })?;

    // Another configuration rolls the pods out; the password is nobody's to change but its user's.
    let theirs = json!({ "data": { "password": "dGhlaXJz" } });
    client.merge_patch(&secret, &theirs)?;
    let before = version_of(&scene, &secret)?;
    let hash = |deployment: &Value| {
        deployment["spec"]["template"]["metadata"]["annotations"]["custom.ops/config"].clone()
    };
    let old = hash(&client.get(&deployment)?);
    let change = |spec: Value| client.merge_patch(&resource, &json!({ "spec": spec }));
    change(json!({ "config": "password=99999999" }))?;
    scene.wait(&deployment, |d| hash(d).is_string() && hash(d) != old)?;
    scene.wait(&config, |map| map["data"]["config"] == "password=99999999")?;
    scene.converged()?;
    assert_eq!(version_of(&scene, &secret)?, before, "it is made once");

    // The autoscaler's count stays, also over a sleep.
    client.merge_patch(&deployment, &json!({ "spec": { "replicas": 5 } }))?;
    scene.converged()?;
    change(json!({ "config": "password=00000000" }))?;
    scene.wait(&config, |map| map["data"]["config"] == "password=00000000")?;
    scene.converged()?;
    assert_eq!(client.get(&deployment)?["spec"]["replicas"], 5);
    change(json!({ "idle": true }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 0)?;
    client.wait_gone(&autoscaler, SOON)?;
    scene.converged()?;
    assert_eq!(client.get(&deployment)?["spec"]["replicas"], 0);
    change(json!({ "idle": false }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 5)?;
    scene.wait(&autoscaler, |_| true)?;
    scene.converged()?;

    // Without the autoscaler the count is ours, and what it was: one write (its annotation counts as
    // a generation of a Deployment), while a jump and back would be more.
    let before = client.get(&deployment)?;
    assert_eq!(before["spec"]["replicas"], 5);
    change(json!({ "autoscaling": false }))?;
    client.wait_gone(&autoscaler, SOON)?;
    scene.converged()?;
    let live = client.get(&deployment)?;
    assert_eq!(live["spec"], before["spec"]);
    let generation = |object: &Value| object["metadata"]["generation"].as_u64();
    assert_eq!(generation(&live), generation(&before).map(|last| last + 1));
    client.merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 5)?;
    change(json!({ "replicas": 2 }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 2)?;
    scene.converged()?;

    // All of it goes with the resource.
    client.delete(&resource)?;
    client.wait_gone(&resource, SOON)?;
    for child in all {
        client.wait_gone(child, SOON)?;
    }
    Ok(())
}
