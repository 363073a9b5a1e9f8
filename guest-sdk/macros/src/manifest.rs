//! From the attribute's arguments to the manifest; mistakes point at the argument.

use crate::arguments::{Arguments, QueryArgument, ReadArgument, WriteArgument};
use crate::{definition, mirror};
use kybern_interface::{
    Capability, CapabilityAsk, ConditionsShape, Delegation, EffectAsk, GrantVerb, Gvk, Manifest,
    ManifestQuery, ReadAsk, ResourceAsk, ResourceRole, SecretAsk, StatusShape, WORLD, WriteAsk,
};
use proc_macro2::Span;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use syn::{Error, LitStr, Result};

/// The crate that uses the attribute.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) folder: PathBuf,
}

/// The manifest, and the files that it was made from.
pub(crate) struct Built {
    pub(crate) manifest: Manifest,
    pub(crate) files: Vec<PathBuf>,
}

pub(crate) fn build(arguments: &Arguments, krate: &Crate) -> Result<Built> {
    let mut files = Vec::new();
    let mut crds = Vec::new();
    for file in &arguments.crds {
        crds.push((file, read_document(file, &krate.folder, &mut files)?));
    }
    let mut resources = arguments
        .resources
        .iter()
        .map(|kind| gvk(kind).map(in_charge_of))
        .collect::<Result<Vec<_>>>()?;
    let mut shapes = Vec::new();
    for (file, crd) in &crds {
        let described = describe(crd).map_err(|what| Error::new(file.span(), what))?;
        if arguments.resources.is_empty() {
            resources.push(in_charge_of(described.stored));
        }
        shapes.push(described.status);
    }
    let mut documents: Vec<Value> = crds.into_iter().map(|(_, crd)| crd).collect();
    if let Some(argument) = &arguments.definition {
        let kind = gvk(&argument.kind)?;
        documents.push(definition::definition(argument, &kind)?);
        if arguments.resources.is_empty() {
            resources.push(in_charge_of(kind));
        }
        shapes.push(definition::STATUS);
    }
    let (mirrored, mirrored_kinds) = mirror::queries(&arguments.mirrors)?;
    let settings_schema = match &arguments.settings {
        Some(file) => read_document(file, &krate.folder, &mut files)?,
        None => Value::Null,
    };
    let manifest = Manifest {
        name: name(arguments, krate)?,
        version: arguments
            .version
            .as_ref()
            .map_or_else(|| krate.version.clone(), LitStr::value),
        world: WORLD.to_owned(),
        resources,
        queries: queries(&arguments.queries, mirrored)?,
        reads: mirrored_kinds
            .into_iter()
            .map(Ok)
            .chain(arguments.reads.iter().map(read))
            .collect::<Result<_>>()?,
        writes: arguments.writes.iter().map(write).collect::<Result<_>>()?,
        capabilities: arguments
            .capabilities
            .iter()
            .map(|ask| {
                Ok(CapabilityAsk {
                    name: match ask.name.value().as_str() {
                        "http" => Capability::Http,
                        "secrets" => Capability::Secrets,
                        "render" => Capability::Render,
                        _ => {
                            return Err(Error::new(
                                ask.name.span(),
                                "there are: http, secrets, render",
                            ));
                        }
                    },
                    reason: optional(ask.reason.as_ref()),
                })
            })
            .collect::<Result<_>>()?,
        secrets: arguments
            .secrets
            .iter()
            .map(|ask| SecretAsk {
                name: ask.name.value(),
                reason: optional(ask.reason.as_ref()),
            })
            .collect(),
        effects: arguments
            .effects
            .iter()
            .map(|ask| EffectAsk {
                name: ask.name.value(),
                description: optional(ask.description.as_ref()),
            })
            .collect(),
        crds: documents,
        settings_schema,
        status: common(&shapes),
        delegates: arguments
            .delegates
            .iter()
            .map(|rule| Delegation {
                api_groups: rule.api_groups.iter().map(LitStr::value).collect(),
                resources: rule.resources.iter().map(LitStr::value).collect(),
                verbs: rule.verbs.iter().map(LitStr::value).collect(),
            })
            .collect(),
        state: arguments.state,
    };
    if manifest.resources.is_empty() {
        return Err(Error::new(
            Span::call_site(),
            "in charge of nothing: give `crd(kind = \"group/version/Kind\")`, `crd = \"crd.yaml\"` or `resource = \"group/version/Kind\"`",
        ));
    }
    Ok(Built { manifest, files })
}

