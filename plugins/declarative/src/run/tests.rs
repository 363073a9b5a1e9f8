//! Operators run without a cluster.

use super::*;
use crate::bundle::Bundle;
use kybern_interface::{Action, EffectPhase, HelmHook, HelmLookup, HelmManifest};
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: webs.example.com}
spec:
  group: example.com
  names: {kind: Web, plural: webs, singular: web}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
";

/// A host of a test: answers by query, charts by what they render to.
#[derive(Default)]
struct Fake {
    rows: BTreeMap<String, Vec<Value>>,
    chart: RefCell<HelmAnswer>,
    asked: RefCell<Vec<HelmRequest>>,
}

impl Host for Fake {
    fn rows(&self, query: &str) -> Result<Vec<Value>, HookError> {
        Ok(self.rows.get(query).cloned().unwrap_or_default())
    }

    fn helm(&self, request: &HelmRequest) -> Result<HelmAnswer, String> {
        self.asked.borrow_mut().push(request.clone());
        let mut answer = self.chart.borrow().clone();
        answer
            .missing_lookups
            .retain(|one| !request.lookup.iter().any(|there| there.name == one.name));
        Ok(answer)
    }
}

struct Try {
    operator: Operator,
    host: Fake,
    state: Value,
    cr: Value,
    settings: Value,
    outcomes: Vec<kybern_sdk::Outcome>,
    now: String,
}

impl Try {
    fn new(files: &[(&str, &str)]) -> Self {
        let operator = load(files).unwrap_or_else(|errors| panic!("{errors}"));
        Self {
            operator,
            host: Fake::default(),
            state: Value::Null,
            cr: json!({
                "apiVersion": "example.com/v1", "kind": "Web",
                "metadata": {"name": "a", "namespace": "shop", "uid": "u1", "generation": 1, "resourceVersion": "9"},
                "spec": {"size": 2},
            }),
            settings: json!({}),
            outcomes: Vec::new(),
            now: "2026-01-01T00:00:00Z".into(),
        }
    }

    fn rows(&mut self, query: &str, objects: &[Value]) {
        let rows = objects
            .iter()
            .map(|object| json!({ "object": object.to_string() }));
        self.host.rows.insert(query.into(), rows.collect());
    }

    fn plan(&mut self) -> Result<Plan, HookError> {
        let resource = Gvk::new("example.com", "v1", "Web");
        let mut trigger = Trigger {
            resource: resource.clone(),
            object: self.cr.clone(),
            settings: self.settings.clone(),
            queries: Vec::new(),
            now: self.now.clone(),
        };
        let mut queries: Vec<String> = Vec::new();
        for round in 0.. {
            assert!(round <= Sensing::ROUNDS, "sense asks again and again");
            trigger.queries = queries.clone();
            match sense(&self.operator, &trigger, &queries, &self.host)? {
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
            outcomes: self.outcomes.clone(),
            state: self.state.clone(),
            settings: self.settings.clone(),
            now: self.now.clone(),
        };
        let plan = decide(&self.operator, &situation, &self.host)?;
        let again = decide(&self.operator, &situation, &self.host)?;
        assert_eq!(plan, again, "the same situation gives the same plan");
        for action in &plan.actions {
            if let Action::SetState(set) = action {
                self.state = set.state.clone();
            }
        }
        Ok(plan)
    }

    fn good(&mut self) -> Plan {
        self.plan().unwrap_or_else(|error| panic!("{error}"))
    }

    fn wrong(&mut self) -> String {
        match self.plan() {
            Err(HookError::Invalid(text)) => text,
            other => panic!("{other:?}"),
        }
    }
}

fn load(files: &[(&str, &str)]) -> Result<Operator, String> {
    let mut all: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect();
    all.entry("crd.yaml".into())
        .or_insert_with(|| CRD.as_bytes().to_vec());
    Operator::load(Bundle::new(all)).map_err(|errors| errors.to_string())
}

fn children(plan: &Plan) -> Vec<&Value> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::Apply(apply) => Some(&apply.object),
            _ => None,
        })
        .collect()
}

fn child<'a>(plan: &'a Plan, kind: &str) -> &'a Value {
    children(plan)
        .into_iter()
        .find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}: {plan:?}"))
}

fn events(plan: &Plan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::Event { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect()
}

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ cr.metadata.name }}\ndata:\n  size: {{ cr.spec.size | string }}\n";

