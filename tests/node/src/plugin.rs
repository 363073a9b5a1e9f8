//! The AppService plugin, registered with a release from a ConfigMap.

use crate::SOON;
use crate::command::{kubectl, kybern};
use crate::node::Node;
use crate::release::Release;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};
use std::path::Path;

/// The API version of AppService.
pub const APP: &str = "app.example.com/v1";

/// Image of the Pods: answers HTTP on the port that it is told, 8080 by default.
const IMAGE: &str = "localhost/probe:1";
const PORT: u16 = 8080;
/// Who applies what tests share.
const MANAGER: &str = "kybern-node-tests";

/// An AppService and what the plugin makes of it.
#[derive(Debug, Clone)]
pub struct AppService {
    /// The CR.
    pub app: Object,
    /// Its Deployment.
    pub deployment: Object,
    /// Its Service.
    pub service: Object,
}

impl Release {
    /// The registration of AppService with this release.
    #[must_use]
    pub fn registration(&self) -> Value {
        json!({
            "apiVersion": "kybern.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": { "name": self.name },
            "spec": {
                "class": self.name,
                "resources": [{ "group": "app.example.com", "version": "v1", "kind": "AppService" }],
                "source": { "configMap": { "namespace": self.name, "name": "appservice", "key": "appservice.wasm" } },
                "grants": {
                    "read": [{ "group": "apps", "kinds": ["Deployment"] }],
                    "write": [
                        { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] },
                        { "group": "", "kinds": ["Service"], "verbs": ["apply"] },
                    ],
                },
            },
        })
    }

    /// `rbac.pluginRules` of the chart for these registrations, as `kybern rbac` prints them.
    ///
    /// # Errors
    /// A registration is wrong, or kybern has not been built.
    pub fn plugin_rules(&self, registrations: &[Value]) -> Result<Value> {
        let file = self
            .node()
            .state()
            .join(format!("{}-plugins.json", self.name));
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": registrations });
        std::fs::write(&file, list.to_string())
            .with_context(|| format!("write {}", file.display()))?;
        let text = kybern(["rbac".as_ref(), "-f".as_ref(), file.as_os_str()])?.ok()?;
        let role: Value = serde_saphyr::from_str(&text).context("the output of kybern rbac")?;
        let rules = role.get("rules").context("the ClusterRole has rules")?;
        Ok(rules.clone())
    }

    /// Registers AppService and waits until the registration is Ready.
    ///
    /// # Errors
    /// It does not become Ready; the message holds its conditions.
    pub fn register(&self) -> Result<Object> {
        self.register_as(&self.registration())
    }

    /// The same with another registration of it.
    ///
    /// # Errors
    /// As of [`Release::register`].
    pub fn register_as(&self, registration: &Value) -> Result<Object> {
        let wasm = std::fs::read(guest("appservice")?).context("read the guest")?;
        let client = self.node().client();
        client.create(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "namespace": self.name, "name": "appservice" },
            "binaryData": { "appservice.wasm": STANDARD.encode(wasm) },
        }))?;
        client.create(registration)?;
        let object = Object::of(registration)?;
        client.wait_for(&object, "Ready", SOON, |plugin| {
            has(plugin, "Ready", "True")
        })?;
        Ok(object)
    }

    /// The AppService of that name in this release's namespace.
    #[must_use]
    pub fn app(&self, name: &str) -> AppService {
        let object = |api_version, kind| Object::new(api_version, kind, &self.name, name);
        AppService {
            app: object(APP, "AppService"),
            deployment: object("apps/v1", "Deployment"),
            service: object("v1", "Service"),
        }
    }

    /// Creates an AppService of so many Pods and waits until it is Ready, its Pods too.
    ///
    /// # Errors
    /// It does not become Ready; the message holds its status.
    pub fn create_app(&self, name: &str, size: u32) -> Result<AppService> {
        let app = self.app(name);
        self.node().client().create(&json!({
            "apiVersion": APP, "kind": "AppService",
            "metadata": { "namespace": self.name, "name": name },
            "spec": { "size": size, "image": IMAGE, "ports": [{ "port": 80, "targetPort": PORT }] },
        }))?;
        self.wait_app(&app, size)?;
        Ok(app)
    }

    /// Waits until the AppService has so many ready Pods and says so.
    ///
    /// # Errors
    /// It has not in time; the message holds its status.
    pub fn wait_app(&self, app: &AppService, size: u32) -> Result<Value> {
        let what = format!("Ready with {size} Pods");
        self.node().client().wait_for(&app.app, &what, SOON, |app| {
            let ready = app.pointer("/status/readyReplicas").and_then(Value::as_u64);
            has(app, "Ready", "True") && ready.unwrap_or_default() == u64::from(size)
        })
    }
}

impl Node {
    /// Applies the definitions of Plugin and AppService, which all releases share.
    ///
    /// # Errors
    /// kubectl's or kybern's.
    pub fn definitions(&self) -> Result<()> {
        let file = self.state().join("plugin-crd.yaml");
        std::fs::write(&file, kybern(["crd"])?.ok()?)
            .with_context(|| format!("write {}", file.display()))?;
        let appservice = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join("plugins/appservice/crd.yaml");
        for file in [file, appservice] {
            kubectl([
                "apply".as_ref(),
                "--server-side".as_ref(),
                "--force-conflicts".as_ref(),
                "--field-manager".as_ref(),
                MANAGER.as_ref(),
                "-f".as_ref(),
                file.as_os_str(),
            ])?
            .ok()?;
        }
        for name in ["plugins.kybern.dev", "appservices.app.example.com"] {
            let name = format!("crd/{name}");
            kubectl([
                "wait",
                "--for=condition=Established",
                "--timeout=60s",
                &name,
            ])?
            .ok()?;
        }
        Ok(())
    }
}

/// Whether a condition has this status for the object's newest generation.
#[must_use]
pub fn has(object: &Value, kind: &str, status: &str) -> bool {
    let generation = object.pointer("/metadata/generation");
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let field = |name: &str| condition.get(name).and_then(Value::as_str);
        let observed = condition.get("observedGeneration");
        field("type") == Some(kind)
            && field("status") == Some(status)
            && observed.is_none_or(|observed| Some(observed) == generation)
    })
}