fn optional(text: Option<&LitStr>) -> String {
    text.map(LitStr::value).unwrap_or_default()
}

fn name(arguments: &Arguments, krate: &Crate) -> Result<String> {
    let (name, span) = match &arguments.name {
        Some(name) => (name.value(), name.span()),
        None => (krate.name.replace('_', "-"), Span::call_site()),
    };
    if is_label(&name) {
        Ok(name)
    } else {
        Err(Error::new(
            span,
            format!(
                "the plugin's name `{name}` is no DNS label: up to 63 small letters, digits and dashes"
            ),
        ))
    }
}

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn in_charge_of(kind: Gvk) -> ResourceAsk {
    ResourceAsk {
        group: kind.group,
        version: kind.version,
        kind: kind.kind,
        role: ResourceRole::Primary,
    }
}

/// `apps/v1/Deployment`, or `v1/Pod` for the core group.
fn gvk(text: &LitStr) -> Result<Gvk> {
    let value = text.value();
    let parts: Vec<&str> = value.split('/').collect();
    let kind = match parts.as_slice() {
        [version, kind] => Gvk::new("", *version, *kind),
        [group, version, kind] if !group.is_empty() => Gvk::new(*group, *version, *kind),
        _ => return Err(misnamed(text)),
    };
    let named =
        kind.version.starts_with('v') && kind.kind.starts_with(|c: char| c.is_ascii_uppercase());
    if named { Ok(kind) } else { Err(misnamed(text)) }
}

fn misnamed(text: &LitStr) -> Error {
    Error::new(
        text.span(),
        "expected a kind like \"apps/v1/Deployment\", or \"v1/Pod\" for the core group",
    )
}

fn read(ask: &ReadArgument) -> Result<ReadAsk> {
    let kind = gvk(&ask.kind)?;
    Ok(ReadAsk {
        group: kind.group,
        version: kind.version,
        kind: kind.kind,
        optional: ask.optional,
    })
}

fn write(ask: &WriteArgument) -> Result<WriteAsk> {
    let kind = gvk(&ask.kind)?;
    let mut verbs = ask
        .verbs
        .iter()
        .map(|verb| match verb.value().as_str() {
            "apply" => Ok(GrantVerb::Apply),
            "patch" => Ok(GrantVerb::Patch),
            "delete" => Ok(GrantVerb::Delete),
            _ => Err(Error::new(verb.span(), "there are: apply, patch, delete")),
        })
        .collect::<Result<Vec<_>>>()?;
    if verbs.is_empty() && ask.subresources.is_empty() {
        verbs.push(GrantVerb::Apply);
    }
    Ok(WriteAsk {
        group: kind.group,
        version: kind.version,
        kind: kind.kind,
        verbs,
        subresources: ask.subresources.iter().map(LitStr::value).collect(),
    })
}

