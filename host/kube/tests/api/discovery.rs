//! What is served, and with which types.

use kybern_kube::{TypedPath, discover, discover::discover_one_by_one, openapi_types};
use serde_json::json;

use crate::support::{admin, eventually, plane};

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_found_with_verbs_subresources_and_preference() {
    let cluster = admin(plane()).await;
    let found = discover(&cluster).await.expect("discovers");
    let deployment = found.preferred("apps", "Deployment").expect("is served");
    assert_eq!(deployment.api_version(), "apps/v1");
    assert_eq!(deployment.short_names, ["deploy"]);
    assert!(deployment.namespaced);
    for verb in ["list", "watch", "patch", "delete"] {
        assert!(deployment.can(verb), "{verb}");
    }
    assert!(deployment.subresources.contains_key("scale"));
    assert!(deployment.subresources.contains_key("status"));
    let review = found
        .find("authorization.k8s.io", "v1", "SubjectAccessReview")
        .expect("is served");
    assert!(!review.can("list") && !review.namespaced);
    assert!(
        !found
            .find("", "v1", "Namespace")
            .expect("is served")
            .namespaced
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_of_discovery_find_the_same() {
    let cluster = admin(plane()).await;
    let mut at_once = discover(&cluster).await.expect("discovers").resources;
    let mut one_by_one = discover_one_by_one(&cluster)
        .await
        .expect("discovers")
        .resources;
    for resources in [&mut at_once, &mut one_by_one] {
        // Another test's broken API comes and goes.
        resources.retain(|resource| !resource.group.ends_with("broken.example"));
        resources.sort();
        for resource in resources.iter_mut() {
            resource.verbs.sort();
            resource
                .subresources
                .values_mut()
                .for_each(|verbs| verbs.sort());
        }
    }
    assert!(at_once.len() > 40, "{}", at_once.len());
    assert_eq!(at_once, one_by_one);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_whose_server_is_down_is_reported_and_hides_nothing() {
    let cluster = admin(plane()).await;
    let client = plane().client();
    client
        .create(&json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": { "name": "v1.broken.example" },
            "spec": { "group": "broken.example", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10,
                      "service": { "namespace": "default", "name": "nobody" }, "insecureSkipTLSVerify": true },
        }))
        .expect("creates");
    let found = eventually("the broken API is reported", async || {
        let found = discover(&cluster).await.expect("discovers");
        let reported = found
            .failures
            .iter()
            .any(|failure| failure.group_version == "broken.example/v1");
        reported.then_some(found)
    })
    .await;
    assert!(found.preferred("apps", "Deployment").is_some());
    let found = discover_one_by_one(&cluster).await.expect("discovers");
    assert!(found.preferred("apps", "Deployment").is_some());
    let reported = found
        .failures
        .iter()
        .any(|failure| failure.group_version == "broken.example/v1");
    assert!(reported, "{:?}", found.failures);
    let service = kybern_testcluster::Object::cluster(
        "apiregistration.k8s.io/v1",
        "APIService",
        "v1.broken.example",
    );
    client.delete(&service).expect("deletes");
}

#[tokio::test(flavor = "multi_thread")]
async fn scalars_of_built_in_kinds_are_typed() {
    let cluster = admin(plane()).await;
    let apps = openapi_types(&cluster, "apps", "v1").await.expect("reads");
    let texts: Vec<String> = apps["Deployment"]
        .iter()
        .map(TypedPath::to_string)
        .collect();
    for wanted in [
        "spec.replicas: Int",
        "spec.paused: Bool",
        "metadata.creationTimestamp: Timestamp",
        "metadata.labels.*: Text",
        "spec.strategy.rollingUpdate.maxSurge: Text",
        "spec.template.spec.containers[*].image: Text",
        "spec.template.spec.containers[*].resources.limits.*: Text",
        "status.conditions[*].lastTransitionTime: Timestamp",
    ] {
        assert!(
            texts.iter().any(|text| text == wanted),
            "{wanted} is missing"
        );
    }
    let core = openapi_types(&cluster, "", "v1").await.expect("reads");
    assert!(core.contains_key("Pod") && core.contains_key("ConfigMap"));
    let nothing = openapi_types(&cluster, "nothing.example", "v1")
        .await
        .expect_err("is not served");
    assert_eq!(
        nothing.to_string(),
        "the API server publishes no OpenAPI v3 document for nothing.example/v1"
    );
}
