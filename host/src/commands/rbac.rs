//! `kybern rbac`: exactly the rules that registrations need, as a ClusterRole or as values of the chart.

use super::manifests;
use crate::args::RbacArgs;
use crate::kinds::{Kinds, Served, plugin_table};
use crate::registration::account;
use crate::terminal;
use anyhow::Context;
use kybern_interface::{GrantVerb, Gvk, Registration, Source};
use kybern_kube::{ApiResource, ListOptions, Resource};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Most registrations that are read.
const MAX_REGISTRATIONS: usize = 10_000;

/// Prints the ClusterRole as YAML.
pub(crate) async fn run(args: RbacArgs) -> anyhow::Result<ExitCode> {
    let kinds = Kinds::default();
    let objects = if args.filename.is_empty() {
        let cluster = crate::cluster::connect(&args.cluster).await?;
        kinds.discover(&cluster).await?;
        let resource = Resource::from(&plugin_table());
        let page = cluster
            .list_all(&resource, None, &ListOptions::default(), MAX_REGISTRATIONS)
            .await
            .context("registrations cannot be listed; is the Plugin CRD installed?")?;
        page.items
            .iter()
            .map(|raw| serde_json::from_slice(raw))
            .collect::<Result<Vec<Value>, _>>()?
    } else {
        let objects = manifests::load(&args.filename)?;
        crate::kinds::builtin::fill(&kinds, &objects)?;
        objects
    };
    let registrations = objects
        .into_iter()
        .filter(|o| o.get("kind") == Some(&json!("Plugin")))
        .map(|o| {
            let name = o
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            serde_json::from_value(o).with_context(|| format!("Plugin {name}"))
        })
        .collect::<anyhow::Result<Vec<Registration>>>()?;
    let served = kinds.served();
    let rules = rules(&registrations, &served);
    if args.values {
        let values = json!({ "rbac": { "pluginRules": rules } });
        terminal::write(&serde_saphyr::to_string(&values)?);
    } else {
        terminal::write(&serde_saphyr::to_string(&role(&args.name, &rules))?);
    }
    let acting = registrations
        .iter()
        .filter(|of| of.spec.service_account_name.is_some());
    for registration in acting {
        let name = format!("{}-{}", args.name, registration.name());
        if args.values {
            eprintln!(
                "{}: its service account needs rights of its own; `kybern rbac` without --values prints them as ClusterRole {name}",
                registration.name()
            );
            continue;
        }
        let rules = rules_of_account(registration, &served);
        terminal::write("---\n");
        terminal::write(&serde_saphyr::to_string(&role(&name, &rules))?);
    }
    Ok(ExitCode::SUCCESS)
}

fn role(name: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name },
        "rules": rules,
    })
}

/// (group, plural with subresource, the one object or all) -> verbs.
type Needs = BTreeMap<(String, String, Option<String>), BTreeSet<&'static str>>;

