//! One test's corner of the shared control plane: a namespace, a class, a user, a host.

use anyhow::{Context, Result, ensure};
use kybern_testcluster::{
    Client, ControlPlane, Host, HostOptions, Object, Progress, Request, Stopwatch, User, guest,
    until,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a change may take to be seen, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The API version of the plugin's kind.
pub(crate) const APP: &str = "app.example.com/v1";

/// What AppService is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// plugins/appservice.
    Rust,
    /// plugins/bundles/appservice, which plugins/declarative interprets.
    Yaml,
}

impl Language {
    /// A window in which nothing may be written. What the host does late is the same in all
    /// languages, so it is waited for once.
    pub(crate) fn window(self, whole: Duration) -> Duration {
        match self {
            Self::Rust => whole,
            Self::Yaml => whole / 3,
        }
    }
}

/// Makes two tests of each of these functions, which take a [`Language`]: whatever AppService is
/// written in, the same holds.
macro_rules! in_each_language {
    ($($test:ident),+ $(,)?) => {
        mod rust {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$test(crate::scene::Language::Rust)
            })+
        }
        mod yaml {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$test(crate::scene::Language::Yaml)
            })+
        }
    };
}
pub(crate) use in_each_language;

/// The text of a CustomResourceDefinition that takes any spec and status.
macro_rules! crd_text {
    ($group:literal, $kind:literal, $plural:literal) => {
        concat!(
            "apiVersion: apiextensions.k8s.io/v1\n",
            "kind: CustomResourceDefinition\n",
            "metadata: {name: ",
            $plural,
            ".",
            $group,
            "}\n",
            "spec:\n",
            "  group: ",
            $group,
            "\n",
            "  names: {kind: ",
            $kind,
            ", listKind: ",
            $kind,
            "List, plural: ",
            $plural,
            "}\n",
            "  scope: Namespaced\n",
            "  versions:\n",
            "    - name: v1\n",
            "      served: true\n",
            "      storage: true\n",
            "      subresources: {status: {}}\n",
            "      schema:\n",
            "        openAPIV3Schema:\n",
            "          type: object\n",
            "          properties:\n",
            "            spec: {type: object, x-kubernetes-preserve-unknown-fields: true}\n",
            "            status: {type: object, x-kubernetes-preserve-unknown-fields: true}\n",
        )
    };
}
pub(crate) use crd_text;

/// A folder of the repository.
pub(crate) fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// A corner of the control plane. The host ends with it.
pub(crate) struct Scene {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) namespace: String,
    pub(crate) class: String,
    pub(crate) user: User,
    /// Variables of its hosts.
    pub(crate) environment: Vec<(String, PathBuf)>,
    kubeconfig: PathBuf,
    host: Option<Host>,
}

/// Lets this much time pass: a window in which nothing may happen has no condition to wait for.
pub(crate) fn pass_time(window: Duration) -> Result<()> {
    let watch = Stopwatch::start();
    until("the window to pass", window + SOON, || {
        Ok(if watch.elapsed() >= window {
            Progress::Done(())
        } else {
            Progress::Waiting("time".to_owned())
        })
    })
}

/// The rules that the host itself needs, beside those of registrations.
fn host_rules(seed: &str) -> Vec<Value> {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    vec![
        rule(
            "kybern.dev",
            &["plugins"],
            &["get", "list", "watch", "patch"],
        ),
        rule("kybern.dev", &["plugins/status"], &["patch"]),
        rule("kybern.dev", &["plugins/finalizers"], &["update"]),
        rule(
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            &["get", "list", "watch", "create", "patch"],
        ),
        rule(
            "coordination.k8s.io",
            &["leases"],
            &["get", "create", "update", "patch"],
        ),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
        rule("", &["configmaps"], &["get", "list", "watch"]),
        json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": [seed], "verbs": ["get", "patch"] }),
    ]
}

