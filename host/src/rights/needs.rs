//! The rights that a registration needs: the host's, and its service account's.

use crate::kinds::{Served, english_plural};
use crate::registration::{account, given};
use crate::source::BundleSource;
use kybern_interface::{GrantVerb, Gvk, Registration, Scope, Source, WriteGrant};
use kybern_kube::{ApiResource, Right};
use std::collections::BTreeSet;

/// The verb of acting as somebody else.
pub(crate) const IMPERSONATE: &str = "impersonate";

/// Rights, in order.
pub(crate) type Needs = BTreeSet<Right>;

/// What rights depend on beside the registration.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Plurals, as served.
    pub(crate) served: &'a Served,
    /// The namespace that the host is kept to; all where there is none.
    pub(crate) only: Option<&'a str>,
    /// Where service accounts are that name no namespace.
    pub(crate) home: Option<&'a str>,
}

impl Place<'_> {
    /// What the host itself needs for a registration.
    pub(crate) fn of_host(&self, registration: &Registration) -> Needs {
        let mut list = List::at(*self);
        for source in sources(registration) {
            list.source(&source);
        }
        for resource in &registration.spec.resources {
            let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
            let kind = list.kind(self.served.get(&gvk), &resource.group, &resource.kind);
            list.all(&kind, &["get", "list", "watch", "patch"]);
            list.all(&kind.part("status"), &["patch"]);
            list.all(&kind.part("finalizers"), &["update"]);
        }
        for at in given::named(&registration.spec).into_keys() {
            // Followed by a watch that names it.
            for verb in ["get", "list", "watch"] {
                list.one(at.kind.plural(), (Some(&at.namespace), &at.name), verb);
            }
        }
        for grant in &registration.spec.grants.secrets {
            // Without a namespace it is in that of each custom resource.
            let of = &grant.secret_ref;
            let namespace = of.namespace.as_deref().or(self.only);
            list.one("secrets", (namespace, &of.name), "get");
        }
        if registration.keeps_records() {
            // The records of its CRs; their names are not known before.
            let verbs = ["create", "delete", "get", "patch"];
            list.all(&list.secrets(), &verbs);
        }
        let reads = registration.spec.grants.read.iter();
        let reads = reads.map(|grant| (&grant.group, &grant.kinds, Some(&grant.scope)));
        // Whoever writes a kind watches all of it.
        let writes = registration.spec.grants.write.iter();
        let writes = writes.map(|grant| (&grant.group, &grant.kinds, None));
        for (group, kinds, scope) in reads.chain(writes) {
            for kind in kinds {
                let kind = list.kind(self.served.preferred(group, kind), group, kind);
                let watched = kind.watched(scope);
                list.all(&watched, &["get", "list", "watch"]);
            }
        }
        match &registration.spec.service_account_name {
            None => list.writes(registration),
            Some(account) => {
                list.scales(registration);
                list.impersonates(account);
            }
        }
        list.needs
    }

    /// What a registration's service account needs: the writes that the plugin may plan.
    pub(crate) fn of_account(&self, registration: &Registration) -> Needs {
        let mut list = List::at(*self);
        for resource in &registration.spec.resources {
            // Its children are owned by them.
            let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
            let kind = list.kind(self.served.get(&gvk), &resource.group, &resource.kind);
            list.all(&kind.part("finalizers"), &["update"]);
        }
        list.writes(registration);
        list.needs
    }
}

/// A kind as rules name it, and where it is needed.
#[derive(Clone)]
struct Kind {
    group: String,
    plural: String,
    namespaced: bool,
    /// None = everywhere.
    namespaces: Vec<Option<String>>,
}

impl Kind {
    /// One of its subresources.
    fn part(&self, name: &str) -> Self {
        Self {
            plural: format!("{}/{name}", self.plural),
            ..self.clone()
        }
    }

    /// As far as a scope names namespaces.
    fn within(&self, scope: &Scope) -> Self {
        let mut kind = self.clone();
        if let Scope::Namespaces(names) = scope
            && self.namespaced
            && self.namespaces == [None]
        {
            kind.namespaces = names.iter().cloned().map(Some).collect();
        }
        kind
    }

    /// Where it is watched: one namespace or all of them.
    fn watched(&self, scope: Option<&Scope>) -> Self {
        match scope {
            Some(scope @ Scope::Namespaces(names)) if names.len() == 1 => self.within(scope),
            _ => self.clone(),
        }
    }
}

