//! Whether a registration's grants allow a write.

use crate::owner::Owner;
use crate::traits::ObjectRef;
use kybern_interface::{GrantVerb, Gvk, Scope, WriteGrant, names};
use serde_json::Value;

/// Why a kind can never be written by a plan, whatever is granted.
pub(crate) fn never(gvk: &Gvk) -> Option<&'static str> {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        (names::GROUP, _) => Some("the host's own kinds are no plugin's to write"),
        ("rbac.authorization.k8s.io", _) => Some("RBAC can never be granted to a plugin"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            Some("CRDs come with the manifest, never with a plan")
        }
        ("admissionregistration.k8s.io", _) => {
            Some("webhook configurations and admission policies can never be granted to a plugin")
        }
        ("apiregistration.k8s.io", _) => Some("APIServices can never be granted to a plugin"),
        ("coordination.k8s.io", "Lease") => Some("Leases can never be granted to a plugin"),
        _ => None,
    }
}

/// What the grants say about one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Allowed.
    Granted,
    /// Not allowed, for this reason.
    Refused(String),
}

/// What the grants say about one write. `labels` are those of the object that is written.
pub(crate) fn check(
    grants: &[WriteGrant],
    verb: GrantVerb,
    adopt: bool,
    target: &ObjectRef,
    labels: Option<&Value>,
    owner: &Owner,
) -> Answer {
    let gvk = &target.gvk;
    if let Some(reason) = never(gvk) {
        return Answer::Refused(reason.to_owned());
    }
    let of_kind: Vec<&WriteGrant> = grants
        .iter()
        .filter(|g| g.group == gvk.group && g.kinds.contains(&gvk.kind))
        .collect();
    let group = if gvk.group.is_empty() {
        "core"
    } else {
        &gvk.group
    };
    if of_kind.is_empty() {
        return Answer::Refused(format!("no grant names {} of group {group}", gvk.kind));
    }
    let with_verb: Vec<&&WriteGrant> = of_kind.iter().filter(|g| g.verbs.contains(&verb)).collect();
    if with_verb.is_empty() {
        return Answer::Refused(format!(
            "no grant allows {} of {}",
            verb_name(verb),
            gvk.kind
        ));
    }
    let in_scope: Vec<&&&WriteGrant> = with_verb
        .iter()
        .filter(|g| reaches(&g.scope, target, labels, owner))
        .collect();
    if in_scope.is_empty() {
        let place = if target.namespace.is_empty() {
            "the cluster scope".to_owned()
        } else {
            format!("namespace {}", target.namespace)
        };
        return Answer::Refused(format!(
            "the grant's scope for {} does not reach {place}",
            gvk.kind
        ));
    }
    if adopt && !in_scope.iter().any(|g| g.adopt) {
        return Answer::Refused(format!("no grant allows to adopt {}", gvk.kind));
    }
    Answer::Granted
}

/// What the grants say about a write on a subresource.
pub(crate) fn check_subresource(
    grants: &[WriteGrant],
    name: &str,
    target: &ObjectRef,
    owner: &Owner,
) -> Answer {
    let gvk = &target.gvk;
    if let Some(reason) = never(gvk) {
        return Answer::Refused(reason.to_owned());
    }
    let named: Vec<&WriteGrant> = grants
        .iter()
        .filter(|g| g.group == gvk.group && g.kinds.contains(&gvk.kind))
        .filter(|g| g.subresources.iter().any(|granted| granted == name))
        .collect();
    if named.is_empty() {
        return Answer::Refused(format!(
            "no grant names the subresource {name} of {}",
            gvk.kind
        ));
    }
    // A selector would be about labels that nobody has looked at.
    if named.iter().any(|g| reaches(&g.scope, target, None, owner)) {
        return Answer::Granted;
    }
    Answer::Refused(format!(
        "the grant's scope for {name} of {} does not reach it",
        gvk.kind
    ))
}

fn verb_name(verb: GrantVerb) -> &'static str {
    match verb {
        GrantVerb::Apply => "apply",
        GrantVerb::Patch => "patch",
        GrantVerb::Delete => "delete",
    }
}