impl Scene {
    /// A corner of the control plane that all tests share: etcd and API server alone.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::on(kybern_testcluster::shared()?, name)
    }

    /// A corner of this control plane.
    pub(crate) fn on(plane: &'static ControlPlane, name: &str) -> Result<Self> {
        plane.install_crd(&crd()?)?;
        let namespace = plane.namespace(name)?;
        let user = plane.service_account(&namespace, "kybern")?;
        let kubeconfig = plane.kubeconfig(&user)?;
        let scene = Self {
            class: namespace.clone(),
            plane,
            namespace,
            user,
            environment: Vec::new(),
            kubeconfig,
            host: None,
        };
        scene.grant(&[])?;
        scene.bring_seed()?;
        Ok(scene)
    }

    /// The Secret from which passwords of charts follow.
    pub(crate) fn seed(&self) -> Object {
        self.object("v1", "Secret", &format!("kybern-{}-charts", self.class))
    }

    /// As the host's chart brings it: empty.
    pub(crate) fn bring_seed(&self) -> Result<()> {
        let seed = self.seed();
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "name": seed.name, "namespace": self.namespace },
        });
        self.client().create(&manifest)?;
        Ok(())
    }

    pub(crate) fn client(&self) -> &'static Client {
        self.plane.client()
    }

    /// Gives the host its own rights and those that `kybern rbac` says these registrations need.
    pub(crate) fn grant(&self, registrations: &[Value]) -> Result<()> {
        self.grant_to(&self.user, registrations)
    }

    /// The same for the user of another replica.
    pub(crate) fn grant_to(&self, user: &User, registrations: &[Value]) -> Result<()> {
        let mut rules = host_rules(&self.seed().name);
        if !registrations.is_empty() {
            let file = self.plane.folder().join(format!("{}.json", self.namespace));
            std::fs::write(
                &file,
                json!({ "apiVersion": "v1", "kind": "List", "items": registrations }).to_string(),
            )?;
            let text = kybern(&["rbac", "-f", &file.to_string_lossy()])?;
            // Roles of service accounts follow the host's.
            let text = text.split("---\n").next().unwrap_or_default();
            let role: Value = serde_saphyr::from_str(text)?;
            let needed = role
                .pointer("/rules")
                .and_then(Value::as_array)
                .context("rules")?;
            rules.extend(needed.iter().cloned());
        }
        self.plane.grant(user, &Value::from(rules))
    }

    /// Starts the host and waits until it is ready.
    pub(crate) fn start_host(&mut self) -> Result<()> {
        self.start_host_with(&[])
    }

    /// Starts the host with further arguments.
    pub(crate) fn start_host_with(&mut self, arguments: &[&str]) -> Result<()> {
        let mut host = self.launch(arguments)?;
        host.wait_ready()?;
        self.host = Some(host);
        Ok(())
    }

    /// Starts a host that sees all namespaces: its registrations must select what is theirs.
    pub(crate) fn start_host_everywhere(&mut self, arguments: &[&str]) -> Result<()> {
        let mut host = self.launch_with(Vec::new(), arguments)?;
        host.wait_ready()?;
        self.host = Some(host);
        Ok(())
    }

    /// Starts one more host of this corner; the caller keeps it.
    pub(crate) fn launch(&self, arguments: &[&str]) -> Result<Host> {
        let own = vec!["--namespaces".to_owned(), self.namespace.clone()];
        self.launch_with(own, arguments)
    }

    /// The same, and it sees the whole cluster.
    pub(crate) fn launch_everywhere(&self) -> Result<Host> {
        self.launch_with(Vec::new(), &[])
    }

    /// Starts a replica with this kubeconfig: its requests are told apart by their user, or by
    /// the way that they take. The caller keeps it.
    pub(crate) fn replica(&self, kubeconfig: PathBuf) -> Result<Host> {
        let own = vec!["--namespaces".to_owned(), self.namespace.clone()];
        self.launch_as(kubeconfig, own, &["--leader-elect=true"])
    }

    fn launch_with(&self, all: Vec<String>, arguments: &[&str]) -> Result<Host> {
        self.launch_as(self.kubeconfig.clone(), all, arguments)
    }

    fn launch_as(
        &self,
        kubeconfig: PathBuf,
        mut all: Vec<String>,
        arguments: &[&str],
    ) -> Result<Host> {
        all.extend(["--lease-namespace".to_owned(), self.namespace.clone()]);
        if !arguments.iter().any(|a| a.starts_with("--leader-elect")) {
            all.push("--leader-elect=false".into());
        }
        all.push("--strict".into());
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        Host::start(&HostOptions {
            binary: kybern_testcluster::kybern()?,
            kubeconfig,
            class: self.class.clone(),
            arguments: all,
            environment: self.environment.clone(),
            folder: self.plane.folder().to_owned(),
        })
    }

    /// Stops the host and waits until it has ended.
    pub(crate) fn stop_host(&mut self) -> Result<()> {
        if let Some(host) = self.host.take() {
            host.stop()?;
        }
        Ok(())
    }

    /// Kills the host.
    pub(crate) fn kill_host(&mut self) {
        self.host = None;
    }

    pub(crate) fn host(&self) -> &Host {
        self.host.as_ref().expect("the host runs")
    }

    /// A registration of AppService for this corner, not yet created.
    pub(crate) fn appservice(&self) -> Result<Value> {
        self.appservice_in(Language::Rust)
    }

    /// The same, with the same grants whatever it is written in.
    pub(crate) fn appservice_in(&self, language: Language) -> Result<Value> {
        let (component, settings) = match language {
            Language::Rust => ("appservice", json!({})),
            Language::Yaml => {
                let bundle = folder("plugins/bundles/appservice");
                ("declarative", json!({ "bundle": { "file": bundle } }))
            }
        };
        Ok(json!({
            "apiVersion": "kybern.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": { "name": self.namespace },
            "spec": {
                "class": self.class,
                "resources": [{ "group": "app.example.com", "version": "v1", "kind": "AppService" }],
                "source": { "file": guest(component)? },
                "settings": settings,
                "grants": {
                    "read": [{ "group": "apps", "kinds": ["Deployment"] }],
                    "write": [
                        { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] },
                        { "group": "", "kinds": ["Service"], "verbs": ["apply"] },
                    ],
                },
            },
        }))
    }

    /// Creates a registration with the rights that it needs, and waits for `Ready=True`.
    pub(crate) fn register(&self, registration: &Value) -> Result<Object> {
        let object = self.submit(registration)?;
        self.plugin_condition(&object, "Ready", "True")?;
        Ok(object)
    }

    /// Creates a registration with the rights that it needs.
    pub(crate) fn submit(&self, registration: &Value) -> Result<Object> {
        self.grant(std::slice::from_ref(registration))?;
        self.client().create(registration)?;
        Object::of(registration)
    }

    /// Waits until an object is there and as expected; the object.
    pub(crate) fn wait(&self, object: &Object, is: impl Fn(&Value) -> bool) -> Result<Value> {
        self.client()
            .wait_for(object, "to be as expected", SOON, is)
    }

    /// Waits until a condition of a registration has this status, and not only until something is
    /// here; the condition.
    pub(crate) fn plugin_condition(
        &self,
        object: &Object,
        kind: &str,
        status: &str,
    ) -> Result<Value> {
        condition(self.client(), object, kind, |c| {
            c["status"] == status && !under_way(c)
        })
    }

    /// Starts the host and registers AppService.
    pub(crate) fn with_appservice(name: &str) -> Result<Self> {
        Self::with_appservice_in(Language::Rust, name)
    }

    /// The same, written in this language.
    pub(crate) fn with_appservice_in(language: Language, name: &str) -> Result<Self> {
        let mut scene = Self::new(name)?;
        let registration = scene.appservice_in(language)?;
        scene.grant(std::slice::from_ref(&registration))?;
        scene.start_host()?;
        scene.register(&registration)?;
        Ok(scene)
    }

    /// An object of this corner's namespace.
    pub(crate) fn object(&self, api_version: &str, kind: &str, name: &str) -> Object {
        Object::new(api_version, kind, &self.namespace, name)
    }

    /// The fixture's AppService, in this namespace, without its fixed node port.
    pub(crate) fn app(&self, name: &str, size: u32) -> Value {
        json!({
            "apiVersion": APP,
            "kind": "AppService",
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": { "size": size, "image": "nginx:1.7.9", "ports": [{ "port": 80, "targetPort": 80 }] },
        })
    }

    /// Creates an AppService and waits for both children.
    pub(crate) fn create_app(&self, name: &str, size: u32) -> Result<(Object, Object, Object)> {
        let app = self.app(name, size);
        self.client().create(&app)?;
        let (app, deployment, service) = self.app_objects(name);
        self.wait(&deployment, |_| true)?;
        self.wait(&service, |_| true)?;
        self.ready_reason(&app, "AppService", |_| true)?;
        Ok((app, deployment, service))
    }

    /// The AppService of that name, its Deployment and its Service.
    pub(crate) fn app_objects(&self, name: &str) -> (Object, Object, Object) {
        (
            self.object(APP, "AppService", name),
            self.object("apps/v1", "Deployment", name),
            self.object("v1", "Service", name),
        )
    }

    /// Waits until the CR's Ready condition satisfies `is`; the condition.
    pub(crate) fn ready_reason(
        &self,
        object: &Object,
        _what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        condition(self.client(), object, "Ready", is)
    }

    /// Waits until the host has made no write for `quiet`, and returns the writes of that window: none.
    pub(crate) fn converged(&self) -> Result<()> {
        let quiet = Duration::from_secs(3);
        until("the host to come to rest", SOON, || {
            let mark = self.plane.audit().mark()?;
            pass_time(quiet)?;
            let writes = self.plane.audit().writes_of(&self.user, mark)?;
            Ok(if writes.is_empty() {
                Progress::Done(())
            } else {
                Progress::Waiting(format!("{writes:?}"))
            })
        })
    }

    /// Writes of the host in a window of this length.
    pub(crate) fn writes_within(&self, window: Duration) -> Result<Vec<Request>> {
        let mark = self.plane.audit().mark()?;
        pass_time(window)?;
        self.plane.audit().writes_of(&self.user, mark)
    }

    /// Events about an object with this reason, waited for.
    pub(crate) fn event(&self, name: &str, reason: &str) -> Result<Value> {
        let folder = Object::new("events.k8s.io/v1", "Event", &self.namespace, "");
        until(&format!("an Event {reason} on {name}"), SOON, || {
            let events =
                self.client()
                    .list(&folder.api_version, &folder.kind, Some(&self.namespace))?;
            let found = events
                .iter()
                .find(|e| e["reason"] == reason && e["regarding"]["name"] == name)
                .cloned();
            Ok(found.into())
        })
    }
}

