//! The plugin without wasm and without a cluster.

use crate::AppService;
use kybern_sdk::json;
use kybern_sdk::testing::Situation;

#[test]
fn there_is_a_service_without_node_ports_and_one_event_at_first() {
    let cr = json!({
        "apiVersion": "bench.example.com/v1", "kind": "AppService", "metadata": { "name": "a" },
        "spec": { "size": 2, "image": "nginx", "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    let first = Situation::new(cr.clone()).decide::<AppService>().unwrap();
    assert_eq!(
        first.child("Service", "a").unwrap()["spec"],
        json!({
            "type": "ClusterIP",
            "selector": { "app": "a" },
            "ports": [{ "name": "port-80", "port": 80, "targetPort": 8080, "protocol": "TCP" }],
        })
    );
    let row = json!({ "replicas": null, "generation": 1, "wanted": 2, "reported": [] });
    let second = Situation::new(cr)
        .rows("deployment", [row])
        .decide::<AppService>()
        .unwrap();
    let events = |plan: &kybern_sdk::testing::Decided| {
        let text = format!("{plan:?}");
        text.matches("Created").count()
    };
    assert_eq!((events(&first), events(&second)), (1, 0));
    assert_eq!(
        second.child("Deployment", "a").unwrap()["spec"]["replicas"],
        2
    );
}
