//! Which job is next, and which goes.

use super::*;
use crate::active::{Active, PassLimits};
use kybern_interface::{Gvk, RunEffect};
use kybern_table::KindKey;
use serde_json::{Value, json};

fn registered(plugin: &str) -> Arc<Registered> {
    let registration = json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": plugin },
        "spec": { "source": { "file": "x" } },
    });
    let manifest = json!({ "name": plugin, "version": "1.0.0", "world": "w" });
    Arc::new(Registered::new(Active {
        registration: Arc::new(serde_json::from_value(registration).unwrap()),
        digest: String::new(),
        manifest: Arc::new(serde_json::from_value(manifest).unwrap()),
        primaries: Vec::new(),
        settings: Value::Null,
        limits: PassLimits::default(),
        has_sense: false,
        revisions: Vec::new(),
        missing: std::collections::BTreeSet::new(),
        trial: None,
    }))
}

fn key(plugin: &str, cr: &str) -> CrKey {
    CrKey {
        plugin: plugin.into(),
        table: KindKey::new("g", "v1", "A"),
        namespace: "ns".into(),
        name: cr.into(),
    }
}

fn job(plugin: &str, cr: &str, effect: RunEffect) -> Job {
    Job {
        key: key(plugin, cr),
        registered: registered(plugin),
        owner: Owner {
            gvk: Gvk::new("g", "v1", "A"),
            plural: "as".into(),
            namespace: "ns".into(),
            name: cr.into(),
            uid: format!("uid-{cr}"),
            part_of: String::new(),
        },
        ledger: Ledger::default(),
        task: EffectTask::of(&effect),
        cancel: CancellationToken::new(),
    }
}

fn call(plugin: &str, cr: &str) -> Job {
    job(plugin, cr, RunEffect::new("call", "k"))
}

fn names(jobs: &mut Jobs) -> Vec<String> {
    let next = || {
        jobs.next()
            .map(|job| format!("{} {}", job.key.plugin, job.key.name))
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn what_a_record_says_of_a_registration_is_the_same_in_every_host() {
    assert_eq!(registered("a").stamp, "c1a3a25f91a0deae8a76e0160c3a78a5");
    let mut newer = registered("a").active.clone();
    newer.digest = "sha256:1".into();
    assert_ne!(Registered::new(newer).stamp, registered("a").stamp);
}

#[test]
fn who_has_the_fewest_is_next_and_nobody_has_more_than_may_be() {
    let mut jobs = Jobs::new(4, 3);
    for n in 0..5 {
        jobs.add(call("a", &n.to_string()));
    }
    jobs.add(call("b", "0"));
    assert_eq!(names(&mut jobs), ["a 0", "b 0", "a 1", "a 2"]);
    assert_eq!(jobs.counts(), [4, 2]);
    jobs.ended(&call("b", "0"));
    assert_eq!(names(&mut jobs), [""; 0], "three of one are enough");
    jobs.ended(&call("a", "0"));
    assert_eq!(names(&mut jobs), ["a 3"]);
    for n in 1..4 {
        jobs.ended(&call("a", &n.to_string()));
    }
    assert_eq!(names(&mut jobs), ["a 4"]);
    jobs.ended(&call("a", "4"));
    assert_eq!(
        (jobs.counts(), jobs.of.len(), jobs.lanes.len()),
        ([0, 0], 0, 0)
    );
}

#[test]
fn an_effect_is_in_the_pool_once_whatever_its_input() {
    let mut jobs = Jobs::new(4, 4);
    let with = |input: u32| job("a", "0", RunEffect::new("call", "k").with_input(input));
    jobs.add(with(1));
    jobs.add(with(2));
    assert_eq!(jobs.counts(), [0, 1]);
    assert_eq!(names(&mut jobs), ["a 0"]);
    jobs.add(with(2));
    assert_eq!(names(&mut jobs), [""; 0]);
    jobs.ended(&with(1));
    jobs.add(with(2));
    assert_eq!(names(&mut jobs), ["a 0"]);
}

#[test]
fn what_no_plan_names_goes_until_it_has_begun() {
    let mut jobs = Jobs::new(2, 2);
    let of = |key: &str| job("a", "0", RunEffect::new("call", key));
    for key in ["begun", "starting", "waiting"] {
        jobs.add(of(key));
    }
    let (begun, starting) = (jobs.next().unwrap(), jobs.next().unwrap());
    jobs.begun(&begun);
    let cancelled = |job: &Job| job.cancel.is_cancelled();
    jobs.forget(&key("a", "0"), &[]);
    assert_eq!(jobs.counts(), [2, 0]);
    assert!(!cancelled(&begun) && cancelled(&starting));
    assert!(jobs.runs(&key("a", "0")) && !jobs.runs(&key("a", "1")));
    jobs.cancel(&key("a", "0"), Some("uid-0"));
    assert!(!cancelled(&begun), "it is its own");
    jobs.cancel(&key("a", "0"), Some("uid of another"));
    assert!(cancelled(&begun));
    jobs.ended(&begun);
    jobs.ended(&starting);
    assert_eq!((jobs.of.len(), jobs.lanes.len()), (0, 0));
}

#[test]
fn a_registration_that_closes_takes_its_own() {
    let mut jobs = Jobs::new(1, 1);
    for plugin in ["a", "b"] {
        for cr in ["0", "1"] {
            jobs.add(call(plugin, cr));
        }
    }
    let running = jobs.next().unwrap();
    jobs.close("a");
    assert!(running.cancel.is_cancelled());
    assert_eq!((jobs.running_of("a"), jobs.counts()), (1, [1, 2]));
    jobs.ended(&running);
    assert_eq!(names(&mut jobs), ["b 0"]);
}
