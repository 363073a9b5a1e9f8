//! `kybern explain`: a pass over one custom resource that writes nothing, told step by step.

use crate::args::{ExplainArgs, RegistryArgs};
use crate::asking::{Host, HostError};
use crate::kinds::{Kinds, plugin_table};
use crate::offline::Offline;
use crate::registration::prepared::Prepared;
use crate::registration::problem::Problem;
use crate::registration::{access, check, given, limits, settings};
use crate::simulator::MemoryApply;
use crate::source::{Fetch, Fetched, Keep, SourceConfig, Sources};
use crate::terminal::say;
use crate::wiring::decide::Guests;
use crate::wiring::ingest::Ingest;
use crate::wiring::time::{Jitter, SystemClock};
use crate::wiring::work;
use anyhow::{Context, anyhow, bail};
use kybern_interface::{Gvk, Plan, Registration};
use kybern_kube::{Cluster, RequestError, Resource, Target};
use kybern_plugin::{Runtime, RuntimeConfig};
use kybern_reconcile::{
    ApplyReason, Counters, Deps, DryPass, Ending, Engine, EngineConfig, ObjectRef, Verdict,
    record_name,
};
use kybern_sense::SqlSense;
use kybern_sql::SqlLimits;
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;

/// Explains the CR's state from the cluster as it is now, or the last pass of a running host.
pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let (namespace, name) = args
        .object
        .split_once('/')
        .unwrap_or(("", args.object.as_str()));
    if let Some(socket) = &args.host {
        let host = Host::at(socket.as_deref());
        return match host.last(&args.plugin, namespace, name).await {
            Ok(text) => {
                crate::terminal::write(&text);
                Ok(ExitCode::SUCCESS)
            }
            // It is for people, with all that belongs to it.
            Err(HostError::Refused { text, .. }) => {
                eprint!("{text}");
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error.into()),
        };
    }
    let cluster = crate::cluster::connect(&args.cluster).await?;
    let resource = Resource::from(&plugin_table());
    let raw = cluster
        .get(&Target::new(&resource, None, &args.plugin))
        .await
        .with_context(|| format!("Plugin {} cannot be read", args.plugin))?;
    let registration: Registration = serde_json::from_slice(&raw)?;
    say!("Registration {}", registration.name());
    for condition in &registration.status.conditions {
        say!(
            "  {}={} {}: {}",
            condition.kind,
            condition.status,
            condition.reason,
            condition.message
        );
    }
    let kinds = Kinds::default();
    kinds.discover(&cluster).await?;
    let problem = |p: Problem| anyhow!("{}: {}", p.reason, p.message);
    check::spec(&registration.spec, cluster.default_namespace()).map_err(problem)?;
    let fetched = component(&registration, &cluster, &args.registry)
        .await
        .map_err(problem)?;
    let plugin = Runtime::new(RuntimeConfig::default())?.load(&fetched.bytes)?;
    say!("  digest {}", plugin.digest());
    let manifest = Arc::new(plugin.manifest().clone());
    let given = given::read(&registration.spec, &cluster).await;
    let given = given.map_err(problem)?;
    let prepared = Prepared {
        settings: settings::resolve(&given, &manifest.settings_schema).map_err(problem)?,
        given,
        limits: limits::of(&registration.spec.limits).map_err(problem)?,
        registration: Arc::new(registration),
        plugin: plugin.clone(),
        manifest,
        image: fetched.image,
        crds_at: None,
    };
    let served = kinds.served();
    let wanted = prepared.tables(&served).map_err(problem)?;
    for def in &wanted {
        kinds
            .learn_types(&cluster, &def.key.group, &def.key.version)
            .await;
    }
    let mut tables = Offline::new();
    tables.list(&cluster, &wanted, None).await?;
    let (writer, reader) = tables.into_parts();
    let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence())?;
    let sense = Arc::new(SqlSense::new(
        kybern_sql::Engine::new(reader.clone(), SqlLimits::default()),
        work::pool(),
    ));
    sense.set_catalog(kinds.catalog());
    let access = access::of(&prepared.registration.spec, &prepared.manifest, &served);
    sense
        .admit(
            &args.plugin,
            prepared.plugin.digest(),
            access,
            &prepared.manifest,
        )
        .await
        .map_err(|why| problem(why.into()))?;
    let guests = Guests::new(true);
    guests.insert(&args.plugin, plugin, prepared.limits.clone());
    let active = prepared.active(&served).map_err(problem)?;
    let primaries = active.primaries.clone();
    let found = primaries.into_iter().find_map(|primary| {
        reader
            .read(|snapshot| crate::tables::row(snapshot, &primary.table(), namespace, name))
            .map(|row| (primary, row))
    });
    let Some((primary, row)) = found else {
        bail!(
            "{} does not exist, or is of no kind that {} is in charge of",
            args.object,
            args.plugin
        );
    };
    let home = cluster.default_namespace().to_owned();
    let kept = if active.keeps_records() {
        let beside = if namespace.is_empty() {
            &home
        } else {
            namespace
        };
        record(&cluster, beside, &args.plugin, &row.uid()).await?
    } else {
        None
    };
    let engine = Engine::new(Deps {
        reader: reader.clone(),
        sense,
        decide: Arc::new(guests.clone()),
        act: Arc::new(guests),
        // A dry pass writes nothing; were it to, it would write into memory.
        apply: Arc::new(MemoryApply::new(Vec::from_iter(kept), ingest)),
        kinds: Arc::new(kinds.clone()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(Jitter),
        config: EngineConfig::default(),
        home,
        counters: Counters::default(),
    });
    engine.register(active);
    let pass = engine
        .dry_pass(&args.plugin, &primary.gvk, namespace, name)
        .await?;
    print(&pass)?;
    Ok(ExitCode::SUCCESS)
}

