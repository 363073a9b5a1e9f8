//! The bundles of this repository, without a cluster.

#![cfg(test)]

use declarative::bundle::Bundle;
use declarative::operator::Operator;
use declarative::run::{self, Host};
use kybern_interface::{Action, HelmAnswer, HelmRequest, Plan, Situation, Trigger};
use kybern_sdk::{Gvk, HookError, Sensing, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, below: &str, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), all);
            } else {
                all.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(folder, "", &mut all);
    all
}

fn load(folder: &str) -> Operator {
    let read = Operator::load(Bundle::new(files(&root().join(folder))));
    read.unwrap_or_else(|errors| panic!("{errors}"))
}

#[derive(Default)]
struct Fake {
    rows: BTreeMap<String, Vec<Value>>,
    manifests: Vec<String>,
}

impl Host for Fake {
    fn rows(&self, query: &str) -> Result<Vec<Value>, HookError> {
        Ok(self.rows.get(query).cloned().unwrap_or_default())
    }

    fn helm(&self, request: &HelmRequest) -> Result<HelmAnswer, String> {
        assert_eq!(request.chart, "vvp/vvp");
        let manifests = self
            .manifests
            .iter()
            .map(|content| kybern_interface::HelmManifest {
                source: "vvp/templates/x.yaml".into(),
                kind: String::new(),
                content: content.clone(),
            });
        Ok(HelmAnswer {
            manifests: manifests.collect(),
            ..HelmAnswer::default()
        })
    }
}

struct Try {
    operator: Operator,
    host: Fake,
    cr: Value,
    settings: Value,
    state: Value,
}

impl Try {
    fn new(folder: &str, mut cr: Value) -> Self {
        for (field, value) in [
            ("namespace", json!("default")),
            ("uid", json!("u1")),
            ("generation", json!(1)),
        ] {
            cr["metadata"][field] = value;
        }
        Self {
            operator: load(folder),
            host: Fake::default(),
            cr,
            settings: json!({}),
            state: Value::Null,
        }
    }

    fn plan(&mut self) -> Plan {
        let resource = Gvk::from_api_version(
            self.cr["apiVersion"].as_str().unwrap(),
            self.cr["kind"].as_str().unwrap(),
        );
        let now = "2026-01-01T00:00:00Z".to_owned();
        let trigger = Trigger {
            resource: resource.clone(),
            object: self.cr.clone(),
            settings: self.settings.clone(),
            queries: Vec::new(),
            now: now.clone(),
        };
        let mut queries = Vec::new();
        loop {
            match run::sense(&self.operator, &trigger, &queries, &self.host).unwrap() {
                Sensing::Again(more) => queries.extend(more.into_iter().map(|query| query.name)),
                Sensing::Queries(more) => {
                    queries.extend(more.into_iter().map(|query| query.name));
                    break;
                }
                Sensing::Skip => break,
            }
        }
        let situation = Situation {
            resource,
            object: self.cr.clone(),
            queries,
            outcomes: Vec::new(),
            state: self.state.clone(),
            settings: self.settings.clone(),
            now,
        };
        let plan = run::decide(&self.operator, &situation, &self.host)
            .unwrap_or_else(|error| panic!("{error}"));
        for action in &plan.actions {
            if let Action::SetState(set) = action {
                self.state = set.state.clone();
            }
        }
        plan
    }
}

fn child<'a>(plan: &'a Plan, kind: &str) -> Option<&'a Value> {
    plan.actions.iter().find_map(|action| match action {
        Action::Apply(apply) if apply.object["kind"] == kind => Some(&apply.object),
        _ => None,
    })
}