fn service(name: &str, uid: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": "5"}, "spec": {"ports": [{"port": 80}]}})
}

#[test]
fn twenty_lines_just_work() {
    let mut one = Try::new(&[
        (
            "operator.yaml",
            "default:\n  def: crd.yaml\n  deploy:\n    - cmd: jinja\n      file: templates/deployment.yaml\n",
        ),
        ("templates/deployment.yaml", CONFIG),
    ]);
    let plan = one.good();
    assert_eq!(
        children(&plan),
        [
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"size": "2"}})
        ]
    );
    assert_eq!(plan.children, Children::Complete);
    assert_eq!(plan.actions.len(), 1, "nothing is kept: {plan:?}");
    let manifest = crate::describe::manifest(&one.operator, &one.host).unwrap();
    let manifest = serde_json::to_value(manifest).unwrap();
    assert_eq!(
        manifest["resources"],
        json!([{"group": "example.com", "version": "v1", "kind": "Web", "role": "Primary"}])
    );
    assert_eq!(
        manifest["writes"],
        json!([{"group": "", "version": "v1", "kind": "ConfigMap", "verbs": ["apply"], "subresources": []}])
    );
    assert_eq!(manifest["reads"], json!([]));
    assert_eq!(manifest.get("state"), None);
}

const WATCHED: &str = "default:
  def: crd.yaml
  deploy:
    - cmd: kube-apply
      object: {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: '{{ cr.metadata.name }}'}, spec: {}}
  maintain:
    - watch: {category: ResourceDidChange, kind: Service, apiVersion: v1}
      action:
        - cmd: kube-patch
          file: patch.yaml
        - cmd: event
          reason: Changed
          message: port {{ object.spec.ports[0].port }}
";

const PATCH: &str = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {{ object.metadata.name }}\n  annotations:\n    port: \"{{ object.spec.ports[0].port }}\"\n";

#[test]
fn a_patch_of_a_child_is_part_of_the_child_and_an_event_is_made_once_for_each_change() {
    let mut one = Try::new(&[("operator.yaml", WATCHED), ("patch.yaml", PATCH)]);
    assert_eq!(
        child(&one.good(), "Ingress").pointer("/metadata/annotations"),
        None
    );
    one.rows("watch 0", &[service("a", "s1")]);
    let plan = one.good();
    assert_eq!(
        child(&plan, "Ingress")["metadata"]["annotations"]["port"],
        "80"
    );
    assert_eq!(events(&plan), ["port 80"]);
    let plan = one.good();
    assert_eq!(
        child(&plan, "Ingress")["metadata"]["annotations"]["port"],
        "80",
        "the level holds"
    );
    assert_eq!(events(&plan), [""; 0]);
    // Also what only the status says, but not a new resourceVersion alone.
    let mut changed = service("a", "s1");
    changed["metadata"]["resourceVersion"] = json!("6");
    one.rows("watch 0", &[changed.clone()]);
    assert_eq!(events(&one.good()), [""; 0]);
    changed["status"] = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
    one.rows("watch 0", &[changed]);
    assert_eq!(events(&one.good()), ["port 80"]);
    // It goes: the patch goes with it.
    one.rows("watch 0", &[]);
    assert_eq!(
        child(&one.good(), "Ingress").pointer("/metadata/annotations"),
        None
    );
}

#[test]
fn a_kind_alone_means_the_objects_of_this_resource() {
    let scopes = [
        (
            "",
            "SELECT object FROM core.services WHERE owner_uid = $1",
            json!(["u1"]),
        ),
        (
            ", scope: namespace",
            "SELECT object FROM core.services WHERE namespace = $1",
            json!(["shop"]),
        ),
        (
            ", scope: cluster",
            "SELECT object FROM core.services",
            json!([]),
        ),
        (
            ", scope: {selector: {'a.b/c': '{{ cr.metadata.name }}'}}",
            "SELECT object FROM core.services WHERE namespace = $1 AND labels['a.b/c'] = $2",
            json!(["shop", "a"]),
        ),
        (
            ", where: 'spec.type = {{ cr.kind }} OR name = {{ cr.metadata.name }}'",
            "SELECT object FROM core.services WHERE owner_uid = $1 AND (spec.type = $2 OR name = $3)",
            json!(["u1", "Web", "a"]),
        ),
    ];
    for (scope, sql, params) in scopes {
        let file = format!(
            "default:\n  def: crd.yaml\n  maintain:\n    - watch: {{category: ResourceDidChange, kind: Service, apiVersion: v1{scope}}}\n      action: [{{cmd: event, reason: A, message: b}}]\n"
        );
        let one = Try::new(&[("operator.yaml", &file)]);
        let trigger = Trigger {
            resource: Gvk::new("example.com", "v1", "Web"),
            object: one.cr.clone(),
            settings: json!({}),
            queries: Vec::new(),
            now: one.now.clone(),
        };
        let Ok(Sensing::Queries(queries)) = sense(&one.operator, &trigger, &[], &one.host) else {
            panic!("{scope}")
        };
        assert_eq!(
            (queries[0].sql.as_str(), json!(queries[0].params)),
            (sql, params),
            "{scope}"
        );
    }
}

