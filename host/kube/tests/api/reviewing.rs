//! What a user may do, as the API server says it.

use kybern_kube::{Cluster, Impersonate, Right};
use serde_json::json;

use crate::support::{admin, cluster_of, plane};

fn right(verb: &'static str, resource: &str, namespace: Option<&str>) -> Right {
    Right {
        group: String::new(),
        resource: resource.to_owned(),
        name: None,
        namespace: namespace.map(str::to_owned),
        verb,
    }
}

async fn may(cluster: &Cluster, right: &Right) -> bool {
    cluster.may(right, None).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_those_that_hold_in_every_namespace_or_in_one() {
    let namespace = plane().namespace("reviewed").expect("a namespace");
    let user = plane()
        .service_account(&namespace, "reviewed")
        .expect("a user");
    let rules = json!([{ "apiGroups": [""], "resources": ["configmaps", "pods/eviction"], "verbs": ["get", "create"] }]);
    plane().grant(&user, &rules).expect("is granted");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "here", "namespace": namespace },
        "rules": [{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "here", "namespace": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "here" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name() }],
    });
    for object in [role, binding] {
        plane().client().create(&object).expect("is created");
    }
    let cluster = cluster_of(plane(), &user).await;
    // It learns of a binding by a watch of its own.
    let here = right("get", "secrets", Some(&namespace));
    let learnt = async { while !may(&cluster, &here).await {} };
    let learnt = tokio::time::timeout(crate::support::LIMIT, learnt).await;
    learnt.expect("the role is known");

    let rules = cluster.rules(None, None).await.expect("rules");
    for (right, is) in [
        (right("get", "configmaps", None), true),
        (right("create", "pods/eviction", None), true),
        (right("create", "pods", None), false),
        (right("delete", "configmaps", None), false),
        (right("get", "secrets", None), false),
    ] {
        assert_eq!(rules.allow(&right), is, "{right:?}");
        assert_eq!(may(&cluster, &right).await, is, "{right:?}");
    }
    assert!(
        !rules.allow(&here),
        "what holds in one namespace is not listed"
    );
    let rules = cluster.rules(Some(&namespace), None).await.expect("rules");
    assert!(rules.allow(&here), "but it is in the list of that one");
    let everywhere = right("create", "pods/eviction", Some(&namespace));
    assert!(rules.allow(&everywhere), "with what holds everywhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_asked_for_by_acting_as_it() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("asked-for").expect("a namespace");
    let nobody = Impersonate::service_account(&namespace, "nobody");
    let read = right("get", "configmaps", None);
    assert!(may(&cluster, &read).await, "an administrator may");
    let its = cluster.may(&read, Some(&nobody)).await.expect("an answer");
    assert!(!its);
    assert!(
        !cluster
            .rules(None, Some(&nobody))
            .await
            .expect("rules")
            .allow(&read)
    );
    // Who may not act as it is refused, and says so.
    let user = plane().service_account(&namespace, "poor").expect("a user");
    let poor = cluster_of(plane(), &user).await;
    let refused = poor
        .may(&read, Some(&nobody))
        .await
        .expect_err("is refused");
    assert!(
        refused.to_string().contains("cannot impersonate"),
        "{refused}"
    );
}
