//! What `kybern.plugins` shows of each registration.

use super::facts::{Facts, count, millis};
use crate::wiring::decide::CallTotals;
use kybern_interface::{Registration, TrialMode};
use kybern_reconcile::{PluginMetrics, Running, Trialled};
use kybern_sql::{MeterFact, PluginFact, TrialFact};
use kybern_table::Reader;
use std::collections::BTreeMap;
use std::time::Duration;

/// The registrations of this host's class, and those that it still runs.
pub(super) fn plugins(facts: &Facts) -> Vec<PluginFact> {
    let running = facts.engine.running();
    let counted = facts.engine.metrics().plugins;
    let mut all: BTreeMap<String, PluginFact> = BTreeMap::new();
    for registration in registrations(&facts.reader, &facts.class) {
        all.insert(registration.name().to_owned(), registered(&registration));
    }
    let trials = facts.engine.trials().borrow().clone();
    let metered = facts.guests.totals();
    for running in running {
        let name = running.active.name().to_owned();
        let fact = all.entry(name.clone());
        let fact = fact.or_insert_with(|| registered(&running.active.registration));
        runs(fact, &running);
        counts(fact, &counted.get(&name).cloned().unwrap_or_default());
        if let (Some(fact), Some(seen)) = (&mut fact.trial, trials.get(name.as_str())) {
            tries(fact, seen);
        }
        fact.meter = metered.get(&name).map(meter);
    }
    all.into_values().collect()
}

fn registrations(reader: &Reader, class: &str) -> Vec<Registration> {
    let table = crate::kinds::plugin_table().key;
    let rows = reader.read(|snapshot| crate::tables::rows(snapshot, &table));
    let parsed = rows
        .iter()
        .filter_map(|row| serde_json::from_value::<Registration>(row.value()).ok());
    parsed.filter(|of| of.spec.class == class).collect()
}

/// What its object says.
fn registered(registration: &Registration) -> PluginFact {
    let status = &registration.status;
    let ready = status.conditions.iter().find(|of| of.kind == "Ready");
    let resources = &registration.spec.resources;
    let kinds: Vec<&str> = resources.iter().map(|of| of.kind.as_str()).collect();
    PluginFact {
        plugin: registration.name().to_owned(),
        digest: status.active.as_ref().map(|active| active.digest.clone()),
        version: status.active.as_ref().map(|active| active.version.clone()),
        kinds: kinds.join(", "),
        running: false,
        ready: ready.map(|ready| ready.status.clone()),
        reason: ready.map(|ready| ready.reason.clone()),
        message: ready.map(|ready| ready.message.clone()),
        crs: 0,
        failing: 0,
        passes: 0,
        failed_passes: 0,
        decides: 0,
        refused_plans: 0,
        drifted: 0,
        writes: 0,
        trial: trial(registration),
        meter: None,
    }
}

/// The revision on trial, and what its condition says.
fn trial(registration: &Registration) -> Option<TrialFact> {
    let trial = registration.spec.trial.as_ref()?;
    let mut said = registration.status.conditions.iter();
    let said = said.find(|of| of.kind == "Trial");
    Some(TrialFact {
        mode: match trial.mode {
            TrialMode::Canary => "Canary",
            TrialMode::Shadow => "Shadow",
        },
        digest: trial.digest.clone(),
        verdict: said.map(|said| said.reason.clone()),
        tried: None,
        failed: None,
        differed: None,
    })
}

/// What the engine knows of it.
fn tries(fact: &mut TrialFact, seen: &Trialled) {
    if seen.digest == fact.digest {
        fact.tried = Some(count(seen.tried));
        fact.failed = Some(count(seen.failed));
        fact.differed = Some(count(seen.differed));
    }
}

/// What its calls took.
fn meter(total: &CallTotals) -> MeterFact {
    let nanos = u64::try_from(total.cpu_nanos).unwrap_or(u64::MAX);
    MeterFact {
        calls: total.calls,
        traps: total.crashes,
        cpu_ms: millis(Duration::from_nanos(nanos)),
        peak_memory_bytes: count(total.peak_memory),
        rows_read: total.rows,
    }
}

/// What the engine runs.
fn runs(fact: &mut PluginFact, running: &Running) {
    fact.running = true;
    fact.digest = Some(running.active.digest.clone());
    fact.version = Some(running.active.manifest.version.clone());
    fact.crs = count(running.crs);
    fact.failing = count(running.failing);
}

fn counts(fact: &mut PluginFact, counted: &PluginMetrics) {
    fact.passes = counted.all_passes();
    fact.failed_passes = counted.ended(kybern_reconcile::PassResult::Failed);
    fact.decides = counted.decides;
    fact.refused_plans = counted.refused;
    fact.drifted = counted.drifted;
    fact.writes = counted.writes.values().sum();
}
