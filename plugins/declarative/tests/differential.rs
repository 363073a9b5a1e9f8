//! The documented subset of Jinja against Python's Jinja2.

#![cfg(test)]

use declarative::bundle::Bundle;
use declarative::jinja::{Context, Jinja};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Templates that give the same, or fail, in both.
const SAME: &[&str] = &[
    "{{ n }} {{ f }} {{ s }} {{ t }} {{ none }} {{ l }} {{ m }}",
    "{{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 3 }} {{ 1 + 2 * 3 }} {{ -n }} {{ 7 / 2 }}",
    "{{ 'a' ~ 1 ~ true }} {{ 'a' * 3 }} {{ 'a' + 'b' }} {{ [1] + [2] }}",
    "{{ 1 < 2 }} {{ 1 < n < 9 }} {{ 'a' in 'abc' }} {{ 2 in l }} {{ 'a' in m }} {{ 'z' not in m }}",
    "{{ n == 3 and not t or s == 'x' }}",
    "{{ 'yes' if t else 'no' }} {{ 'yes' if not t }}",
    "{{ l[0] }} {{ l[-1] }} {{ l[1:] }} {{ l[:2] }} {{ l[::2] }} {{ s[1:3] }} {{ m.a }} {{ m['b'] }}",
    "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in [] %}x{% else %}none{% endfor %}",
    "{% for k, v in m | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in m.items() %}{{ k }}{{ v }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l recursive %}{{ x }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.first }}{{ loop.revindex }}{{ loop.previtem | default('-') }}{% endfor %}",
    "{% set x = 1 %}{% for y in l %}{% set x = y %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=0) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}",
    "{% set x %}a{{ n }}{% endset %}[{{ x }}]",
    "{% set a, b = [1, 2] %}{{ b }}{{ a }}",
    "{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, b=3) }}",
    "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}x{% endcall %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}",
    "{% filter upper %}abc{% endfilter %}",
    "{% raw %}{{ x }}{% endraw %}{# no #}",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n",
    "a\n{%- if t -%}\n b \n{%- endif %}\nc",
    "{{- n -}} x {{- n }}",
    "{{ s | upper }} {{ s | lower }} {{ s | title }} {{ s | capitalize }} {{ s | length }} {{ s | reverse }}",
    "{{ '  a ' | trim }}| {{ 'xax' | trim('x') }} {{ s | replace('e', 'E') }} {{ s | first }} {{ s | last }}",
    "{{ l | sum }} {{ l | max }} {{ l | min }} {{ l | length }} {{ l | join('-') }} {{ l | first }} {{ l | last }}",
    "{{ [3, 1, 2] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ['b', 'A'] | sort }} {{ objects | sort(attribute='n') | map(attribute='k') | join }}",
    "{{ [1, 2, 1] | unique | list }} {{ l | reverse | list }} {{ l | batch(2) | list }} {{ l | slice(2) | list }}",
    "{{ objects | map(attribute='k') | list }} {{ l | map('string') | join }} {{ ['a'] | map('upper') | list }}",
    "{{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ l | select('>', 1) | list }}",
    "{{ objects | selectattr('n', '>', 1) | map(attribute='k') | list }} {{ objects | rejectattr('n', 'eq', 1) | list | length }}",
    "{% for key, group in objects | groupby('n') %}{{ key }}:{{ group | map(attribute='k') | join }};{% endfor %}",
    "{{ missing | default('d') }} {{ none | default('d') }} {{ '' | default('d', true) }} {{ missing is defined }} {{ n is defined }}",
    "{{ n is number }} {{ s is string }} {{ m is mapping }} {{ l is sequence }} {{ none is none }} {{ n is odd }} {{ 4 is divisibleby 2 }} {{ l is iterable }} {{ t is boolean }} {{ t is true }} {{ n is eq 3 }} {{ n in [3] }}",
    "{{ '3' | int + 1 }} {{ 'x' | int(7) }} {{ '2.5' | float }} {{ 2.567 | round(1) }} {{ -3 | abs }} {{ n | string }}",
    "{{ 'a\nb' | indent(2) }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(1, blank=true) }}",
    "{{ 'a b c'.split() }} {{ 'a,b'.split(',') }} {{ s.upper() }} {{ s.startswith('He') }} {{ s.endswith('o') }} {{ ' a '.strip() }} {{ 'a-b'.replace('-', '_') }} {{ ','.join(['a', 'b']) }}",
    "{{ m.get('a') }} {{ m.get('z', 5) }} {{ m.keys() | list }} {{ m.values() | list | length }} {{ 'abc'.find('b') }} {{ 'aXa'.count('a') }}",
    "{{ '%s' | format(n) }} {{ '%05.2f' | format(f) }} {{ '%d-%s' | format(n, s) }}",
    "{{ s | b64encode }} {{ 'SGk=' | b64decode }} {{ 'x' | hash }} {{ 'x' | hash('sha1') }}",
    "{{ 'a1b22' | regex_replace('[0-9]+', '#') }} {{ 'key=v' | regex_replace('(\\\\w+)=(\\\\w+)', '\\\\2:\\\\1') }} {{ 'a1b22' | regex_findall('[0-9]+') }}",
    "{{ m | to_json }} {{ '[1, {\"a\": null}]' | from_json }}",
    "{{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ dict(a=1).a }}",
    "{{ {'a': {'b': [1]}}.a.b[0] }} {{ [1, 2,] | length }} {{ (1, 2) | length }}",
    "{{ \"q'q\" }} {{ 'ü' | upper }} {{ 'a\\tb' }}",
    "{{ l | tojson }}",
    "{{ 'abc def ghi jkl mno' | truncate(length=9, killwords=true, end='..', leeway=0) }}",
    "{{ m | items | list | length }} {{ m | length }} {{ m | list | sort }}",
    "{{ [[1, 2], [3]] | sum(start=[]) }}",
    "{{ 1.0 }} {{ 3.10 }} {{ 1e3 }} {{ 10 / 5 }}",
    "{{ missing }}",
    "{{ m.zzz }}",
    "{{ m.zzz.y }}",
    "{{ l[9] }}",
    "{{ missing | upper }}",
    "{{ n | nofilter }}",
    "{% for %}",
    "{{ 'a' + 1 }}",
    "{{ 1 / 0 }}",
    "{{ n() }}",
];