fn reaches(scope: &Scope, target: &ObjectRef, labels: Option<&Value>, owner: &Owner) -> bool {
    let own = !target.namespace.is_empty() && target.namespace == owner.namespace;
    match scope {
        Scope::Own => own,
        Scope::Namespaces(list) => !target.namespace.is_empty() && list.contains(&target.namespace),
        Scope::Selector(selector) => {
            own && selector.match_labels.iter().all(|(key, value)| {
                labels
                    .and_then(|labels| labels.get(key))
                    .and_then(Value::as_str)
                    == Some(value.as_str())
            })
        }
        Scope::Cluster => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner() -> Owner {
        Owner {
            gvk: Gvk::new("app.example.com", "v1", "App"),
            plural: "apps".into(),
            namespace: "ns".into(),
            name: "a".into(),
            uid: "u1".into(),
            part_of: "x".into(),
        }
    }

    fn grants(scope: Value) -> Vec<WriteGrant> {
        serde_json::from_value(json!([
            { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"], "scope": scope },
        ]))
        .unwrap()
    }

    fn at(group: &str, kind: &str, namespace: &str) -> ObjectRef {
        ObjectRef {
            gvk: Gvk::new(group, "v1", kind),
            plural: String::new(),
            namespace: namespace.into(),
            name: "x".into(),
        }
    }

    fn ask(grants: &[WriteGrant], target: &ObjectRef, labels: Option<&Value>) -> Answer {
        check(grants, GrantVerb::Apply, false, target, labels, &owner())
    }

    #[test]
    fn only_what_is_named_is_granted() {
        let own = grants(json!("Own"));
        assert_eq!(
            ask(&own, &at("apps", "Deployment", "ns"), None),
            Answer::Granted
        );
        for other in [
            at("apps", "Deployment", "other"),
            at("apps", "Deployment", ""),
            at("apps", "StatefulSet", "ns"),
            at("", "Deployment", "ns"),
        ] {
            assert!(
                matches!(ask(&own, &other, None), Answer::Refused(_)),
                "{other}"
            );
        }
        let delete = check(
            &own,
            GrantVerb::Delete,
            false,
            &at("apps", "Deployment", "ns"),
            None,
            &owner(),
        );
        assert!(matches!(delete, Answer::Refused(_)));
        let adopt = check(
            &own,
            GrantVerb::Apply,
            true,
            &at("apps", "Deployment", "ns"),
            None,
            &owner(),
        );
        assert!(matches!(adopt, Answer::Refused(_)));
    }

    #[test]
    fn scopes_reach_what_they_say() {
        let far = at("apps", "Deployment", "other");
        let near = at("apps", "Deployment", "ns");
        let global = at("apps", "Deployment", "");
        let named = grants(json!({ "Namespaces": ["other"] }));
        assert_eq!(ask(&named, &far, None), Answer::Granted);
        assert!(matches!(ask(&named, &near, None), Answer::Refused(_)));
        assert!(matches!(ask(&named, &global, None), Answer::Refused(_)));
        let cluster = grants(json!("Cluster"));
        assert_eq!(ask(&cluster, &far, None), Answer::Granted);
        assert_eq!(ask(&cluster, &global, None), Answer::Granted);
        let selector = grants(json!({ "Selector": { "matchLabels": { "a": "b" } } }));
        let labels = json!({ "a": "b" });
        assert_eq!(ask(&selector, &near, Some(&labels)), Answer::Granted);
        assert!(matches!(ask(&selector, &near, None), Answer::Refused(_)));
        assert!(matches!(
            ask(&selector, &far, Some(&labels)),
            Answer::Refused(_)
        ));
    }

    #[test]
    fn some_kinds_are_never_granted() {
        for (group, kind) in [
            ("kybern.dev", "Plugin"),
            ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            (
                "admissionregistration.k8s.io",
                "MutatingWebhookConfiguration",
            ),
            ("coordination.k8s.io", "Lease"),
        ] {
            let grants: Vec<WriteGrant> = serde_json::from_value(json!([
                { "group": group, "kinds": [kind], "verbs": ["apply"], "scope": "Cluster" },
            ]))
            .unwrap();
            let answer = ask(&grants, &at(group, kind, "ns"), None);
            assert!(matches!(answer, Answer::Refused(_)), "{kind}");
        }
    }
}
