//! What can be said about a registration without loading anything.

use super::origin;
use super::problem::Problem;
use kybern_interface::{GrantVerb, Gvk, Manifest, PluginSpec, Registration, ResourceRole, Scope};
use std::sync::Arc;

/// Groups that no grant may name.
const NEVER_GROUPS: [&str; 2] = [kybern_interface::names::GROUP, "rbac.authorization.k8s.io"];
/// Kinds that no grant may name.
const NEVER_KINDS: [&str; 9] = [
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "APIService",
    "Lease",
];

/// Whether objects of this kind may never be written through a grant.
fn never(group: &str, kind: &str) -> bool {
    NEVER_GROUPS.contains(&group) || NEVER_KINDS.contains(&kind)
}

/// The first thing that is wrong with the spec by itself.
pub(crate) fn spec(spec: &PluginSpec, host_namespace: &str) -> Result<(), Problem> {
    supported(spec)?;
    if spec.resources.is_empty() {
        return Err(Problem::new(
            "NoResources",
            "spec.resources is empty: name the kind that the plugin is in charge of",
        ));
    }
    origin::check(spec, host_namespace)?;
    super::former::check(spec)?;
    super::account::check(spec)?;
    super::given::check(spec)?;
    grants(spec)
}

/// What is part of the interface but not answered yet.
fn supported(spec: &PluginSpec) -> Result<(), Problem> {
    let mut missing = Vec::new();
    if spec
        .resources
        .iter()
        .any(|r| r.role == ResourceRole::Decorator)
    {
        missing.push("resources[].role: Decorator");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        "NotSupportedYet",
        format!(
            "spec.{} {} not supported by this version of the host; remove {} or upgrade",
            missing.join(", spec."),
            if missing.len() == 1 { "is" } else { "are" },
            if missing.len() == 1 { "it" } else { "them" },
        ),
    ))
}

/// Grants that are never given.
fn grants(spec: &PluginSpec) -> Result<(), Problem> {
    for grant in &spec.grants.write {
        if grant.verbs.is_empty() && grant.subresources.is_empty() {
            return Err(Problem::new(
                "InvalidGrant",
                format!(
                    "spec.grants.write: the grant for {} of group {:?} allows nothing: name verbs, subresources or both",
                    grant.kinds.join(", "),
                    grant.group
                ),
            ));
        }
        for kind in &grant.kinds {
            if kind == "*" || grant.group == "*" {
                return Err(Problem::new(
                    "InvalidGrant",
                    "spec.grants.write: wildcards are not allowed; name each group and kind",
                ));
            }
            if never(&grant.group, kind) {
                return Err(Problem::new(
                    "InvalidGrant",
                    format!(
                        "spec.grants.write: {kind} of group {:?} can never be granted: it would let the plugin widen its own rights; remove it",
                        grant.group
                    ),
                ));
            }
        }
    }
    for grant in &spec.grants.http {
        crate::outgoing::check(grant)
            .map_err(|what| Problem::new("InvalidGrant", format!("spec.grants.http: {what}")))?;
    }
    crate::outgoing::check_secrets(&spec.grants)
        .map_err(|what| Problem::new("InvalidGrant", format!("spec.grants.secrets: {what}")))?;
    for grant in &spec.grants.read {
        if grant.group == "*" || grant.kinds.iter().any(|k| k == "*") {
            return Err(Problem::new(
                "InvalidGrant",
                "spec.grants.read: wildcards are not allowed; name each group and kind",
            ));
        }
    }
    Ok(())
}

