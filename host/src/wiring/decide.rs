//! The engine's `Decide` over the wasm runtime: pure hooks on blocking guest threads.

use async_trait::async_trait;
use kybern_interface::{HookError, Plan, Sensing, Situation, Trigger};
use kybern_plugin::{Call, CallError, CallLimits, NamedAnswer, Plugin, Usage};
use kybern_reconcile::{Active, Answer, Crash, Decide, DecideError};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// One loaded plugin and what its calls may use.
#[derive(Clone)]
struct Loaded {
    plugin: Plugin,
    limits: CallLimits,
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
}

/// The loaded plugins, by (registration, digest): old and new live side by side during a switch.
#[derive(Clone, Default)]
pub(crate) struct Guests {
    loaded: Arc<RwLock<HashMap<(String, String), Loaded>>>,
    totals: Arc<RwLock<HashMap<String, CallTotals>>>,
    strict: bool,
}

impl Guests {
    /// `strict` calls each decide twice and compares.
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    /// Makes a plugin callable for a registration.
    pub(crate) fn insert(&self, registration: &str, plugin: Plugin, limits: CallLimits) {
        let key = (registration.to_owned(), plugin.digest().to_owned());
        self.loaded.write().insert(key, Loaded { plugin, limits });
    }

    /// Forgets what a registration loaded, apart from the digest to keep.
    pub(crate) fn retain(&self, registration: &str, keep: Option<&str>) {
        self.loaded
            .write()
            .retain(|(name, digest), _| name != registration || Some(digest.as_str()) == keep);
        if keep.is_none() {
            self.totals.write().remove(registration);
        }
    }

    /// What calls used so far, by registration.
    pub(crate) fn totals(&self) -> HashMap<String, CallTotals> {
        self.totals.read().clone()
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
    }

    /// Runs one call on a blocking thread.
    async fn call<F>(&self, active: &Active, call: F) -> Result<String, DecideError>
    where
        F: FnOnce(Loaded) -> Call<String> + Send + 'static,
    {
        let loaded = self.get(active)?;
        let done = tokio::task::spawn_blocking(move || call(loaded))
            .await
            .map_err(|_| {
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

#[async_trait]
impl Decide for Guests {
    async fn sense(&self, active: &Active, trigger: Trigger) -> Result<Sensing, DecideError> {
        let document = document(&trigger)?;
        let answer = self
            .call(active, move |loaded| {
                loaded.plugin.sense(&document, &loaded.limits)
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
        let rows: Vec<NamedAnswer> = answers
            .iter()
            .map(|answer| NamedAnswer {
                name: answer.name.clone(),
                schema: Arc::clone(&answer.schema),
                batches: answer.batches.clone(),
            })
            .collect();
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

/// A document as JSON.
fn document<T: serde::Serialize>(value: &T) -> Result<String, DecideError> {
    serde_json::to_string(value).map_err(|error| {
        DecideError::Hook(HookError::Internal(format!(
            "the host could not write the document: {error}"
        )))
    })
}

fn crashed(kind: Crash, message: impl Into<String>) -> DecideError {
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
        CallError::Busy | CallError::Host { .. } => crashed(Crash::Busy, message),
    }
}
