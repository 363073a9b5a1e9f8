//! What the API server's store does and the API server lets nobody ask for: many objects at once,
//! compaction, restore.

use crate::etcd::Etcd;
use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use ureq::Agent;

/// Who write many values at the same time.
const WRITERS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(30);

/// The API server's store, by its own interface.
pub struct Store<'p> {
    etcd: &'p Etcd,
    agent: Agent,
}

/// A copy of the store's data at one moment; goes with the control plane.
#[derive(Debug)]
pub struct StoreCopy(PathBuf);

impl<'p> Store<'p> {
    pub(crate) fn new(etcd: &'p Etcd) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        Self { etcd, agent }
    }

    /// Writes values (an object's JSON does) at keys, such as `/registry/pods/<namespace>/<name>`,
    /// in no certain order. Nothing checks them. Each gets a revision of its own, as from an API
    /// server: whoever lists or watches while several share one may see some of them and never hear
    /// of the others.
    ///
    /// # Errors
    /// The store's.
    pub fn put<P>(&self, pairs: P) -> Result<()>
    where
        P: IntoIterator<Item = (String, String)>,
        P::IntoIter: Send,
    {
        let pairs = Mutex::new(pairs.into_iter());
        let next = || pairs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let write = || -> Result<()> {
            while let Some((key, value)) = next() {
                let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
                self.ask("/v3/kv/put", &json!({ "key": key, "value": value }))?;
            }
            Ok(())
        };
        std::thread::scope(|threads| {
            let writers: Vec<_> = (0..WRITERS).map(|_| threads.spawn(write)).collect();
            writers.into_iter().try_for_each(|writer| {
                writer
                    .join()
                    .map_err(|_| anyhow!("a writer of the store panicked"))?
            })
        })
    }

    /// The revision that it is at: what resourceVersions are.
    ///
    /// # Errors
    /// The store's.
    pub fn revision(&self) -> Result<u64> {
        let key = STANDARD.encode("/");
        let answer = self.ask("/v3/kv/range", &json!({ "key": key }))?;
        let revision = answer.pointer("/header/revision").and_then(Value::as_str);
        Ok(revision.context("a revision")?.parse()?)
    }

    /// Raises the revision to at least this, one write at a time, without touching an object.
    ///
    /// # Errors
    /// The store's.
    pub fn raise_revision(&self, to: u64) -> Result<()> {
        let body = json!({ "key": STANDARD.encode("/raised"), "value": "" });
        for _ in self.revision()?..to {
            self.ask("/v3/kv/put", &body)?;
        }
        Ok(())
    }

    /// Forgets all history before the present revision: watches from earlier ones get 410 once the
    /// API server does not remember them either.
    ///
    /// # Errors
    /// The store's.
    pub fn compact(&self) -> Result<()> {
        let revision = self.revision()?.to_string();
        self.ask("/v3/kv/compaction", &json!({ "revision": revision }))?;
        Ok(())
    }

    /// Copies the data. The store is away meanwhile, for about a second.
    ///
    /// # Errors
    /// A file cannot be copied, or the store does not come back.
    pub fn copy(&self) -> Result<StoreCopy> {
        Ok(StoreCopy(self.etcd.copy()?))
    }

    /// Makes the store what it was. Stop the API server before: its caches know the lost history.
    ///
    /// # Errors
    /// As of [`Store::copy`].
    pub fn restore(&self, copy: &StoreCopy) -> Result<()> {
        self.etcd.restore(&copy.0)
    }

    fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.etcd.url);
        let mut answer = self
            .agent
            .post(url)
            .send(body.to_string())
            .with_context(|| format!("etcd: POST {path}"))?;
        let text = answer.body_mut().read_to_string()?;
        let code = answer.status().as_u16();
        ensure!(code == 200, "etcd: POST {path}: {code}: {text}");
        serde_json::from_str(&text).with_context(|| format!("etcd: POST {path}: no JSON"))
    }
}

impl std::fmt::Debug for Store<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.etcd.url)
            .finish()
    }
}
