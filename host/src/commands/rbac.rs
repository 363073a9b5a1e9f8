//! `kybern rbac`: exactly the rules that registrations need, as a ClusterRole or as values of the chart.

use super::manifests;
use crate::args::RbacArgs;
use crate::kinds::{Kinds, Served, plugin_table};
use crate::rights::{IMPERSONATE, Needs, Place};
use crate::terminal;
use anyhow::Context;
use kybern_interface::Registration;
use kybern_kube::{ListOptions, Resource};
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

/// The host's rules, one for each resource, sorted, then those to act as service accounts.
fn rules(registrations: &[Registration], served: &Served) -> Vec<Value> {
    let at = everywhere(served);
    let needs = registrations.iter().flat_map(|of| at.of_host(of));
    let (acting, needs): (Needs, Needs) = needs.partition(|right| right.verb == IMPERSONATE);
    let mut rules = sorted(needs);
    rules.extend(impersonated(acting));
    rules
}

/// What a registration's service account needs.
fn rules_of_account(registration: &Registration, served: &Served) -> Vec<Value> {
    sorted(everywhere(served).of_account(registration))
}

/// A ClusterRole says nothing of namespaces.
fn everywhere(served: &Served) -> Place<'_> {
    Place {
        served,
        only: None,
        home: None,
    }
}

/// To act as service accounts. A ClusterRole cannot say in which namespace: who minds binds a Role
/// with this rule there instead.
fn impersonated(acting: Needs) -> Option<Value> {
    let names: BTreeSet<String> = acting.into_iter().filter_map(|right| right.name).collect();
    (!names.is_empty()).then(|| {
        json!({
            "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": [IMPERSONATE],
            "resourceNames": names,
        })
    })
}

/// One rule for each resource, or object of it.
fn sorted(needs: Needs) -> Vec<Value> {
    let mut rules: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for right in needs {
        let of = (right.group, right.resource, right.name);
        rules.entry(of).or_default().insert(right.verb);
    }
    let rules = rules.into_iter().map(|((group, resource, name), verbs)| {
        let mut rule = json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
        if let (Some(name), Value::Object(rule)) = (name, &mut rule) {
            rule.insert("resourceNames".to_owned(), json!([name]));
        }
        rule
    });
    rules.collect()
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

    #[test]
    fn objects_with_settings_and_secrets_are_read_by_name_alone() {
        let at = |name: &str| json!({ "namespace": "n", "name": name, "key": "k" });
        let registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "a" },
            "spec": {
                "source": { "file": "x" },
                "settingsFrom": [{ "secretRef": at("s") }, { "configMapRef": at("c") }],
                "grants": { "secrets": [
                    { "name": "token", "secretRef": { "name": "t", "key": "k" }, "hosts": ["a.com"] },
                ] },
            },
        }))
        .unwrap();
        let read = |resource: &str, name: &str| json!({ "apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": ["get", "list", "watch"] });
        let get = json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["t"], "verbs": ["get"] });
        assert_eq!(
            Value::from(rules(&[registration], &Served::default())),
            json!([read("configmaps", "c"), read("secrets", "s"), get])
        );
    }
}
