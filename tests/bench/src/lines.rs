//! The harness's own watches of a real API server.

use crate::clock::now;
use crate::listing;
use anyhow::Result;
use http_body_util::BodyExt;
use kube::client::Body;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What watches fill in, until it is dropped.
pub(crate) struct Watching<S> {
    state: Arc<Mutex<Filled<S>>>,
    _runtime: Runtime,
}

/// A state, and why it is not kept up any more.
#[derive(Debug, Default)]
struct Filled<S> {
    state: S,
    broken: Option<String>,
}

/// Takes a line of the watch with this number, read at that time.
type Take<S> = fn(&mut S, usize, &[u8], Duration) -> Result<()>;

impl<S: Default + Send + 'static> Watching<S> {
    /// Watches these paths as the user of that file.
    pub(crate) fn start(kubeconfig: &Path, paths: &[&str], take: Take<S>) -> Result<Watching<S>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let state = Arc::<Mutex<Filled<S>>>::default();
        let client = runtime.block_on(listing::client(kubeconfig))?;
        for (number, path) in paths.iter().enumerate() {
            let path = format!("{path}?watch=true&timeoutSeconds=3600");
            let body = runtime.block_on(listing::get(&client, &path))?;
            let state = Arc::clone(&state);
            runtime.spawn(async move {
                let each = |line: &[u8], at| take(&mut lock(&state).state, number, line, at);
                let error = match follow(body, each).await {
                    Ok(()) => "a watch of the harness ended".to_owned(),
                    Err(error) => format!("{error:#}"),
                };
                lock(&state).broken = Some(error);
            });
        }
        Ok(Watching {
            state,
            _runtime: runtime,
        })
    }

    /// What there is.
    ///
    /// # Errors
    /// A watch has ended.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&S) -> T) -> Result<T> {
        let filled = lock(&self.state);
        match &filled.broken {
            Some(error) => anyhow::bail!("{error}"),
            None => Ok(look(&filled.state)),
        }
    }
}

fn lock<S>(state: &Mutex<Filled<S>>) -> MutexGuard<'_, Filled<S>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(mut body: Body, mut each: impl FnMut(&[u8], Duration) -> Result<()>) -> Result<()> {
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        buffer.extend_from_slice(data);
        let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        let rest = buffer.split_off(end + 1);
        let at = now()?;
        for line in buffer.split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                each(line, at)?;
            }
        }
        buffer = rest;
    }
    Ok(())
}
