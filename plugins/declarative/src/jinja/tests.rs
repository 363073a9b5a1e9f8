//! Templates and expressions, good and bad.

use super::*;
use crate::yaml::{Duplicates, Limits, documents};
use serde_json::json;
use std::collections::BTreeMap;

fn bundle(files: &[(&str, &str)]) -> Bundle {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
    Bundle::new(files.collect::<BTreeMap<_, _>>())
}

fn context() -> Context {
    Context::new(json!({
        "cr": {
            "metadata": {"name": "web", "namespace": "shop", "labels": {"a.b/c": "x"}},
            "spec": {"size": 3, "version": "1.10", "on": true, "none": null, "empty": "",
                     "ports": [{"port": 80}], "map": {"b": 1, "a": "yes"}, "secret": "pä", "lines": "a: 1\nb"},
        },
    }))
}

fn render(template: &str) -> Result<String, String> {
    let jinja = Jinja::new(&bundle(&[("t.yaml", template)]));
    jinja
        .file("t.yaml", &context())
        .map_err(|errors| errors.to_string())
}

fn expression(text: &str) -> Result<Value, String> {
    let jinja = Jinja::new(&bundle(&[("operator.yaml", text)]));
    let place = Place {
        line: 1,
        column: 1,
        length: text.len(),
    };
    let source = Source {
        file: "operator.yaml".into(),
        place,
        text: text.into(),
        plain: true,
    };
    jinja
        .value(&source, &context())
        .map_err(|errors| errors.to_string())
}

#[test]
fn a_value_in_yaml_is_the_value_it_was() {
    for (path, value) in [
        ("size", json!(3)),
        ("version", json!("1.10")),
        ("on", json!(true)),
        ("none", json!(null)),
        ("empty", json!("")),
        ("ports", json!([{"port": 80}])),
        ("map", json!({"a": "yes", "b": 1})),
        ("secret", json!("pä")),
        ("lines", json!("a: 1\nb")),
    ] {
        for template in [
            format!("k: {{{{ cr.spec.{path} }}}}\n"),
            format!("k: [{{{{ cr.spec.{path} }}}}]\n"),
            format!("- {{{{ cr.spec.{path} }}}}\n"),
            format!("k: {{x: {{{{cr.spec.{path}}}}} }}"),
        ] {
            let text = render(&template).unwrap();
            let read = documents("t", &text, &Limits::RENDERED, Duplicates::Refused);
            let read = read.unwrap_or_else(|why| panic!("{template}: {text}: {why}"));
            let read = read.first().map(yaml::Node::value).unwrap_or_default();
            let read = read
                .pointer("/k/x")
                .or(read.pointer("/k/0"))
                .or(read.get("k"))
                .or(read.get(0))
                .unwrap();
            let expected = if path == "ports" && read.is_object() {
                &value[0]
            } else {
                &value
            };
            assert_eq!(read, expected, "{template}: {text}");
        }
    }
}