#[test]
fn values_are_parameters_and_never_text_of_a_statement() {
    let mut one = Try::new(&[(
        "operator.yaml",
        "default:\n  def: crd.yaml\n  deploy:\n    - cmd: sql\n      statement: UPDATE nodes SET labels['a'] = {{ cr.metadata.name }} WHERE name = {{ 'x' ~ cr.spec.size }}\n",
    )]);
    one.cr["metadata"]["name"] = json!("'; DROP TABLE pods; --");
    let plan = one.good();
    assert_eq!(
        serde_json::to_value(&plan.actions[0]).unwrap(),
        json!({"type": "sql", "statement": "UPDATE nodes SET labels['a'] = $1 WHERE name = $2", "params": ["'; DROP TABLE pods; --", "x2"]})
    );
}

#[test]
fn should_update_leaves_children_as_they_are() {
    let file = "default:\n  def: crd.yaml\n  deploy: [{cmd: jinja, file: t.yaml}]\n  maintain:\n    - watch: {category: ResourceShouldUpdate}\n      decide: {when: cr.spec.size < 3}\n";
    let mut one = Try::new(&[("operator.yaml", file), ("t.yaml", CONFIG)]);
    assert_eq!(one.good().children, Children::Complete);
    one.cr["spec"]["size"] = json!(3);
    let plan = one.good();
    assert_eq!(
        (plan.children, plan.actions),
        (Children::Unchanged, Vec::new())
    );
}