fn queries(
    arguments: &[QueryArgument],
    mirrored: Vec<ManifestQuery>,
) -> Result<Vec<ManifestQuery>> {
    let mut names: BTreeSet<String> = mirrored.iter().map(|query| query.name.clone()).collect();
    let written = arguments.iter().map(|query| {
        let (name, sql) = (query.name.value(), query.sql.value());
        if name.is_empty() || !names.insert(name.clone()) {
            return Err(Error::new(
                query.name.span(),
                "each query needs a name of its own",
            ));
        }
        let used = highest_placeholder(&sql);
        let given = query.params.len();
        if used != given {
            return Err(Error::new(
                query.sql.span(),
                format!("the statement uses {used} parameters, `params` gives {given}"),
            ));
        }
        if let Some(param) = query.params.iter().find(|param| !is_path(&param.value())) {
            return Err(Error::new(
                param.span(),
                "expected a dotted path into the custom resource, like \"metadata.namespace\"",
            ));
        }
        Ok(ManifestQuery {
            name,
            sql: sql.trim().to_owned(),
            params: query.params.iter().map(LitStr::value).collect(),
        })
    });
    mirrored.into_iter().map(Ok).chain(written).collect()
}

/// `3` for a statement with `$1` and `$3`; text in quotes does not count.
fn highest_placeholder(sql: &str) -> usize {
    let mut highest = 0;
    let mut quote = None;
    let mut characters = sql.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '$') => {
                let mut number = 0_usize;
                while let Some(digit) = characters.peek().and_then(|c| c.to_digit(10)) {
                    let digit = usize::try_from(digit).unwrap_or_default();
                    number = number.saturating_mul(10).saturating_add(digit);
                    characters.next();
                }
                highest = highest.max(number);
            }
            (None, _) => {}
        }
    }
    highest
}

fn is_path(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('$') && path.split('.').all(|part| !part.is_empty())
}

fn read_document(file: &LitStr, folder: &Path, files: &mut Vec<PathBuf>) -> Result<Value> {
    let path = folder.join(file.value());
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::new(file.span(), format!("{}: {error}", path.display())))?;
    files.push(path);
    // JSON is YAML too.
    serde_saphyr::from_str(&text)
        .map_err(|error| Error::new(file.span(), format!("{}: {error}", file.value())))
}

/// What every kind's status has: the host writes nothing that one of them would lose.
fn common(shapes: &[StatusShape]) -> StatusShape {
    let all = |has: fn(&StatusShape) -> bool| !shapes.is_empty() && shapes.iter().all(has);
    StatusShape {
        conditions: if all(|shape| shape.conditions == ConditionsShape::Standard) {
            ConditionsShape::Standard
        } else {
            ConditionsShape::None
        },
        observed_generation: all(|shape| shape.observed_generation),
    }
}

/// What a CustomResourceDefinition says about its kind.
struct Described {
    stored: Gvk,
    status: StatusShape,
}

fn describe(crd: &Value) -> std::result::Result<Described, String> {
    let text = |path: &str| {
        crd.pointer(path)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("no CustomResourceDefinition: `{path}` is missing"))
    };
    if text("/apiVersion")? != "apiextensions.k8s.io/v1"
        || text("/kind")? != "CustomResourceDefinition"
    {
        return Err("expected apiextensions.k8s.io/v1 CustomResourceDefinition".to_owned());
    }
    let (group, kind) = (text("/spec/group")?, text("/spec/names/kind")?);
    let full_name = format!("{}.{group}", text("/spec/names/plural")?);
    if text("/metadata/name")? != full_name {
        return Err(format!("metadata.name must be `{full_name}`"));
    }
    let stored = crd
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .and_then(|versions| {
            versions
                .iter()
                .find(|version| version.get("storage") == Some(&Value::Bool(true)))
        })
        .ok_or("no version has `storage: true`")?;
    let version = stored
        .get("name")
        .and_then(Value::as_str)
        .ok_or("the stored version has no name")?;
    let status = |field: &str| {
        stored
            .pointer("/schema/openAPIV3Schema/properties/status/properties")
            .and_then(|status| status.get(field))
            .is_some()
    };
    Ok(Described {
        stored: Gvk::new(group, version, kind),
        status: StatusShape {
            conditions: if status("conditions") {
                ConditionsShape::Standard
            } else {
                ConditionsShape::None
            },
            observed_generation: status("observedGeneration"),
        },
    })
}

#[cfg(test)]
mod tests;