/// The component that the host runs, as far as the registration says which.
async fn component(
    registration: &Registration,
    cluster: &Cluster,
    args: &RegistryArgs,
) -> Result<Fetched, Problem> {
    let spec = &registration.spec;
    let image = spec.source.oci.as_ref().map(|oci| &oci.image);
    let resolved = registration.status.resolved.as_ref();
    let resolved = resolved.filter(|resolved| Some(&resolved.image) == image);
    let fetch = Fetch {
        source: spec.source.clone(),
        digest: spec.digest.clone(),
        resolved: resolved.map(|resolved| resolved.digest.clone()),
    };
    let plain = args.insecure_registry.clone();
    let sources = Sources::new(SourceConfig::default(), Keep::default(), plain);
    let fetched = sources.fetch(&fetch, Some(cluster)).await;
    fetched.map_err(|error| error.problem(fetch.is_far()))
}

/// What the plugin remembers of the CR, as the cluster has it.
async fn record(
    cluster: &Cluster,
    namespace: &str,
    plugin: &str,
    uid: &str,
) -> anyhow::Result<Option<(ObjectRef, Value)>> {
    let target = ObjectRef {
        gvk: Gvk::new("", "v1", "Secret"),
        plural: "secrets".to_owned(),
        namespace: namespace.to_owned(),
        name: record_name(plugin, uid),
    };
    let resource = Resource::new("", "v1", "Secret", "secrets", true);
    let at = Target::new(&resource, Some(namespace), &target.name);
    match cluster.get(&at).await {
        Ok(raw) => Ok(Some((target, serde_json::from_slice(&raw)?))),
        Err(RequestError::Api(refused)) if refused.is_not_found() => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!("{target}, what the plugin remembers of the object, cannot be read")
        }),
    }
}

