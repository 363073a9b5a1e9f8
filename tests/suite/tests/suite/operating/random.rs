//! Random statements are about the rows that the SELECT with the same FROM and WHERE answers.

use super::person::Person;
use anyhow::{Result, ensure};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use std::collections::BTreeSet;

/// ConfigMaps that there are.
const OBJECTS: usize = 20;
/// Statements of each kind.
const STATEMENTS: usize = 40;

/// A condition on `c`, and `o` where there is one.
fn condition(beside: bool) -> BoxedStrategy<String> {
    let number = 0..OBJECTS;
    let leaf = prop_oneof![
        number.clone().prop_map(|n| format!("c.name = 'a{n}'")),
        number.clone().prop_map(|n| format!("c.data['n']::int > {n}")),
        number.clone().prop_map(|n| format!("c.data['n'] IN ('{n}', '3', '11')")),
        Just("c.labels['parity'] = 'odd'".to_owned()),
        Just("c.labels['missing'] IS NULL".to_owned()),
        Just("c.labels['missing'] = 'x'".to_owned()),
        Just("false".to_owned()),
        Just("true".to_owned()),
        number.clone().prop_map(|n| format!("EXISTS (SELECT 1 FROM configmaps x WHERE x.data['n']::int = c.data['n']::int + {n} AND x.labels['parity'] = 'even')")),
        number.prop_map(|n| format!("c.data['n']::int > (SELECT avg(x.data['n']::int) - {n} FROM configmaps x WHERE x.name LIKE 'a%')")),
    ];
    let leaf = if beside {
        prop_oneof![
            leaf,
            Just("o.labels['parity'] = c.labels['parity']".to_owned()),
            Just("o.data['n']::int = c.data['n']::int * 2".to_owned()),
        ]
        .boxed()
    } else {
        leaf.boxed()
    };
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
    .boxed()
}

/// The names that each answer of a script has, sorted.
fn names(stdout: &[u8]) -> Result<Vec<BTreeSet<String>>> {
    let answers = serde_json::Deserializer::from_slice(stdout).into_iter::<Value>();
    answers
        .map(|answer| {
            let answer = answer?;
            let rows = answer.as_array().cloned().unwrap_or_default();
            let names = rows.iter().filter_map(|row| row["name"].as_str());
            Ok(names.map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn the_affected_set_is_the_select_with_the_same_from_and_where() -> Result<()> {
    let person = Person::new("operate-random")?;
    person.configmaps(OBJECTS)?;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut script = Vec::new();
    for index in 0..STATEMENTS {
        let beside = index % 2 == 1;
        let tree = condition(beside).new_tree(&mut runner);
        let condition = tree.map_err(|error| anyhow::anyhow!("{error}"))?.current();
        let subquery =
            format!("IN (SELECT x.name FROM configmaps x WHERE x.data['n']::int < {index})");
        // Where the engine takes them: beside AND.
        let more = match index % 5 {
            0 => format!(" AND c.name {subquery}"),
            1 => format!(" AND c.name NOT {subquery}"),
            _ => String::new(),
        };
        let condition = format!("c.name LIKE 'a%' AND ({condition}){more}");
        let (from, using) = if beside {
            (" FROM configmaps o", " USING configmaps o")
        } else {
            ("", "")
        };
        let selected = if beside { ", configmaps o" } else { "" };
        script.push(format!(
            "SELECT c.name FROM configmaps c{selected} WHERE {condition}"
        ));
        script.push(format!(
            "DRY RUN UPDATE configmaps c SET labels['new'] = 'x'{from} WHERE {condition}"
        ));
        script.push(format!(
            "DRY RUN DELETE FROM configmaps c{using} WHERE {condition}"
        ));
    }
    let text = script.join(";\n");
    let (output, changed) = {
        let before =
            person.run(&["SELECT name, resource_version FROM configmaps ORDER BY name"])?;
        let output = person.command(&["-o", "json", &text])?.output()?;
        let after = person.run(&["SELECT name, resource_version FROM configmaps ORDER BY name"])?;
        (output, before.rows != after.rows)
    };
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(!changed, "a dry run changed something");
    let answers = names(&output.stdout)?;
    assert_eq!(answers.len(), script.len());
    let mut sizes = BTreeSet::new();
    for (statements, answers) in script.chunks(3).zip(answers.chunks(3)) {
        assert_eq!(
            answers[1], answers[0],
            "{}\n{}",
            statements[1], statements[0]
        );
        assert_eq!(
            answers[2], answers[0],
            "{}\n{}",
            statements[2], statements[0]
        );
        sizes.insert(answers[0].len());
    }
    ensure!(sizes.len() > 5, "all are about as many objects: {sizes:?}");
    Ok(())
}
