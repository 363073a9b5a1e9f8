//! Others write at the same time, answers get lost, people press Ctrl-C: the report is true.

use super::person::{Person, read};
use crate::faults::world::upstream;
use anyhow::{Context, Result, ensure};
use kybern_faults::{Fault, FaultProxy, Pattern, Verb, When};
use kybern_testcluster::{Progress, until};
use serde_json::json;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A person whose kubeconfig leads through a proxy.
fn behind(name: &str) -> Result<(Person, FaultProxy)> {
    let mut person = Person::new(name)?;
    let proxy = FaultProxy::start(upstream(&person.scene)?)?;
    let text = std::fs::read_to_string(&person.kubeconfig)?;
    person.kubeconfig = person.kubeconfig.with_extension("proxied");
    let text = text.replace(&person.scene.plane.url(), &proxy.url());
    std::fs::write(&person.kubeconfig, text)?;
    Ok((person, proxy))
}

/// Writes of ConfigMaps.
fn writes() -> Pattern {
    Pattern::writes().resource("", "configmaps")
}

#[test]
fn what_many_statements_count_together_is_their_sum() -> Result<()> {
    let person = Person::new("operate-sum")?;
    person.configmaps(4)?;
    let statement = "UPDATE configmaps SET data['n'] = data['n']::int + 1 WHERE name LIKE 'a_'";
    let mut running = Vec::new();
    for _ in 0..6 {
        let mut command = person.command(&["-o", "json", "--yes", statement])?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        running.push(command.spawn()?);
    }
    let mut updated = [0; 4];
    for child in running {
        let ran = read(&child.wait_with_output()?)?;
        for (number, outcome) in ran.outcomes().iter().enumerate() {
            match outcome.split_once(": ").map(|(_, word)| word) {
                Some("updated") => updated[number] += 1,
                Some("conflict") => {}
                _ => anyhow::bail!("{}: {}", ran.rows, ran.said),
            }
        }
    }
    for (number, updated) in updated.iter().enumerate() {
        let object = person.configmap(&format!("a{number}"))?;
        assert_eq!(object["data"]["n"], (number + updated).to_string());
        ensure!(*updated > 0, "nobody changed a{number}");
    }
    Ok(())
}

#[test]
fn a_change_between_reading_and_writing_is_a_conflict_where_it_was_read_and_kept_elsewhere()
-> Result<()> {
    let (person, proxy) = behind("operate-between")?;
    person.configmaps(3)?;
    // Just before the first write of each object, somebody changes it.
    let scene = &person.scene;
    let (client, namespace) = (scene.client().clone(), scene.namespace.clone());
    let meddle = |patch: serde_json::Value| {
        let (client, namespace) = (client.clone(), namespace.clone());
        let done: [Arc<AtomicBool>; 3] = std::array::from_fn(|_| Arc::default());
        writes().verb(Verb::Patch).and(move |ask| {
            let name = ask.name.clone().unwrap_or_default();
            let number = name.strip_prefix('a').and_then(|n| n.parse::<usize>().ok());
            if let Some(done) = number.and_then(|number| done.get(number))
                && !done.swap(true, Ordering::SeqCst)
            {
                let object = kybern_testcluster::Object::new("v1", "ConfigMap", &namespace, &name);
                client.merge_patch(&object, &patch).unwrap();
            }
            false
        })
    };
    // Of what is not read, nothing is lost.
    let _first = proxy.inject(Fault::refuse(
        meddle(json!({"data": {"other": "theirs"}})),
        When::Each,
        500,
    ));
    let ran = person.yes(
        "UPDATE configmaps SET data['n'] = data['n']::int + 100 WHERE labels['parity'] IS NOT NULL",
    )?;
    assert_eq!(
        ran.outcomes(),
        ["a0: updated", "a1: updated", "a2: updated"]
    );
    let object = person.configmap("a1")?;
    assert_eq!(object["data"], json!({"n": "101", "other": "theirs"}));
    // What was read is not written over.
    let _second = proxy.inject(Fault::refuse(
        meddle(json!({"data": {"n": "7"}})),
        When::Each,
        500,
    ));
    let ran = person.run(&[
        "--yes",
        "UPDATE configmaps SET data['n'] = data['n']::int + 100 WHERE labels['parity'] IS NOT NULL",
    ])?;
    assert_eq!(
        ran.outcomes(),
        ["a0: conflict", "a1: conflict", "a2: conflict"]
    );
    assert!(
        ran.rows[0]["message"]
            .to_string()
            .contains("data.n has changed since the statement read it"),
        "{}",
        ran.rows
    );
    assert_eq!(person.configmap("a1")?["data"]["n"], "7");
    // Nor is what the condition read.
    let _third = proxy.inject(Fault::refuse(
        meddle(json!({"metadata": {"labels": {"parity": null}}})),
        When::Each,
        500,
    ));
    let ran = person.run(&[
        "--yes",
        "UPDATE configmaps SET data['x'] = 'y' WHERE labels['parity'] = 'even'",
    ])?;
    assert_eq!(ran.outcomes(), ["a0: conflict", "a2: conflict"]);
    assert!(person.configmap("a0")?["data"].get("x").is_none());
    // Another object of the same name is another object.
    let (client, namespace) = (client.clone(), namespace.clone());
    let replaced = AtomicBool::new(false);
    let replace = writes().verb(Verb::Delete).and(move |ask| {
        let name = ask.name.clone().unwrap_or_default();
        if !replaced.swap(true, Ordering::SeqCst) {
            let object = kybern_testcluster::Object::new("v1", "ConfigMap", &namespace, &name);
            client.delete(&object).unwrap();
            client.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}})).unwrap();
        }
        false
    });
    let _fourth = proxy.inject(Fault::refuse(replace, When::Each, 500));
    let ran = person.run(&["--yes", "DELETE FROM configmaps WHERE name = 'a1'"])?;
    assert_eq!(ran.outcomes(), ["a1: gone"], "{}", ran.rows);
    person.configmap("a1")?;
    Ok(())
}

