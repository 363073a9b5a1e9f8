//! What a user may do, as the API server says it (`authorization.k8s.io/v1`).
//!
//! *Contract.* Nothing is changed by asking, so that no fence is asked. [`Cluster::may`] is exact.
//! [`Cluster::rules`] is one request for many rights, those that hold everywhere or those in one
//! namespace: what its rules allow is allowed there, unless an authorizer that cannot list rules
//! forbids it; what they do not allow may still be allowed.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api_error::RequestError,
    cluster::Cluster,
    exchange::{Call, JSON, exchange},
    impersonate::Impersonate,
};

const PATH: &str = "/apis/authorization.k8s.io/v1";
/// For one review.
const TIME: Duration = Duration::from_secs(10);
/// Largest accepted list of rules, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// No namespace can have this name, so that none has bindings of its own: its rules are those that
/// hold in all of them.
const NOWHERE: &str = "-";

/// One thing that may be done, or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: String,
    /// The plural, with a subresource as in `pods/eviction`.
    pub resource: String,
    /// The one object; any when absent.
    pub name: Option<String>,
    /// The one namespace; all of them, or none for a cluster-scoped kind, when absent.
    pub namespace: Option<String>,
    /// Like `get`.
    pub verb: &'static str,
}

impl Right {
    fn attributes(&self) -> Value {
        let (resource, subresource) = self.parts();
        json!({
            "group": self.group,
            "resource": resource,
            "subresource": subresource.unwrap_or_default(),
            "verb": self.verb,
            "name": self.name.as_deref().unwrap_or_default(),
            "namespace": self.namespace.as_deref().unwrap_or_default(),
        })
    }

    fn parts(&self) -> (&str, Option<&str>) {
        match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (&self.resource, None),
        }
    }
}

/// Rules that hold in every namespace, and for kinds without; or in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    #[serde(default)]
    resource_rules: Option<Vec<Rule>>,
    #[serde(default)]
    incomplete: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    verbs: Vec<String>,
    api_groups: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    resource_names: Option<Vec<String>>,
}

impl Rules {
    /// Whether one of them allows it. Rules do not say where they hold: those of a namespace are
    /// for rights in it.
    #[must_use]
    pub fn allow(&self, right: &Right) -> bool {
        let rules = self.resource_rules.iter().flatten();
        rules.into_iter().any(|rule| rule.allows(right))
    }

    /// About how many bytes it takes to keep them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rules = self.resource_rules.iter().flatten();
        rules.map(Rule::bytes).fold(0, usize::saturating_add)
    }

    /// Whether every authorizer of the cluster has listed its rules.
    #[must_use]
    pub fn complete(&self) -> bool {
        !self.incomplete
    }
}

impl Rule {
    fn bytes(&self) -> usize {
        let lists = [&self.api_groups, &self.resources, &self.resource_names];
        let texts = lists.into_iter().flatten().chain([&self.verbs]).flatten();
        let texts = texts.map(|text| text.len().saturating_add(size_of::<String>()));
        texts.fold(size_of::<Rule>(), usize::saturating_add)
    }

    /// As the API server's RBAC authorizer matches.
    fn allows(&self, right: &Right) -> bool {
        let holds = |all: &Option<Vec<String>>, is: &dyn Fn(&str) -> bool| {
            all.iter().flatten().any(|one| one == "*" || is(one))
        };
        let verb = self.verbs.iter().any(|one| one == "*" || one == right.verb);
        let names = self.resource_names.as_deref().unwrap_or_default();
        verb && holds(&self.api_groups, &|group| group == right.group)
            && holds(&self.resources, &|resource| {
                let any = resource.strip_prefix("*/");
                resource == right.resource || (any.is_some() && any == right.parts().1)
            })
            && (names.is_empty() || right.name.as_ref().is_some_and(|name| names.contains(name)))
    }
}

#[derive(Deserialize)]
struct Reviewed<T> {
    status: T,
}

#[derive(Deserialize)]
struct Verdict {
    allowed: bool,
}

