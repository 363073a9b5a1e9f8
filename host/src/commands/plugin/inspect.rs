//! `kybern plugin inspect`: what a component is and asks for, or a registration for it.

use super::bundle;
use super::component::Component;
use super::{document, refused, registration};
use crate::args::{Format, InspectArgs};
use crate::terminal::{self, say};
use kybern_interface::{Delegation, Manifest};
use kybern_plugin::{Import, LoadError, Offer, Outline};
use serde::Serialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// The hooks that a host calls.
const HOOKS: [&str; 3] = ["sense", "decide", "act"];

/// Prints it, without compiling the component; one that interprets a bundle is asked what it is.
pub(super) async fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let component = match bundle::read(&args.wasm, &args.interpreter).await? {
        Ok(component) => component,
        Err(why) => return Ok(bundle::refused(&args.wasm, &why)),
    };
    let mut outline = match Outline::read(&component.bytes) {
        Ok(outline) => outline,
        Err(why) => return Ok(refused(&component, &why)),
    };
    let section = kybern_bundle::section(&component.bytes).ok().flatten();
    if outline.has_hook("describe") && section.is_some() {
        // What it asks for is what it says of its bundle.
        let runtime = bundle::runtime(&args.interpreter, &component.bytes)?;
        match runtime.load(&component.bytes) {
            Ok(plugin) => {
                outline.document = Some(serde_json::to_value(plugin.manifest())?);
                outline.manifest = Ok(plugin.manifest().clone());
            }
            Err(why) => return Ok(refused(&component, &why)),
        }
    }
    if args.registration {
        return register(&component, &outline, args.output);
    }
    document::print(&About::of(&component, &outline)?, args.output)?;
    Ok(match problem(&outline) {
        None => ExitCode::SUCCESS,
        Some(why) => refused(&component, why),
    })
}

/// Why this host would not run it, as far as names and manifest tell.
pub(super) fn problem(outline: &Outline) -> Option<&LoadError> {
    let manifest = outline.manifest.as_ref().err();
    outline.refused.as_ref().or(manifest)
}

/// Prints the registration.
fn register(component: &Component, outline: &Outline, format: Format) -> anyhow::Result<ExitCode> {
    let manifest = match (&outline.manifest, problem(outline)) {
        (Ok(manifest), None) => manifest,
        (_, Some(why)) | (Err(why), None) => return Ok(refused(component, why)),
    };
    let file = format!("/plugins/{}", component.file_name());
    let mut object = registration::of(manifest, &file, Some(&component.digest));
    if bundle::is_bundle(&component.path) {
        // As a host composes it: from what interprets it, and where the bundle is.
        let place = format!("/bundles/{}", component.file_name());
        let section = kybern_bundle::section(&component.bytes)?.unwrap_or_default();
        let digest = crate::source::digest(section);
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("digest");
            spec.insert(
                "source".into(),
                json!({ "file": format!("/plugins/{}", bundle::INTERPRETER) }),
            );
            let settings = json!({ "bundle": { "file": place, "digest": digest } });
            spec.insert("settings".into(), settings);
        }
    }
    if format == Format::Yaml {
        for line in to_fill_in(manifest) {
            say!("# {line}");
        }
    }
    terminal::write(&document::text(&object, format)?);
    Ok(ExitCode::SUCCESS)
}

/// What the manifest cannot say.
fn to_fill_in(manifest: &Manifest) -> Vec<String> {
    let mut lines = vec![
        "spec.source: where the host finds the component (docs/install.md).".to_owned(),
        "Scopes are Own: the custom resource's namespace.".to_owned(),
    ];
    if !manifest.settings_schema.is_null() {
        lines.push("It takes settings: spec.settings and spec.settingsFrom, as manifest.settingsSchema says.".to_owned());
    }
    if let Some(reason) = registration::asks_for_http(manifest) {
        let because = match reason {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        lines.push(format!(
            "It asks for http{because} and does not run without: name the hosts in spec.grants, like"
        ));
        lines.push(
            "  http: [{ host: api.example.com, ports: [443], methods: [GET, POST] }]".to_owned(),
        );
    }
    for ask in &manifest.secrets {
        let because = match &*ask.reason {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        let name = &ask.name;
        lines.push(format!(
            "It refers to the secret {name}{because} and does not run without: say in spec.grants where it is and who gets it, like"
        ));
        lines.push(format!(
            "  secrets: [{{ name: {name}, secretRef: {{ name: credentials, key: {name} }}, hosts: [api.example.com] }}]"
        ));
    }
    lines
}

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    digest: &'a str,
    size: usize,
    gzip_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    world: Option<&'a str>,
    hooks: Vec<&'static str>,
    imports: Vec<Imported<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asks: Option<Asks<'a>>,
    crds: Vec<&'a str>,
    manifest: &'a Option<Value>,
}

#[derive(Serialize)]
struct Imported<'a> {
    name: &'a str,
    is: String,
}