#[test]
fn an_answer_that_is_lost_at_any_write_leaves_a_true_report() -> Result<()> {
    let (person, proxy) = behind("operate-lost")?;
    person.configmaps(4)?;
    for number in 0..4 {
        let name = format!("a{number}");
        let lost = proxy.inject(Fault::lose_answer(writes().name(&name), When::Nth(1)));
        let round =
            format!("UPDATE configmaps SET data['round'] = '{number}' WHERE name LIKE 'a_'");
        let ran = person.yes(&round)?;
        assert_eq!(lost.hits(), 1);
        assert_eq!(
            ran.outcomes(),
            ["a0: updated", "a1: updated", "a2: updated", "a3: updated"]
        );
        // Who counted cannot be told from somebody else who counted.
        let lost = proxy.inject(Fault::lose_answer(writes().name(&name), When::Nth(1)));
        let ran = person.run(&[
            "--yes",
            "UPDATE configmaps SET data['n'] = data['n']::int + 1 WHERE name LIKE 'a_'",
        ])?;
        assert_eq!((lost.hits(), ran.code), (1, Some(1)), "{}", ran.said);
        for (other, outcome) in ran.outcomes().iter().enumerate() {
            let wanted = if other == number {
                "unknown"
            } else {
                "updated"
            };
            assert_eq!(*outcome, format!("a{other}: {wanted}"));
            let object = person.configmap(&format!("a{other}"))?;
            let data =
                json!({ "n": (other + number + 1).to_string(), "round": number.to_string() });
            assert_eq!(object["data"], data, "{name} lost");
        }
    }
    let busy = proxy.inject(Fault::refuse(writes().name("a0"), When::Nth(1), 429));
    let ran =
        person.yes("UPDATE configmaps SET data['n'] = data['n']::int + 1 WHERE name = 'a0'")?;
    assert_eq!(
        (busy.hits(), ran.outcomes()),
        (1, vec!["a0: updated".to_owned()])
    );
    let broken = proxy.inject(Fault::lose_answer(
        writes().verb(Verb::Create),
        When::Nth(1),
    ));
    let ran = person.run(&["--yes", "INSERT INTO configmaps (name) VALUES ('new')"])?;
    assert_eq!(
        (broken.hits(), ran.outcomes()),
        (1, vec!["new: unknown".to_owned()])
    );
    let lost = proxy.inject(Fault::lose_answer(
        writes().verb(Verb::Delete),
        When::Nth(2),
    ));
    let ran = person.yes("DELETE FROM configmaps WHERE name LIKE 'a_'")?;
    assert_eq!((lost.hits(), ran.outcomes().len()), (1, 4));
    let deleted = |outcome: &String| outcome.ends_with(": deleted");
    assert!(ran.outcomes().iter().all(deleted), "{:?}", ran.outcomes());
    Ok(())
}

#[test]
fn ctrl_c_leaves_a_true_report() -> Result<()> {
    const COUNT: usize = 300;
    let (person, proxy) = behind("operate-stop")?;
    let rows: Vec<String> = (0..COUNT).map(|n| format!("('b{n:03}', 'old')")).collect();
    let insert = format!(
        "INSERT INTO configmaps (name, data['v']) VALUES {}",
        rows.join(", ")
    );
    let made = person.run(&["--yes", "--max-rows", "1000", &insert])?;
    assert_eq!(
        (made.code, made.outcomes().len()),
        (Some(0), COUNT),
        "{}",
        made.said
    );
    let mark = proxy.journal().mark();
    let mut command = person.command(&[
        "-o",
        "json",
        "--yes",
        "--max-rows",
        "1000",
        "UPDATE configmaps SET data['v'] = 'new' WHERE name LIKE 'b%'",
    ])?;
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    until("some are written", crate::scene::SOON, || {
        let written = proxy
            .journal()
            .since(mark)
            .iter()
            .filter(|entry| entry.took_effect())
            .count();
        Ok(if written >= 20 {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{written}"))
        })
    })?;
    let interrupt = format!("kill -INT {}", child.id());
    let sent = Command::new("sh").args(["-c", &interrupt]).status()?;
    ensure!(sent.success(), "{interrupt}: {sent}");
    let ran = read(&child.wait_with_output()?)?;
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    let outcomes = ran.outcomes();
    assert_eq!(outcomes.len(), COUNT);
    let after = person
        .run(&["SELECT name, data['v'] AS v FROM configmaps WHERE name LIKE 'b%' ORDER BY name"])?;
    let after = after.rows.as_array().context("rows")?.clone();
    let mut tried = 0;
    for (outcome, row) in outcomes.iter().zip(&after) {
        let name = row["name"].as_str().unwrap_or_default();
        let wanted = if row["v"] == "new" {
            "updated"
        } else {
            "not tried"
        };
        assert_eq!(*outcome, format!("{name}: {wanted}"));
        tried += usize::from(row["v"] == "new");
    }
    ensure!(tried < COUNT, "it was over before it was stopped");
    Ok(())
}
