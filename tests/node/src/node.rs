//! The running node.

use crate::command::run;
use anyhow::{Context, Result, anyhow};
use kybern_testcluster::{Audit, Client, Object};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static NODE: OnceLock<std::result::Result<Node, String>> = OnceLock::new();

/// The node of this test run.
///
/// # Errors
/// There is none; the message says how to start one.
pub fn node() -> Result<&'static Node> {
    NODE.get_or_init(|| Node::find().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

/// A single-node cluster on this machine.
#[derive(Debug)]
pub struct Node {
    client: Client,
    audit: Audit,
    state: PathBuf,
    namespaces: AtomicU32,
}

impl Node {
    fn find() -> Result<Self> {
        let set = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).with_context(|| {
                format!("{name} is not set: run this with `cargo xtask node test`")
            })
        };
        let state = set("KYBERN_NODE_STATE")?;
        let client = Client::of_kubeconfig(&set("KUBECONFIG")?)?;
        client.text("/readyz").context(
            "the node's API server does not answer: `cargo xtask node test` starts a node",
        )?;
        let log = state.join("log").join("audit.log");
        Ok(Self {
            audit: Audit::new(log, client.clone()),
            client,
            state,
            namespaces: AtomicU32::new(0),
        })
    }

    /// The administrator's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The API server's audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Folder with the node's state; `log` in it holds a file for each daemon.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Whether there were tests on it before this run (`--here`).
    #[must_use]
    pub fn was_used(&self) -> bool {
        std::env::var_os("KYBERN_NODE_USED").is_some()
    }

    /// Creates a namespace of its own for a test.
    ///
    /// # Errors
    /// The API server's.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        // A node that is used again still has those of the run before.
        let name = format!("{prefix}-{:x}-{number}", std::process::id());
        self.client.create(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
        }))?;
        // Pods are refused until it is there.
        let account = Object::new("v1", "ServiceAccount", &name, "default");
        self.client
            .wait_for(&account, "to be made", crate::SOON, |_| true)?;
        Ok(name)
    }

    /// Runs a command inside the node's namespaces and returns what it printed.
    ///
    /// # Errors
    /// It fails; the message holds all that it said.
    pub fn shell(&self, arguments: &[&str]) -> Result<String> {
        let pid =
            std::fs::read_to_string(self.state.join("init.pid")).context("the node's init.pid")?;
        run(Command::new("nsenter")
            .args(["--target", pid.trim()])
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup"])
            .arg("--")
            .args(arguments))?
        .ok()
    }

    /// Notes a measured figure; `cargo xtask node test` shows them all at the end.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn figure(&self, text: &str) -> Result<()> {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.state.join("figures.txt"))
            .context("open figures.txt")?;
        writeln!(file, "{text}").context("write figures.txt")
    }

    /// Runs containerd's own tool on what the kubelet uses.
    ///
    /// # Errors
    /// As of [`Node::shell`].
    pub fn containerd(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.state.join("containerd").join("containerd.sock");
        let socket = socket.display().to_string();
        let mut all = vec!["ctr", "-a", &socket, "-n", "k8s.io"];
        all.extend(arguments);
        self.shell(&all)
    }
}
