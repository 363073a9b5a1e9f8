//! Whether the manifest fits itself, the hooks, and what a registration can grant.

use super::super::registration;
use super::finding::Finding;
use crate::registration::check;
use kybern_interface::{Capability, Gvk, Manifest, PluginSpec, Registration, ResourceRole};
use kybern_plugin::{Offer, Outline};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fields without a description that a finding names.
const NAMED: usize = 5;
/// How deep a schema is looked into.
const MAX_DEPTH: usize = 32;

/// What is wrong with a manifest that can be read.
pub(super) fn findings(manifest: &Manifest, outline: &Outline) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(effects(manifest, outline));
    found.extend(capabilities(manifest, outline));
    found.extend(resources(manifest));
    found.extend(kinds(manifest));
    found.extend(grantable(manifest));
    found.extend(settings(manifest));
    found.extend(descriptions(manifest));
    found
}

/// The registration under which everything is granted that can be.
pub(super) fn granted(manifest: &Manifest) -> anyhow::Result<PluginSpec> {
    let mut object = registration::of(manifest, "lint", None);
    if let Some(grants) = object
        .pointer_mut("/spec/grants")
        .and_then(Value::as_object_mut)
    {
        grants.insert("http".into(), json!([{ "host": "example.com" }]));
    }
    let registration: Registration = serde_json::from_value(object)?;
    Ok(registration.spec)
}

fn effects(manifest: &Manifest, outline: &Outline) -> Option<Finding> {
    let first = manifest.effects.first();
    match (first, outline.has_hook("act")) {
        (Some(effect), false) => Some(Finding::error(
            "effect-without-act",
            "effects",
            format!(
                "the manifest names the effect `{}`, but the component exports no act hook",
                effect.name
            ),
            "implement `act`, or take the effect out of the manifest",
        )),
        (None, true) => Some(Finding::warning(
            "act-without-effect",
            "effects",
            "the component exports an act hook, but the manifest names no effect: it is never called",
            "name the effects in the attribute: effect(name = \"...\", description = \"...\")",
        )),
        _ => None,
    }
}

fn capabilities(manifest: &Manifest, outline: &Outline) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, ask) in manifest.capabilities.iter().enumerate() {
        let place = format!("capabilities[{index}]");
        let sends = outline
            .imports
            .iter()
            .any(|import| import.offer == Offer::Http);
        match ask.name {
            Capability::Secrets if manifest.secrets.is_empty() => found.push(Finding::warning(
                "unused-capability",
                &place,
                "the manifest names no secret, but nobody may run it without granting some",
                "name them: secret(name = \"api-token\", reason = \"...\")",
            )),
            Capability::Secrets => {}
            Capability::Http if manifest.effects.is_empty() => found.push(Finding::warning(
                "capability-without-effect",
                &place,
                "only act hooks have capabilities, and the manifest names no effect",
                "name the effect that sends requests, or remove the capability",
            )),
            Capability::Http if !sends => found.push(Finding::warning(
                "unused-capability",
                &place,
                "the component sends no requests, but nobody may run it without granting hosts",
                "remove the capability",
            )),
            Capability::Http | Capability::Render => {}
        }
        // Nobody grants what needs no grant.
        if ask.reason.is_empty() && ask.name != Capability::Render {
            found.push(Finding::warning(
                "no-description",
                format!("{place}.reason"),
                "who grants it is not told why",
                "say it: capability(name = \"http\", reason = \"...\")",
            ));
        }
    }
    found
}

fn resources(manifest: &Manifest) -> Vec<Finding> {
    let mut found = Vec::new();
    if manifest.resources.is_empty() {
        found.push(Finding::error(
            "no-resource",
            "resources",
            "the plugin is in charge of no kind",
            "name one in the attribute: crd(kind = \"group/version/Kind\"), or resource = \"...\"",
        ));
    }
    for (index, ask) in manifest.resources.iter().enumerate() {
        let place = format!("resources[{index}]");
        if ask.role == ResourceRole::Decorator {
            found.push(Finding::error(
                "not-supported",
                &place,
                "this version of the host does not have the role Decorator",
                "be in charge of a kind of your own (role Primary)",
            ));
        }
        let versions = versions(manifest, &ask.group, &ask.kind);
        if versions
            .as_ref()
            .is_some_and(|known| !known.contains(&ask.version))
        {
            found.push(Finding::error(
                "version-not-served",
                place,
                format!(
                    "the embedded definition of {} does not serve {}; it serves {}",
                    ask.kind,
                    ask.version,
                    versions.unwrap_or_default().join(", ")
                ),
                "be in charge of a version that is served",
            ));
        }
    }
    found
}

/// The served versions in the embedded definition of this kind; none without one.
fn versions(manifest: &Manifest, group: &str, kind: &str) -> Option<Vec<String>> {
    let is = |crd: &&Value, path: &str, wanted: &str| {
        crd.pointer(path).and_then(Value::as_str) == Some(wanted)
    };
    let mut crds = manifest.crds.iter();
    let crd =
        crds.find(|crd| is(crd, "/spec/group", group) && is(crd, "/spec/names/kind", kind))?;
    let versions = crd.pointer("/spec/versions")?.as_array()?.iter();
    let served = versions.filter(|version| version.get("served") != Some(&json!(false)));
    let names = served.filter_map(|version| version.get("name")?.as_str());
    Some(names.map(str::to_owned).collect())
}

