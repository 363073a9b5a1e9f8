//! Every right of the chart is used, or a line here says when; nothing that is asked for is denied.

use crate::scene::{cluster_wide, condition, folder, helm_here, installed, namespace_goes, plugin};
use anyhow::{Context, Result, ensure};
use kybern_node_tests::{APP, Release, SOON, has, kubectl};
use kybern_testcluster::{Mark, Object, Progress, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// One thing that may be done: a verb on a resource of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl Right {
    fn new(group: &str, resource: &str, verb: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.verb, self.resource, self.group)
    }
}

/// Rights that this test does not see used, and when they are.
const UNSEEN: [(&str, &str, &str, &str); 13] = [
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "list",
        "servers without streaming lists",
    ),
    (
        "events.k8s.io",
        "events",
        "patch",
        "the same Event again within six minutes is counted",
    ),
    (
        "app.example.com",
        "appservices",
        "get",
        "a conflict: the CR is read again",
    ),
    (
        "app.example.com",
        "appservices/finalizers",
        "update",
        "checked, not requested: admission plugin OwnerReferencesPermissionEnforcement",
    ),
    (
        "apps",
        "deployments",
        "delete",
        "a plan that no longer names its Deployment; this plugin's always does",
    ),
    (
        "apps",
        "deployments",
        "get",
        "a write whose outcome is unknown is looked up",
    ),
    (
        "",
        "services",
        "get",
        "a write whose outcome is unknown is looked up",
    ),
    (
        "",
        "configmaps",
        "list",
        "a ConfigMap source is watched; a streaming list is a watch",
    ),
    (
        "apps",
        "deployments",
        "list",
        "servers without streaming lists",
    ),
    ("", "services", "list", "servers without streaming lists"),
    (
        "",
        "secrets",
        "get",
        "the first plugin that renders charts: the seed of their passwords",
    ),
    (
        "",
        "secrets",
        "patch",
        "the same, where the seed is still empty",
    ),
    (
        "app.example.com",
        "appservices",
        "list",
        "servers without streaming lists",
    ),
];

/// Group, resource and verb of every rule of a role.
fn rights(role: &Value) -> BTreeSet<Right> {
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let words = rule[field].as_array().into_iter().flatten();
        words
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    all.insert(Right::new(&group, &resource, &verb));
                }
            }
        }
    }
    all
}

/// What the release's roles allow now, those of the hook included.
fn granted(release: &Release) -> Result<BTreeSet<Right>> {
    let mut granted = BTreeSet::new();
    for part in ["manifest", "hooks"] {
        let text = helm_here(release, &["get", part, &release.name])?;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).context("helm's YAML")?;
        for object in objects {
            if object["kind"] == "Role" || object["kind"] == "ClusterRole" {
                granted.extend(rights(&object));
            }
        }
    }
    Ok(granted)
}

/// What the release's service account asked for since `mark`; nothing of it was denied.
fn used(release: &Release, mark: Mark) -> Result<BTreeSet<Right>> {
    let mut used = BTreeSet::new();
    let user = format!("system:serviceaccount:{0}:{0}-kybern", release.name);
    for request in release.requests(mark)? {
        // Pods of the AppService ask for things too.
        if request.user != user {
            continue;
        }
        let denied = matches!(request.code, Some(401 | 403));
        // Discovery is everybody's.
        ensure!(!denied, "denied: {request:?}");
        if request.resource.is_empty() {
            continue;
        }
        let resource = match &request.subresource {
            Some(subresource) => format!("{}/{subresource}", request.resource),
            None => request.resource.clone(),
        };
        used.insert(Right::new(&request.group, &resource, &request.verb));
    }
    Ok(used)
}

/// Makes the host use its rights: everything that registrations and CRs can lead to.
fn exercise(release: &Release) -> Result<()> {
    let client = release.node().client();
    // Its kind is not there yet: the plugin brings it.
    let definition = Object::cluster(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "appservices.app.example.com",
    );
    client.delete(&definition)?;
    client.wait_gone(&definition, SOON)?;
    let object = release.register()?;
    client.get(&definition)?;
    // Somebody changed it: only CreateReplace puts it right.
    let changed = json!({ "spec": { "names": { "shortNames": ["changed"] } } });
    client.merge_patch(&definition, &changed)?;
    client.merge_patch(&object, &json!({ "spec": { "crds": "CreateReplace" } }))?;
    client.wait_for(&definition, "to be put right", SOON, |crd| {
        crd["spec"]["names"]["shortNames"] != json!(["changed"])
    })?;
    client.wait_for(&object, "Ready again", SOON, |p| has(p, "Ready", "True"))?;

    let app = release.create_app("web", 1)?;
    let ports = json!([{ "port": 81, "targetPort": 8080 }]);
    client.merge_patch(&app.app, &json!({ "spec": { "size": 2, "ports": ports } }))?;
    release.wait_app(&app, 2)?;
    client.wait_for(&app.service, "to follow", SOON, |service| {
        service["spec"]["ports"][0]["port"] == 81
    })?;
    // Without ports the Service is pruned.
    client.merge_patch(&app.app, &json!({ "spec": { "ports": [] } }))?;
    client.wait_gone(&app.service, SOON)?;
    // What `helm uninstall` has to take off; paused, so that no pass does it before.
    let finalizer = format!("{}.finalizers.kybern.dev/cleanup", release.name);
    let hold = json!({ "metadata": {
        "annotations": { "kybern.dev/paused": "true" }, "finalizers": [finalizer],
    }});
    client.merge_patch(&app.app, &hold)?;
    complain(release)
}