/// Whether a condition only says that something is on its way.
pub(crate) fn under_way(condition: &Value) -> bool {
    let reason = condition["reason"].as_str().unwrap_or_default();
    ["Loading", "Fetching", "Compiling"].contains(&reason)
}

/// Waits until a condition of an object satisfies `is`; the condition.
pub(crate) fn condition(
    client: &Client,
    object: &Object,
    kind: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let find = |value: &Value| -> Option<Value> {
        value["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|c| c["type"] == kind)
            .cloned()
    };
    let value = client.wait_for(object, &format!("condition {kind}"), SOON, |value| {
        find(value).is_some_and(|c| is(&c))
    })?;
    find(&value).context("the condition was there")
}

/// The Plugin CRD.
pub(crate) fn crd() -> Result<Value> {
    Ok(serde_saphyr::from_str(&kybern(&["crd"])?)?)
}

/// Runs the program, which has to fail: its exit code, and all that it printed.
pub(crate) fn failed(arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(kybern_testcluster::kybern()?)
        .args(arguments)
        .output()?;
    ensure!(!output.status.success(), "{arguments:?} succeeded");
    let printed = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(printed)?))
}

/// Runs `kybern` and returns its standard output.
pub(crate) fn kybern(arguments: &[&str]) -> Result<String> {
    let output = Command::new(kybern_testcluster::kybern()?)
        .args(arguments)
        .output()?;
    ensure!(
        output.status.success(),
        "kybern {}: {}\n{}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
