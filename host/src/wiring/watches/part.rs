//! Which part of a kind is watched: the union of what its users need.

use kybern_interface::Scope as Grant;
use kybern_kube::Scope;
use kybern_table::{KindKey, TableDef};
use std::collections::{BTreeMap, BTreeSet};

/// A kind that is needed, and the part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its table.
    pub(crate) def: TableDef,
    /// The part.
    pub(crate) part: Part,
}

impl Wanted {
    /// All of a kind.
    pub(crate) fn all(def: TableDef) -> Self {
        Self {
            def,
            part: Part::ALL,
        }
    }

    /// What a grant lets its queries see of a kind.
    pub(crate) fn granted(def: TableDef, grant: &Grant) -> Self {
        let part = Part::granted(grant, def.namespaced);
        Self { def, part }
    }
}

/// Several users' wishes, each kind once.
pub(super) fn by_kind(wanted: Vec<Wanted>) -> BTreeMap<KindKey, Wanted> {
    let mut all: BTreeMap<KindKey, Wanted> = BTreeMap::new();
    for one in wanted {
        match all.entry(one.def.key.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(one);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().part.widen(one.part);
            }
        }
    }
    all
}

/// A part of a kind: what is in these namespaces and has these labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// None = all.
    namespaces: Option<BTreeSet<String>>,
    /// None = whatever labels there are.
    labels: Option<BTreeMap<String, String>>,
}

impl Part {
    /// The whole kind.
    pub(crate) const ALL: Self = Self {
        namespaces: None,
        labels: None,
    };

    /// One namespace.
    pub(crate) fn namespace(name: &str) -> Self {
        Self {
            namespaces: Some(BTreeSet::from([name.to_owned()])),
            labels: None,
        }
    }

    /// What a grant lets its queries see, whatever CR they ask for.
    fn granted(grant: &Grant, namespaced: bool) -> Self {
        match grant {
            Grant::Own | Grant::Cluster => Self::ALL,
            Grant::Namespaces(names) if namespaced && names.iter().all(|n| is_dns_label(n)) => {
                Self {
                    namespaces: Some(names.iter().cloned().collect()),
                    labels: None,
                }
            }
            Grant::Namespaces(_) => Self::ALL,
            Grant::Selector(selector) => {
                let labels: BTreeMap<String, String> =
                    selector.match_labels.clone().into_iter().collect();
                // What the API server could not understand would fail the kind.
                let plain = labels.iter().all(|(key, value)| is_label(key, value));
                Self {
                    namespaces: None,
                    labels: Some(labels).filter(|_| plain),
                }
            }
        }
    }

    /// Makes it large enough for both. What one request cannot ask for is asked for as a whole.
    fn widen(&mut self, other: Self) {
        self.namespaces = match (self.namespaces.take(), other.namespaces) {
            (Some(mut own), Some(more)) => {
                own.extend(more);
                Some(own)
            }
            _ => None,
        };
        if self.labels != other.labels {
            self.labels = None;
        }
    }

    /// What the API server is asked for. A host that is kept to one namespace asks for no other.
    pub(super) fn scope(&self, def: &TableDef, host: Option<&str>) -> Scope {
        let only = match &self.namespaces {
            Some(names) if names.len() == 1 => names.first().map(String::as_str),
            _ => None,
        };
        let labels = self.labels.as_ref().filter(|labels| !labels.is_empty());
        Scope {
            namespace: host.or(only).filter(|_| def.namespaced).map(str::to_owned),
            label_selector: labels.map(|labels| {
                let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                pairs.join(",")
            }),
            ..Scope::default()
        }
    }
}

/// Whether the API server takes this as a name of labels: letters, digits and, inside, `-`, `_`, `.`.
fn is_label_name(text: &str) -> bool {
    let is_outer = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(is_outer)
        && text.ends_with(is_outer)
        && text
            .chars()
            .all(|c| is_outer(c) || matches!(c, '-' | '_' | '.'))
}

/// Whether a selector can ask for the label. `in` and `notin` are words of its language.
fn is_label(key: &str, value: &str) -> bool {
    let (prefix, name) = key.split_once('/').unwrap_or(("x", key));
    let domain = prefix.len() <= 253 && prefix.split('.').all(is_dns_label);
    domain
        && is_label_name(name)
        && !["in", "notin"].contains(&key)
        && (value.is_empty() || is_label_name(value))
}

