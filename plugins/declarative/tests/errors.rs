//! What the author of a broken bundle is told: one golden for each kind of mistake.

#![cfg(test)]

use declarative::bundle::Bundle;
use declarative::operator::Operator;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const CRD: &str = include_str!("../../../tests/bundles/sreworks/crd.yaml");

fn told(operator: &str, files: &[(&str, &str)]) -> String {
    let mut all: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect();
    all.entry("crd.yaml".into()).or_insert_with(|| CRD.into());
    if !operator.is_empty() {
        all.insert("operator.yaml".into(), operator.into());
    }
    match Operator::load(Bundle::new(all)) {
        Ok(_) => "accepted".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

/// Files beside the operator file.
type Files = Vec<(&'static str, &'static str)>;

/// A profile with these lines below `def`.
fn with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("default:\n  def: crd.yaml\n{lines}")
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_cure() {
    let chart = ("c/Chart.yaml", "name: c\nversion: 1.0.0\n");
    let template = ("t.yaml", "a: 1\n");
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..8 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            let _ = writeln!(text, "a{level}: &a{level} [{below}]");
        }
        text
    };
    let cases: Vec<(&str, String, Files)> = vec![
        ("no operator file", String::new(), vec![]),
        ("an empty file", "# nothing\n".into(), vec![]),
        ("a list instead of profiles", "- a\n".into(), vec![]),
        (
            "no YAML",
            "default:\n  def: [crd.yaml\n  deploy: x\n".into(),
            vec![],
        ),
        ("a tab", "default:\n\tdef: crd.yaml\n".into(), vec![]),
        ("a bomb of aliases", bomb, vec![]),
        ("a key twice", with("deploy: []\ndeploy: []"), vec![]),
        (
            "keys without a profile",
            "def: crd.yaml\ndeploy: []\n".into(),
            vec![],
        ),
        (
            "an unknown key",
            with("deploy:\n  - cmd: jinja\n    flie: t.yaml"),
            vec![template],
        ),
        ("an unknown key of a profile", with("deplyo: []"), vec![]),
        (
            "an unknown command",
            with("deploy:\n  - cmd: kube-aply\n    file: t.yaml"),
            vec![template],
        ),
        (
            "a command without cmd",
            with("deploy:\n  - file: t.yaml"),
            vec![template],
        ),
        ("a wrong type", with("deploy:\n  cmd: jinja"), vec![]),
        (
            "a number where text is meant",
            with("deploy:\n  - cmd: jinja\n    file: 5"),
            vec![],
        ),
        (
            "braces without quotes",
            with("deploy:\n  - cmd: event\n    reason: A\n    message: {{ cr.metadata.name }}"),
            vec![],
        ),
        (
            "braces around an expression",
            with(
                "deploy:\n  - cmd: jinja\n    file: t.yaml\n    when: \"{{ cr.spec.replicas > 1 }}\"",
            ),
            vec![template],
        ),
        (
            "a category misspelt",
            with(
                "maintain:\n  - watch: {category: ResourceDidChanged}\n    action: [{cmd: event, reason: A, message: b}]",
            ),
            vec![],
        ),
        (
            "a kind without apiVersion",
            with(
                "maintain:\n  - watch: {category: ResourceDidChange, kind: Service}\n    action: [{cmd: event, reason: A, message: b}]",
            ),
            vec![],
        ),
        (
            "a rule without action",
            with("maintain:\n  - watch: {category: ResourceDidChange}"),
            vec![],
        ),
        (
            "a duration",
            with(
                "maintain:\n  - watch: {category: ResourceDidChange, every: 5 minutes}\n    action: [{cmd: event, reason: A, message: b}]",
            ),
            vec![],
        ),
        ("no definition", "default:\n  deploy: []\n".into(), vec![]),
        (
            "a definition that is none",
            "default:\n  def: t.yaml\n".into(),
            vec![("t.yaml", "kind: ConfigMap\n")],
        ),
        (
            "a missing file",
            with("deploy:\n  - cmd: jinja\n    file: deployment.yaml"),
            vec![("templates/deployment.yaml", "")],
        ),
        (
            "a path out of the bundle",
            with("deploy:\n  - cmd: jinja\n    file: ../../etc/passwd"),
            vec![],
        ),
        (
            "an absolute path",
            with("deploy:\n  - cmd: jinja\n    file: /etc/passwd"),
            vec![],
        ),
        (
            "a circle of includes",
            with("deploy:\n  - cmd: jinja\n    file: a.yaml"),
            vec![
                ("a.yaml", "{% include 'b.yaml' %}"),
                ("b.yaml", "{% include 'a.yaml' %}"),
            ],
        ),
        (
            "a template that is not closed",
            with("deploy:\n  - cmd: jinja\n    file: a.yaml"),
            vec![("a.yaml", "a: 1\n{% if cr.spec.x %}\nb: 2\n")],
        ),
        (
            "an expression with a mistake",
            with("deploy:\n  - cmd: jinja\n    file: t.yaml\n    when: cr.spec.replicas >"),
            vec![template],
        ),
        (
            "a parameter in quotes",
            with("query:\n  pods: SELECT name FROM pods WHERE name = '{{ cr.metadata.name }}'"),
            vec![],
        ),
        (
            "a statement that is a template",
            with("query:\n  pods: SELECT name FROM pods {% if x %} WHERE 1 {% endif %}"),
            vec![],
        ),
        (
            "a chart without Chart.yaml",
            with("deploy:\n  - cmd: helm\n    chart: d"),
            vec![("d/values.yaml", ""), chart],
        ),
        (
            "no such chart",
            with("deploy:\n  - cmd: helm\n    chart: vvp"),
            vec![chart],
        ),
        (
            "a patch of nothing",
            with("deploy:\n  - cmd: kube-patch\n    type: json\n    patch: []"),
            vec![],
        ),
        (
            "an object that is deleted without uid",
            with("deploy:\n  - cmd: kube-delete\n    target: {apiVersion: v1, kind: Pod, name: a}"),
            vec![],
        ),
        (
            "several mistakes at once",
            with("deploy:\n  - cmd: jinja\n    flie: t.yaml\n  - cmd: helm\n  - cmd: wiat"),
            vec![template],
        ),
    ];
    let mut golden = String::new();
    for (name, operator, files) in cases {
        let _ = writeln!(golden, "## {name}\n{}\n", told(&operator, &files));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors/golden.txt");
    if std::env::var_os("KYBERN_BLESS").is_some() {
        std::fs::write(&path, &golden).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        there, golden,
        "KYBERN_BLESS=1 cargo test -p declarative writes it"
    );
    assert!(!golden.contains("accepted"), "{golden}");
}