/// The pass, for people.
fn print(pass: &DryPass) -> anyhow::Result<()> {
    let conditions = pass
        .object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    say!("Conditions");
    for condition in conditions.into_iter().flatten() {
        let text = |key: &str| {
            condition
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        say!(
            "  {}={} {}: {}",
            text("type"),
            text("status"),
            text("reason"),
            text("message")
        );
    }
    say!("Answers");
    for answer in &pass.answers {
        say!(
            "  {}: {} rows, fingerprint {:032x}",
            answer.name,
            answer.rows,
            answer.fingerprint
        );
        for scan in &answer.read_set.scans {
            say!("    reads {} by {:?}", scan.table, scan.keys);
        }
    }
    if let Some(plan) = &pass.plan {
        say!("Plan");
        for line in serde_saphyr::to_string(&redacted(plan)?)?.lines() {
            say!("  {line}");
        }
    }
    for offence in &pass.offences {
        say!("Refused: {offence}");
    }
    say!("Now");
    for step in &pass.steps {
        say!("  {}: {}", step.target, verdict(&step.verdict));
    }
    for effect in &pass.effects {
        say!("  {effect}");
    }
    if pass.status_changes {
        say!("  status: would be written");
    }
    if pass.state_changes {
        say!("  state: would be written");
    }
    match &pass.ending {
        Ending::Failed { reason, message } | Ending::Waiting { reason, message } => {
            say!("  {reason}: {message}");
        }
        _ => {}
    }
    Ok(())
}

/// The plan without the values of Secrets; what is remembered goes into one, and what effects get
/// may be as secret.
fn redacted(plan: &Plan) -> anyhow::Result<Value> {
    let mut plan = serde_json::to_value(plan)?;
    let actions = plan.get_mut("actions").and_then(Value::as_array_mut);
    for action in actions.into_iter().flatten() {
        for field in ["state", "input"] {
            if let Some(value) = action.get_mut(field) {
                *value = Value::from("<redacted>");
            }
        }
        let target = action.pointer("/target/kind").cloned();
        let (object, kind) = match action.get_mut("object") {
            Some(object) => {
                let kind = object.get("kind").cloned();
                (object, kind)
            }
            None => match action.get_mut("patch") {
                Some(patch) => (patch, target),
                None => continue,
            },
        };
        if kind != Some(Value::from("Secret")) {
            continue;
        }
        for field in ["data", "stringData"] {
            let values = object.get_mut(field).and_then(Value::as_object_mut);
            for value in values.into_iter().flat_map(|map| map.values_mut()) {
                *value = Value::from("<redacted>");
            }
        }
    }
    Ok(plan)
}

/// What would be done with an object.
fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Create => "would be created".into(),
        Verdict::Apply(ApplyReason::Intent) => "would be applied: the intent changed".into(),
        Verdict::Apply(ApplyReason::Drift(paths)) => {
            format!("would be applied: changed by others: {}", paths.join(", "))
        }
        Verdict::Apply(ApplyReason::NotCovered(paths)) => format!(
            "would be applied: not ours on the live object: {}",
            paths.join(", ")
        ),
        Verdict::Apply(ApplyReason::Former) => {
            "would be applied: a former operator's fields are taken over".into()
        }
        Verdict::Apply(ApplyReason::Forced) => "would be applied: asked for by annotation".into(),
        Verdict::Converged => "is as intended".into(),
        Verdict::Kept => "is left alone".into(),
        Verdict::Adopt => "would be taken over".into(),
        Verdict::NotOurs { whose } => format!("is not ours: {whose}"),
        Verdict::WaitingForDeletion => "is being deleted; created again afterwards".into(),
        Verdict::Prune => "would be deleted: the plan no longer names it".into(),
        Verdict::Orphan => "would lose its owner and stay".into(),
        Verdict::Held => "would be deleted, but too many at once: held".into(),
        Verdict::Delete => "would be deleted: the plan says so".into(),
        Verdict::Patch => "would be patched".into(),
        Verdict::Absent => "is not there: it is patched when it is".into(),
        Verdict::Undo => "its patch would be taken back: the plan no longer has it".into(),
        Verdict::Evict => "would be evicted".into(),
        Verdict::Scale(replicas) => format!("shall have {replicas} replicas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_secrets_are_never_printed() {
        let plan: Plan = serde_json::from_value(json!({
            "children": "complete",
            "actions": [
                { "type": "apply", "object": { "kind": "Secret", "data": { "a": "aGlkZGVu" }, "stringData": { "b": "hidden" } } },
                { "type": "apply", "object": { "kind": "ConfigMap", "data": { "c": "shown" } } },
                { "type": "setState", "state": { "token": "hidden" } },
                { "type": "patch", "target": { "version": "v1", "kind": "Secret", "name": "s" }, "patch": { "data": { "a": "aGlkZGVu" } } },
                { "type": "effect", "name": "e", "key": "k", "input": { "token": "hidden" } },
            ],
        }))
        .unwrap();
        let text = redacted(&plan).unwrap().to_string();
        assert!(
            !text.contains("hidden") && !text.contains("aGlkZGVu"),
            "{text}"
        );
        assert!(text.contains("shown"), "{text}");
    }
}