impl Cluster {
    /// Whether the host, or the user in whose name it asks, has this right
    /// (`SelfSubjectAccessReview`).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn may(&self, right: &Right, by: Option<&Impersonate>) -> Result<bool, RequestError> {
        let spec = json!({ "resourceAttributes": right.attributes() });
        let verdict: Verdict = self.review("SelfSubjectAccessReview", spec, by).await?;
        Ok(verdict.allowed)
    }

    /// What the host, or the user in whose name it asks, may do in a namespace, or in every one
    /// when absent (`SelfSubjectRulesReview`).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn rules(
        &self,
        namespace: Option<&str>,
        by: Option<&Impersonate>,
    ) -> Result<Rules, RequestError> {
        let spec = json!({ "namespace": namespace.unwrap_or(NOWHERE) });
        self.review("SelfSubjectRulesReview", spec, by).await
    }

    async fn review<T: for<'de> Deserialize<'de>>(
        &self,
        kind: &str,
        spec: Value,
        by: Option<&Impersonate>,
    ) -> Result<T, RequestError> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec,
        });
        let call = Call {
            method: Method::POST,
            uri: format!("{PATH}/{}s", kind.to_lowercase()),
            accept: JSON,
            body: Some((JSON, Bytes::from(body.to_string()))),
            impersonate: by,
            timeout: TIME,
            max_bytes: MAX_BYTES,
            fence: None,
        };
        let answer = exchange(self, &call).await?;
        serde_json::from_slice::<Reviewed<T>>(&answer)
            .map(|reviewed| reviewed.status)
            .map_err(|source| RequestError::Decode {
                what: call.what(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(verb: &'static str, group: &str, resource: &str, name: Option<&str>) -> Right {
        Right {
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.map(str::to_owned),
            namespace: None,
            verb,
        }
    }

    fn allow(rule: Value, right: &Right) -> bool {
        let rules = json!({ "resourceRules": [rule], "nonResourceRules": [], "incomplete": false });
        let rules: Rules = serde_json::from_value(rules).unwrap();
        rules.allow(right)
    }

    #[test]
    fn rules_are_matched_as_the_authorizer_does() {
        let pods = right("get", "", "pods", None);
        let scale = right("patch", "apps", "deployments/scale", None);
        let one = right("get", "", "secrets", Some("a"));
        let rule = |verbs: &str, group: &str, resource: &str| json!({ "verbs": [verbs], "apiGroups": [group], "resources": [resource] });
        for (rule, right, is) in [
            (rule("get", "", "pods"), &pods, true),
            (rule("*", "*", "*"), &pods, true),
            (rule("list", "", "pods"), &pods, false),
            (rule("get", "apps", "pods"), &pods, false),
            (rule("get", "", "pods/status"), &pods, false),
            (rule("patch", "apps", "deployments"), &scale, false),
            (rule("patch", "apps", "deployments/scale"), &scale, true),
            (rule("patch", "apps", "*/scale"), &scale, true),
            (rule("patch", "apps", "*/status"), &scale, false),
            (rule("patch", "apps", "deployments/*"), &scale, false),
            (rule("patch", "apps", "*"), &scale, true),
            (rule("get", "", "secrets"), &one, true),
        ] {
            assert_eq!(allow(rule.clone(), right), is, "{rule} {right:?}");
        }
        let named = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"] });
        assert!(allow(named.clone(), &one));
        assert!(!allow(
            named.clone(),
            &right("get", "", "secrets", Some("b"))
        ));
        assert!(
            !allow(named, &right("get", "", "secrets", None)),
            "any of them is more than one"
        );
    }

    #[test]
    fn a_server_without_rules_allows_nothing() {
        let rules: Rules =
            serde_json::from_value(json!({ "resourceRules": null, "incomplete": true })).unwrap();
        assert!(!rules.allow(&right("get", "", "pods", None)) && !rules.complete());
        assert_eq!(rules.bytes(), 0);
    }

    #[test]
    fn rules_take_what_their_texts_take() {
        let of = |name: &str| {
            let rule = json!({ "verbs": ["get"], "apiGroups": [""], "resources": [name] });
            let rules = json!({ "resourceRules": [rule, rule] });
            serde_json::from_value::<Rules>(rules).unwrap().bytes()
        };
        assert!(of("pods") > 2 * (size_of::<Rule>() + 3 * size_of::<String>()));
        assert_eq!(of(&"x".repeat(1_004)), of("pods") + 2_000);
    }
}