fn status(plan: &Plan) -> &Value {
    let status = plan.actions.iter().find_map(|action| match action {
        Action::Status { status } => Some(status),
        _ => None,
    });
    status.unwrap()
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn the_published_operator_file_is_read_as_it_stands() {
    use sha2::Digest;
    let bytes = std::fs::read(root().join("tests/bundles/sreworks/operator.yaml")).unwrap();
    let digest: String = sha2::Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digest, "bf87da710e8ca5f6f67e582b576fc3e0c2160e8ef129188ec98e107fb00765a7",
        "it is to stay as it was published"
    );
    let cr = json!({"apiVersion": "vvp.example.com/v1", "kind": "Vvp", "metadata": {"name": "demo"}, "spec": {"replicas": 3}});
    let mut one = Try::new("tests/bundles/sreworks", cr);
    one.host.manifests = vec![
        "apiVersion: v1\nkind: Service\nmetadata: {name: demo-vvp}\nspec: {ports: [{port: 80}]}\n"
            .into(),
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: demo-vvp}\nspec: {}\n"
            .into(),
    ];
    assert_eq!(
        child(&one.plan(), "Ingress")
            .unwrap()
            .pointer("/metadata/annotations"),
        None
    );
    let service = json!({"metadata": {"name": "demo-vvp", "namespace": "default", "uid": "s1"}, "spec": {"ports": [{"port": 80, "nodePort": 30001}, {"port": 9000}]}});
    let mut with_address = service.clone();
    with_address["status"] = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
    for (service, address) in [(service, ""), (with_address, "10.0.0.1")] {
        one.host.rows.insert(
            "watch 0".into(),
            vec![json!({"object": service.to_string()})],
        );
        let plan = one.plan();
        assert_eq!(
            child(&plan, "Ingress").unwrap()["metadata"]["annotations"],
            json!({"vvp.example.com/service-ports": "80,9000", "vvp.example.com/node-ports": "30001", "vvp.example.com/address": address})
        );
        assert_eq!(plan.actions.len(), 2, "nothing but the children: {plan:?}");
    }
}

#[test]
fn appservice_in_yaml_plans_what_appservice_in_rust_plans() {
    let crd = |path: &str| yaml(path);
    assert_eq!(
        crd("plugins/bundles/appservice/crd.yaml"),
        crd("plugins/appservice/crd.yaml")
    );
    let full = yaml("plugins/appservice/tests/appservice.yaml");
    let mut bare = full.clone();
    bare["spec"].as_object_mut().unwrap().remove("ports");
    let mut odd = full.clone();
    odd["spec"]["ports"] =
        json!([{"port": 80}, {"port": 8080, "targetPort": 80}, {"port": 90, "targetPort": 7}]);
    odd["spec"]["image"] = json!("yes");
    let row =
        json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 2});
    for cr in [full, bare, odd] {
        for observed in [None, Some(&row)] {
            let mut one = Try::new("plugins/bundles/appservice", cr.clone());
            let rust = kybern_sdk::testing::Situation::new(one.cr.clone());
            let rust = match observed {
                Some(row) => {
                    one.host.rows.insert(
                        "query deployment".into(),
                        vec![json!({"status": row.to_string()})],
                    );
                    let mut row = row.clone();
                    for field in ["unavailableReplicas", "generation", "seen", "wanted"] {
                        row[field] = Value::Null;
                    }
                    row["reported"] = json!([]);
                    rust.rows("deployment", [row])
                }
                None => rust,
            };
            let rust = rust.decide::<appservice::AppService>().unwrap();
            let plan = one.plan();
            for kind in ["Deployment", "Service"] {
                let clean = |value: Option<&Value>| {
                    value.map(|value| {
                        let mut value = value.clone();
                        for port in value
                            .pointer_mut("/spec/ports")
                            .and_then(Value::as_array_mut)
                            .into_iter()
                            .flatten()
                        {
                            port.as_object_mut()
                                .unwrap()
                                .retain(|_, value| !value.is_null());
                        }
                        value
                    })
                };
                assert_eq!(
                    clean(child(&plan, kind)),
                    clean(rust.child(kind, "nginx-app")),
                    "{kind}"
                );
            }
            assert_eq!(Some(status(&plan)), rust.status());
        }
    }
}

fn microservice() -> Try {
    let mut one = Try::new(
        "plugins/bundles/microservicedeploy",
        yaml("tests/fixtures/microservicedeploy.yaml"),
    );
    one.settings = json!({"domain": "shop.test", "authSeed": "0123456789abcdef"});
    one
}

/// The Deployment as it is when no controller has seen it: without a status.
fn ran(one: &mut Try, replicas: u32) {
    let object = json!({"metadata": {"name": "ms-sample-v1s0"}, "spec": {"replicas": replicas}});
    one.host.rows.insert(
        "query deployment".into(),
        vec![json!({"object": object.to_string()})],
    );
}

