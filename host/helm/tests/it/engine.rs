//! The engine, compiled once for all tests and kept in the cache, and requests for it.

use kybern_helm::{Config, Engine, EngineFile, Limits};
use kybern_plugin::ModulesConfig;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A time of day for templates: 2026-01-02T03:04:05Z.
pub(crate) const NOW: Duration = Duration::from_secs(1_767_323_045);

pub(crate) fn module() -> Vec<u8> {
    let guests = kybern_testcluster::guests().unwrap();
    let file = EngineFile::beside(&guests).unwrap_or_else(|| {
        panic!(
            "there is no helm-engine.wasm in {}: cargo xtask guests makes it",
            guests.display()
        )
    });
    file.read().unwrap()
}

pub(crate) fn config() -> Config {
    let compiled: PathBuf = kybern_testcluster::cache().unwrap().join("helm-compiled");
    Config {
        modules: ModulesConfig {
            cache_dir: Some(compiled),
            ..ModulesConfig::default()
        },
        limits: Limits::default(),
        secret: [1; 32],
    }
}

pub(crate) fn prepared(change: impl FnOnce(&mut Config)) -> Engine {
    let mut config = config();
    change(&mut config);
    let engine = Engine::new(module(), config).unwrap();
    engine.prepare().unwrap();
    engine
}

/// The same one for each test that changes nothing of it.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| prepared(|_| {}))
}

/// A chart of one template.
pub(crate) fn chart(template: &str) -> Value {
    json!({"files": [
        {"path": "Chart.yaml", "text": "apiVersion: v2\nname: c\nversion: 0.1.0\n"},
        {"path": "templates/t.yaml", "text": template},
    ]})
}

pub(crate) fn request(chart: Value, more: Value) -> Value {
    let mut request = json!({
        "version": 1,
        "chart": chart,
        "release": {"name": "r", "namespace": "n", "revision": 1, "isUpgrade": false},
        "capabilities": {"kubeVersion": "v1.37.0", "apiVersions": ["v1", "apps/v1"]},
    });
    let fields = request.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    request
}

pub(crate) fn render(engine: &Engine, request: &Value) -> Value {
    let response: Arc<[u8]> = engine.render(request.to_string().as_bytes(), NOW).unwrap();
    serde_json::from_slice(&response).unwrap()
}

/// What one template gives.
pub(crate) fn text(template: &str, more: Value) -> String {
    let response = render(engine(), &request(chart(template), more));
    assert_eq!(response["error"], Value::Null, "{response}");
    response["manifests"][0]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}