/// Whether it can be a namespace.
fn is_dns_label(text: &str) -> bool {
    is_label_name(text)
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Whether what was asked for holds all that will be. Then a complete table stays right until the
/// new list has made it smaller.
pub(super) fn holds(before: &Scope, after: &Scope) -> bool {
    let covers =
        |before: &Option<String>, after: &Option<String>| before.is_none() || before == after;
    covers(&before.namespace, &after.namespace)
        && covers(&before.label_selector, &after.label_selector)
}

/// The part, for people.
pub(super) fn place(scope: &Scope, namespaced: bool) -> String {
    let place = match &scope.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None if namespaced => "all namespaces".to_owned(),
        None => "the cluster".to_owned(),
    };
    match &scope.label_selector {
        Some(labels) => format!("{place}, labels {labels}"),
        None => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::def;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn grant(value: Value) -> Grant {
        serde_json::from_value(value).unwrap()
    }

    fn scope_of(grants: &[Value]) -> Scope {
        let kind = def("Secret", "secrets");
        let wanted = grants
            .iter()
            .map(|value| Wanted::granted(kind.clone(), &grant(value.clone())))
            .collect();
        let all = by_kind(wanted);
        assert_eq!(all.len(), 1);
        all[&kind.key].part.scope(&kind, None)
    }

    #[test]
    fn what_all_users_have_in_common_is_asked_for() {
        let place = |grants: &[Value]| place(&scope_of(grants), true);
        let (a, b) = (
            json!({ "Namespaces": ["a"] }),
            json!({ "Namespaces": ["b"] }),
        );
        let app =
            |value: &str| json!({ "Selector": { "matchLabels": { "app": value, "tier": "db" } } });
        assert_eq!(place(std::slice::from_ref(&a)), "namespace a");
        assert_eq!(place(&[a.clone(), a.clone()]), "namespace a");
        assert_eq!(place(&[a.clone(), b]), "all namespaces");
        assert_eq!(place(&[a.clone(), json!("Own")]), "all namespaces");
        assert_eq!(
            place(&[app("x"), app("x")]),
            "all namespaces, labels app=x,tier=db"
        );
        assert_eq!(place(&[app("x"), app("y")]), "all namespaces");
        assert_eq!(place(&[app("x"), a]), "all namespaces");
        assert_eq!(place(&[app("x"), json!("Cluster")]), "all namespaces");
        // What no object can have is no part that could be asked for.
        for odd in ["x),!y", "-x", "x-", "a/b", &"x".repeat(64)] {
            assert_eq!(place(&[app(odd)]), "all namespaces", "{odd}");
            assert_eq!(
                place(&[json!({ "Namespaces": [odd] })]),
                "all namespaces",
                "{odd}"
            );
        }
        let keyed = |key: &str| json!({ "Selector": { "matchLabels": { key: "x" } } });
        for odd in ["", "in", "notin", "a/b/c", "A.b/c", "/a", "a/"] {
            assert_eq!(place(&[keyed(odd)]), "all namespaces", "{odd}");
        }
        assert_eq!(
            place(&[keyed("a.b/C_d")]),
            "all namespaces, labels a.b/C_d=x"
        );
    }

    #[test]
    fn a_host_of_one_namespace_asks_for_no_other() {
        let mut kind = def("Secret", "secrets");
        let part = Part::namespace("a");
        let asked = |kind: &TableDef| part.scope(kind, Some("h")).namespace;
        assert_eq!(asked(&kind).as_deref(), Some("h"));
        kind.namespaced = false;
        assert_eq!(asked(&kind), None);
    }

    /// Whether an object is in a scope.
    fn sees(scope: &Scope, namespace: &str, app: &str) -> bool {
        scope.namespace.as_deref().is_none_or(|n| n == namespace)
            && scope
                .label_selector
                .as_deref()
                .is_none_or(|labels| labels == format!("app={app}"))
    }

    fn any_grant() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!("Own")),
            Just(json!("Cluster")),
            prop::collection::vec("[ab]", 1..3).prop_map(|names| json!({ "Namespaces": names })),
            "[xy]".prop_map(|app| json!({ "Selector": { "matchLabels": { "app": app } } })),
        ]
    }

    proptest! {
        /// Nobody misses a row because of who else is there, whatever the order.
        #[test]
        fn the_union_holds_what_each_needs(grants in prop::collection::vec(any_grant(), 1..5)) {
            let together = scope_of(&grants);
            let mut reversed = grants.clone();
            reversed.reverse();
            prop_assert_eq!(&together, &scope_of(&reversed));
            for one in &grants {
                let alone = scope_of(std::slice::from_ref(one));
                prop_assert!(holds(&together, &alone));
                for (namespace, app) in [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")] {
                    prop_assert!(!sees(&alone, namespace, app) || sees(&together, namespace, app));
                }
            }
        }
    }
}
