//! What is missing, in words.

use kybern_kube::Right;
use std::collections::BTreeMap;

/// Rules that a message names.
const NAMED: usize = 12;

/// What one account lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lacks {
    /// Rights that it has not got.
    pub(crate) missing: Vec<Right>,
    /// Further ones that no rule gives and that were not asked for one by one.
    pub(crate) unasked: usize,
    /// Rights that a rule gives and that are still to be asked for, because something was refused.
    pub(crate) unsure: usize,
    /// Why it could not be asked.
    pub(crate) unknown: Option<String>,
}

impl Lacks {
    fn is_known(&self) -> bool {
        self.unknown.is_none() && self.unasked == 0
    }

    /// `create, patch deployments.apps in all namespaces; ...`
    fn named(&self) -> String {
        let mut rules: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for right in &self.missing {
            rules.entry(object(right)).or_default().push(right.verb);
        }
        let more = rules.len().saturating_sub(NAMED);
        let named = rules.iter().take(NAMED);
        let named = named.map(|(object, verbs)| format!("{} {object}", verbs.join(", ")));
        let mut named: Vec<String> = named.collect();
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        named.join("; ")
    }
}

/// What a right is on: resource and group as in `kubectl auth can-i`, name, namespace.
fn object(right: &Right) -> String {
    let (plural, part) = match right.resource.split_once('/') {
        Some((plural, part)) => (plural, format!("/{part}")),
        None => (&*right.resource, String::new()),
    };
    let dot = if right.group.is_empty() { "" } else { "." };
    let name = right.name.as_ref().map(|name| format!(" {name}"));
    let place = match &right.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "all of the cluster".to_owned(),
    };
    let name = name.unwrap_or_default();
    format!("{plural}{dot}{}{part}{name} in {place}", right.group)
}

/// What came of a look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// What the host lacks.
    pub(crate) host: Lacks,
    /// What the service account lacks, and its name.
    pub(crate) account: Option<(String, Lacks)>,
}

impl Found {
    fn all(&self) -> impl Iterator<Item = (&str, &Lacks)> {
        let account = self.account.iter().map(|(name, lacks)| (&**name, lacks));
        [("the host", &self.host)].into_iter().chain(account)
    }

    /// How many rights are missing.
    pub(crate) fn missing(&self) -> usize {
        self.all().map(|(_, lacks)| lacks.missing.len()).sum()
    }

    /// Whether all is there, and known to be.
    pub(crate) fn is_granted(&self) -> bool {
        self.missing() == 0 && self.all().all(|(_, lacks)| lacks.is_known())
    }

    /// Whether rights that rules give are still to be asked for one by one.
    pub(crate) fn is_unsure(&self) -> bool {
        self.all().any(|(_, lacks)| lacks.unsure > 0)
    }

    /// Who lacks what, and what to do; none if nothing is known to be missing.
    pub(crate) fn told(&self) -> Option<String> {
        let who = |(who, lacks): (&str, &Lacks)| {
            let lacking = !lacks.missing.is_empty();
            lacking.then(|| format!("{who} may not: {}", lacks.named()))
        };
        let told: Vec<String> = self.all().filter_map(who).collect();
        let cure = "`kybern rbac` prints the rules to grant";
        (!told.is_empty()).then(|| format!("{}. {cure}", told.join(". ")))
    }

    /// What could not be found out, and why; none if all is known.
    pub(crate) fn unknown(&self) -> Option<String> {
        let who = |(who, lacks): (&str, &Lacks)| match (&lacks.unknown, lacks.unasked) {
            (Some(why), _) => Some(format!("what {who} may do cannot be asked: {why}")),
            (None, 0) => None,
            (None, more) => Some(format!(
                "{more} more rights of {who} are in no rule that the API server lists"
            )),
        };
        let told: Vec<String> = self.all().filter_map(who).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(verb: &'static str, resource: &str, namespace: Option<&str>) -> Right {
        Right {
            group: if resource.starts_with("pods") {
                ""
            } else {
                "apps"
            }
            .into(),
            resource: resource.into(),
            name: None,
            namespace: namespace.map(Into::into),
            verb,
        }
    }

    #[test]
    fn a_message_names_verb_resource_and_place_and_who() {
        let host = Lacks {
            missing: vec![
                right("create", "deployments", None),
                right("patch", "deployments", None),
                right("create", "pods/eviction", Some("a")),
            ],
            ..Lacks::default()
        };
        let account = Lacks {
            missing: vec![right("get", "deployments/scale", None)],
            ..Lacks::default()
        };
        let found = Found {
            host,
            account: Some(("service account team/deployer".into(), account)),
        };
        insta::assert_snapshot!(found.told().unwrap(), @"the host may not: create, patch deployments.apps in all of the cluster; create pods/eviction in namespace a. service account team/deployer may not: get deployments.apps/scale in all of the cluster. `kybern rbac` prints the rules to grant");
        assert_eq!((found.missing(), found.unknown()), (4, None));
        assert!(!found.is_granted());
    }

    #[test]
    fn a_message_is_short_whatever_is_missing() {
        let missing = (0..50).map(|n| right("get", &format!("things{n:02}"), None));
        let lacks = Lacks {
            missing: missing.collect(),
            unasked: 3,
            ..Lacks::default()
        };
        let found = Found {
            host: lacks,
            account: None,
        };
        let told = found.told().unwrap();
        assert!(
            told.contains("things11.") && !told.contains("things12."),
            "{told}"
        );
        assert!(told.contains("and 38 more"), "{told}");
        assert!(found.unknown().unwrap().starts_with("3 more rights"));
    }

    #[test]
    fn what_cannot_be_asked_is_not_granted() {
        let host = Lacks {
            unknown: Some("forbidden".into()),
            ..Lacks::default()
        };
        let found = Found {
            host,
            account: None,
        };
        assert!(!found.is_granted() && found.told().is_none());
        assert_eq!(
            found.unknown().unwrap(),
            "what the host may do cannot be asked: forbidden"
        );
    }
}
