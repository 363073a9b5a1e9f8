//! One release of the chart in a namespace and a class of its own, and its replicas.

use crate::SOON;
use crate::command::{Output, helm, kubectl};
use crate::node::{Node, node};
use anyhow::{Context, Result};
use kybern_testcluster::{Audit, Mark, Object, Progress, Request, until};
use serde_json::{Value, json};
use std::path::PathBuf;

/// How long helm waits until all of a release is ready.
const TIMEOUT: &str = "120s";

/// A release; what it leaves in the cluster is removed when it is dropped.
#[derive(Debug)]
pub struct Release {
    node: &'static Node,
    /// Its name, its namespace and its class: all the same.
    pub name: String,
}

/// One Pod of a release.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The Pod's name.
    pub name: String,
    /// The Pod as the API server has it.
    pub pod: Value,
}

impl Replica {
    /// Whether the Pod is Ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let conditions = self.pod.pointer("/status/conditions");
        let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
        conditions.any(|condition| {
            let field = |name: &str| condition.get(name).and_then(Value::as_str);
            field("type") == Some("Ready") && field("status") == Some("True")
        })
    }

    /// How often its container was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        let count = self.pod.pointer("/status/containerStatuses/0/restartCount");
        count.and_then(Value::as_u64).unwrap_or_default()
    }

    /// `terminated` of its container's last state, if it was started again.
    #[must_use]
    pub fn last_end(&self) -> Option<&Value> {
        self.pod
            .pointer("/status/containerStatuses/0/lastState/terminated")
    }
}

impl Release {
    /// A release that is not installed yet, in a new namespace.
    ///
    /// # Errors
    /// There is no node, or the namespace cannot be made.
    pub fn new(prefix: &str) -> Result<Self> {
        let node = node()?;
        Ok(Self {
            name: node.namespace(prefix)?,
            node,
        })
    }

