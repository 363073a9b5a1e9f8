//! What a request asks for, in Kubernetes' own words.

use form_urlencoded::parse;
use http::request::Parts;
use http::{Method, header};
use serde::Deserialize;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many.
    List,
    /// Read many and what becomes of them.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH, other than server-side apply.
    Patch,
    /// Server-side apply.
    Apply,
    /// DELETE of one object.
    Delete,
    /// DELETE of many.
    DeleteCollection,
    /// No request for a resource: discovery, probes, OpenAPI.
    Other,
}

impl Verb {
    /// Whether it changes anything.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch | Self::Other)
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What is to be done.
    pub verb: Verb,
    /// API group; empty for core.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Plural; empty for [`Verb::Other`].
    pub resource: String,
    /// Such as `status`.
    pub subresource: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Name; that of a create is in its body.
    pub name: Option<String>,
    /// Name of the first owner of an object that was created on this way.
    pub owner: Option<String>,
    /// `fieldManager`.
    pub manager: Option<String>,
    /// `resourceVersion` of a list or watch.
    pub from: Option<String>,
    /// Whether a watch begins with a list (`sendInitialEvents`).
    pub initial_events: bool,
    /// Whether nothing is to be kept.
    pub dry_run: bool,
}

impl Ask {
    /// Whether it asks for a change that is kept. Leases and Events are no changes of a plan, and
    /// reviews of rights change nothing.
    #[must_use]
    pub fn writes(&self) -> bool {
        let aside = matches!(
            (self.group.as_str(), self.resource.as_str()),
            ("coordination.k8s.io", "leases")
                | ("events.k8s.io" | "", "events")
                | ("authorization.k8s.io", _)
        );
        self.verb.writes() && !self.dry_run && !aside
    }

    pub(crate) fn of(parts: &Parts, body: &[u8]) -> Self {
        let mut ask = Self::of_path(parts.uri.path());
        let mut watch = false;
        for (key, value) in parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            let yes = matches!(value.as_ref(), "true" | "1");
            match key.as_ref() {
                "watch" => watch = yes,
                "sendInitialEvents" => ask.initial_events = yes,
                "fieldManager" => ask.manager = Some(value.into_owned()),
                "resourceVersion" => ask.from = Some(value.into_owned()),
                "dryRun" => ask.dry_run = true,
                _ => {}
            }
        }
        if !ask.resource.is_empty() {
            ask.verb = verb(parts, ask.name.is_some(), watch);
        }
        if ask.verb == Verb::Create && ask.name.is_none() {
            let metadata = Named::of(body).unwrap_or_default().metadata;
            ask.name = metadata.name;
            let owners = metadata.owner_references.unwrap_or_default();
            ask.owner = owners.into_iter().next().map(|owner| owner.name);
        }
        ask
    }

    /// Whether it is about an object of this name, or about one that an object of this name owns.
    #[must_use]
    pub fn is_about(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name) || self.owner.as_deref() == Some(name)
    }

    /// `/api/v1/...` and `/apis/GROUP/VERSION/...`; whatever else is [`Verb::Other`].
    fn of_path(path: &str) -> Self {
        let mut ask = Self::nothing();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        match parts.next() {
            Some("api") => {}
            Some("apis") => parts.next().unwrap_or_default().clone_into(&mut ask.group),
            _ => return ask,
        }
        parts
            .next()
            .unwrap_or_default()
            .clone_into(&mut ask.version);
        let rest: Vec<&str> = parts.collect();
        let owned = |text: &&str| Some((*text).to_owned());
        let below = match rest.as_slice() {
            // `/namespaces/x` and its subresources are about the Namespace itself.
            ["namespaces", namespace, below @ ..] if !about_namespace(below) => {
                ask.namespace = owned(namespace);
                below
            }
            all => all,
        };
        if let [resource, below @ ..] = below {
            (*resource).clone_into(&mut ask.resource);
            ask.name = below.first().and_then(owned);
            ask.subresource = below.get(1).and_then(owned);
        }
        ask
    }

    fn nothing() -> Self {
        Self {
            verb: Verb::Other,
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            subresource: None,
            namespace: None,
            name: None,
            owner: None,
            manager: None,
            from: None,
            initial_events: false,
            dry_run: false,
        }
    }
}

fn about_namespace(below: &[&str]) -> bool {
    matches!(below, [] | ["status" | "finalize"])
}

fn verb(parts: &Parts, named: bool, watch: bool) -> Verb {
    let content = parts.headers.get(header::CONTENT_TYPE);
    let apply = content.is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
    match parts.method {
        Method::GET if watch => Verb::Watch,
        Method::GET if named => Verb::Get,
        Method::GET => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH if apply => Verb::Apply,
        Method::PATCH => Verb::Patch,
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => Verb::Other,
    }
}

/// As much of an object as tells which one it is.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Named {
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) owner_references: Option<Vec<Owner>>,
}

/// As much of an owner as names it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Owner {
    pub(crate) name: String,
}

impl Named {
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, uri: &str, kind: &str, body: &str) -> Ask {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, kind)
            .body(())
            .unwrap();
        Ask::of(&request.into_parts().0, body.as_bytes())
    }

    fn told(ask: &Ask) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
        format!(
            "{:?} {}/{} {} {} {} {}",
            ask.verb,
            ask.group,
            ask.version,
            ask.resource,
            part(&ask.namespace),
            part(&ask.name),
            part(&ask.subresource)
        )
    }

    #[test]
    fn paths_are_understood() {
        const JSON: &str = "application/json";
        let body = r#"{"metadata":{"name":"web"}}"#;
        let cases = [
            ("GET", "/api/v1/pods", "List /v1 pods - - -"),
            ("GET", "/api/v1/pods?watch=true", "Watch /v1 pods - - -"),
            ("GET", "/api/v1/namespaces/a/pods/p", "Get /v1 pods a p -"),
            (
                "GET",
                "/api/v1/namespaces/a/pods/p/log",
                "Get /v1 pods a p log",
            ),
            ("GET", "/api/v1/namespaces", "List /v1 namespaces - - -"),
            ("GET", "/api/v1/namespaces/a", "Get /v1 namespaces - a -"),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "Update /v1 namespaces - a finalize",
            ),
            (
                "POST",
                "/apis/apps/v1/namespaces/a/deployments",
                "Create apps/v1 deployments a web -",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments/web",
                "Delete apps/v1 deployments a web -",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "DeleteCollection apps/v1 deployments a - -",
            ),
            ("GET", "/apis/apps/v1", "Other apps/v1  - - -"),
            ("GET", "/readyz", "Other /  - - -"),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(
                told(&ask(method, uri, JSON, body)),
                expected,
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn an_apply_is_no_patch_and_names_its_manager() {
        let uri = "/apis/apps/v1/namespaces/a/deployments/web?fieldManager=kybern%2Fapp&force=true";
        let apply = ask("PATCH", uri, "application/apply-patch+yaml", "");
        assert_eq!(
            (apply.verb, apply.manager.as_deref()),
            (Verb::Apply, Some("kybern/app"))
        );
        let patch = ask("PATCH", uri, "application/json-patch+json", "");
        assert_eq!(patch.verb, Verb::Patch);
        assert!(patch.writes());
        let dry = ask("PATCH", &format!("{uri}&dryRun=All"), "", "");
        assert!(!dry.writes());
    }
}
