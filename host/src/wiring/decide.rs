//! The engine's `Decide` over the wasm runtime: pure hooks on blocking guest threads.

use crate::outgoing::{Client, ReadSecret};
use async_trait::async_trait;
use kybern_interface::{HookError, Plan, Sensing, Situation, Trigger};
use kybern_plugin::{Call, CallError, CallLimits, NamedAnswer, Plugin, Usage};
use kybern_reconcile::{Active, Answer, Crash, Decide, DecideError};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One loaded plugin and what its calls may use.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) plugin: Plugin,
    pub(super) limits: CallLimits,
}

/// What calls of one registration used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallTotals {
    /// Calls that ended.
    pub(crate) calls: u64,
    /// Of these: trapped or ran out of a limit.
    pub(crate) crashes: u64,
    /// CPU nanoseconds of all calls.
    pub(crate) cpu_nanos: u128,
    /// Largest memory of any call, bytes.
    pub(crate) peak_memory: usize,
    /// Messages that were dropped.
    pub(crate) log_dropped: u64,
    /// Rows of answers that they read.
    pub(crate) rows: u64,
}

/// The loaded plugins, by (registration, digest): old and new live side by side during a switch.
#[derive(Clone, Default)]
pub(crate) struct Guests {
    loaded: Arc<RwLock<HashMap<(String, String), Loaded>>>,
    totals: Arc<RwLock<HashMap<String, CallTotals>>>,
    running: Arc<AtomicUsize>,
    strict: bool,
    /// Sends the requests of act hooks; none sends none.
    client: Option<Client>,
    /// Reads the secrets that they refer to.
    secrets: Option<Arc<dyn ReadSecret>>,
}

impl Guests {
    /// `strict` calls each decide twice and compares.
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    /// The same, whose act hooks may send what is granted.
    pub(crate) fn with_client(self, client: Client) -> Self {
        Self {
            client: Some(client),
            ..self
        }
    }

    /// The same, whose requests may refer to secrets that this reads.
    pub(crate) fn with_secrets(self, reader: impl ReadSecret + 'static) -> Self {
        Self {
            secrets: Some(Arc::new(reader)),
            ..self
        }
    }

    pub(super) fn secrets(&self) -> Option<Arc<dyn ReadSecret>> {
        self.secrets.clone()
    }

    pub(super) fn client(&self) -> Option<Client> {
        self.client.clone()
    }

    /// Makes a plugin callable for a registration.
    pub(crate) fn insert(&self, registration: &str, plugin: Plugin, limits: CallLimits) {
        let key = (registration.to_owned(), plugin.digest().to_owned());
        self.loaded.write().insert(key, Loaded { plugin, limits });
    }

    /// Forgets what a registration loaded, apart from the digests to keep.
    pub(crate) fn retain(&self, registration: &str, keep: &[String]) {
        self.loaded
            .write()
            .retain(|(name, digest), _| name != registration || keep.contains(digest));
        if keep.is_empty() {
            self.totals.write().remove(registration);
        }
    }

    /// What calls used so far, by registration.
    pub(crate) fn totals(&self) -> HashMap<String, CallTotals> {
        self.totals.read().clone()
    }

    /// How many components are loaded.
    pub(crate) fn loaded(&self) -> usize {
        self.loaded.read().len()
    }

    /// Bytes of their machine code.
    pub(crate) fn code_bytes(&self) -> usize {
        let loaded = self.loaded.read();
        let by_digest: BTreeMap<&str, usize> = loaded
            .iter()
            .map(|((_, digest), loaded)| (digest.as_str(), loaded.plugin.code_bytes()))
            .collect();
        by_digest.into_values().sum()
    }

    /// Calls under way, those that wait for an instance included.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// What a call of each registration may use.
    pub(crate) fn limits(&self) -> BTreeMap<String, CallLimits> {
        let loaded = self.loaded.read();
        let limits = loaded
            .iter()
            .map(|((name, _), loaded)| (name.clone(), loaded.limits.clone()));
        limits.collect()
    }