/// A list of rights that grows.
struct List<'a> {
    at: Place<'a>,
    needs: Needs,
}

impl<'a> List<'a> {
    fn at(at: Place<'a>) -> Self {
        Self {
            at,
            needs: Needs::new(),
        }
    }

    fn all(&mut self, kind: &Kind, verbs: &[&'static str]) {
        for namespace in &kind.namespaces {
            for verb in verbs {
                self.needs.insert(Right {
                    group: kind.group.clone(),
                    resource: kind.plural.clone(),
                    name: None,
                    namespace: namespace.clone(),
                    verb,
                });
            }
        }
    }

    fn one(&mut self, plural: &str, (namespace, name): (Option<&str>, &str), verb: &'static str) {
        self.needs.insert(Right {
            group: String::new(),
            resource: plural.to_owned(),
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
            verb,
        });
    }

    /// A kind by its plural, as served; else by English rules.
    fn kind(&self, found: Option<&ApiResource>, group: &str, kind: &str) -> Kind {
        let namespaced = found.is_none_or(|found| found.namespaced);
        let only = self.at.only.filter(|_| namespaced);
        Kind {
            group: group.to_owned(),
            plural: found.map_or_else(|| english_plural(kind), |found| found.plural.clone()),
            namespaced,
            namespaces: vec![only.map(str::to_owned)],
        }
    }

    fn secrets(&self) -> Kind {
        Kind {
            group: String::new(),
            plural: "secrets".to_owned(),
            namespaced: true,
            namespaces: vec![self.at.only.map(str::to_owned)],
        }
    }

    /// What is read to fetch and verify a component: each object by its name alone, and a component
    /// in a ConfigMap is watched for a new one.
    fn source(&mut self, source: &Source) {
        if let Some(of) = &source.config_map {
            let maps = |namespace: &str| Kind {
                group: String::new(),
                plural: "configmaps".to_owned(),
                namespaced: true,
                namespaces: vec![Some(namespace.to_owned())],
            };
            self.all(&maps(&of.namespace), &["get"]);
            // A host that is kept to a namespace watches nothing elsewhere.
            let watched = self.at.only.unwrap_or(&of.namespace);
            self.all(&maps(watched), &["list", "watch"]);
        }
        let Some(oci) = &source.oci else {
            return;
        };
        if let Some(of) = &oci.pull_secret {
            self.one("secrets", (Some(&of.namespace), &of.name), "get");
        }
        for key in oci.verify.iter().flat_map(|verify| &verify.public_keys) {
            if let Some(of) = &key.secret_ref {
                self.one("secrets", (Some(&of.namespace), &of.name), "get");
            }
            if let Some(of) = &key.config_map_ref {
                self.one("configmaps", (Some(&of.namespace), &of.name), "get");
            }
        }
    }

    /// What the plugin's writes need.
    fn writes(&mut self, registration: &Registration) {
        self.each_written(registration, |list, grant, kind| {
            for verb in &grant.verbs {
                let verbs: &[&'static str] = match verb {
                    GrantVerb::Apply => &["create", "patch", "delete"],
                    GrantVerb::Patch => &["patch"],
                    GrantVerb::Delete => &["delete"],
                };
                list.all(kind, verbs);
            }
            for subresource in &grant.subresources {
                let verbs: &[&'static str] = match subresource.as_str() {
                    "eviction" | "token" => &["create"],
                    "scale" => &["get", "patch"],
                    "status" => &["patch"],
                    _ => &["create", "patch"],
                };
                list.all(&kind.part(subresource), verbs);
            }
        });
    }

    /// What the host reads before the plugin's service account scales.
    fn scales(&mut self, registration: &Registration) {
        self.each_written(registration, |list, grant, kind| {
            if grant.subresources.iter().any(|name| name == "scale") {
                list.all(&kind.part("scale"), &["get"]);
            }
        });
    }

    fn each_written(
        &mut self,
        registration: &Registration,
        with: impl Fn(&mut Self, &WriteGrant, &Kind),
    ) {
        for grant in &registration.spec.grants.write {
            for name in &grant.kinds {
                let found = self.at.served.preferred(&grant.group, name);
                let kind = self.kind(found, &grant.group, name).within(&grant.scope);
                with(self, grant, &kind);
            }
        }
    }

    /// To act as the service account.
    fn impersonates(&mut self, text: &str) {
        let (namespace, name) = account::parts(text);
        let namespace = namespace.or(self.at.home);
        self.one("serviceaccounts", (namespace, name), IMPERSONATE);
    }
}

/// Where the component comes from, and that on trial.
pub(crate) fn sources(registration: &Registration) -> Vec<Source> {
    let bundle = BundleSource::of(&registration.spec.settings).ok().flatten();
    let charts = bundle.iter().flat_map(BundleSource::asked);
    let charts: Vec<Source> = charts.collect();
    let bundle = bundle.map(|bundle| bundle.place());
    let trial = registration.spec.trial.as_ref();
    let tried = trial.and_then(|trial| trial.source.as_ref());
    let places = [&registration.spec.source]
        .into_iter()
        .chain(tried)
        .cloned();
    places.chain(bundle).chain(charts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(scope: serde_json::Value, only: Option<&str>) -> Vec<String> {
        let grants = json!({
            "read": [{ "kinds": ["Pod"], "scope": scope }],
            "write": [{ "kinds": ["Service"], "verbs": ["delete"], "scope": scope }],
        });
        of_spec(json!({ "source": { "file": "x" }, "grants": grants }), only)
    }

    fn of_spec(spec: serde_json::Value, only: Option<&str>) -> Vec<String> {
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": spec,
        }))
        .unwrap();
        let served = Served::default();
        let at = Place {
            served: &served,
            only,
            home: None,
        };
        let told = |right: Right| {
            let place = right.namespace.unwrap_or("*".into());
            format!("{} {} {place}", right.verb, right.resource)
        };
        at.of_host(&registration).into_iter().map(told).collect()
    }

    #[test]
    fn a_right_is_needed_where_the_grant_reaches() {
        let watched = ["get", "list", "watch"];
        let all = |place: &str| watched.map(|verb| format!("{verb} pods {place}"));
        let own = of(json!("Own"), None);
        assert_eq!(own[..3], all("*"));
        let one = of(json!({ "Namespaces": ["b"] }), None);
        assert_eq!(one[..3], all("b"));
        // More than one namespace is watched by one watch over all of them, and written in each.
        let two = of(json!({ "Namespaces": ["b", "c"] }), None);
        assert_eq!(two[..3], all("*"));
        assert!(two.contains(&"delete services b".to_owned()), "{two:?}");
        assert!(two.contains(&"delete services c".to_owned()));
        assert!(!two.contains(&"delete services *".to_owned()));
        // The children of a kind that is written are watched wherever they are.
        assert!(one.contains(&"list services *".to_owned()));
    }

    #[test]
    fn a_component_is_read_where_it_is_and_watched_where_the_host_watches() {
        let at = json!({ "namespace": "home", "name": "x", "key": "a.wasm" });
        let of = |only| of_spec(json!({ "source": { "configMap": at } }), only);
        let rights = |places: [&str; 3]| {
            let verbs = ["get", "list", "watch"].into_iter().zip(places);
            let told = verbs.map(|(verb, place)| format!("{verb} configmaps {place}"));
            told.collect::<Vec<_>>()
        };
        assert_eq!(of(None), rights(["home"; 3]));
        assert_eq!(of(Some("home")), rights(["home"; 3]));
        // The chart gives no more than get beside the host.
        assert_eq!(of(Some("team")), rights(["home", "team", "team"]));
    }

    #[test]
    fn the_secret_of_a_repository_of_charts_is_read_where_it_is() {
        let ours = json!({ "url": "oci://registry.example/charts", "pullSecret": { "namespace": "home", "name": "x" } });
        let bundle = json!({ "file": "b", "repositories": { "ours": ours, "open": { "url": "https://charts.example" } } });
        let spec = json!({ "source": { "file": "x" }, "settings": { "bundle": bundle } });
        assert_eq!(of_spec(spec, None), ["get secrets home"]);
    }

    #[test]
    fn a_host_that_is_kept_to_a_namespace_needs_nothing_elsewhere() {
        let rights = of(json!("Cluster"), Some("team"));
        assert!(
            rights.iter().all(|right| right.ends_with(" team")),
            "{rights:?}"
        );
    }
}