#[test]
fn a_microservice_gets_all_that_it_asks_for() {
    let mut one = microservice();
    let plan = one.plan();
    let kinds: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Apply(apply) => apply.object["kind"].as_str(),
            _ => None,
        })
        .collect();
    for kind in [
        "Service",
        "ServiceAccount",
        "Deployment",
        "ConfigMap",
        "ResourceQuota",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Secret",
    ] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let deployment = child(&plan, "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["image"], "just a image url",
        "an odd image is data"
    );
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": "2", "memory": "4Gi"})
    );
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["labels"]["version"],
        "1.0"
    );
    assert_eq!(
        child(&plan, "Ingress").unwrap()["spec"]["rules"][0]["host"],
        "v1.ms-sample.shop.test"
    );
    assert_eq!(
        child(&plan, "Ingress").unwrap()["metadata"]["annotations"]["nginx.ingress.kubernetes.io/auth-secret"],
        "ms-sample-v1s0-auth"
    );
    assert_eq!(
        child(&plan, "ConfigMap").unwrap()["data"],
        json!({"config": "password=88888888"})
    );
    assert_eq!(
        child(&plan, "ResourceQuota").unwrap()["spec"]["hard"]["requests.memory"],
        "44Gi"
    );
    let secret = plan
        .actions
        .iter()
        .find_map(|action| match action {
            Action::Apply(apply) if apply.object["kind"] == "Secret" => Some(apply),
            _ => None,
        })
        .unwrap();
    assert_eq!(serde_json::to_value(secret.mode).unwrap(), "createOnce");
    // Without a seed there is no password, and a condition says why; all else is there.
    one.settings = json!({});
    let without = one.plan();
    assert!(child(&without, "Secret").is_none() && child(&without, "Deployment").is_some());
    let children = serde_json::to_value(&without.children).unwrap();
    assert!(
        children["partial"]
            .as_str()
            .unwrap()
            .contains("needAuth makes a password out of settings.authSeed"),
        "{children}"
    );
    one.settings = json!({"authSeed": "0123456789abcdef"});
    // Another configuration is another template of pods.
    let before = deployment["spec"]["template"].clone();
    one.cr["spec"]["config"] = json!("other");
    assert_ne!(
        child(&one.plan(), "Deployment").unwrap()["spec"]["template"],
        before
    );
}

#[test]
fn what_a_microservice_does_not_ask_for_is_not_there() {
    let mut one = microservice();
    for field in ["needAuth", "autoscaling"] {
        one.cr["spec"][field] = json!(false);
    }
    for field in ["config", "resourceRequirements", "creationTimestamp"] {
        one.cr["spec"].as_object_mut().unwrap().remove(field);
    }
    let plan = one.plan();
    for kind in [
        "ConfigMap",
        "ResourceQuota",
        "HorizontalPodAutoscaler",
        "Secret",
    ] {
        assert!(child(&plan, kind).is_none(), "{kind}");
    }
    assert_eq!(
        child(&plan, "Ingress")
            .unwrap()
            .pointer("/metadata/annotations"),
        None
    );
}

#[test]
fn an_idle_microservice_comes_back_to_what_it_was() {
    let mut one = microservice();
    let count = |plan: &Plan| child(plan, "Deployment").unwrap()["spec"]["replicas"].clone();
    assert_eq!(count(&one.plan()), 3);
    ran(&mut one, 7);
    assert_eq!(count(&one.plan()), 7, "what the autoscaler made of it");
    one.cr["spec"]["idle"] = json!(true);
    let plan = one.plan();
    assert_eq!(count(&plan), 0);
    assert!(child(&plan, "HorizontalPodAutoscaler").is_none());
    ran(&mut one, 0);
    assert_eq!(count(&one.plan()), 0);
    one.cr["spec"]["idle"] = json!(false);
    let plan = one.plan();
    assert_eq!(count(&plan), 7);
    // An autoscaler never wakes up what has no pods: until then the count is ours.
    let ignored = |plan: &Plan| {
        let applies = plan.actions.iter().filter_map(|action| match action {
            Action::Apply(apply) if apply.object["kind"] == "Deployment" => Some(apply),
            _ => None,
        });
        let all: Vec<Vec<String>> = applies.map(|apply| apply.ignore_paths.clone()).collect();
        all
    };
    assert_eq!(ignored(&plan), [Vec::<String>::new()]);
    ran(&mut one, 7);
    assert_eq!(ignored(&one.plan()), [["spec.replicas".to_owned()]]);
}

