//! One running control plane.

use crate::apiserver::ApiServer;
use crate::audit::Audit;
use crate::client::Client;
use crate::etcd::Etcd;
use crate::options::Options;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::store::Store;
use crate::user::User;
use crate::{controllers, crd, keys, kubeconfig, kwok, ports};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Somebody else may take a chosen port before it is used.
const TRIES: u32 = 3;

/// A running control plane; ends when it is dropped or when the process ends.
pub struct ControlPlane {
    // Dropped in this order: who asks, before who answers.
    others: Vec<Process>,
    server_process: Mutex<Option<Process>>,
    server: ApiServer,
    etcd: Etcd,
    users: Vec<User>,
    authority: Vec<u8>,
    client: Client,
    audit: Audit,
    scratch: Scratch,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready: about 4 s, more with controllers.
    ///
    /// # Errors
    /// A program is missing and cannot be built, or does not become ready; the message holds the end of its log.
    pub fn start(options: Options) -> Result<Self> {
        let mut tries = 1;
        loop {
            match Self::try_start(&options) {
                Err(error) if tries < TRIES && port_was_taken(&error) => tries += 1,
                other => return other,
            }
        }
    }

    fn try_start(options: &Options) -> Result<Self> {
        let scratch = Scratch::create()?;
        let users = options.make_users()?;
        let admin = users.first().context("there is an administrator")?;
        let etcd = Etcd::start(scratch.path())?;
        let [port] = ports::free()?;
        let server = ApiServer::prepare(scratch.path(), &etcd.url, port, options, &users)?;
        let mut process = server.start()?;
        let client = server.wait_ready(&mut process, admin)?;
        let authority = std::fs::read(server.authority()).context("read the certificate")?;
        let mut plane = Self {
            others: Vec::new(),
            server_process: Mutex::new(Some(process)),
            audit: Audit::new(server.audit_log(), client.clone()),
            server,
            etcd,
            users,
            authority,
            client,
            scratch,
        };
        plane.start_others(options)?;
        Ok(plane)
    }

    fn start_others(&mut self, options: &Options) -> Result<()> {
        let folder = self.scratch.path();
        // Who they are tells their requests apart in the audit log.
        let kubeconfig = |name: &str| -> Result<PathBuf> {
            let user = User::service_account(&self.client, "kube-system", name)?;
            let role = format!("test:{name}");
            user.grant(&self.client, &role, &everything())?;
            self.kubeconfig(&user)
        };
        let mut started = Vec::new();
        if options.controller_manager {
            let config = kubeconfig("controllers")?;
            let (key, authority) = (self.server.signing_key(), self.server.authority());
            started.push(controllers::manager(folder, &config, &key, &authority)?);
        }
        if options.nodes > 0 {
            let mut kwok = kwok::start(folder, &kubeconfig("nodes")?)?;
            started.push(controllers::scheduler(folder, &kubeconfig("scheduler")?)?);
            kwok::add_nodes(&self.client, options.nodes, &mut kwok)?;
            started.push(kwok);
        }
        self.others = started;
        Ok(())
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Directory with the logs (`<program>.log`) and data; goes with the control plane.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// A certificate for 127.0.0.1, with that of the private authority that signed it, and its key:
    /// what the API server made for itself, as PEM files.
    #[must_use]
    pub fn certificate(&self) -> (PathBuf, PathBuf) {
        let certificate = self.server.authority();
        let key = certificate.with_extension("key");
        (certificate, key)
    }

    /// The administrator's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client of `user`.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub fn client_of(&self, user: &User) -> Result<Client> {
        Client::new(&self.url(), &self.authority, user)
    }

    /// The user of the token file called `name`: `admin`, or one of [`Options::user`].
    ///
    /// # Errors
    /// There is none.
    pub fn user(&self, name: &str) -> Result<&User> {
        self.users
            .iter()
            .find(|user| user.name() == name)
            .with_context(|| format!("no user {name}: add it to the options"))
    }

    /// Creates a service account; without [`ControlPlane::grant`] it may nothing.
    ///
    /// # Errors
    /// The API server's.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<User> {
        User::service_account(&self.client, namespace, name)
    }

    /// Lets `user` do what `rules`, those of a ClusterRole, say; a second call replaces the first.
    ///
    /// # Errors
    /// The API server's.
    pub fn grant(&self, user: &User, rules: &Value) -> Result<()> {
        user.grant(&self.client, &format!("test:{}", user.name()), rules)
    }

    /// Writes a kubeconfig for `user` and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig(&self, user: &User) -> Result<PathBuf> {
        kubeconfig::write(self.folder(), &self.url(), &self.authority, user)
    }

    /// Writes the administrator's kubeconfig and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn admin_kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig(self.user("admin")?)
    }

    /// Creates a namespace called `<prefix>-<random>`, so that tests on one control plane keep apart.
    ///
    /// # Errors
    /// The API server's.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{}", keys::hex(&keys::random::<4>()?));
        self.client.create(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
        }))?;
        Ok(name)
    }

    /// Applies a CustomResourceDefinition and waits until its kinds are served.
    ///
    /// # Errors
    /// The API server's, or it is not established in time.
    pub fn install_crd(&self, definition: &Value) -> Result<()> {
        crd::install(&self.client, definition)
    }

    /// The same for the definition called `name` as YAML, such as `kybern crd` prints.
    ///
    /// # Errors
    /// As of [`ControlPlane::install_crd`].
    pub fn install_crd_yaml(&self, name: &str, yaml: &str) -> Result<()> {
        crd::install_yaml(&self.client, name, yaml)
    }

    /// The store under the API server.
    #[must_use]
    pub fn store(&self) -> Store<'_> {
        Store::new(&self.etcd)
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Kills the API server; its data and port stay.
    ///
    /// # Errors
    /// The operating system's.
    pub fn stop_api_server(&self) -> Result<()> {
        let mut slot = self.server_slot();
        if let Some(mut process) = slot.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts the API server again on the same port and waits until it is ready.
    ///
    /// # Errors
    /// It runs, or it does not become ready.
    pub fn start_api_server(&self) -> Result<()> {
        let mut slot = self.server_slot();
        ensure!(slot.is_none(), "the API server runs");
        let mut process = self.server.start()?;
        self.server.wait_ready(&mut process, self.user("admin")?)?;
        *slot = Some(process);
        Ok(())
    }

    /// Stops and starts the API server: every watch breaks.
    ///
    /// # Errors
    /// As of the two.
    pub fn restart_api_server(&self) -> Result<()> {
        self.stop_api_server()?;
        self.start_api_server()
    }

    /// The API server's process, while it runs.
    #[must_use]
    pub fn api_server_id(&self) -> Option<u32> {
        self.server_slot().as_ref().map(Process::id)
    }

    /// Process ids of all children.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        let server = self.server_slot();
        self.others
            .iter()
            .chain(server.as_ref())
            .map(Process::id)
            .chain(self.etcd.process_id())
            .collect()
    }

    fn server_slot(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.server_process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane")
            .field("url", &self.url())
            .field("folder", &self.folder())
            .finish_non_exhaustive()
    }
}

/// RBAC rules that allow everything.
fn everything() -> Value {
    json!([
        { "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] },
        { "nonResourceURLs": ["*"], "verbs": ["*"] },
    ])
}

fn port_was_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}