#[test]
fn filters_give_what_they_say() {
    for (text, value) in [
        ("cr.spec.secret | b64encode", json!("cMOk")),
        ("'cMOk' | b64decode", json!("pä")),
        ("cr.spec.map | to_yaml", json!("a: \"yes\"\nb: 1\n")),
        ("cr.spec.map | to_json", json!("{\"a\":\"yes\",\"b\":1}")),
        ("'a: [1, yes]' | from_yaml", json!({"a": [1, true]})),
        ("'{\"a\": 1}' | from_json", json!({"a": 1})),
        (
            "{'a': {'b': 1}} | combine({'a': {'c': 2}})",
            json!({"a": {"c": 2}}),
        ),
        (
            "{'a': {'b': 1}} | combine({'a': {'c': 2}}, recursive=true)",
            json!({"a": {"b": 1, "c": 2}}),
        ),
        (
            "'a1b2' | regex_replace('([a-z])(\\\\d)', '\\\\2$\\\\1')",
            json!("1$a2$b"),
        ),
        ("'v1.2' | regex_search('\\\\d+')", json!("1")),
        (
            "'v1.2' | regex_search('v(\\\\d+)[.](\\\\d+)', '\\\\1', '\\\\2')",
            json!(["1", "2"]),
        ),
        ("'v1' | regex_search('x')", json!(null)),
        ("'a1b2' | regex_findall('\\\\d')", json!(["1", "2"])),
        (
            "'' | hash",
            json!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ),
        (
            "'abc' | hash('sha1')",
            json!("a9993e364706816aba3e25717850c26c9cd0d89d"),
        ),
        (
            "'what do ya want for nothing?' | hmac('Jefe')",
            json!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ),
        (
            "'password' | hash_b64('sha1')",
            json!("W6ph5Mm5Pz8GgiULbPgzG37mj9g="),
        ),
        ("'500m' | quantity", json!(0.5)),
        ("'2Gi' | bytes", json!(2_147_483_648_u64)),
        ("'1.5' | cpu_millis", json!(1500)),
        ("'500m' | quantity_add('1')", json!("1500m")),
        ("'1Gi' | quantity_mul(1.5)", json!("1536Mi")),
        ("'2Gi' | quantity_sub('1Gi')", json!("1Gi")),
        ("'1e3' | quantity_mul(2)", json!("2k")),
        ("'4 Gi' is quantity", json!(false)),
        ("'10.1.2.3/16' | ipaddr", json!("10.1.0.0/16")),
        ("'10.1.0.0/16' | cidr_host(10)", json!("10.1.0.10")),
        ("'10.1.0.0/16' | cidr_host(-1)", json!("10.1.255.255")),
        ("'10.1.0.0/16' | cidr_subnet(8, 3)", json!("10.1.3.0/24")),
        ("'fd00::/48' | cidr_subnet(16, 1)", json!("fd00:0:0:1::/64")),
        ("'10.0.0.0/8' | cidr_contains('10.2.0.0/16')", json!(true)),
        ("'::1' | ip_version", json!(6)),
        ("'10.0.0.1' is ip", json!(true)),
        ("'10.0.0.1' is cidr", json!(false)),
        ("'My App_1' | dns_label", json!("my-app-1")),
        ("('x' * 70) | dns_label | length", json!(63)),
        ("{'a': 1} | dict2items", json!([{"key": "a", "value": 1}])),
        ("[{'key': 'a', 'value': 1}] | items2dict", json!({"a": 1})),
        ("true | ternary('x', 'y')", json!("x")),
        ("'a-b'.split('-')", json!(["a", "b"])),
        ("cr.metadata.labels['a.b/c']", json!("x")),
        ("'a' is match('[a-c]')", json!(true)),
        ("'xa' is match('[a-c]')", json!(false)),
        ("[1, 2] is contains(2)", json!(true)),
    ] {
        assert_eq!(expression(text), Ok(value), "{text}");
    }
}

#[test]
fn what_is_written_between_text_is_put_there() {
    assert_eq!(
        render("n: {{ cr.metadata.name }}-{{ cr.spec.version }}").unwrap(),
        "n: web-1.10"
    );
    assert_eq!(
        render("n: \"{{ cr.spec.on }}{{ cr.spec.none }}\"").unwrap(),
        "n: \"truenull\""
    );
    assert_eq!(
        render("l:\n  {{ cr.spec.map | to_nice_yaml | indent(2) }}").unwrap(),
        "l:\n  a: \"yes\"\n  b: 1"
    );
    assert_eq!(
        render("l: {{ cr.spec.map | to_json }}").unwrap(),
        "l: {\"a\":\"yes\",\"b\":1}"
    );
    assert_eq!(
        render("v: {{ cr.spec.version | quote }}").unwrap(),
        "v: \"1.10\""
    );
    assert_eq!(render("v: {{ '{a: 1}' | safe }}").unwrap(), "v: {a: 1}");
}