/// Templates that give something else here; docs/declarative.md lists why.
const DIFFERENT: &[&str] = &[
    "{{ '%s-%s' % (1, 2) }}",
    "{% macro f() %}{{ varargs }}{% endmacro %}{{ f(1) }}",
    "{{ m | xmlattr }}",
    "{{ 'x' | int }}",
    "{{ 'abcdefghij' | truncate(5, true, '') }}",
    "{{ 'a b' | wordcount }}",
    "{{ 'x' | center(5) }}",
];

fn ours(template: &str, context: &Context) -> Result<String, String> {
    let files = BTreeMap::from([("t.txt".to_owned(), template.as_bytes().to_vec())]);
    let rendered = Jinja::new(&Bundle::new(files)).file("t.txt", context);
    rendered.map_err(|errors| errors.to_string())
}

#[test]
fn the_documented_subset_is_what_jinja2_has() {
    let context = json!({
        "n": 3, "f": 2.5, "s": "Hello", "t": true, "l": [1, 2, 3], "m": {"a": 1, "b": "x"},
        "objects": [{"k": "a", "n": 2}, {"k": "b", "n": 1}, {"k": "c", "n": 2}],
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential.py");
    let python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        eprintln!("skipped: python3 is not there");
        return;
    };
    let all: Vec<&str> = SAME.iter().chain(DIFFERENT).copied().collect();
    let work = json!({ "context": context, "templates": all }).to_string();
    let _ = python.stdin.take().unwrap().write_all(work.as_bytes());
    let output = python.wait_with_output().unwrap();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(why.contains("No module named 'jinja2'"), "{why}");
        eprintln!("skipped: python3 has no jinja2");
        return;
    }
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    let context = Context::new(context);
    let mut wrong = String::new();
    for (template, answer) in all.iter().zip(answers["answers"].as_array().unwrap()) {
        let ours = ours(template, &context);
        let same = match (&ours, answer["text"].as_str()) {
            (Ok(ours), Some(theirs)) => ours == theirs,
            (Err(_), None) => true,
            _ => false,
        };
        if same == DIFFERENT.contains(template) {
            wrong.push_str(&format!(
                "{template:?}\n  here:   {ours:?}\n  Jinja2: {answer}\n"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "against Jinja2 {}:\n{wrong}",
        answers["version"]
    );
}