fn need(needs: &mut Needs, group: &str, resource: String, verbs: &[&'static str]) {
    let key = (group.to_owned(), resource, None);
    let of = needs.entry(key).or_default();
    of.extend(verbs);
}

/// Where the component comes from, and that on trial.
fn sources(registration: &Registration) -> impl Iterator<Item = &Source> {
    let trial = registration.spec.trial.as_ref();
    let tried = trial.and_then(|trial| trial.source.as_ref());
    [&registration.spec.source].into_iter().chain(tried)
}

/// The host's rules, one for each resource, sorted, then those to act as service accounts.
fn rules(registrations: &[Registration], served: &Served) -> Vec<Value> {
    let mut needs = Needs::new();
    for registration in registrations {
        // Each is read by its name alone.
        for (resource, name) in sources(registration).flat_map(objects) {
            let key = (String::new(), resource.to_owned(), Some(name.to_owned()));
            needs.entry(key).or_default().insert("get");
        }
    }
    let mut need = |group: &str, resource: String, verbs: &[&'static str]| {
        need(&mut needs, group, resource, verbs);
    };
    for registration in registrations {
        if sources(registration).any(|source| source.config_map.is_some()) {
            // Read when it is loaded, and watched for a new component.
            need("", "configmaps".to_owned(), &["get", "list", "watch"]);
        }
        for resource in &registration.spec.resources {
            let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
            let plural = plural(served.get(&gvk), &resource.kind);
            need(
                &resource.group,
                plural.clone(),
                &["get", "list", "watch", "patch"],
            );
            need(&resource.group, format!("{plural}/status"), &["patch"]);
            need(&resource.group, format!("{plural}/finalizers"), &["update"]);
        }
        if registration.keeps_records() {
            // The records of its CRs; their names are not known before.
            let verbs = ["create", "delete", "get", "patch"];
            need("", "secrets".to_owned(), &verbs);
        }
        for grant in &registration.spec.grants.read {
            for kind in &grant.kinds {
                let plural = plural(served.preferred(&grant.group, kind), kind);
                need(&grant.group, plural, &["get", "list", "watch"]);
            }
        }
        for grant in &registration.spec.grants.write {
            for kind in &grant.kinds {
                let plural = plural(served.preferred(&grant.group, kind), kind);
                need(&grant.group, plural, &["get", "list", "watch"]);
            }
        }
        match registration.spec.service_account_name {
            None => writes(registration, served, &mut need),
            Some(_) => scales(registration, served, &mut need),
        }
    }
    let mut rules = sorted(needs);
    rules.extend(impersonated(registrations));
    rules
}

/// What a registration's service account needs: the writes that the plugin may plan.
fn rules_of_account(registration: &Registration, served: &Served) -> Vec<Value> {
    let mut needs = Needs::new();
    let mut need = |group: &str, resource: String, verbs: &[&'static str]| {
        need(&mut needs, group, resource, verbs);
    };
    for resource in &registration.spec.resources {
        // Its children are owned by them.
        let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
        let plural = plural(served.get(&gvk), &resource.kind);
        need(&resource.group, format!("{plural}/finalizers"), &["update"]);
    }
    writes(registration, served, &mut need);
    sorted(needs)
}

/// What the host reads before the plugin's service account scales.
fn scales(
    registration: &Registration,
    served: &Served,
    need: &mut impl FnMut(&str, String, &[&'static str]),
) {
    for grant in &registration.spec.grants.write {
        for kind in &grant.kinds {
            if grant.subresources.iter().any(|name| name == "scale") {
                let plural = plural(served.preferred(&grant.group, kind), kind);
                need(&grant.group, format!("{plural}/scale"), &["get"]);
            }
        }
    }
}

/// To act as the service accounts that registrations name. A ClusterRole cannot say in which
/// namespace: who minds binds a Role with this rule there instead.
fn impersonated(registrations: &[Registration]) -> Vec<Value> {
    let accounts = registrations
        .iter()
        .filter_map(|of| of.spec.service_account_name.as_deref());
    let names: BTreeSet<&str> = accounts.map(|text| account::parts(text).1).collect();
    if names.is_empty() {
        return Vec::new();
    }
    vec![json!({
        "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"],
        "resourceNames": names,
    })]
}

/// What the plugin's writes need.
fn writes(
    registration: &Registration,
    served: &Served,
    need: &mut impl FnMut(&str, String, &[&'static str]),
) {
    for grant in &registration.spec.grants.write {
        for kind in &grant.kinds {
            let plural = plural(served.preferred(&grant.group, kind), kind);
            for verb in &grant.verbs {
                let verbs: &[&str] = match verb {
                    GrantVerb::Apply => &["create", "patch", "delete"],
                    GrantVerb::Patch => &["patch"],
                    GrantVerb::Delete => &["delete"],
                };
                need(&grant.group, plural.clone(), verbs);
            }
            for subresource in &grant.subresources {
                let verbs: &[&str] = match subresource.as_str() {
                    "eviction" | "token" => &["create"],
                    "scale" => &["get", "patch"],
                    "status" => &["patch"],
                    _ => &["create", "patch"],
                };
                need(&grant.group, format!("{plural}/{subresource}"), verbs);
            }
        }
    }
}

fn sorted(needs: Needs) -> Vec<Value> {
    needs
        .into_iter()
        .map(|((group, resource, name), verbs)| {
            let mut rule = json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
            if let (Some(name), Value::Object(rule)) = (name, &mut rule) {
                rule.insert("resourceNames".to_owned(), json!([name]));
            }
            rule
        })
        .collect()
}

/// Secrets and ConfigMaps that are read to fetch and verify a component.
fn objects(source: &Source) -> Vec<(&'static str, &str)> {
    let Some(oci) = &source.oci else {
        return Vec::new();
    };
    let mut found: Vec<(&'static str, &str)> = Vec::new();
    found.extend(oci.pull_secret.iter().map(|of| ("secrets", &*of.name)));
    for key in oci.verify.iter().flat_map(|verify| &verify.public_keys) {
        found.extend(key.secret_ref.iter().map(|of| ("secrets", &*of.name)));
        found.extend(
            key.config_map_ref
                .iter()
                .map(|of| ("configmaps", &*of.name)),
        );
    }
    found
}

/// The plural, as served; else by English rules.
fn plural(found: Option<&ApiResource>, kind: &str) -> String {
    found.map_or_else(
        || crate::kinds::english_plural(kind),
        |found| found.plural.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_what_the_engine_uses_and_no_more() {
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": {
                "source": { "file": "x" },
                "resources": [{ "group": "app.example.com", "version": "v1", "kind": "AppService" }],
                "grants": {
                    "state": true,
                    "read": [{ "group": "", "kinds": ["Pod"] }],
                    "write": [{ "group": "networking.k8s.io", "kinds": ["NetworkPolicy"], "verbs": ["apply"] },
                        { "group": "", "kinds": ["Pod"], "verbs": [], "subresources": ["eviction", "scale"] },
                    ],
                },
            },
        }))
        .unwrap();
        let rules = rules(&[registration], &Served::default());
        assert_eq!(
            Value::from(rules),
            json!([
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] },
                { "apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"] },
                { "apiGroups": [""], "resources": ["pods/scale"], "verbs": ["get", "patch"] },
                { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "delete", "get", "patch"] },
                { "apiGroups": ["app.example.com"], "resources": ["appservices"], "verbs": ["get", "list", "patch", "watch"] },
                { "apiGroups": ["app.example.com"], "resources": ["appservices/finalizers"], "verbs": ["update"] },
                { "apiGroups": ["app.example.com"], "resources": ["appservices/status"], "verbs": ["patch"] },
                { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create", "delete", "get", "list", "patch", "watch"] },
            ])
        );
    }

    #[test]
    fn what_a_service_account_writes_the_host_need_not() {
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": {
                "source": { "file": "x" },
                "serviceAccountName": "team/deployer",
                "resources": [{ "group": "g.example", "version": "v1", "kind": "App" }],
                "grants": { "write": [
                    { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"], "subresources": ["scale"] },
                ] },
            },
        }))
        .unwrap();
        assert_eq!(
            Value::from(rules(
                std::slice::from_ref(&registration),
                &Served::default()
            )),
            json!([
                { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"] },
                { "apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get"] },
                { "apiGroups": ["g.example"], "resources": ["apps"], "verbs": ["get", "list", "patch", "watch"] },
                { "apiGroups": ["g.example"], "resources": ["apps/finalizers"], "verbs": ["update"] },
                { "apiGroups": ["g.example"], "resources": ["apps/status"], "verbs": ["patch"] },
                { "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"], "resourceNames": ["deployer"] },
            ])
        );
        assert_eq!(
            Value::from(rules_of_account(&registration, &Served::default())),
            json!([
                { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create", "delete", "patch"] },
                { "apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"] },
                { "apiGroups": ["g.example"], "resources": ["apps/finalizers"], "verbs": ["update"] },
            ])
        );
    }

    #[test]
    fn what_a_registry_takes_is_read_by_name_alone() {
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": {
                "source": { "oci": {
                    "image": "r.example/app:v1",
                    "pullSecret": { "namespace": "n", "name": "pull" },
                    "verify": { "publicKeys": [
                        { "pem": "-" },
                        { "secretRef": { "namespace": "n", "name": "key", "key": "cosign.pub" } },
                        { "configMapRef": { "namespace": "n", "name": "keys", "key": "cosign.pub" } },
                    ] },
                } },
                "grants": { "state": true },
            },
        }))
        .unwrap();
        let get = |resource: &str, name: &str| json!({ "apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": ["get"] });
        assert_eq!(
            Value::from(rules(&[registration], &Served::default())),
            json!([
                get("configmaps", "keys"),
                { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "delete", "get", "patch"] },
                get("secrets", "key"),
                get("secrets", "pull"),
            ])
        );
    }

    #[test]
    fn patches_need_records_and_no_more_of_what_they_patch() {
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": { "source": { "file": "x" }, "grants": { "write": [
                { "group": "apps", "kinds": ["Deployment"], "verbs": ["patch"], "subresources": ["status"] },
                { "group": "", "kinds": ["Pod"], "verbs": ["delete"] },
            ] } },
        }))
        .unwrap();
        assert_eq!(
            Value::from(rules(&[registration], &Served::default())),
            json!([
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "get", "list", "watch"] },
                { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "delete", "get", "patch"] },
                { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "patch", "watch"] },
                { "apiGroups": ["apps"], "resources": ["deployments/status"], "verbs": ["patch"] },
            ])
        );
    }
}
