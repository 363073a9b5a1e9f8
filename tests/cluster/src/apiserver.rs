//! The API server: its files, flags and readiness.

use crate::client::Client;
use crate::component::Component;
use crate::keys::SigningKey;
use crate::options::Options;
use crate::process::Process;
use crate::user::User;
use crate::wait::{Progress, until};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const READY: Duration = Duration::from_secs(90);

/// Everything that a start of the API server needs; a restart uses it again.
#[derive(Debug)]
pub(crate) struct ApiServer {
    folder: PathBuf,
    etcd: String,
    port: u16,
    options: Options,
}

impl ApiServer {
    /// Writes the files that the server reads.
    pub(crate) fn prepare(
        folder: &Path,
        etcd: &str,
        port: u16,
        options: &Options,
        users: &[User],
    ) -> Result<Self> {
        let server = Self {
            folder: folder.to_owned(),
            etcd: etcd.to_owned(),
            port,
            options: options.clone(),
        };
        let key = SigningKey::generate()?;
        server.write("service-account.key", &key.private)?;
        server.write("service-account.pub", &key.public)?;
        server.write("audit-policy.json", &audit_policy())?;
        let tokens: String = users.iter().map(token_line).collect();
        server.write("tokens.csv", &tokens)?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub(crate) fn signing_key(&self) -> PathBuf {
        self.folder.join("service-account.key")
    }

    /// The certificates that clients trust; the server makes them at its first start.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("certificates").join("apiserver.crt")
    }

    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Process> {
        let mut command = Command::new(Component::KubeApiserver.find()?);
        command.args(self.flags());
        Process::start("kube-apiserver", command, &self.folder)
    }

    /// Waits until the server calls itself ready; returns the administrator's client.
    pub(crate) fn wait_ready(&self, process: &mut Process, admin: &User) -> Result<Client> {
        let mut client = None;
        until("the API server is ready", READY, || {
            process.alive()?;
            let client = match &client {
                Some(client) => client,
                // The server writes the file in one go, before it listens.
                None => match std::fs::read(self.authority()) {
                    Ok(authority) if authority.ends_with(b"-----END CERTIFICATE-----\n") => {
                        client.insert(Client::new(&self.url(), &authority, admin)?)
                    }
                    _ => return Ok(Progress::Waiting("no certificate yet".to_owned())),
                },
            };
            Ok(match client.text("/readyz") {
                Ok(_) => Progress::Done(client.clone()),
                Err(error) => Progress::Waiting(error.to_string()),
            })
        })
    }

    fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut flags = vec![
            format!("--etcd-servers={}", self.etcd),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            // Without it the server looks for an address of the machine and fails where there is none.
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", path("certificates")),
            format!("--token-auth-file={}", path("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!(
                "--service-account-signing-key-file={}",
                path("service-account.key")
            ),
            format!("--service-account-key-file={}", path("service-account.pub")),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--service-node-port-range=10000-60000".to_owned(),
            format!("--audit-policy-file={}", path("audit-policy.json")),
            format!("--audit-log-path={}", self.audit_log().display()),
            // Written before the request goes on, in one file: what has an answer is in the log.
            "--audit-log-mode=blocking".to_owned(),
            "--audit-log-maxsize=0".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        if !self.options.controller_manager {
            // Nobody makes a namespace's default service account: Pods would be refused. And nobody
            // takes the taint of new nodes away.
            let without = "ServiceAccount,TaintNodesByCondition";
            flags.push(format!("--disable-admission-plugins={without}"));
        }
        if !self.options.feature_gates.is_empty() {
            flags.push(format!(
                "--feature-gates={}",
                self.options.feature_gates.join(",")
            ));
        }
        flags.extend(self.options.flags.iter().cloned());
        flags
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// Metadata of every request but the server's own and the probes.
fn audit_policy() -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "rules": [
            { "level": "None", "users": ["system:apiserver"] },
            { "level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"] },
            // Both stages of each: what was received is in the log before it is answered.
            { "level": "Metadata" },
        ],
    })
    .to_string()
}

/// `token,name,uid,"group,group"`.
fn token_line(user: &User) -> String {
    format!(
        "{},{},{},\"{}\"\n",
        user.token,
        user.name,
        user.name,
        user.groups.join(",")
    )
}
