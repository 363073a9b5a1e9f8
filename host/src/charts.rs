//! Charts for plugins that ask for the capability `render`: Helm's engine, and what it is told of the cluster.
//!
//! # Contract
//! The engine is compiled beside everything else when the first registration needs it, never in a pass;
//! until then registrations that need it say so. What charts see of the cluster (`.Capabilities`) is what was
//! served when this process began, so that a chart renders the same while nothing of its own changes.
//! Passwords that charts make follow from a [secret](Secret), which is the same for all replicas and after
//! each start.

mod secret;

pub(crate) use secret::Secret;

use crate::clock;
use anyhow::{Context, anyhow};
use kybern_helm::{Config, Engine, EngineFile, Limits, PrepareError, RenderError};
use kybern_kube::{Cluster, discover};
use kybern_plugin::{LoadError, ModulesConfig, Render, RenderFailure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// How long to wait before the cluster is asked again for what charts need of it.
const AGAIN: Duration = Duration::from_secs(2);

/// The longest such pause: it grows while the cluster does not give it.
const AT_MOST: Duration = Duration::from_secs(10);

/// What commands that know no cluster tell charts.
const KUBE_VERSION: &str = "v1.35.0";

/// Renders charts, once there is an engine.
#[derive(Debug, Clone)]
pub(crate) struct Charts {
    module: EngineFile,
    modules: ModulesConfig,
    secret: Secret,
    /// What it waits for.
    waits: Arc<Mutex<String>>,
    /// Somebody needs it.
    wanted: Arc<Notify>,
    ready: Arc<OnceLock<Result<Ready, String>>>,
}

/// The engine, and what it is told.
#[derive(Debug)]
struct Ready {
    engine: Engine,
    capabilities: Value,
}

/// The engine's module that a command uses: the one that is named, or the one beside the guests, the
/// program, or in the place of the image.
pub(crate) fn find(named: Option<&EngineFile>) -> Option<EngineFile> {
    let beside = |folder: PathBuf| EngineFile::beside(&folder);
    let guests = crate::environment::guests().and_then(beside);
    let program = crate::environment::program_folder;
    let named = named.cloned().or(guests);
    named.or_else(|| program().and_then(beside))
}

impl Charts {
    /// With this module; nothing is read yet.
    pub(crate) fn new(module: EngineFile, modules: ModulesConfig, secret: Secret) -> Self {
        let waits = "Helm's engine is being compiled".to_owned();
        Self {
            module,
            modules,
            secret,
            waits: Arc::new(Mutex::new(waits)),
            wanted: Arc::default(),
            ready: Arc::default(),
        }
    }

    /// As a runtime holds it.
    pub(crate) fn shared(self) -> Arc<dyn Render> {
        Arc::new(self)
    }

    /// Gets the engine ready as soon as somebody needs it.
    pub(crate) async fn prepare(self, cluster: Cluster) {
        self.wanted.notified().await;
        let mut pause = AGAIN;
        let (secret, capabilities) = loop {
            match self.ask(&cluster).await {
                Ok(answers) => break answers,
                Err(error) => self.waits_for(format!("charts cannot be rendered yet: {error:#}")),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AT_MOST);
        };
        self.waits_for("Helm's engine is being compiled".to_owned());
        let made = loop {
            let (preparing, secret) = (self.clone(), secret.clone());
            let capabilities = capabilities.clone();
            let made = move || preparing.make(&secret, capabilities);
            let made = tokio::task::spawn_blocking(made).await;
            match made.unwrap_or_else(|_| Err(anyhow!("it was interrupted"))) {
                Err(error) if may_pass(&error) => {
                    self.waits_for(format!("Helm's engine is compiled again: {error:#}"));
                }
                made => break made,
            }
            tokio::time::sleep(AGAIN).await;
        };
        let made = made.map_err(|error| format!("{error:#}"));
        if let Err(error) = &made {
            tracing::error!(
                error,
                "Helm's engine cannot be used; charts are not rendered"
            );
        }
        let _ = self.ready.set(made);
    }

    /// What the cluster has for charts.
    async fn ask(&self, cluster: &Cluster) -> anyhow::Result<(Vec<u8>, Value)> {
        // The dearer question is asked once the other is answered.
        let secret = self.secret.read(cluster).await?;
        let capabilities = capabilities(cluster).await;
        let capabilities = capabilities.context("what the cluster serves cannot be read")?;
        Ok((secret, capabilities))
    }

    /// Says it to who asks, and once in the log.
    fn waits_for(&self, what: String) {
        let mut waits = self.waits.lock();
        if *waits != what {
            tracing::warn!("{what}");
            *waits = what;
        }
    }

    /// For a command that knows no cluster: ready at its first use.
    pub(crate) fn offline(self) -> Offline {
        Offline(self)
    }

    fn make(&self, secret: &[u8], capabilities: Value) -> anyhow::Result<Ready> {
        let secret = Sha256::new()
            .chain_update(b"kybern charts\0")
            .chain_update(secret)
            .finalize();
        let config = Config {
            modules: self.modules.clone(),
            limits: Limits::default(),
            secret: secret.into(),
        };
        let start = clock::monotonic();
        let engine = Engine::new(self.module.read()?, config)?;
        engine.prepare()?;
        let took = clock::monotonic().saturating_sub(start);
        tracing::info!(seconds = took.as_secs_f64(), "Helm's engine is ready");
        Ok(Ready {
            engine,
            capabilities,
        })
    }
}

/// Charts of a command that knows no cluster.
#[derive(Debug)]
pub(crate) struct Offline(Charts);

impl Render for Offline {
    fn helm(&self, request: Value, now: Duration, most: usize) -> Result<String, RenderFailure> {
        let Self(charts) = self;
        charts.ready.get_or_init(|| {
            let capabilities = json!({ "kubeVersion": KUBE_VERSION });
            let made = charts.make(&[], capabilities);
            made.map_err(|error| format!("{error:#}"))
        });
        charts.helm(request, now, most)
    }
}

impl Render for Charts {
    fn ready(&self) -> Result<(), String> {
        match self.ready.get() {
            // What is said then is said where a chart is to be rendered.
            Some(_) => Ok(()),
            None => {
                self.wanted.notify_one();
                Err(self.waits.lock().clone())
            }
        }
    }

    fn helm(
        &self,
        mut request: Value,
        now: Duration,
        most: usize,
    ) -> Result<String, RenderFailure> {
        let failed = |why: String| RenderFailure::Failed(why);
        let ready = self.ready.get();
        let ready = ready.ok_or_else(|| failed(RenderError::NotReady.to_string()))?;
        let ready = ready.as_ref().map_err(|why| failed(why.clone()))?;
        if let Some(request) = request.as_object_mut() {
            request.insert("capabilities".to_owned(), ready.capabilities.clone());
        }
        let answer = ready.engine.render(request.to_string().as_bytes(), now);
        let answer = answer.map_err(|error| failed(chain(&error)))?;
        if answer.len() > most {
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            return Err(RenderFailure::TooLarge(most));
        }
        String::from_utf8(answer.to_vec()).map_err(|_| failed("its answer is no text".to_owned()))
    }
}

/// Whether its process was ended because its memory was needed.
fn may_pass(error: &anyhow::Error) -> bool {
    let Some(PrepareError::Compile(why)) = error.downcast_ref() else {
        return false;
    };
    matches!(&**why, LoadError::NotCompiled { .. })
}

fn chain(error: &RenderError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What charts see as `.Capabilities`.
async fn capabilities(cluster: &Cluster) -> anyhow::Result<Value> {
    let version = cluster.get_path("/version").await?;
    let version: Value = serde_json::from_slice(&version)?;
    let version = version.get("gitVersion").and_then(Value::as_str);
    let served = discover(cluster).await?;
    let mut all = BTreeSet::new();
    for resource in &served.resources {
        let api_version = resource.api_version();
        all.insert(format!("{api_version}/{}", resource.kind));
        all.insert(api_version);
    }
    Ok(json!({
        "kubeVersion": version.context("the API server does not say its version")?,
        "apiVersions": all,
    }))
}
