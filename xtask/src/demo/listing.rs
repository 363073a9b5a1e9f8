//! Prints what is in the namespace, one line for each object.

use anyhow::Result;
use kybern_testcluster::Client;
use serde_json::Value;

/// A kind, and what of its objects is worth a word: label and place.
struct Listed {
    api_version: &'static str,
    kind: &'static str,
    facts: [(&'static str, &'static str); 2],
}

const LISTED: [Listed; 4] = [
    Listed {
        api_version: "app.example.com/v1",
        kind: "AppService",
        facts: [("size", "/spec/size"), ("ready", "/status/readyReplicas")],
    },
    Listed {
        api_version: "apps/v1",
        kind: "Deployment",
        facts: [
            ("replicas", "/spec/replicas"),
            ("ready", "/status/readyReplicas"),
        ],
    },
    Listed {
        api_version: "v1",
        kind: "Service",
        facts: [
            ("type", "/spec/type"),
            ("nodePort", "/spec/ports/0/nodePort"),
        ],
    },
    Listed {
        api_version: "v1",
        kind: "Pod",
        facts: [("phase", "/status/phase"), ("node", "/spec/nodeName")],
    },
];

/// Prints the demo's objects in `namespace`.
pub(crate) fn print(client: &Client, namespace: &str) -> Result<()> {
    for Listed {
        api_version,
        kind,
        facts,
    } in LISTED
    {
        for object in client.list(api_version, kind, Some(namespace))? {
            let name = text(&object, "/metadata/name");
            // Every namespace of a cluster may hold this one.
            if kind == "Service" && name == "kubernetes" {
                continue;
            }
            let facts: Vec<String> = facts
                .iter()
                .map(|(label, pointer)| format!("{label}: {}", text(&object, pointer)))
                .collect();
            println!("   {kind:<11} {name:<28} {}", facts.join("  "));
        }
    }
    Ok(())
}

fn text(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    }
}