/// What it asks for, in short.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asks<'a> {
    resources: Vec<String>,
    reads: Vec<String>,
    writes: Vec<String>,
    capabilities: Vec<String>,
    effects: Vec<&'a str>,
    queries: Vec<&'a str>,
    delegates: Vec<String>,
    state: bool,
    settings: bool,
}

impl<'a> About<'a> {
    fn of(component: &'a Component, outline: &'a Outline) -> anyhow::Result<Self> {
        let manifest = outline.manifest.as_ref().ok();
        let hooks = HOOKS.into_iter().filter(|hook| outline.has_hook(hook));
        Ok(Self {
            digest: &component.digest,
            size: component.bytes.len(),
            gzip_size: component.gzip_size()?,
            world: manifest.map(|manifest| manifest.world.as_str()),
            hooks: hooks.collect(),
            imports: outline.imports.iter().map(imported).collect(),
            asks: manifest.map(asks),
            crds: manifest.map(crds).unwrap_or_default(),
            manifest: &outline.document,
        })
    }
}

fn imported(import: &Import) -> Imported<'_> {
    let is = match import.offer {
        Offer::Rows => "answers of its queries".to_owned(),
        Offer::Log => "messages into the host's log".to_owned(),
        Offer::Http => "requests of its act hook to granted hosts".to_owned(),
        Offer::Bundle => "the files of its bundle".to_owned(),
        Offer::Render => "charts that the host renders".to_owned(),
        Offer::Types => "types that hooks share".to_owned(),
        Offer::Wasi { given } => format!("WASI: {given}"),
        Offer::Nothing { cure } => format!("not supported; {cure}"),
    };
    Imported {
        name: &import.name,
        is,
    }
}

fn asks(manifest: &Manifest) -> Asks<'_> {
    let kind = registration::kind;
    let resources = manifest.resources.iter();
    let reads = manifest.reads.iter().map(|ask| {
        let optional = if ask.optional { " (optional)" } else { "" };
        kind(&ask.group, &ask.version, &ask.kind) + optional
    });
    let capabilities = manifest.capabilities.iter().map(capability);
    let secrets = manifest.secrets.iter().map(|ask| match &*ask.reason {
        "" => format!("secret {}", ask.name),
        reason => format!("secret {} ({reason})", ask.name),
    });
    Asks {
        resources: resources
            .map(|ask| kind(&ask.group, &ask.version, &ask.kind))
            .collect(),
        reads: reads.collect(),
        writes: manifest.writes.iter().map(write).collect(),
        capabilities: capabilities.chain(secrets).collect(),
        effects: manifest.effects.iter().map(|ask| &*ask.name).collect(),
        queries: manifest.queries.iter().map(|ask| &*ask.name).collect(),
        delegates: manifest.delegates.iter().map(delegation).collect(),
        state: manifest.state,
        settings: !manifest.settings_schema.is_null(),
    }
}

/// Like `v1/Pod: apply, /eviction`.
fn write(ask: &kybern_interface::WriteAsk) -> String {
    let verbs = ask
        .verbs
        .iter()
        .map(|verb| format!("{verb:?}").to_lowercase());
    let subresources = ask.subresources.iter().map(|name| format!("/{name}"));
    let what: Vec<String> = verbs.chain(subresources).collect();
    let kind = registration::kind(&ask.group, &ask.version, &ask.kind);
    format!("{kind}: {}", what.join(", "))
}

/// Like `get, list: pods of apps`: what it hands on in Roles that it creates.
fn delegation(rule: &Delegation) -> String {
    let groups = rule.api_groups.iter().map(|group| match group.as_str() {
        "" => "core",
        group => group,
    });
    let groups: Vec<&str> = groups.collect();
    format!(
        "{}: {} of {}",
        rule.verbs.join(", "),
        rule.resources.join(", "),
        groups.join(", ")
    )
}

fn capability(ask: &kybern_interface::CapabilityAsk) -> String {
    let name = format!("{:?}", ask.name).to_lowercase();
    match ask.reason.as_str() {
        "" => name,
        reason => format!("{name} ({reason})"),
    }
}

fn crds(manifest: &Manifest) -> Vec<&str> {
    manifest
        .crds
        .iter()
        .filter_map(|crd| crd.pointer("/metadata/name").and_then(Value::as_str))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_for_is_told_in_short() {
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "web", "version": "1.0.0", "world": kybern_interface::WORLD,
            "resources": [{ "group": "example.com", "version": "v1", "kind": "Web" }],
            "reads": [{ "version": "v1", "kind": "Node", "optional": true }],
            "writes": [{ "version": "v1", "kind": "Pod", "verbs": ["patch", "delete"], "subresources": ["status"] }],
            "capabilities": [{ "name": "http", "reason": "mail" }],
            "secrets": [{ "name": "smtp-password", "reason": "the mail server" }],
            "effects": [{ "name": "send" }],
            "delegates": [{ "apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get", "list"] }],
            "settingsSchema": { "type": "object" },
        }))
        .unwrap();
        insta::assert_snapshot!(serde_saphyr::to_string(&asks(&manifest)).unwrap());
        insta::assert_snapshot!(to_fill_in(&manifest).join("\n"));
    }
}
