//! A memory limit that is too low: a clear last message, restarts without loss, and an upgrade that cures it.

use anyhow::{Result, ensure};
use kybern_node_tests::{Node, Release, Replica, SOON};
use kybern_testcluster::{Object, Progress, until};
use serde_json::{Value, json};

/// Enough for a host with one plugin and little to watch; not for what [`fill`] adds.
const TOO_LOW: &str = "128Mi";
const ENOUGH: &str = "1Gi";
/// Exit code of a host that ran out of memory (EX_TEMPFAIL).
const EXHAUSTED: u64 = 75;
const OBJECT_BYTES: usize = 64 << 10;
/// Two and a half times the limit, before compression.
const MOST_OBJECTS: u64 = 5000;

/// Text that no compression makes small (xorshift64).
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(OBJECT_BYTES);
    for _ in 0..OBJECT_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(letters[usize::try_from(state >> 58).unwrap()]));
    }
    text
}

/// Creates ConfigMaps until every replica has been started again; how many it took.
fn fill(release: &Release, node: &Node) -> Result<u64> {
    for number in 0..MOST_OBJECTS {
        node.client().create(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "namespace": release.name, "name": format!("ballast-{number}") },
            "data": { "noise": noise(number) },
        }))?;
        if number % 50 == 49 {
            let replicas = release.replicas()?;
            if replicas.iter().all(|replica| replica.restarts() > 0) {
                return Ok(number + 1);
            }
        }
    }
    Ok(MOST_OBJECTS)
}

fn values(rules: &Value, memory: &str) -> Value {
    json!({
        "rbac": { "pluginRules": rules },
        "resources": {
            "requests": { "cpu": "50m", "memory": "64Mi" },
            "limits": { "memory": memory },
        },
    })
}

/// What the kubelet knows of the end of a replica's last run.
fn last_end(release: &Release, name: &str) -> Result<(Replica, Value)> {
    until(&format!("the last end of {name}"), SOON, || {
        let replicas = release.replicas()?;
        let found = replicas.into_iter().find(|replica| replica.name == name);
        Ok(match found {
            Some(replica) => match replica.last_end().cloned() {
                Some(end) => Progress::Done((replica, end)),
                None => Progress::Waiting(replica.pod["status"].to_string()),
            },
            None => Progress::Waiting("it is gone".to_owned()),
        })
    })
}

#[test]
fn a_limit_that_is_too_low_is_named_and_costs_no_data() -> Result<()> {
    let release = Release::new("memory")?;
    let node = release.node();
    node.definitions()?;
    let start = node.audit().mark()?;
    let mut registration = release.registration();
    let reads = &mut registration["spec"]["grants"]["read"];
    reads
        .as_array_mut()
        .unwrap()
        .push(json!({ "group": "", "kinds": ["ConfigMap"] }));
    let rules = release.plugin_rules(std::slice::from_ref(&registration))?;
    release.helm(&values(&rules, TOO_LOW))?.ok()?;
    release.wait_ready(2)?;
    release.register_as(&registration)?;
    let app = release.create_app("web", 1)?;
    let deployment = node.client().get(&app.deployment)?;

    let count = fill(&release, node)?;
    node.figure(&format!(
        "{count} ConfigMaps of {OBJECT_BYTES} bytes were too many for {TOO_LOW}"
    ))?;

    // Each replica says why it ended, in its Pod and in its log.
    for replica in release.replicas()? {
        let (replica, end) = last_end(&release, &replica.name)?;
        assert_eq!(end["exitCode"], EXHAUSTED, "{end}");
        let message = end["message"].as_str().unwrap_or_default();
        for part in [
            "out of memory: ",
            "of 128 MiB are used",
            "v1/ConfigMap ",
            "Raise resources.limits.memory",
            "Nothing is lost",
        ] {
            ensure!(message.contains(part), "no `{part}` in {message}");
        }
        node.figure(&format!("last message: {message}"))?;
        // It ends again and again; a log whose container is being removed is none.
        until("the log of the run before", SOON, || {
            let log = release.log(&replica, true)?;
            Ok(if log.contains("out of memory: ") {
                Progress::Done(())
            } else {
                Progress::Waiting(log)
            })
        })?;
    }

    // What was made stays as it is, running Pods too.
    let same = |now: &Value| now["metadata"]["uid"] == deployment["metadata"]["uid"];
    let now = node.client().get(&app.deployment)?;
    ensure!(same(&now), "the Deployment is another: {now}");
    assert_eq!(now["status"]["readyReplicas"], 1, "{now}");
    node.client().get(&app.app)?;
    node.client()
        .merge_patch(&app.app, &json!({ "spec": { "size": 2 } }))?;

    // The cure that the message names.
    release.helm(&values(&rules, ENOUGH))?.ok()?;
    let replicas = release.wait_ready(2)?;
    for replica in &replicas {
        assert_eq!(replica.restarts(), 0, "{}", replica.pod["status"]);
    }
    release.wait_app(&app, 2)?;
    ensure!(same(&node.client().get(&app.deployment)?), "made anew");
    let mut created = release.requests(start)?;
    created.retain(|request| request.verb == "create" && request.resource == "deployments");
    assert_eq!(created.len(), 1, "{created:#?}");

    // Gone before the next test: it lists what there is.
    for number in 0..count {
        let name = format!("ballast-{number}");
        let object = Object::new("v1", "ConfigMap", &release.name, &name);
        node.client().delete(&object)?;
    }
    Ok(())
}