#[test]
fn what_is_done_before_a_resource_goes_holds_it_until_it_is_done() {
    let file = "default:\n  def: crd.yaml\n  deploy: [{cmd: jinja, file: t.yaml}]\n  maintain:\n    - watch: {category: ResourceWillUnmount}\n      action:\n        - {cmd: kube-apply, object: {apiVersion: v1, kind: ConfigMap, metadata: {name: bye}}}\n        - {cmd: http, name: bye, url: 'http://x.example/{{ cr.metadata.name }}', method: DELETE}\n";
    let mut one = Try::new(&[("operator.yaml", file), ("t.yaml", CONFIG)]);
    let finalizes = |plan: &Plan| -> Vec<String> {
        plan.actions
            .iter()
            .filter_map(|action| match action {
                Action::Effect(effect) if effect.phase == EffectPhase::Finalize => {
                    Some(effect.key.clone())
                }
                _ => None,
            })
            .collect()
    };
    let plan = one.good();
    assert_eq!(
        finalizes(&plan),
        ["unmount"],
        "the host holds the resource from the start"
    );
    assert_eq!(children(&plan).len(), 1);
    one.cr["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let plan = one.good();
    assert_eq!(
        plan.deletion,
        Deletion::InProgress("waiting for the request `bye/u1`".into())
    );
    assert_eq!(finalizes(&plan), ["bye/u1"]);
    assert_eq!(child(&plan, "ConfigMap")["metadata"]["name"], "bye");
    assert!(
        plan.actions
            .iter()
            .all(|action| !matches!(action, Action::Apply(apply) if !apply.during_deletion))
    );
    one.outcomes = vec![kybern_sdk::Outcome {
        name: "http".into(),
        key: "bye/u1".into(),
        attempt: 1,
        result: kybern_sdk::OutcomeResult::Ok(json!({})),
        at: one.now.clone(),
    }];
    assert_eq!(one.good().deletion, Deletion::Done);
}

#[test]
fn an_object_that_went_is_remembered_until_it_comes_back() {
    let file = "default:\n  def: crd.yaml\n  maintain:\n    - watch: {category: ResourceDidUnmount, kind: Service, apiVersion: v1}\n      action:\n        - {cmd: event, reason: Gone, message: '{{ object.metadata.name }} is gone'}\n        - {cmd: kube-apply, object: {apiVersion: v1, kind: ConfigMap, metadata: {name: 'gone-{{ object.metadata.name }}'}}}\n";
    let mut one = Try::new(&[("operator.yaml", file)]);
    assert!(children(&one.good()).is_empty());
    one.rows("watch 0", &[service("a", "s1")]);
    assert!(children(&one.good()).is_empty());
    one.rows("watch 0", &[]);
    let plan = one.good();
    assert_eq!(events(&plan), ["a is gone"]);
    assert_eq!(child(&plan, "ConfigMap")["metadata"]["name"], "gone-a");
    let plan = one.good();
    assert_eq!(
        (events(&plan).len(), children(&plan).len()),
        (0, 1),
        "told once, done as long as it is so"
    );
    one.rows("watch 0", &[service("a", "s2")]);
    assert!(children(&one.good()).is_empty());
}

#[test]
fn a_pass_that_fails_is_caught_where_somebody_catches() {
    let file = "default:\n  def: crd.yaml\n  deploy: [{cmd: jinja, file: t.yaml}]\n  maintain:\n    - watch: {category: ResourceDidCatch}\n      action: [{cmd: event, severity: Warning, reason: Failed, message: '{{ error.source }}'}]\n";
    let mut one = Try::new(&[("operator.yaml", file), ("t.yaml", "a: {{ cr.spec.nope }}")]);
    let plan = one.good();
    let Children::Partial(why) = &plan.children else {
        panic!("{plan:?}")
    };
    assert!(
        why.starts_with("t.yaml:1:7: `cr.spec.nope` is undefined"),
        "{why}"
    );
    assert_eq!(events(&plan), ["plan"]);
    assert_eq!(events(&one.good()), [""; 0], "once for each failure");
    let bare = file.split("  maintain").next().unwrap();
    let told = Try::new(&[("operator.yaml", bare), ("t.yaml", "a: {{ cr.spec.nope }}")]).wrong();
    assert!(
        told.starts_with("t.yaml:1:7: `cr.spec.nope` is undefined"),
        "{told}"
    );
}

#[test]
fn commands_have_conditions_loops_barriers_and_may_fail_alone() {
    let file = "default:\n  def: crd.yaml\n  query: {pods: 'SELECT name FROM pods WHERE owner_uid = {{ cr.metadata.uid }}'}\n  deploy:\n    - cmd: kube-apply\n      foreach: rows.pods\n      when: item.name != 'b'\n      object: {apiVersion: v1, kind: ConfigMap, metadata: {name: 'for-{{ item.name }}'}}\n    - {cmd: jinja, file: bad.yaml, onError: continue}\n    - {cmd: wait, until: 'rows.pods | length > 2', message: waiting for pods}\n    - cmd: kube-apply\n      object: {apiVersion: v1, kind: Secret, metadata: {name: later}}\n";
    let mut one = Try::new(&[
        ("operator.yaml", file),
        ("bad.yaml", "{{ fail('not today') }}"),
    ]);
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| json!({"name": name}))
            .collect::<Vec<_>>()
    };
    one.host
        .rows
        .insert("query pods".into(), names(&["a", "b"]));
    let plan = one.good();
    assert_eq!(children(&plan).len(), 1);
    let Children::Partial(why) = &plan.children else {
        panic!("{plan:?}")
    };
    assert!(
        why.starts_with("bad.yaml:1:4: not today") && why.ends_with("waiting for pods"),
        "{why}"
    );
    one.host
        .rows
        .insert("query pods".into(), names(&["a", "b", "c"]));
    assert_eq!(children(&one.good()).len(), 3);
}