    fn get(&self, active: &Active) -> Result<Loaded, DecideError> {
        let key = (active.name().to_owned(), active.digest.clone());
        self.loaded
            .read()
            .get(&key)
            .cloned()
            .ok_or_else(|| DecideError::Crashed {
                kind: Crash::Busy,
                message: format!(
                    "{} is being switched; the pass is tried again",
                    active.name()
                ),
            })
    }

    fn count(&self, registration: &str, usage: &Usage, crashed: bool) {
        let mut totals = self.totals.write();
        let total = totals.entry(registration.to_owned()).or_default();
        total.calls += 1;
        total.crashes += u64::from(crashed);
        total.cpu_nanos += usage.time.as_nanos();
        total.peak_memory = total.peak_memory.max(usage.peak_memory);
        total.log_dropped += u64::from(usage.log_dropped);
        total.rows += usage.rows;
    }

    /// Runs one call on a blocking thread.
    pub(super) async fn call<F>(&self, active: &Active, call: F) -> Result<String, DecideError>
    where
        F: FnOnce(Loaded) -> Call<String> + Send + 'static,
    {
        let loaded = self.get(active)?;
        let running = Running::one_more(&self.running);
        // It counts until it ends, also when nobody waits for it any more.
        let work = move || {
            let _running = running;
            call(loaded)
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| {
            crashed(
                Crash::Trap,
                "the call was abandoned while the host shut down",
            )
        })?;
        let result = done.result.map_err(failure);
        let crash = matches!(result, Err(DecideError::Crashed { kind, .. }) if kind != Crash::Busy);
        self.count(active.name(), &done.usage, crash);
        result
    }
}

/// One call under way.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn one_more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Decide for Guests {
    async fn sense(
        &self,
        active: &Active,
        trigger: Trigger,
        answers: &[Answer],
    ) -> Result<Sensing, DecideError> {
        let document = document(&trigger)?;
        let rows = named(answers);
        let answer = self
            .call(active, move |loaded| {
                loaded.plugin.sense(&document, rows, &loaded.limits)
            })
            .await?;
        serde_json::from_str(&answer).map_err(|error| {
            crashed(
                Crash::Output,
                format!("sense returned no sensing document: {error}"),
            )
        })
    }

    async fn decide(
        &self,
        active: &Active,
        situation: Situation,
        answers: &[Answer],
    ) -> Result<Plan, DecideError> {
        let document = document(&situation)?;
        let rows = named(answers);
        let strict = self.strict;
        let plan = self
            .call(active, move |loaded| {
                if strict {
                    loaded.plugin.decide_strict(&document, rows, &loaded.limits)
                } else {
                    loaded.plugin.decide(&document, rows, &loaded.limits)
                }
            })
            .await?;
        kybern_reconcile::parse_plan(&plan)
    }
}

/// The answers as a guest reads them; rows are shared, not copied.
fn named(answers: &[Answer]) -> Vec<NamedAnswer> {
    let named = answers.iter().map(|answer| NamedAnswer {
        name: answer.name.clone(),
        schema: Arc::clone(&answer.schema),
        batches: answer.batches.clone(),
    });
    named.collect()
}

/// A document as JSON.
pub(super) fn document<T: serde::Serialize>(value: &T) -> Result<String, DecideError> {
    serde_json::to_string(value).map_err(|error| {
        DecideError::Hook(HookError::Internal(format!(
            "the host could not write the document: {error}"
        )))
    })
}

pub(super) fn crashed(kind: Crash, message: impl Into<String>) -> DecideError {
    DecideError::Crashed {
        kind,
        message: message.into(),
    }
}

/// The engine's word for how a call ended.
fn failure(error: CallError) -> DecideError {
    let message = error.to_string();
    match error {
        CallError::Hook(hook) => DecideError::Hook(hook),
        CallError::Trap { .. } | CallError::NotPure { .. } | CallError::NoHook { .. } => {
            crashed(Crash::Trap, message)
        }
        CallError::OutOfTime { .. } => crashed(Crash::Time, message),
        CallError::OutOfMemory { .. } => crashed(Crash::Memory, message),
        CallError::OutputTooLarge { .. } | CallError::MalformedOutput { .. } => {
            crashed(Crash::Output, message)
        }
        CallError::Busy | CallError::Stopped | CallError::Host { .. } => {
            crashed(Crash::Busy, message)
        }
    }
}