    /// The node that it lies on.
    #[must_use]
    pub fn node(&self) -> &'static Node {
        self.node
    }

    /// Runs `helm upgrade --install --wait` with these values over those that every test sets.
    ///
    /// # Errors
    /// helm cannot be started.
    pub fn helm(&self, values: &Value) -> Result<Output> {
        let common = json!({
            "class": self.name,
            "namespaces": [self.name],
            "image": { "repository": "localhost/kybern", "pullPolicy": "Never" },
            // Releases of one cluster share it; `plugin_crd` has applied it.
            "crd": { "install": false },
        });
        let common = self.file("common", &common)?;
        let own = self.file("own", values)?;
        let chart = std::env::var_os("KYBERN_CHART")
            .context("KYBERN_CHART is not set: run this with `cargo xtask node test`")?;
        helm([
            "upgrade".as_ref(),
            "--install".as_ref(),
            self.name.as_ref(),
            chart.as_os_str(),
            "--namespace".as_ref(),
            self.name.as_ref(),
            "--values".as_ref(),
            common.as_os_str(),
            "--values".as_ref(),
            own.as_os_str(),
            "--wait".as_ref(),
            "--timeout".as_ref(),
            TIMEOUT.as_ref(),
        ])
    }

    fn file(&self, name: &str, values: &Value) -> Result<PathBuf> {
        let path = self.node.state().join(format!("{}-{name}.json", self.name));
        std::fs::write(&path, values.to_string())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Its Pods that are not being deleted, by name.
    ///
    /// # Errors
    /// The API server's.
    pub fn replicas(&self) -> Result<Vec<Replica>> {
        let pods = self.node.client().list("v1", "Pod", Some(&self.name))?;
        let mut replicas: Vec<Replica> = pods
            .into_iter()
            .filter(|pod| {
                let labels = pod.pointer("/metadata/labels");
                let label = |name: &str| labels.and_then(|labels| labels.get(name)?.as_str());
                label("app.kubernetes.io/instance") == Some(self.name.as_str())
                    && label("app.kubernetes.io/component") == Some("host")
                    && pod.pointer("/metadata/deletionTimestamp").is_none()
            })
            .filter_map(|pod| {
                let name = pod.pointer("/metadata/name")?.as_str()?.to_owned();
                Some(Replica { name, pod })
            })
            .collect();
        replicas.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(replicas)
    }

    /// Waits until `count` replicas are there, all Ready.
    ///
    /// # Errors
    /// They are not in time; the message holds their states.
    pub fn wait_ready(&self, count: usize) -> Result<Vec<Replica>> {
        until(&format!("{count} Ready replicas"), SOON, || {
            let replicas = self.replicas()?;
            Ok(
                if replicas.len() == count && replicas.iter().all(Replica::is_ready) {
                    Progress::Done(replicas)
                } else {
                    let states: Vec<_> = replicas
                        .iter()
                        .map(|replica| replica.pod.pointer("/status/containerStatuses"))
                        .collect();
                    Progress::Waiting(format!("{states:?}"))
                },
            )
        })
    }

    /// Identity of who holds the Lease, such as `POD_7_0a1b2c3d`.
    ///
    /// # Errors
    /// The API server's.
    pub fn holder(&self) -> Result<Option<String>> {
        let name = format!("kybern-{}", self.name);
        let lease = Object::new("coordination.k8s.io/v1", "Lease", &self.name, &name);
        let lease = self.node.client().find(&lease)?;
        let holder = lease.as_ref().and_then(|lease| {
            let holder = lease.pointer("/spec/holderIdentity")?.as_str()?;
            (!holder.is_empty()).then(|| holder.to_owned())
        });
        Ok(holder)
    }

    /// Waits until a replica holds the Lease; the replica.
    ///
    /// # Errors
    /// None does in time.
    pub fn leader(&self) -> Result<Replica> {
        until("a leader", SOON, || {
            let holder = self.holder()?;
            let found = holder.as_deref().and_then(|holder| {
                let mut replicas = self.replicas().ok()?.into_iter();
                replicas.find(|replica| holder.starts_with(&format!("{}_", replica.name)))
            });
            Ok(found.map_or_else(
                || Progress::Waiting(format!("the holder is {holder:?}")),
                Progress::Done,
            ))
        })
    }

    /// Its replicas as the API server knows them.
    #[must_use]
    pub fn user(&self) -> String {
        // As the chart makes the name of its ServiceAccount.
        format!("system:serviceaccount:{0}:{0}-kybern", self.name)
    }

    /// Requests of its replicas since `mark`.
    ///
    /// # Errors
    /// As of [`Audit::since`].
    pub fn requests(&self, mark: Mark) -> Result<Vec<Request>> {
        let audit: &Audit = self.node.audit();
        let user = self.user();
        let mut requests = audit.since(mark)?;
        requests.retain(|request| request.user == user);
        Ok(requests)
    }

    /// The log of a replica's container, that of the run before if asked for.
    ///
    /// # Errors
    /// There is none.
    pub fn log(&self, replica: &Replica, previous: bool) -> Result<String> {
        let mut arguments = vec!["logs", "--namespace", &self.name, &replica.name];
        arguments.extend(previous.then_some("--previous"));
        kubectl(arguments)?.ok()
    }
}

impl Drop for Release {
    /// No replicas stay that compete with the next test's for the machine.
    fn drop(&mut self) {
        // Shown only if the test has failed.
        println!("{}: {}", self.name, self.describe());
        if std::env::var_os("KYBERN_NODE_KEEP").is_none() {
            for done in [
                // First, while the host is there to let go of what it has made.
                kubectl([
                    "delete",
                    "plugin",
                    &self.name,
                    "--ignore-not-found",
                    "--timeout=20s",
                ]),
                helm([
                    "uninstall",
                    &self.name,
                    "--namespace",
                    &self.name,
                    "--ignore-not-found",
                    "--no-hooks",
                ]),
                kubectl(["delete", "namespace", &self.name, "--wait=false"]),
            ] {
                if let Err(error) = done.and_then(Output::ok) {
                    println!("{}: {error:#}", self.name);
                }
            }
        }
    }
}

impl Release {
    /// What a person would look at first when a test has failed.
    fn describe(&self) -> String {
        let mut text = String::new();
        for arguments in [
            &["get", "pods,appservices,deployments,leases", "-o", "wide"][..],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &[
                "logs",
                "--prefix",
                "--tail=30",
                "-l",
                "app.kubernetes.io/name=kybern",
            ],
        ] {
            let mut all = vec!["--namespace", &self.name];
            all.extend(arguments);
            match kubectl(all) {
                Ok(output) => text.push_str(&output.to_string()),
                Err(error) => text.push_str(&error.to_string()),
            }
            text.push('\n');
        }
        text
    }
}