#[test]
fn patches_of_every_kind_change_what_is_deployed_and_only_apply_what_is_not() {
    let object = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: 1, template: {spec: {containers: [{name: x, image: i, ports: [{containerPort: 80}]}, {name: v, image: j}]}}}}";
    let target = "target: {apiVersion: apps/v1, kind: Deployment, name: a}";
    for (kind, patch, path, expected) in [
        (
            "apply",
            "{spec: {template: {spec: {containers: [{name: x, image: k}]}}}}",
            "/spec/template/spec/containers",
            json!([{"name": "x", "image": "k", "ports": [{"containerPort": 80}]}, {"name": "v", "image": "j"}]),
        ),
        (
            "merge",
            "{spec: {replicas: null, template: {spec: {containers: [{name: z}]}}}}",
            "/spec",
            json!({"template": {"spec": {"containers": [{"name": "z"}]}}}),
        ),
        (
            "json",
            "[{op: replace, path: /spec/replicas, value: 3}, {op: remove, path: /spec/template/spec/containers/0}]",
            "/spec",
            json!({"replicas": 3, "template": {"spec": {"containers": [{"name": "v", "image": "j"}]}}}),
        ),
        (
            "strategic",
            "{spec: {template: {spec: {containers: [{name: v, $patch: delete}, {name: w, image: m}]}}}}",
            "/spec/template/spec/containers",
            json!([{"name": "x", "image": "i", "ports": [{"containerPort": 80}]}, {"name": "w", "image": "m"}]),
        ),
    ] {
        let file = format!(
            "default:\n  def: crd.yaml\n  deploy:\n    - {{cmd: kube-apply, object: {object}}}\n    - {{cmd: kube-patch, type: {kind}, {target}, patch: {patch}}}\n"
        );
        assert_eq!(
            child(&Try::new(&[("operator.yaml", &file)]).good(), "Deployment").pointer(path),
            Some(&expected),
            "{kind}"
        );
        let alone = format!(
            "default:\n  def: crd.yaml\n  deploy:\n    - {{cmd: kube-patch, type: {kind}, {target}, patch: {patch}}}\n"
        );
        let mut alone = Try::new(&[("operator.yaml", &alone)]);
        if kind == "apply" {
            let plan = alone.good();
            assert!(
                matches!(&plan.actions[0], Action::Patch(patch) if patch.target.name == "a" && patch.target.namespace == "shop")
            );
        } else {
            assert!(
                alone
                    .wrong()
                    .contains(&format!("a patch of type `{kind}` would own no fields"))
            );
        }
    }
}

