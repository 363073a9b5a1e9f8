//! The secret from which passwords and keys that charts make follow.
//!
//! # Contract
//! Unless a file is named it is the Secret `<name of the Lease>-charts` in the host's own namespace. The first
//! replica that needs it makes it, or fills the empty one that the host's chart brings; nobody changes it
//! after that, because every password would change with it. Whoever deletes it gets new passwords.

use crate::registration::report::MANAGER;
use anyhow::{Context, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use kybern_kube::{
    AlwaysLeader, Cluster, PatchOptions, RequestError, Resource, Target, WriteOptions, Writes,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// The entry of the Secret's data.
const SEED: &str = "seed";

/// How long a seed is that the host makes, in bytes.
const LENGTH: usize = 32;

/// How short a seed may be that somebody else made, in bytes.
const LEAST: usize = 16;

/// How often another replica may have been faster.
const ROUNDS: usize = 5;

/// Where the secret is.
#[derive(Debug, Clone)]
pub(crate) enum Secret {
    /// In a file that somebody mounts.
    File(PathBuf),
    /// In a Secret of the cluster.
    Object {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Nowhere: a command that shows what a chart renders needs none.
    None,
}

impl Secret {
    /// That of a file, or else beside the Lease of this name.
    pub(crate) fn new(file: Option<PathBuf>, namespace: &str, lease: &str) -> Self {
        match file {
            Some(file) => Self::File(file),
            None => Self::Object {
                namespace: namespace.to_owned(),
                name: format!("{lease}-charts"),
            },
        }
    }

    /// What it is; made if it is not there yet.
    pub(crate) async fn read(&self, cluster: &Cluster) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::File(path) => {
                let (path, place) = (path.clone(), path);
                let read = move || {
                    let at = || format!("{}: cannot be read (--helm-secret)", path.display());
                    std::fs::read(&path).with_context(at)
                };
                long_enough(tokio::task::spawn_blocking(read).await??)
                    .with_context(|| format!("{} (--helm-secret)", place.display()))
            }
            Self::Object { namespace, name } => {
                let seed = object(cluster, namespace, name).await;
                seed.with_context(|| {
                    format!(
                        "passwords that charts make follow from the Secret {namespace}/{name}; \
                         let the host get and patch it (`helm upgrade` brings it back), \
                         or give the host --helm-secret FILE"
                    )
                })
            }
            Self::None => Ok(Vec::new()),
        }
    }
}

fn long_enough(seed: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    match seed.len() {
        length if length < LEAST => bail!("it has {length} bytes, and at least {LEAST} are needed"),
        _ => Ok(seed),
    }
}

async fn object(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    let secrets = Resource::new("", "v1", "Secret", "secrets", true);
    let target = Target::new(&secrets, Some(namespace), name);
    // Each replica may: whose write comes first is decided by the API server.
    let writes = Writes::new(cluster.clone(), Arc::new(AlwaysLeader));
    for _ in 0..ROUNDS {
        let found = match cluster.get(&target).await {
            Ok(found) => Some(serde_json::from_slice::<Value>(&found)?),
            Err(RequestError::Api(error)) if error.is_not_found() => None,
            Err(error) => bail!("it cannot be read: {}", error.chain()),
        };
        if let Some(seed) = found.as_ref().and_then(|found| found.pointer("/data/seed")) {
            let seed = seed.as_str().unwrap_or_default();
            let seed = STANDARD.decode(seed).context("data.seed is no base64")?;
            return long_enough(seed).context("data.seed");
        }
        let mut fresh = [0; LENGTH];
        getrandom::fill(&mut fresh).context("the system gives no random bytes")?;
        let fresh = STANDARD.encode(fresh);
        let written = match &found {
            None => {
                let body = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": { "name": name },
                    "immutable": true,
                    "data": { SEED: fresh },
                });
                let body = Bytes::from(body.to_string());
                let options = WriteOptions::by(MANAGER);
                writes
                    .create(&secrets, Some(namespace), body, &options)
                    .await
            }
            Some(empty) => {
                let body = json!({
                    "metadata": { "resourceVersion": empty.pointer("/metadata/resourceVersion") },
                    "immutable": true,
                    "data": { SEED: fresh },
                });
                let body = Bytes::from(body.to_string());
                let options = PatchOptions {
                    write: WriteOptions::by(MANAGER),
                    subresource: None,
                };
                writes.merge_patch(&target, body, &options).await
            }
        };
        match written {
            // Read again: what is kept is what counts.
            Ok(_) => tracing::info!(namespace, name, "a secret for charts was made"),
            Err(RequestError::Api(error)) if error.is_conflict() || error.is_already_exists() => {}
            Err(error) => bail!("it cannot be made: {}", error.chain()),
        }
    }
    bail!("it was changed {ROUNDS} times while it was made")
}
