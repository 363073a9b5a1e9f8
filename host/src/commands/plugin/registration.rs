//! The registration that grants what a manifest asks for, and no more.

use kybern_interface::{Capability, GrantVerb, Gvk, Manifest};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A `Plugin` object as JSON; a component at this place, with this digest if one is given.
///
/// What a manifest cannot know is left to the administrator: hosts of `grants.http` (see
/// [`asks_for_http`]), scopes wider than the custom resource's namespace, settings.
pub(crate) fn of(manifest: &Manifest, file: &str, digest: Option<&str>) -> Value {
    let mut spec = json!({
        "resources": resources(manifest),
        "source": { "file": file },
        "grants": grants(manifest),
    });
    if let (Some(digest), Some(spec)) = (digest, spec.as_object_mut()) {
        spec.insert("digest".into(), digest.into());
    }
    json!({
        "apiVersion": "kybern.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": manifest.name },
        "spec": spec,
    })
}

/// Whether it runs only where `grants.http` names hosts, and why.
pub(crate) fn asks_for_http(manifest: &Manifest) -> Option<&str> {
    let mut asks = manifest.capabilities.iter();
    let ask = asks.find(|ask| ask.name == Capability::Http)?;
    Some(&ask.reason)
}

fn resources(manifest: &Manifest) -> Vec<Value> {
    let asks = manifest.resources.iter();
    asks.map(|ask| json!({ "group": ask.group, "version": ask.version, "kind": ask.kind }))
        .collect()
}

fn grants(manifest: &Manifest) -> Value {
    let mut grants = Map::new();
    grants.insert("read".into(), reads(manifest).into());
    grants.insert("write".into(), writes(manifest).into());
    // Outcomes of effects are kept where state is.
    if manifest.state || !manifest.effects.is_empty() {
        grants.insert("state".into(), true.into());
    }
    grants.into()
}

/// One grant for each group; a plugin's own kinds need none.
fn reads(manifest: &Manifest) -> Vec<Value> {
    let own = |group: &str, kind: &str| {
        let mut resources = manifest.resources.iter();
        resources.any(|own| own.group == group && own.kind == kind)
    };
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ask in &manifest.reads {
        let kinds = groups.entry(&ask.group).or_default();
        if !own(&ask.group, &ask.kind) && !kinds.contains(&&*ask.kind) {
            kinds.push(&ask.kind);
        }
    }
    groups.retain(|_, kinds| !kinds.is_empty());
    let grants = groups.into_iter();
    grants
        .map(|(group, kinds)| json!({ "group": group, "kinds": kinds }))
        .collect()
}

/// A group, and what is done to its objects.
type Written<'m> = (&'m str, Vec<GrantVerb>, &'m [String]);

/// One grant for each group and set of verbs and subresources.
fn writes(manifest: &Manifest) -> Vec<Value> {
    let mut grants: BTreeMap<Written<'_>, Vec<&str>> = BTreeMap::new();
    for ask in &manifest.writes {
        let key = (&*ask.group, ask.verbs.clone(), &*ask.subresources);
        let kinds = grants.entry(key).or_default();
        if !kinds.contains(&&*ask.kind) {
            kinds.push(&ask.kind);
        }
    }
    let grant = |((group, verbs, subresources), kinds): (Written<'_>, Vec<&str>)| {
        let mut grant = json!({ "group": group, "kinds": kinds, "verbs": verbs });
        if let (false, Some(grant)) = (subresources.is_empty(), grant.as_object_mut()) {
            grant.insert("subresources".into(), json!(subresources));
        }
        grant
    };
    grants.into_iter().map(grant).collect()
}

/// A kind as `group/version/Kind`, `version/Kind` in the core group, as authors write it.
pub(crate) fn kind(group: &str, version: &str, kind: &str) -> String {
    format!("{}/{kind}", Gvk::new(group, version, kind).api_version())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::check;
    use kybern_interface::Registration;

    fn manifest() -> Manifest {
        serde_json::from_value(json!({
            "name": "web", "version": "1.0.0", "world": kybern_interface::WORLD,
            "resources": [{ "group": "example.com", "version": "v1", "kind": "Web" }],
            "reads": [
                { "group": "apps", "version": "v1", "kind": "Deployment" },
                { "version": "v1", "kind": "Pod" },
                { "version": "v1", "kind": "Node", "optional": true },
                { "group": "example.com", "version": "v1", "kind": "Web" },
            ],
            "writes": [
                { "group": "apps", "version": "v1", "kind": "Deployment", "verbs": ["apply"], "subresources": ["scale"] },
                { "version": "v1", "kind": "Service", "verbs": ["apply"] },
                { "version": "v1", "kind": "ConfigMap", "verbs": ["apply"] },
                { "version": "v1", "kind": "Pod", "verbs": [], "subresources": ["eviction"] },
            ],
            "effects": [{ "name": "mail" }],
        }))
        .unwrap()
    }

    #[test]
    fn it_grants_what_is_asked_for_and_no_more() {
        let object = of(&manifest(), "/plugins/web.wasm", Some("sha256:00"));
        assert_eq!(
            object["spec"],
            json!({
                "resources": [{ "group": "example.com", "version": "v1", "kind": "Web" }],
                "source": { "file": "/plugins/web.wasm" },
                "digest": "sha256:00",
                "grants": {
                    "read": [
                        { "group": "", "kinds": ["Pod", "Node"] },
                        { "group": "apps", "kinds": ["Deployment"] },
                    ],
                    "write": [
                        { "group": "", "kinds": ["Pod"], "verbs": [], "subresources": ["eviction"] },
                        { "group": "", "kinds": ["Service", "ConfigMap"], "verbs": ["apply"] },
                        { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"], "subresources": ["scale"] },
                    ],
                    "state": true,
                },
            })
        );
    }

    #[test]
    fn the_host_takes_it_and_misses_nothing() {
        let manifest = manifest();
        let registration: Registration =
            serde_json::from_value(of(&manifest, "/plugins/web.wasm", None)).unwrap();
        assert_eq!(check::spec(&registration.spec, "kybern"), Ok(()));
        assert_eq!(check::manifest(&registration.spec, &manifest), Ok(()));
        assert_eq!(
            check::ungranted(&registration.spec, &manifest),
            Vec::<String>::new()
        );
    }
}