/// A complaint: a condition and an Event.
fn complain(release: &Release) -> Result<()> {
    let client = release.node().client();
    // Somebody else's: the plugin's child of that name cannot be made.
    let labels = json!({ "app": "taken" });
    client.create(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": release.name, "name": "taken" },
        "spec": {
            "replicas": 0, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": "localhost/probe:1" }] },
            },
        },
    }))?;
    let app = json!({
        "apiVersion": APP, "kind": "AppService",
        "metadata": { "namespace": release.name, "name": "taken" },
        "spec": { "size": 1, "image": "localhost/probe:1" },
    });
    client.create(&app)?;
    let app = Object::of(&app)?;
    client.wait_for(&app, "to be refused", SOON, |app| {
        condition(app, "Ready")["status"] == "False"
    })?;
    until("the Event", SOON, || {
        let events = client.list("events.k8s.io/v1", "Event", Some(&release.name))?;
        let mut ours = events.iter().filter(|e| e["regarding"]["name"] == "taken");
        Ok(Progress::from(ours.next().map(|_| ())))
    })?;
    client.delete(&app)?;
    client.wait_gone(&app, SOON)
}

/// What every account of a cluster may create (system:basic-user): questions about its own rights.
const EVERYBODYS: [&str; 2] = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];

#[test]
fn every_right_is_used_and_nothing_is_denied() -> Result<()> {
    let node = kybern_node_tests::node()?;
    let mark = node.audit().mark()?;
    let release = installed("rights", cluster_wide)?;
    let granted = granted(&release)?;
    exercise(&release)?;
    // The hook's rights are used by the hook.
    helm_here(&release, &["uninstall", &release.name, "--wait"])?;

    let used = used(&release, mark)?;
    let unseen: BTreeSet<Right> = UNSEEN
        .iter()
        .map(|(group, resource, verb, _)| Right::new(group, resource, verb))
        .collect();
    let idle: Vec<String> = granted
        .difference(&used)
        .filter(|right| !unseen.contains(right))
        .map(Right::to_string)
        .collect();
    println!("granted {}, used {}", granted.len(), used.len());
    assert!(
        idle.is_empty(),
        "granted, not used, and nothing says when: {idle:#?}"
    );
    let stale: Vec<String> = unseen
        .iter()
        .filter(|right| !granted.contains(right))
        .map(Right::to_string)
        .collect();
    assert!(
        stale.is_empty(),
        "explained, but not granted any more: {stale:#?}"
    );
    let everybodys: BTreeSet<Right> = EVERYBODYS
        .map(|resource| Right::new("authorization.k8s.io", resource, "create"))
        .into();
    let beyond: Vec<String> = used
        .difference(&granted)
        .filter(|right| !everybodys.contains(right))
        .map(Right::to_string)
        .collect();
    assert!(
        beyond.is_empty(),
        "used without a rule of the chart: {beyond:#?}"
    );
    node.client().delete(&plugin(&release))?;
    namespace_goes(&release)
}

#[test]
fn what_the_host_may_do_is_this_and_no_more() -> Result<()> {
    let release = installed("cani", cluster_wide)?;
    let account = release.replicas()?;
    let account = account[0].pod["spec"]["serviceAccountName"].clone();
    let account = account.as_str().unwrap_or_default();
    let user = format!("system:serviceaccount:{}:{account}", release.name);
    let may = |words: &[&str]| -> Result<bool> {
        let mut all = vec!["auth", "can-i"];
        all.extend(words);
        all.extend(["--as", &user, "--namespace", &release.name]);
        Ok(kubectl(all)?.stdout.trim() == "yes")
    };
    ensure!(may(&["patch", "plugins.kybern.dev"])?, "it can do its work");
    for refused in [
        &["*", "*"][..],
        &["create", "plugins.kybern.dev"],
        &["update", "plugins.kybern.dev"],
        &["delete", "plugins.kybern.dev"],
        &["get", "secrets"],
        &["create", "pods"],
        &["create", "clusterrolebindings"],
        &["delete", "customresourcedefinitions"],
        &["patch", "deployments", "--subresource=scale"],
        &["impersonate", "users"],
        &["update", "leases/somebody-else"],
    ] {
        ensure!(!may(refused)?, "{refused:?} is allowed");
    }

    let list = kubectl([
        "auth",
        "can-i",
        "--list",
        "--as",
        &user,
        "--namespace",
        &release.name,
    ])?;
    let list = normal(&list.ok()?).replace(&release.name, "RELEASE");
    let path = format!("{}/can-i.txt", folder("goldens"));
    if std::env::var_os("KYBERN_BLESS").is_some() {
        std::fs::write(&path, &list)?;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(list, golden, "write {path} anew with KYBERN_BLESS=1");
    Ok(())
}

/// kubectl's table with single spaces and sorted lines: columns are as wide as the longest name.
fn normal(table: &str) -> String {
    let mut lines = table.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ")
    });
    let title = lines.next().unwrap_or_default();
    let mut rest: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    rest.sort();
    format!("{title}\n{}\n", rest.join("\n"))
}