#[test]
fn what_cannot_be_is_told() {
    for (files, expected) in [
        (
            vec![("t.yaml", "a: 1")],
            "t.yaml (rendered):1:1: this is no Kubernetes object: it needs `apiVersion` and `kind`",
        ),
        (
            vec![("t.yaml", "apiVersion: v1\nkind: ConfigMap\n")],
            "t.yaml: a ConfigMap has no metadata.name",
        ),
        (
            vec![("t.yaml", "a: {{ cr.metadata.name }}: b")],
            "t.yaml (rendered):1:",
        ),
        (
            vec![(
                "t.yaml",
                "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            )],
            "t.yaml:1:",
        ),
        (
            vec![(
                "t.yaml",
                "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
            )],
            "t.yaml (rendered):",
        ),
    ] {
        let mut all = vec![(
            "operator.yaml",
            "default:\n  def: crd.yaml\n  deploy: [{cmd: jinja, file: t.yaml}]\n",
        )];
        all.extend(files);
        let told = Try::new(&all).wrong();
        assert!(told.starts_with(expected), "{told}");
    }
    let twice = "default:\n  def: crd.yaml\n  deploy: [{cmd: jinja, file: [t.yaml, u.yaml]}]\n";
    let told = Try::new(&[
        ("operator.yaml", twice),
        ("t.yaml", CONFIG),
        ("u.yaml", &CONFIG.replace("size:", "sizes:")),
    ])
    .wrong();
    assert!(
        told.starts_with("u.yaml: ConfigMap a is also given, otherwise, by t.yaml"),
        "{told}"
    );
}

const CHART: &[(&str, &str)] = &[
    (
        "operator.yaml",
        "default:\n  def: crd.yaml\n  deploy: [{cmd: helm, chart: c, values: v.yaml, notes: notes}]\n",
    ),
    ("v.yaml", "size: {{ cr.spec.size }}\n"),
    ("c/Chart.yaml", "name: c\nversion: 1.0.0\n"),
    (
        "c/templates/a.yaml",
        "{{ lookup \"v1\" \"Secret\" }}\nhelm.sh/hook\n",
    ),
];

fn manifest(content: &str) -> HelmManifest {
    HelmManifest {
        source: "c/templates/a.yaml".into(),
        content: content.into(),
        ..HelmManifest::default()
    }
}

#[test]
fn a_chart_of_a_repository_is_where_the_host_puts_it() {
    let file = "default:\n  def: crd.yaml\n  deploy: [{cmd: helm, chart: ours/web}]\n";
    let mut one = Try::new(&[("operator.yaml", file), ("ours/web.tgz", "packed")]);
    one.good();
    assert_eq!(
        one.host.asked.borrow().last().unwrap().chart,
        "ours/web.tgz"
    );
    // A folder of that name is nearer.
    let folder = ("ours/web/Chart.yaml", "name: web\nversion: 1.0.0\n");
    let mut one = Try::new(&[("operator.yaml", file), ("ours/web.tgz", "packed"), folder]);
    one.good();
    assert_eq!(one.host.asked.borrow().last().unwrap().chart, "ours/web");
    let told = load(&[("operator.yaml", file)]).unwrap_err();
    assert!(told.contains("name it in charts.yaml"), "{told}");
}

#[test]
fn what_a_chart_says_is_told_with_its_command_and_the_cure() {
    let failed = |stage: &str, message: &str| {
        let mut one = Try::new(CHART);
        let error = kybern_interface::HelmError {
            stage: stage.into(),
            message: message.into(),
        };
        one.host.chart.borrow_mut().error = Some(error);
        one.wrong()
    };
    assert_eq!(
        failed("values", "at '/size': got string, want integer\n"),
        "operator.yaml:3:12: chart `c`, values: at '/size': got string, want integer
3 |   deploy: [{cmd: helm, chart: c, values: v.yaml, notes: notes}]
  |            ^
cure: change what v.yaml gives, or c/values.schema.json"
    );
    // Templates that call each other are told by Helm one by one.
    let long = format!("begin {} end", "error calling include: ".repeat(10_000));
    let told = failed("render", &long);
    assert!(told.len() < 1_024, "{told}");
    for part in [
        "chart `c`, render: begin",
        "[...]",
        "include:  end",
        "cure: ",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_chart_is_rendered_with_values_and_look_ups() {
    let mut one = Try::new(CHART);
    {
        let mut chart = one.host.chart.borrow_mut();
        chart.manifests = vec![manifest(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  annotations: {helm.sh/resource-policy: keep}\n",
        )];
        chart.notes = "Thanks.\n".into();
        chart.missing_lookups = vec![HelmLookup {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: "shop".into(),
            name: "s".into(),
            ..HelmLookup::default()
        }];
    }
    one.rows("lookup v1 Secret shop s", &[json!({"data": {"a": "b"}})]);
    let plan = one.good();
    let Action::Apply(apply) = &plan.actions[0] else {
        panic!("{plan:?}")
    };
    assert_eq!(serde_json::to_value(apply).unwrap()["prune"], "orphan");
    assert!(plan.actions.iter().any(|action| matches!(action, Action::Status { status } if status == &json!({"notes": "Thanks."}))));
    let asked = one.host.asked.borrow();
    let last = asked.last().unwrap();
    assert_eq!(last.values, ["size: 2\n"]);
    assert_eq!(last.lookup[0].object, Some(json!({"data": {"a": "b"}})));
    assert_eq!(
        (
            last.release.name.as_str(),
            last.release.namespace.as_str(),
            last.release.revision
        ),
        ("a", "shop", 1)
    );
    drop(asked);
    assert_eq!(one.state, Value::Null, "without hooks nothing is kept");
}

#[test]
fn hooks_are_run_once_for_each_revision_around_what_they_are_about() {
    let mut one = Try::new(CHART);
    let job = |name: &str| format!("apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n");
    let hook = |name: &str, events: &[&str], policies: &[&str]| HelmHook {
        source: "c/templates/h.yaml".into(),
        kind: "Job".into(),
        name: name.into(),
        weight: 0,
        events: events.iter().map(|one| (*one).to_owned()).collect(),
        delete_policies: policies.iter().map(|one| (*one).to_owned()).collect(),
        content: job(name),
    };
    let config = |data: &str| {
        manifest(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata: {{a: {data}}}\n"
        ))
    };
    {
        let mut chart = one.host.chart.borrow_mut();
        chart.manifests = vec![config("one")];
        chart.hooks = vec![
            hook("before", &["pre-install", "pre-upgrade"], &[]),
            hook("after", &["post-install"], &["hook-succeeded"]),
            hook("try", &["test"], &[]),
        ];
    }
    let names = |plan: &Plan| -> Vec<String> {
        children(plan)
            .iter()
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let plan = one.good();
    assert_eq!(names(&plan), ["before"]);
    assert_eq!(
        plan.children,
        Children::Partial("hook Job before is running".into())
    );
    let done = |name: &str, revision: &str, kind: &str| {
        json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("{name}-{revision}"), "annotations": {"declarative.kybern.dev/hook-revision": revision}},
            "status": {"conditions": [{"type": kind, "status": "True", "message": "BackoffLimitExceeded"}]},
        })
    };
    one.rows("hooks", &[done("before", "1", "Failed")]);
    assert_eq!(
        one.good().children,
        Children::Partial("hook Job before failed: BackoffLimitExceeded".into())
    );
    one.rows("hooks", &[done("before", "1", "Complete")]);
    let plan = one.good();
    assert_eq!(names(&plan), ["x", "after", "before"]);
    let waves: BTreeMap<String, i32> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Apply(apply) => Some((
                apply.object["metadata"]["name"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
                apply.wave,
            )),
            _ => None,
        })
        .collect();
    assert!(
        waves["before"] < waves["x"] && waves["x"] < waves["after"],
        "{waves:?}"
    );
    one.rows(
        "hooks",
        &[
            done("before", "1", "Complete"),
            done("after", "1", "Complete"),
        ],
    );
    let plan = one.good();
    assert_eq!(
        (names(&plan), &plan.children),
        (
            vec!["x".to_owned(), "before".to_owned()],
            &Children::Complete
        )
    );
    let state = one.state.clone();
    let _ = one.good();
    assert_eq!(one.state, state, "converged");
    // The Job of a hook that is deleted when it has succeeded is gone, and stays so.
    one.rows("hooks", &[done("before", "1", "Complete")]);
    let plan = one.good();
    assert_eq!(
        (names(&plan), &plan.children),
        (
            vec!["x".to_owned(), "before".to_owned()],
            &Children::Complete
        )
    );
    // An upgrade: the hook's Job of before is in the way.
    one.host.chart.borrow_mut().manifests = vec![config("two")];
    let plan = one.good();
    assert!(plan.actions.iter().any(|action| matches!(action, Action::Delete(delete) if delete.target.uid.as_deref() == Some("before-1"))), "{plan:?}");
    assert_eq!(one.host.asked.borrow().last().unwrap().release.revision, 2);
    one.rows("hooks", &[]);
    let plan = one.good();
    assert_eq!(
        child(&plan, "Job")["metadata"]["annotations"]["declarative.kybern.dev/hook-revision"],
        "2"
    );
    one.rows("hooks", &[done("before", "2", "Complete")]);
    assert_eq!(child(&one.good(), "ConfigMap")["data"]["a"], "two");
}