/// Two registrations in charge of one kind are refused, both, unless both have selectors.
pub(crate) fn conflicts(
    registration: &Registration,
    all: &[Arc<Registration>],
) -> Result<(), Problem> {
    for other in all
        .iter()
        .filter(|other| other.name() != registration.name())
    {
        for mine in &registration.spec.resources {
            let clash = other.spec.resources.iter().any(|theirs| {
                theirs.group == mine.group
                    && theirs.kind == mine.kind
                    && (theirs.selector.is_none() || mine.selector.is_none())
            });
            if clash {
                return Err(Problem::passing(
                    "KindTaken",
                    format!(
                        "Plugin {} is in charge of {} too; remove one of the two, or give both a selector",
                        other.name(),
                        Gvk::new(&*mine.group, &*mine.version, &*mine.kind)
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// What the manifest and the registration do not agree on.
pub(crate) fn manifest(spec: &PluginSpec, manifest: &Manifest) -> Result<(), Problem> {
    super::capabilities::check(spec, manifest)?;
    for resource in &spec.resources {
        let known = manifest.resources.iter().any(|ask| {
            ask.group == resource.group
                && ask.version == resource.version
                && ask.kind == resource.kind
        });
        if !known {
            let offers: Vec<String> = manifest
                .resources
                .iter()
                .map(|r| Gvk::new(&*r.group, &*r.version, &*r.kind).to_string())
                .collect();
            return Err(Problem::new(
                "ResourceNotInManifest",
                format!(
                    "spec.resources names {}, but the plugin {} is made for {}",
                    Gvk::new(&*resource.group, &*resource.version, &*resource.kind),
                    manifest.name,
                    offers.join("; ")
                ),
            ));
        }
    }
    Ok(())
}

/// What the manifest asks for and the registration does not grant, for people. Granting less is
/// allowed: what is missed shows when it is used.
pub(crate) fn ungranted(spec: &PluginSpec, manifest: &Manifest) -> Vec<String> {
    let mut missing = Vec::new();
    for ask in &manifest.reads {
        let own = spec
            .resources
            .iter()
            .any(|r| r.group == ask.group && r.kind == ask.kind);
        let granted = spec
            .grants
            .read
            .iter()
            .any(|g| g.group == ask.group && g.kinds.contains(&ask.kind));
        if !own && !granted && !ask.optional {
            missing.push(format!(
                "read {}",
                Gvk::new(&*ask.group, &*ask.version, &*ask.kind)
            ));
        }
    }
    for ask in &manifest.writes {
        for verb in &ask.verbs {
            let granted = spec.grants.write.iter().any(|g| {
                g.group == ask.group && g.kinds.contains(&ask.kind) && g.verbs.contains(verb)
            });
            if !granted {
                let verb = match verb {
                    GrantVerb::Apply => "apply",
                    GrantVerb::Patch => "patch",
                    GrantVerb::Delete => "delete",
                };
                missing.push(format!(
                    "{verb} {}",
                    Gvk::new(&*ask.group, &*ask.version, &*ask.kind)
                ));
            }
        }
        for subresource in &ask.subresources {
            let granted = spec.grants.write.iter().any(|g| {
                g.group == ask.group
                    && g.kinds.contains(&ask.kind)
                    && g.subresources.contains(subresource)
            });
            if !granted {
                let gvk = Gvk::new(&*ask.group, &*ask.version, &*ask.kind);
                missing.push(format!("write {subresource} of {gvk}"));
            }
        }
    }
    if manifest.state && !spec.grants.state {
        missing.push("keep state".to_owned());
    } else if !manifest.effects.is_empty() && !spec.grants.state {
        missing.push("keep state, for outcomes of effects".to_owned());
    }
    missing
}

/// Kinds that a registration reads or writes, beside its own, in the version that the manifest
/// names. A grant for a kind that the manifest does not mention has no version and no use.
pub(crate) fn used_kinds(spec: &PluginSpec, manifest: &Manifest) -> Vec<(Gvk, Use)> {
    let mut kinds = Vec::new();
    for ask in &manifest.reads {
        if let Some(grant) = spec
            .grants
            .read
            .iter()
            .find(|g| g.group == ask.group && g.kinds.contains(&ask.kind))
        {
            let gvk = Gvk::new(&*ask.group, &*ask.version, &*ask.kind);
            kinds.push((
                gvk,
                Use::Read {
                    scope: grant.scope.clone(),
                    optional: ask.optional,
                },
            ));
        }
    }
    for ask in &manifest.writes {
        if spec
            .grants
            .write
            .iter()
            .any(|g| g.group == ask.group && g.kinds.contains(&ask.kind))
        {
            kinds.push((Gvk::new(&*ask.group, &*ask.version, &*ask.kind), Use::Write));
        }
    }
    kinds
}

/// Kinds that an earlier version of the plugin wrote, as the status says, and that the grants still
/// name: children of them may be left, which are pruned only while they are seen.
pub(crate) fn left_kinds(registration: &Registration, manifest: &Manifest) -> Vec<Gvk> {
    let spec = &registration.spec;
    let status = registration.status.written.iter();
    let left = status.filter(|kind| {
        let granted = spec
            .grants
            .write
            .iter()
            .any(|g| g.group == kind.group && g.kinds.contains(&kind.kind));
        let asked = manifest
            .writes
            .iter()
            .any(|ask| ask.group == kind.group && ask.kind == kind.kind);
        granted && !asked
    });
    left.map(|kind| Gvk::new(&*kind.group, &*kind.version, &*kind.kind))
        .collect()
}

/// What a registration does with a kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Use {
    /// Its queries see rows.
    Read {
        /// Which rows.
        scope: Scope,
        /// Whether it may be absent.
        optional: bool,
    },
    /// Its plans write objects.
    Write,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: serde_json::Value) -> PluginSpec {
        serde_json::from_value(value).unwrap()
    }

    fn reason(value: serde_json::Value) -> &'static str {
        spec(&parse(value), "kybern").unwrap_err().reason
    }

    #[test]
    fn each_fault_has_its_reason() {
        let resources = json!([{ "group": "g", "version": "v1", "kind": "K" }]);
        let file = json!({ "file": "/x.wasm" });
        assert_eq!(
            reason(json!({ "resources": [], "source": file })),
            "NoResources"
        );
        assert_eq!(
            reason(json!({ "resources": resources, "source": {} })),
            "InvalidSource"
        );
        for (group, kind) in [
            ("rbac.authorization.k8s.io", "ClusterRole"),
            ("kybern.dev", "Plugin"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("coordination.k8s.io", "Lease"),
            ("*", "Pod"),
            ("", "*"),
        ] {
            let grants =
                json!({ "write": [{ "group": group, "kinds": [kind], "verbs": ["apply"] }] });
            assert_eq!(
                reason(json!({ "resources": resources, "source": file, "grants": grants })),
                "InvalidGrant",
                "{group} {kind}"
            );
        }
    }

    #[test]
    fn what_was_never_an_operators_is_not_taken_over() {
        let names = json!({
            "resources": [{ "group": "g", "version": "v1", "kind": "K" }],
            "source": { "file": "x" }, "formerFieldManagers": ["kubelet"],
        });
        assert_eq!(reason(names), "InvalidFormerFieldManager");
    }

    #[test]
    fn the_readme_names_what_is_not_answered_yet_and_nothing_else() {
        let all = parse(json!({
            "resources": [{ "group": "g", "version": "v1", "kind": "K", "role": "Decorator" }],
            "source": { "file": "x" },
        }));
        let told = spec(&all, "kybern").unwrap_err().message;
        let refused = told.split(" is not supported").next().unwrap();
        let refused = refused.split(", ").map(|field| match field {
            "spec.resources[].role: Decorator" => "Decorator",
            other => other.trim_start_matches("spec."),
        });
        let readme = include_str!("../../../README.md");
        let (_, state) = readme
            .split_once("refused with the condition reason")
            .unwrap();
        let (_, state) = state.split_once("on a `Plugin` ").unwrap();
        let (state, _) = state.split_once(';').unwrap();
        let named = state.split('`').skip(1).step_by(2);
        assert_eq!(named.collect::<Vec<_>>(), refused.collect::<Vec<_>>());
    }

    #[test]
    fn a_kind_that_only_an_earlier_version_wrote_is_left_while_it_is_granted() {
        let kind = |kind: &str| json!({ "group": "", "version": "v1", "kind": kind });
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": {
                "source": { "file": "x" },
                "grants": { "write": [{ "kinds": ["Pod", "Service"], "verbs": ["apply"] }] },
            },
            "status": { "written": [kind("Pod"), kind("Service"), kind("Secret")] },
        }))
        .unwrap();
        let mut ask = kind("Pod");
        ask["verbs"] = json!(["apply"]);
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "a", "version": "1.0.0", "world": kybern_interface::WORLD, "writes": [ask],
        }))
        .unwrap();
        assert_eq!(
            left_kinds(&registration, &manifest),
            [Gvk::new("", "v1", "Service")]
        );
    }

    #[test]
    fn a_grant_allows_something() {
        let grant = |subresources: serde_json::Value| {
            let write = json!([{ "kinds": ["Pod"], "verbs": [], "subresources": subresources }]);
            json!({
                "resources": [{ "group": "g", "version": "v1", "kind": "K" }],
                "source": { "file": "/x.wasm" }, "grants": { "write": write },
            })
        };
        assert_eq!(reason(grant(json!([]))), "InvalidGrant");
        assert_eq!(spec(&parse(grant(json!(["eviction"]))), "kybern"), Ok(()));
    }
}
