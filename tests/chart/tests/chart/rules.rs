//! What the chart's rules and Pods may never be, whatever the values.

use crate::helm::{SETS, find, objects, rendered};
use anyhow::Result;
use serde_json::Value;

/// Every rule of a set's Roles and ClusterRoles, with the role's name.
fn rules(objects: &[Value]) -> Vec<(String, Value)> {
    objects
        .iter()
        .filter(|o| o["kind"] == "Role" || o["kind"] == "ClusterRole")
        .flat_map(|role| {
            let name = role["metadata"]["name"].as_str().unwrap().to_owned();
            let rules = role["rules"].as_array().cloned().unwrap_or_default();
            rules.into_iter().map(move |rule| (name.clone(), rule))
        })
        .collect()
}

fn words(rule: &Value, field: &str) -> Vec<String> {
    rule[field]
        .as_array()
        .into_iter()
        .flatten()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

fn has(rule: &Value, field: &str, wanted: &str) -> bool {
    words(rule, field)
        .iter()
        .any(|word| word == wanted || word == "*")
}

#[test]
fn nobody_gets_the_right_to_create_or_change_plugins() -> Result<()> {
    for set in SETS {
        for (role, rule) in rules(&objects(set)?) {
            if !has(&rule, "apiGroups", "kybern.dev") || !has(&rule, "resources", "plugins") {
                continue;
            }
            for verb in ["create", "update"] {
                assert!(!has(&rule, "verbs", verb), "{set}: {role}: {rule}");
            }
            // Only the hook that was asked to remove them deletes Plugins.
            let deletes = has(&rule, "verbs", "delete");
            assert!(
                !deletes || role.ends_with("-uninstall"),
                "{set}: {role}: {rule}"
            );
        }
    }
    Ok(())
}

#[test]
fn no_rule_is_a_wildcard_and_none_reaches_secrets_or_rights() -> Result<()> {
    for set in SETS {
        let objects = objects(set)?;
        assert!(
            set == "brought-along" || !rules(&objects).is_empty(),
            "{set}"
        );
        for (role, rule) in rules(&objects) {
            for field in ["apiGroups", "resources", "verbs"] {
                let words = words(&rule, field);
                assert!(
                    !words.iter().any(|w| w.contains('*')),
                    "{set}: {role}: {rule}"
                );
            }
            // Of Secrets the one that the host keeps for itself, by name; with no list, which names do not limit.
            if has(&rule, "resources", "secrets") {
                assert_eq!(words(&rule, "verbs"), ["get", "patch"], "{set}: {role}");
                let names = words(&rule, "resourceNames");
                assert!(
                    matches!(&names[..], [one] if one.ends_with("-charts")),
                    "{set}: {role}: {rule}"
                );
            }
            for resource in ["serviceaccounts", "serviceaccounts/token", "pods/exec"] {
                assert!(!has(&rule, "resources", resource), "{set}: {role}: {rule}");
            }
            assert!(
                !has(&rule, "apiGroups", "rbac.authorization.k8s.io"),
                "{set}: {role}: {rule}"
            );
            assert!(
                rule.get("nonResourceURLs").is_none(),
                "{set}: {role}: {rule}"
            );
        }
        for binding in objects.iter().filter(|o| o["kind"] == "ClusterRoleBinding") {
            assert_ne!(binding["roleRef"]["name"], "cluster-admin", "{set}");
        }
    }
    Ok(())
}

#[test]
fn each_rule_of_the_chart_says_when_it_is_used() -> Result<()> {
    for set in ["default", "namespaced", "everything"] {
        let text = rendered(set)?;
        let lines: Vec<&str> = text.lines().collect();
        let mut found = 0;
        for (at, line) in lines.iter().enumerate() {
            // Rules of plugins are values: they are printed with their list one level up.
            if line.starts_with("  - apiGroups: [") {
                found += 1;
                assert!(
                    lines[at - 1].trim_start().starts_with('#'),
                    "{set}, line {}: {line}",
                    at + 1
                );
            }
        }
        assert!(found >= 6, "{set}: {found} rules");
    }
    Ok(())
}

#[test]
fn one_namespace_means_roles_in_it() -> Result<()> {
    let objects = objects("namespaced")?;
    let everywhere: Vec<String> = rules(&objects)
        .into_iter()
        .filter(|(role, _)| role.contains(':'))
        .flat_map(|(_, rule)| words(&rule, "resources"))
        .collect();
    assert!(
        everywhere
            .iter()
            .all(|r| r.starts_with("plugins") || r == "customresourcedefinitions"),
        "{everywhere:?}"
    );
    let role = find(&objects, "Role", "kybern-plugins");
    assert_eq!(role["metadata"]["namespace"], "team-a");
    assert!(
        rules(std::slice::from_ref(role))
            .iter()
            .any(|(_, rule)| has(rule, "resources", "deployments"))
    );
    Ok(())
}

/// The Pod templates of a set.
fn pods(objects: &[Value]) -> Vec<Value> {
    objects
        .iter()
        .map(|o| &o["spec"]["template"]["spec"])
        .filter(|pod| pod.is_object())
        .cloned()
        .collect()
}

#[test]
fn no_container_has_a_privilege() -> Result<()> {
    for set in SETS {
        let pods = pods(&objects(set)?);
        assert!(!pods.is_empty(), "{set}");
        for pod in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{set}");
            assert_eq!(
                security["seccompProfile"]["type"], "RuntimeDefault",
                "{set}"
            );
            for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.get(namespace).is_none(), "{set}: {namespace}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{set}");
                assert_eq!(security["privileged"], false, "{set}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{set}");
                assert_eq!(
                    security["capabilities"]["drop"],
                    serde_json::json!(["ALL"]),
                    "{set}"
                );
                assert!(security["capabilities"].get("add").is_none(), "{set}");
                assert_eq!(
                    container["terminationMessagePolicy"], "FallbackToLogsOnError",
                    "{set}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn liveness_depends_on_nobody_else() -> Result<()> {
    for set in SETS {
        let objects = objects(set)?;
        let deployment = objects.iter().find(|o| o["kind"] == "Deployment").unwrap();
        let host = &deployment["spec"]["template"]["spec"]["containers"][0];
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            assert_eq!(host[probe]["httpGet"]["path"], path, "{set}: {probe}");
        }
    }
    Ok(())
}

#[test]
fn the_hook_s_pod_is_no_host() -> Result<()> {
    // The Deployment, the Service and the budget must not select it, and the hook waits for the hosts' Pods.
    let objects = objects("default")?;
    let selector = &find(&objects, "Deployment", "kybern")["spec"]["selector"]["matchLabels"];
    let labels =
        &find(&objects, "Job", "kybern-uninstall")["spec"]["template"]["metadata"]["labels"];
    let selected = selector
        .as_object()
        .unwrap()
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    assert!(!selected, "{selector} selects {labels}");
    Ok(())
}

#[test]
fn without_an_election_two_hosts_never_meet() -> Result<()> {
    let objects = objects("minimal")?;
    let deployment = find(&objects, "Deployment", "kybern");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    assert!(objects.iter().all(|o| o["kind"] != "PodDisruptionBudget"));
    Ok(())
}