#[test]
fn the_count_does_not_jump_when_the_autoscaler_goes() {
    let mut one = microservice();
    let count = |plan: &Plan| child(plan, "Deployment").unwrap()["spec"]["replicas"].clone();
    let _ = one.plan();
    ran(&mut one, 6);
    let _ = one.plan();
    one.cr["spec"]["autoscaling"] = json!(false);
    let plan = one.plan();
    assert!(child(&plan, "HorizontalPodAutoscaler").is_none());
    assert_eq!(count(&plan), 6);
    ran(&mut one, 9);
    assert_eq!(count(&one.plan()), 6, "a change by hand is reverted");
    one.cr["spec"]["replicas"] = json!(4);
    assert_eq!(count(&one.plan()), 4, "asked for anew");
}

#[test]
fn manifests_ask_for_what_the_bundles_need() {
    let manifest = |folder: &str| {
        let manifest = declarative::describe::manifest(&load(folder), &Fake::default()).unwrap();
        serde_json::to_value(manifest).unwrap()
    };
    let kinds = |manifest: &Value, what: &str| -> Vec<String> {
        manifest[what]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    let one = manifest("plugins/bundles/appservice");
    assert_eq!(
        (kinds(&one, "reads"), kinds(&one, "writes")),
        (
            vec!["Deployment".to_owned()],
            vec!["Service".into(), "Deployment".into()]
        )
    );
    assert_eq!(
        one["status"],
        json!({"conditions": "standard", "observedGeneration": true})
    );
    assert_eq!(one["name"], "appservice");
    let one = manifest("plugins/bundles/microservicedeploy");
    assert_eq!(one["state"], true);
    assert_eq!(
        kinds(&one, "writes"),
        [
            "ConfigMap",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
            "Deployment",
            "HorizontalPodAutoscaler",
            "Ingress"
        ]
    );
    let one = manifest("tests/bundles/sreworks");
    assert_eq!(one["capabilities"][0]["name"], "render");
    assert_eq!(kinds(&one, "reads"), ["Service"]);
    let ingress = one["writes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|ask| ask["kind"] == "Ingress");
    assert_eq!(
        ingress.unwrap()["verbs"],
        json!(["apply", "patch"]),
        "the chart may leave it to others"
    );
    assert_eq!(
        one.get("state"),
        None,
        "a chart without hooks keeps nothing"
    );
}

#[test]
fn the_schema_for_editors_is_the_grammar() {
    let path = root().join("plugins/declarative/schema/operator.json");
    let text = serde_json::to_string_pretty(&declarative::grammar::schema()).unwrap() + "\n";
    if std::env::var_os("KYBERN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        there, text,
        "KYBERN_BLESS=1 cargo test -p declarative writes it"
    );
}

#[test]
fn the_documentation_names_every_key() {
    use declarative::grammar::{CATEGORIES, COMMANDS, Key, PROFILE, RULE, Type};
    fn names(keys: &[Key], all: &mut Vec<&'static str>) {
        for key in keys {
            all.push(key.name);
            match key.takes {
                Type::Keys(keys) => names(keys, all),
                Type::List(Type::Keys(keys)) => names(keys, all),
                _ => {}
            }
        }
    }
    let text = std::fs::read_to_string(root().join("docs/declarative.md")).unwrap();
    let mut all = CATEGORIES.to_vec();
    names(PROFILE, &mut all);
    names(RULE, &mut all);
    for command in COMMANDS {
        all.push(command.name);
        names(&command.keys().copied().collect::<Vec<_>>(), &mut all);
    }
    let missing: Vec<&str> = all
        .into_iter()
        .filter(|name| !text.contains(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/declarative.md says nothing of {missing:?}"
    );
}
