//! The plugin without wasm and without a cluster.

use crate::Relay;
use kybern_sdk::testing::{Decided, Situation};
use kybern_sdk::{Value, json};

fn decide(hop: u32) -> Decided {
    let cr: Value = json!({
        "apiVersion": "bench.example.com/v1", "kind": "Hop", "metadata": { "name": "hop-1" },
        "spec": { "nonce": "n", "hop": hop, "last": 2 },
    });
    Situation::new(cr).decide::<Relay>().unwrap()
}

#[test]
fn the_nonce_goes_on_until_the_last_hop() {
    let plan = decide(1);
    let child = plan.child("Hop", "hop-2").unwrap();
    assert_eq!(child["spec"], json!({ "nonce": "n", "hop": 2, "last": 2 }));
    assert_eq!(child["metadata"]["labels"]["hop"], "2");
    assert_eq!(decide(2).children(), 0);
}