#[test]
fn a_timer_asks_to_be_called_and_counts_time_for_events() {
    let file = "default:\n  def: crd.yaml\n  maintain:\n    - watch: {category: ResourceDidChange, every: 1h}\n      action: [{cmd: event, reason: Tick, message: 'at {{ now[:10] }}'}]\n";
    let mut one = Try::new(&[("operator.yaml", file)]);
    let plan = one.good();
    assert_eq!(
        (plan.requeue_after_ms, events(&plan).len()),
        (Some(3_600_000), 1)
    );
    one.now = "2026-01-01T00:59:59Z".into();
    assert_eq!(events(&one.good()).len(), 0);
    one.now = "2026-01-01T01:00:00Z".into();
    assert_eq!(events(&one.good()).len(), 1);
    assert_eq!(rules::seconds("2026-01-01T00:00:00Z"), 1_767_225_600);
    assert_eq!(rules::seconds("2000-02-29T12:00:00.5Z"), 951_825_600);
}

#[test]
fn what_an_object_was_is_known_where_templates_ask() {
    let file = "default:\n  def: crd.yaml\n  maintain:\n    - watch: {category: ResourceDidChange, kind: Service, apiVersion: v1}\n      decide: {when: old and old.spec.ports != object.spec.ports}\n      action: [{cmd: event, reason: Ports, message: '{{ old.spec.ports[0].port }} -> {{ object.spec.ports[0].port }}'}]\n";
    let mut one = Try::new(&[("operator.yaml", file)]);
    one.rows("watch 0", &[service("a", "s1")]);
    assert!(events(&one.good()).is_empty());
    let mut changed = service("a", "s1");
    changed["spec"]["ports"][0]["port"] = json!(81);
    one.rows("watch 0", &[changed]);
    assert_eq!(events(&one.good()), ["80 -> 81"]);
}
