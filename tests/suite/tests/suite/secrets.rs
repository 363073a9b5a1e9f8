//! Secrets by reference on a real API server: an effect sends what its plugin never sees.

use crate::effects::Server;
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// In a Secret; only the server may see it.
const HIDDEN: &str = "not-to-be-shown-at-all";

/// What a Secret holds, one after the other.
fn opened(secret: &Value) -> Result<String> {
    let data = secret["data"].as_object().context("data")?;
    let values = data.values().filter_map(Value::as_str);
    let values = values.map(|text| Ok(String::from_utf8(STANDARD.decode(text)?)?));
    values.collect()
}

#[test]
fn a_server_gets_a_secret_that_its_plugin_never_sees() -> Result<()> {
    let server = Server::start()?;
    let mut scene = Scene::new("secrets")?;
    let registration = scene.caller(&server)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    let call = scene.call(
        "web",
        &json!({ "url": server.url("/echo"), "key": "k1", "authorized": true }),
    )?;
    // Its reference is told, not more.
    let failed = scene.ready_reason(&call, "Call", |c| c["reason"] == "EffectFailed")?;
    let message = failed["message"].as_str().unwrap_or_default();
    let missing = format!(
        "the secret `api-token`: Secret {}/creds does not exist",
        scene.namespace
    );
    ensure!(message.contains(&missing), "{message}");
    ensure!(
        server.seen("/echo").is_empty(),
        "nothing is sent without it"
    );

    scene.client().create(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "creds", "namespace": scene.namespace },
        "stringData": { "token": format!("{HIDDEN}\n") },
    }))?;
    let done = scene.said(&call, "answered \"Bearer ********\"")?;
    let sent = server.seen("/echo");
    let sent = sent.first().context("one request")?;
    assert_eq!(sent.authorization, format!("Bearer {HIDDEN}"));

    // Nowhere in what the host printed and wrote.
    let log = std::fs::read_to_string(scene.host().log())?;
    let plugin = scene.client().get(&plugin)?;
    let events = scene.client().list("events.k8s.io/v1", "Event", None)?;
    let secrets = scene
        .client()
        .list("v1", "Secret", Some(&scene.namespace))?;
    let records = secrets
        .iter()
        .filter(|secret| secret["type"] == "kybern.dev/record");
    let records: Vec<String> = records.map(opened).collect::<Result<_>>()?;
    ensure!(
        records
            .iter()
            .any(|record| record.contains("Bearer ********")),
        "{records:?}"
    );
    for (place, text) in [
        ("the log", log),
        ("the plugin's status", plugin.to_string()),
        ("the resource", done.to_string()),
        ("an Event", json!(events).to_string()),
        ("a record", records.concat()),
    ] {
        ensure!(!text.contains(HIDDEN), "{place} has it");
    }
    Ok(())
}