#[test]
fn mistakes_are_told_with_place_and_cure() {
    for (template, expected) in [
        (
            "a: 1\nb: {{ cr.spec.sise }}\n",
            "t.yaml:2:7: `cr.spec.sise` is undefined\n2 | b: {{ cr.spec.sise }}\n  |       ^^^^^^^^^^^^\ncure: did you mean `size`?",
        ),
        (
            "a: {{ cr.spec.sise | string }}",
            "t.yaml:1:7: `cr.spec.sise` is undefined\n1 | a: {{ cr.spec.sise | string }}\n  |       ^^^^^^^^^^^^\ncure: did you mean `size`?",
        ),
        (
            "a: {{ [cr.spec.sise | upper] }}",
            "t.yaml:1:8: `cr.spec.sise` is undefined",
        ),
        (
            "a: {{ cr.metadata.annotations.x }}",
            "t.yaml:1:7: `cr.metadata.annotations.x` is undefined",
        ),
        (
            "a: {{ cx.spec }}",
            "t.yaml:1:7: `cx.spec` is undefined\n1 | a: {{ cx.spec }}\n  |       ^^^^^^^\ncure: did you mean `cr`?",
        ),
        ("{% if cr.spec.size > 1 %}\na: 1\n", "t.yaml:"),
        (
            "a: {{ cr.spec.size | b64encod }}",
            "t.yaml:1:22: unknown filter: filter b64encod is unknown",
        ),
        (
            "a: {{ fail('no ports: set spec.ports') }}",
            "t.yaml:1:7: no ports: set spec.ports",
        ),
        (
            "a: {{ '!' | b64decode }}",
            "t.yaml:1:13: b64decode: this is no base64: Invalid symbol 33, offset 0.",
        ),
        (
            "a: {{ 'a' | regex_replace('(?=x)', '') }}",
            "t.yaml:1:13: `(?=x)` is no pattern: look-around is not supported",
        ),
        (
            "{% include 'u.yaml' %}",
            "t.yaml:1:4: there is no file `u.yaml` in the bundle: did you mean `t.yaml`?",
        ),
        ("{% include '../../etc/passwd' %}", "t.yaml:1:"),
    ] {
        let told = match render(template) {
            Err(told) => told,
            Ok(text) => panic!("{template}: {text}"),
        };
        assert!(told.starts_with(expected), "{template}:\n{told}");
    }
    let told = expression("cr.spec.size +").unwrap_err();
    assert!(told.starts_with("operator.yaml:1:"), "{told}");
    let told = expression("cr.spec.siz").unwrap_err();
    assert!(
        told.starts_with("operator.yaml:1:1: `cr.spec.siz` is undefined")
            && told.ends_with("cure: did you mean `size`?"),
        "{told}"
    );
}

#[test]
fn a_mistake_in_an_included_file_is_told_there() {
    let files = bundle(&[
        ("t.yaml", "x: 1\n{% include './u.yaml' %}"),
        ("u.yaml", "\n\ny: {{ nope }}"),
    ]);
    let told = Jinja::new(&files)
        .file("t.yaml", &context())
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("u.yaml:3:7: `nope` is undefined\n3 | y: {{ nope }}"),
        "{told}"
    );
}

#[test]
fn circles_and_ways_out_are_found_before_rendering() {
    let files = bundle(&[
        ("a.yaml", "{% include 'b.yaml' %}"),
        ("b.yaml", "x\n{% from 'a.yaml' import m %}"),
        (
            "c.yaml",
            "{% include '../x' %}{% include '/etc/passwd' %}{% include 'a.yml' ignore missing %}",
        ),
    ]);
    let jinja = Jinja::new(&files);
    assert_eq!(
        jinja.check("a.yaml").to_string(),
        "b.yaml:2:10: templates include each other: a.yaml -> b.yaml -> a.yaml\n2 | {% from 'a.yaml' import m %}\n  |          ^^^^^^\ncure: what calls itself is a macro"
    );
    let told = jinja.check("c.yaml").to_string();
    assert!(told.contains("`../x` leads out of the bundle"), "{told}");
    assert!(
        told.contains("`/etc/passwd` leads out of the bundle"),
        "{told}"
    );
    assert!(!told.contains("no file"), "{told}");
}

#[test]
fn bombs_run_out_of_fuel() {
    for bomb in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 'x' * 99999999 }}",
        "{% for i in range(100000) %}{{ 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy' }}{% endfor %}",
        "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{{ ('[' * 5000) | from_yaml }}",
        "{{ ('[' * 5000) | from_json }}",
        "{{ ('x' * 100000) | regex_replace('x', 'y' * 100000) }}",
    ] {
        let told = render(bomb).unwrap_err();
        let known = [
            "ran out of fuel",
            "levels deep",
            "bytes; at most",
            "recursion limit",
            "is no YAML",
        ]
        .iter()
        .any(|known| told.contains(known));
        assert!(known, "{bomb}: {told}");
    }
}
