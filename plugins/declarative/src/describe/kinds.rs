//! The kinds that templates, charts and statements are about.

use super::{Writes, commands, example};
use crate::operator::{Operator, Patch, Profile, What};
use crate::run::{Host, children_of};
use crate::yaml::Node;
use kybern_sdk::Gvk;
use std::collections::BTreeSet;

/// Kinds that statements name by their tables.
const BUILT_IN: &[(&str, &str, &[&str])] = &[
    (
        "",
        "v1",
        &[
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    (
        "apps",
        "v1",
        &[
            "ControllerRevision",
            "DaemonSet",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
        ],
    ),
    ("batch", "v1", &["CronJob", "Job"]),
    ("autoscaling", "v2", &["HorizontalPodAutoscaler"]),
    (
        "networking.k8s.io",
        "v1",
        &["Ingress", "IngressClass", "NetworkPolicy"],
    ),
    ("policy", "v1", &["PodDisruptionBudget"]),
    ("discovery.k8s.io", "v1", &["EndpointSlice"]),
    (
        "storage.k8s.io",
        "v1",
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"],
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
    ),
    ("scheduling.k8s.io", "v1", &["PriorityClass"]),
    ("coordination.k8s.io", "v1", &["Lease"]),
];

/// The kinds whose tables a statement names, and what it does to them.
pub(super) fn in_statement(operator: &Operator, sql: &str) -> Vec<(Gvk, Option<&'static str>)> {
    let pattern = r#"(?i)\b(from|join|update|into|using)\s+(?:([a-z0-9_]+)\.)?([a-z0-9_]+)"#;
    let Ok(pattern) = regex_lite::Regex::new(pattern) else {
        return Vec::new();
    };
    let deletes = sql.trim_start().to_lowercase().starts_with("delete");
    let mut found = Vec::new();
    for (at, one) in pattern.captures_iter(sql).enumerate() {
        let part = |at: usize| one.get(at).map(|part| part.as_str().to_lowercase());
        let word = part(1).unwrap_or_default();
        let verb = match word.as_str() {
            "update" => Some("patch"),
            "into" => Some("apply"),
            "from" if deletes && at == 0 => Some("delete"),
            _ => None,
        };
        if let Some(kind) = kind_of(operator, part(2).as_deref(), &part(3).unwrap_or_default()) {
            found.push((kind, verb));
        }
    }
    found
}

fn kind_of(operator: &Operator, schema: Option<&str>, table: &str) -> Option<Gvk> {
    let table = match table {
        "pod_containers" => "pods",
        other => other.strip_suffix("_conditions").unwrap_or(other),
    };
    let own = operator.profiles.values().flat_map(|profile| {
        let named = profile.kinds.iter().chain(&profile.reads);
        let written = profile.writes.iter().map(|(kind, _, _)| kind);
        named
            .chain(written)
            .chain(
                profile
                    .rules
                    .iter()
                    .filter_map(|rule| rule.watch.kind.as_ref()),
            )
            .cloned()
    });
    let built_in = BUILT_IN.iter().flat_map(|(group, version, kinds)| {
        kinds.iter().map(|kind| Gvk::new(*group, *version, *kind))
    });
    own.chain(built_in).find(|kind| {
        let name = crate::sql::table(kind, &operator.plural(kind));
        let (group, plural) = name.split_once('.').unwrap_or(("", &name));
        plural == table && schema.is_none_or(|schema| schema == group)
    })
}

/// Adds what a profile writes; gives the kinds that its charts look up.
pub(super) fn written(
    operator: &Operator,
    profile: &Profile,
    host: &dyn Host,
    writes: &mut Writes,
) -> BTreeSet<Gvk> {
    let mut looked_up = BTreeSet::new();
    // What templates say as they stand, whatever their conditions.
    for command in commands(profile) {
        match &command.what {
            What::Files { files, object, .. } => {
                for path in files {
                    scan(&operator.bundle.text(path).unwrap_or_default())
                        .into_iter()
                        .for_each(|kind| writes.add(kind, "apply"));
                }
                if let Some(kind) = object.as_ref().and_then(|inline| named(&inline.node)) {
                    writes.add(kind, "apply");
                }
            }
            What::Helm(helm) => {
                for path in operator.bundle.below(&helm.chart) {
                    let folder = path.contains("/templates/") || path.contains("/crds/");
                    if !folder
                        || path.contains("/templates/tests/")
                        || !(path.ends_with(".yaml") || path.ends_with(".yml"))
                        || (helm.skip_crds && path.contains("/crds/"))
                    {
                        continue;
                    }
                    let text = operator.bundle.text(path).unwrap_or_default();
                    for kind in scan(&text) {
                        if text.contains("helm.sh/hook") {
                            writes.add(kind.clone(), "delete");
                        }
                        writes.add(kind, "apply");
                    }
                }
            }
            _ => {}
        }
    }
    // And what comes of them with an example.
    if let Some((crd, kind)) = profile.crds.first().zip(profile.kinds.first()) {
        let settings = example::value(&profile.settings, 0);
        let cr = example::cr(crd, &kind.version);
        let (children, lookups) = children_of(operator, profile, host, cr, settings);
        children
            .into_iter()
            .for_each(|kind| writes.add(kind, "apply"));
        looked_up = lookups;
    }
    for rule in &profile.rules {
        for command in &rule.action {
            if let (What::Patch(patch), Some(kind)) = (&command.what, &rule.watch.kind)
                && patched(operator, patch).is_empty()
            {
                writes.add(kind.clone(), "patch");
            }
            if let (What::Delete { target: None, .. }, Some(kind)) =
                (&command.what, &rule.watch.kind)
            {
                writes.add(kind.clone(), "delete");
            }
        }
    }
    for command in commands(profile) {
        match &command.what {
            What::Patch(patch) => {
                for kind in patched(operator, patch) {
                    if patch.subresource.is_some() {
                        writes.add(kind.clone(), "patch");
                        writes
                            .0
                            .entry(kind)
                            .or_default()
                            .1
                            .extend(patch.subresource.clone());
                    } else {
                        // A chart may deploy it today and leave it to somebody else tomorrow.
                        writes.add(kind, "patch");
                    }
                }
            }
            What::Delete {
                target: Some(target),
                ..
            } => {
                if let Some(kind) = plain(&target.api_version.text, &target.kind.text) {
                    writes.add(kind, "delete");
                }
            }
            What::Sql(statement) => {
                for (kind, verb) in in_statement(operator, &statement.sql(1)) {
                    if let Some(verb) = verb {
                        writes.add(kind, verb);
                    }
                }
            }
            _ => {}
        }
    }
    for (kind, verbs, subresources) in &profile.writes {
        if verbs.is_empty() {
            writes.add(kind.clone(), "apply");
        }
        for verb in verbs {
            writes.add(kind.clone(), verb);
        }
        writes
            .0
            .entry(kind.clone())
            .or_default()
            .1
            .extend(subresources.iter().cloned());
    }
    looked_up
}

/// The kinds that a patch names.
fn patched(operator: &Operator, patch: &Patch) -> Vec<Gvk> {
    let text = |path: &String| operator.bundle.text(path).unwrap_or_default();
    let mut kinds: Vec<Gvk> = patch
        .file
        .iter()
        .flat_map(|path| scan(&text(path)))
        .collect();
    kinds.extend(patch.inline.as_ref().and_then(|inline| named(&inline.node)));
    if let Some(target) = &patch.target {
        kinds.extend(plain(&target.api_version.text, &target.kind.text));
    }
    kinds
}

fn plain(api_version: &str, kind: &str) -> Option<Gvk> {
    let bare = |text: &str| !text.is_empty() && !text.contains(['{', '}', ' ']);
    (bare(api_version) && bare(kind)).then(|| Gvk::from_api_version(api_version, kind))
}

fn named(node: &Node) -> Option<Gvk> {
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    plain(text("apiVersion"), text("kind"))
}

/// Pairs of `apiVersion:` and `kind:` that stand at the left of a template.
fn scan(text: &str) -> Vec<Gvk> {
    let mut found = Vec::new();
    let (mut version, mut kind): (Option<&str>, Option<&str>) = (None, None);
    for line in text.lines() {
        if line.starts_with("---") {
            (version, kind) = (None, None);
            continue;
        }
        let value = |key: &str| {
            let value = line.strip_prefix(key)?.split(" #").next()?.trim();
            Some(value.trim_matches(['"', '\'']))
        };
        if let Some(value) = value("apiVersion:") {
            version = Some(value);
        }
        if let Some(value) = value("kind:") {
            kind = Some(value);
        }
        if let (Some(api), Some(name)) = (version, kind) {
            found.extend(plain(api, name));
            kind = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_off_templates() {
        let text = "{% if x %}\napiVersion: v1\nkind: Service\n{% else %}\nkind: ConfigMap\n{% endif %}\n---\nkind: Deployment # why\napiVersion: \"apps/v1\"\nspec:\n  kind: Pod\n---\napiVersion: {{ v }}\nkind: Ingress\n";
        let found: Vec<String> = scan(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "v1, Kind=Service",
                "v1, Kind=ConfigMap",
                "apps/v1, Kind=Deployment"
            ]
        );
    }
}
