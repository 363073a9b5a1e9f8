//! The connection to one Kubernetes cluster.

use std::{path::Path, sync::Arc, time::Duration};

use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use parking_lot::{Mutex, RwLock};

/// Between two times that credentials are read again.
const RENEW: Duration = Duration::from_secs(10);

/// Cannot set up the connection. None of these is cured by a retry.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Neither a kubeconfig nor a service account was found.
    #[error(
        "no cluster is configured: there is no usable kubeconfig and this is no pod with a service account"
    )]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The kubeconfig exists and cannot be used.
    #[error("the kubeconfig cannot be used{}", in_context(.context.as_deref()))]
    Kubeconfig {
        /// The context that was asked for.
        context: Option<String>,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// There is no tokio runtime that the connections could live in.
    #[error("a connection to a cluster needs a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The client cannot be built, for example because of a bad certificate.
    #[error("the client for {server} cannot be built")]
    Client {
        /// URL of the API server.
        server: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

fn in_context(context: Option<&str>) -> String {
    context
        .map(|name| format!(" (context \"{name}\")"))
        .unwrap_or_default()
}

/// Bounds of a connection.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Sent as `User-Agent`; `kybern/<version>` unless told.
    pub user_agent: String,
    /// For connecting, TLS included; 10 s unless told.
    pub connect_timeout: Duration,
    /// For one whole request that is no watch; 30 s unless told. Writes have their own.
    pub request_timeout: Duration,
    /// Largest accepted body of one answer that is no watch, in bytes; 64 MiB unless told.
    pub max_answer_bytes: usize,
}

impl Default for ClusterConfig {
    fn default() -> ClusterConfig {
        ClusterConfig {
            user_agent: concat!("kybern/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_answer_bytes: 64 << 20,
        }
    }
}

/// A cluster that can be asked. Clones share one pool of connections.
///
/// Must be created inside a tokio runtime, and used only while that runtime lives.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    limits: ClusterConfig,
    runtime: tokio::runtime::Handle,
    client: RwLock<Client>,
    /// When credentials were last read again because of a 401, since boot.
    renewed: Mutex<Option<Duration>>,
}

impl Cluster {
    /// Finds the cluster as kubectl does: `KUBECONFIG`, `~/.kube/config`, else the pod's service
    /// account. With a context, only a kubeconfig will do.
    ///
    /// # Errors
    /// [`ClusterError`], when there is none or it cannot be used.
    pub async fn infer(context: Option<&str>) -> Result<Cluster, ClusterError> {
        let config = match context {
            None => Config::infer()
                .await
                .map_err(|source| ClusterError::Infer(Box::new(source)))?,
            Some(name) => Config::from_kubeconfig(&options(Some(name)))
                .await
                .map_err(|source| ClusterError::Kubeconfig {
                    context: Some(name.to_owned()),
                    source: Box::new(source),
                })?,
        };
        Cluster::from_config(config, ClusterConfig::default())
    }

    /// Uses the given kubeconfig file, and its current context unless one is named.
    ///
    /// # Errors
    /// [`ClusterError`], when the file cannot be read or used.
    pub async fn from_kubeconfig_path(
        path: &Path,
        context: Option<&str>,
    ) -> Result<Cluster, ClusterError> {
        let fail = |source| ClusterError::Kubeconfig {
            context: context.map(str::to_owned),
            source: Box::new(source),
        };
        let file = Kubeconfig::read_from(path).map_err(fail)?;
        let config = Config::from_custom_kubeconfig(file, &options(context))
            .await
            .map_err(fail)?;
        Cluster::from_config(config, ClusterConfig::default())
    }

    /// Uses a ready configuration of kube-rs.
    ///
    /// # Errors
    /// [`ClusterError`], when no client can be built from it, or outside of a runtime.
    pub fn from_config(mut config: Config, limits: ClusterConfig) -> Result<Cluster, ClusterError> {
        config.connect_timeout = Some(limits.connect_timeout);
        // A read timeout would end quiet watches, and a retry inside the client would send a write
        // again without asking the fence.
        config.read_timeout = None;
        config.default_retry = false;
        if let Ok(agent) = http::HeaderValue::from_str(&limits.user_agent) {
            config
                .headers
                .retain(|(name, _)| name != http::header::USER_AGENT);
            config.headers.push((http::header::USER_AGENT, agent));
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(ClusterError::NoRuntime)?;
        let client = build(&config)?;
        Ok(Cluster {
            inner: Arc::new(Inner {
                config,
                limits,
                runtime,
                client: RwLock::new(client),
                renewed: Mutex::default(),
            }),
        })
    }

    /// The same cluster over new connections that belong to the runtime of the caller.
    pub(crate) fn in_this_runtime(&self) -> Result<Cluster, ClusterError> {
        Cluster::from_config(self.inner.config.clone(), self.inner.limits.clone())
    }

    /// URL of the API server.
    #[must_use]
    pub fn server(&self) -> String {
        self.inner.config.cluster_url.to_string()
    }

    /// The namespace of the context, or of the pod.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        &self.inner.config.default_namespace
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &ClusterConfig {
        &self.inner.limits
    }

    /// Forgets all pooled connections: requests from now on open new ones. Requests that run keep
    /// theirs until they end. Used after the machine slept, when no connection can be trusted.
    ///
    /// # Errors
    /// [`ClusterError::Client`], when the client cannot be built again; the old one stays.
    pub fn close_connections(&self) -> Result<(), ClusterError> {
        let entered = self.inner.runtime.enter();
        let client = build(&self.inner.config)?;
        drop(entered);
        *self.inner.client.write() = client;
        Ok(())
    }

    /// The API server does not know who asks: credentials are read again, at most every
    /// [`RENEW`]. kube-rs reads a token file again when the wall clock says that it is time: with a
    /// clock that was put back, it would go on with a token that has expired.
    pub(crate) fn unauthorized(&self, now: Duration) {
        let mut renewed = self.inner.renewed.lock();
        if renewed.is_some_and(|at| now.saturating_sub(at) < RENEW) {
            return;
        }
        *renewed = Some(now);
        if let Err(error) = self.close_connections() {
            tracing::warn!(
                error = crate::api_error::chain(&error),
                "cannot read the credentials again"
            );
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.inner.client.read().clone()
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server())
            .finish_non_exhaustive()
    }
}

fn build(config: &Config) -> Result<Client, ClusterError> {
    Ok(ClientBuilder::try_from(config.clone())
        .map_err(|source| ClusterError::Client {
            server: config.cluster_url.to_string(),
            source: Box::new(source),
        })?
        .build())
}

fn options(context: Option<&str>) -> KubeConfigOptions {
    KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    }
}