/// Kinds that are asked for twice, in two versions, or for nothing.
fn kinds(manifest: &Manifest) -> Vec<Finding> {
    let mut found = Vec::new();
    let reads = manifest
        .reads
        .iter()
        .map(|ask| Gvk::new(&*ask.group, &*ask.version, &*ask.kind));
    let writes = manifest
        .writes
        .iter()
        .map(|ask| Gvk::new(&*ask.group, &*ask.version, &*ask.kind));
    let mut seen: BTreeMap<(String, String), (Gvk, String)> = BTreeMap::new();
    for (list, kinds) in [
        ("reads", reads.collect::<Vec<_>>()),
        ("writes", writes.collect()),
    ] {
        for (index, gvk) in kinds.iter().enumerate() {
            let place = format!("{list}[{index}]");
            let first = seen.entry((gvk.group.clone(), gvk.kind.clone()));
            let (other, at) = first.or_insert_with(|| (gvk.clone(), place.clone()));
            if other.version != gvk.version {
                found.push(two_versions(other, at, gvk, place));
            } else if kinds.iter().take(index).any(|earlier| earlier == gvk) {
                found.push(Finding::warning(
                    "duplicate",
                    place,
                    format!("{gvk} is asked for twice"),
                    "ask once, with all verbs",
                ));
            }
        }
    }
    for (index, ask) in manifest.writes.iter().enumerate() {
        if ask.verbs.is_empty() && ask.subresources.is_empty() {
            found.push(Finding::error(
                "write-nothing",
                format!("writes[{index}]"),
                format!("{} is to be written, but nothing says how", ask.kind),
                "name verbs (apply, patch, delete), subresources or both",
            ));
        }
    }
    found
}

fn two_versions(first: &Gvk, at: &str, second: &Gvk, place: String) -> Finding {
    Finding::error(
        "two-versions",
        place,
        format!(
            "{} is asked for in {} here and in {} in {at}: what is written in one version is watched in that version alone",
            second.kind,
            second.api_version(),
            first.api_version()
        ),
        "use one version of a kind",
    )
}

/// Whether a registration could grant it at all.
fn grantable(manifest: &Manifest) -> Option<Finding> {
    if manifest.resources.is_empty()
        || manifest
            .writes
            .iter()
            .any(|ask| ask.verbs.is_empty() && ask.subresources.is_empty())
    {
        return None;
    }
    let spec = granted(manifest).ok()?;
    let problem = check::spec(&spec, "kybern").err()?;
    (problem.reason == "InvalidGrant").then(|| {
        let message = problem.message.replace("spec.grants.write: ", "");
        Finding::error(
            "never-granted",
            "writes",
            message,
            "leave it to an administrator",
        )
    })
}

fn settings(manifest: &Manifest) -> Option<Finding> {
    if manifest.settings_schema.is_null() {
        return None;
    }
    let why = jsonschema::validator_for(&manifest.settings_schema).err()?;
    Some(Finding::error(
        "settings-schema",
        "settingsSchema",
        format!("it is not a JSON Schema: {why}"),
        "mend the file that the attribute `settings` names",
    ))
}

/// What people who use the plugin are not told.
fn descriptions(manifest: &Manifest) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, crd) in manifest.crds.iter().enumerate() {
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
        for version in versions.into_iter().flatten() {
            let mut silent = Vec::new();
            if let Some(spec) = version.pointer("/schema/openAPIV3Schema/properties/spec") {
                undescribed(spec, "spec", 0, &mut silent);
            }
            found.extend(silence(index, &silent));
        }
    }
    let silent = manifest.effects.iter().enumerate();
    for (index, _) in silent.filter(|(_, effect)| effect.description.is_empty()) {
        found.push(Finding::warning(
            "no-description",
            format!("effects[{index}]"),
            "who grants it is not told what it does",
            "say it: effect(name = \"...\", description = \"...\")",
        ));
    }
    found
}

fn silence(crd: usize, silent: &[String]) -> Option<Finding> {
    let first = silent.get(..silent.len().min(NAMED))?;
    if first.is_empty() {
        return None;
    }
    let more = if silent.len() > NAMED {
        " and others"
    } else {
        ""
    };
    Some(Finding::warning(
        "no-description",
        format!("crds[{crd}]"),
        format!(
            "`kubectl explain` has nothing to say about {}{more}",
            first.join(", ")
        ),
        "write doc comments on the fields; derive(Schema) makes descriptions of them",
    ))
}

/// Paths of properties without a description.
fn undescribed(schema: &Value, path: &str, depth: usize, silent: &mut Vec<String>) {
    if depth > MAX_DEPTH {
        return;
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property.get("description").is_none() {
            silent.push(path.clone());
        }
        undescribed(property, &path, depth + 1, silent);
    }
    if let Some(items) = schema.get("items") {
        undescribed(items, &format!("{path}[]"), depth + 1, silent);
    }
}
