//! A hostile plugin ends its own passes and nothing else: host, neighbours and cluster go on.

use crate::scene::{Scene, pass_time};
use anyhow::Result;
use kybern_testcluster::{Host, Object, Stopwatch, guest};
use serde_json::{Value, json};
use std::time::Duration;

/// The API version of the hostile plugin's kind.
const EVIL: &str = "evil.example.com/v1";

/// The window in which a failing plugin may not keep the host busy.
const WINDOW: Duration = Duration::from_secs(5);

/// Memory for a call of each mode.
const ROOM: u64 = 256 << 20;

/// Mode, reason of the condition, and what its message says.
const MISBEHAVIOURS: &[(&str, &str, &str)] = &[
    ("trap", "PluginTrapped", "told to trap"),
    ("deep-recursion", "PluginTrapped", "stack"),
    ("loop", "PluginOutOfTime", "500 ms"),
    ("memory", "PluginOutOfMemory", "64"),
    ("copies", "PluginOutOfTime", "500 ms"),
    ("huge-plan", "InvalidPlan", "at most 1000 are taken"),
    ("big-output", "InvalidPlan", "bytes"),
    ("not-json", "InvalidPlan", "JSON"),
    ("deep-json", "InvalidPlan", "deep"),
    ("not-a-plan", "InvalidPlan", "expected a sequence"),
    ("unknown-action", "InvalidPlan", "formatDisk"),
    ("outside-grants", "NotGranted", "Secret"),
    ("sense-trap", "PluginTrapped", "sense was told to trap"),
    ("sense-not-json", "InvalidPlan", "not JSON"),
    ("internal", "PluginFailed", "told to fail"),
];

impl Scene {
    /// A registration of the hostile plugin for this corner, not yet created.
    pub(crate) fn evil(&self) -> Result<Value> {
        Ok(json!({
            "apiVersion": "kybern.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": { "name": format!("{}-evil", self.namespace) },
            "spec": {
                "class": self.class,
                "resources": [{ "group": "evil.example.com", "version": "v1", "kind": "Evil" }],
                "source": { "file": guest("kybern-evil")? },
                "grants": {
                    "read": [{ "group": "", "kinds": ["ConfigMap"] }],
                    "write": [{ "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"] }],
                },
            },
        }))
    }

    /// Starts the host with AppService and the hostile plugin side by side.
    pub(crate) fn with_evil(name: &str) -> Result<Self> {
        let mut scene = Self::new(name)?;
        let registrations = [scene.appservice()?, scene.evil()?];
        scene.grant(&registrations)?;
        scene.start_host()?;
        for registration in &registrations {
            scene.client().create(registration)?;
        }
        for registration in &registrations {
            scene.plugin_condition(&Object::of(registration)?, "Ready", "True")?;
        }
        Ok(scene)
    }

    /// Creates a custom resource of the hostile plugin, called like its mode.
    pub(crate) fn create_evil(&self, mode: &str) -> Result<Object> {
        self.client().create(&json!({
            "apiVersion": EVIL, "kind": "Evil",
            "metadata": { "name": mode, "namespace": self.namespace },
            "spec": { "mode": mode },
        }))?;
        Ok(self.object(EVIL, "Evil", mode))
    }

    /// The sum of a metric's samples whose labels contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> Result<f64> {
        metric(self.host(), name, label)
    }

    /// Gives the host further rights, or, by `keep`, takes some away.
    pub(crate) fn change_rules(&self, keep: impl Fn(&Value) -> bool, more: &[Value]) -> Result<()> {
        let role = format!("test:{}", self.user.name());
        let role = Object::cluster("rbac.authorization.k8s.io/v1", "ClusterRole", &role);
        let mut rules = self.client().get(&role)?["rules"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        rules.retain(keep);
        rules.extend(more.iter().cloned());
        self.plane.grant(&self.user, &Value::from(rules))
    }
}

/// The sum of a metric's samples whose labels contain `label`.
pub(crate) fn metric(host: &Host, name: &str, label: &str) -> Result<f64> {
    Ok(sum(&host.metrics()?, name, label))
}

/// The same of metrics that were read before.
pub(crate) fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    metrics
        .lines()
        .filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// A corner where the hostile plugin is registered once for each mode, so that calls are counted
/// by mode, beside AppService.
fn one_registration_a_mode(name: &str) -> Result<Scene> {
    let mut scene = Scene::new(name)?;
    let mut registrations = vec![scene.appservice()?];
    for (mode, ..) in MISBEHAVIOURS {
        let mut registration = scene.evil()?;
        registration["metadata"]["name"] = json!(plugin_of(&scene, mode));
        registration["spec"]["resources"][0]["selector"] =
            json!({ "matchLabels": { "mode": mode } });
        registrations.push(registration);
    }
    scene.grant(&registrations)?;
    scene.start_host()?;
    for registration in &registrations {
        scene.client().create(registration)?;
    }
    for registration in &registrations {
        scene.plugin_condition(&Object::of(registration)?, "Ready", "True")?;
    }
    for (mode, ..) in MISBEHAVIOURS {
        scene.client().create(&json!({
            "apiVersion": EVIL, "kind": "Evil",
            "metadata": { "name": mode, "namespace": scene.namespace, "labels": { "mode": mode } },
            "spec": { "mode": mode },
        }))?;
    }
    Ok(scene)
}

/// The registration of one mode.
fn plugin_of(scene: &Scene, mode: &str) -> String {
    format!("{}-evil-{mode}", scene.namespace)
}

/// Calls of the hostile plugin so far, by mode.
fn calls_by_mode(scene: &Scene) -> Result<Vec<f64>> {
    let metrics = scene.host().metrics()?;
    let calls = MISBEHAVIOURS.iter().map(|(mode, ..)| {
        let label = format!("plugin=\"{}\"", plugin_of(scene, mode));
        sum(&metrics, "kybern_plugin_calls_total", &label)
    });
    Ok(calls.collect())
}

/// Calls of one try: sense, and decide unless sense failed (strict mode counts its two as one).
fn calls_of_a_try(mode: &str) -> f64 {
    if mode.starts_with("sense-") { 1.0 } else { 2.0 }
}

/// Tries of one object that fit into so much time after so many failures. The delay after failure n
/// is at least half of 5 ms * 2^n, so that m tries need 2.5 ms * 2^n * (2^(m - 1) - 1) or more.
fn most_tries(failures: f64, time: Duration) -> f64 {
    let delay = 0.0025 * failures.exp2();
    (1.0 + (1.0 + time.as_secs_f64() / delay).log2()).floor()
}

#[test]
fn each_misbehaviour_is_a_condition_and_an_event_and_hurts_nobody_else() -> Result<()> {
    let scene = one_registration_a_mode("evil")?;
    let before = scene.host().peak_resident()?;
    let mut wrong = Vec::new();
    for (mode, reason, words) in MISBEHAVIOURS {
        let evil = scene.object(EVIL, "Evil", mode);
        let condition = scene.ready_reason(&evil, mode, |c| c["status"] == "False")?;
        let message = condition["message"].as_str().unwrap_or_default();
        if condition["reason"] != *reason || !message.contains(words) {
            wrong.push(format!("{mode}: {} {message}", condition["reason"]));
        }
        let event = scene.event(mode, condition["reason"].as_str().unwrap_or_default())?;
        assert_eq!(event["type"], "Warning", "{mode}: {event}");
        assert_eq!(event["note"], condition["message"], "{mode}");
    }
    assert!(wrong.is_empty(), "conditions that do not fit: {wrong:#?}");

    // The neighbour works while all of them fail.
    scene.create_app("web", 1)?;

    // What it takes is bounded by what each call may have: no mode is tried twice at once, and at
    // most two modes fill their memory.
    let took = scene.host().peak_resident()?.saturating_sub(before);
    println!("{} MiB more than before", took >> 20);
    assert!(took < ROOM, "{took} bytes");

    // No hot loop: neither writes nor calls.
    pass_time(WINDOW)?;
    let window = Stopwatch::start();
    let before = calls_by_mode(&scene)?;
    let writes = scene.writes_within(WINDOW)?;
    assert!(writes.len() <= 4, "writes in {WINDOW:?}: {writes:#?}");
    let after = calls_by_mode(&scene)?;
    // To read the audit log and the metrics takes a while too.
    let window = window.elapsed();
    for ((mode, ..), (before, after)) in MISBEHAVIOURS.iter().zip(before.iter().zip(after)) {
        let each = calls_of_a_try(mode);
        let failures = before / each;
        assert!(failures >= 1.0, "{mode}: the metric counts");
        let calls = after - before;
        let most = each * most_tries(failures, window);
        assert!(
            calls <= most,
            "{mode}: {calls} calls in {window:?} after {failures} failures; at most {most} fit the backoff"
        );
    }

    // Nothing was written for them.
    let maps = scene
        .client()
        .list("v1", "ConfigMap", Some(&scene.namespace))?;
    assert!(maps.is_empty(), "{maps:#?}");

    // A good spec heals each at once, whatever its backoff.
    for (mode, ..) in MISBEHAVIOURS {
        let evil = scene.object(EVIL, "Evil", mode);
        scene
            .client()
            .merge_patch(&evil, &json!({ "spec": { "mode": "ok" } }))?;
    }
    for (mode, ..) in MISBEHAVIOURS {
        let map = scene.wait(&scene.object("v1", "ConfigMap", mode), |_| true)?;
        assert_eq!(map["data"]["mode"], "ok");
        let evil = scene.object(EVIL, "Evil", mode);
        scene.ready_reason(&evil, mode, |c| c["status"] == "True")?;
    }
    scene.converged()
}

#[test]
fn a_plan_outside_its_grants_is_refused_whole_though_the_host_itself_may_all_of_it() -> Result<()> {
    let scene = Scene::with_evil("grants")?;
    // Only the host's own check is left between the plan and the cluster.
    scene.change_rules(
        |_| true,
        &[json!({
            "apiGroups": ["", "rbac.authorization.k8s.io"],
            "resources": ["secrets", "clusterroles"], "verbs": ["*"],
        })],
    )?;
    let secret = scene.client().create(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "database", "namespace": scene.namespace },
        "stringData": { "password": "x" },
    }))?;
    let mark = scene.plane.audit().mark()?;
    let evil = scene.create_evil("outside-grants")?;
    let condition = scene.ready_reason(&evil, "Evil", |c| c["status"] == "False")?;
    let message = condition["message"].as_str().unwrap_or_default();
    for word in ["Secret", "ClusterRole", "nothing was written"] {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    pass_time(Duration::from_secs(2))?;
    let asked: Vec<_> = scene
        .plane
        .audit()
        .since(mark)?
        .into_iter()
        .filter(|r| r.user == scene.user.name())
        .filter(|r| {
            ["secrets", "clusterroles"].contains(&r.resource.as_str())
                || (r.resource == "configmaps" && r.writes())
        })
        .collect();
    assert!(asked.is_empty(), "{asked:#?}");
    let after = scene
        .client()
        .get(&scene.object("v1", "Secret", "database"))?;
    assert_eq!(
        after["metadata"]["resourceVersion"],
        secret["metadata"]["resourceVersion"]
    );
    let role = Object::cluster("rbac.authorization.k8s.io/v1", "ClusterRole", "evil");
    assert!(scene.client().find(&role)?.is_none());
    Ok(())
}

/// What the Secret has that nobody may see.
const HIDDEN: &str = "not-for-mallory";

/// The message of a resource whose sense asks this.
fn asks(scene: &Scene, name: &str, sql: &str) -> Result<String> {
    scene.client().create(&json!({
        "apiVersion": EVIL, "kind": "Evil",
        "metadata": { "name": name, "namespace": scene.namespace },
        "spec": { "mode": "compare", "queries": [{ "name": "probe", "sql": sql }] },
    }))?;
    let evil = scene.object(EVIL, "Evil", name);
    let condition = scene.ready_reason(&evil, name, |c| c["status"] == "False")?;
    Ok(condition["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn what_is_not_granted_is_told_as_what_was_never_there() -> Result<()> {
    let scene = Scene::with_evil("probes")?;
    // The host itself may read them.
    let secrets =
        json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"] });
    scene.change_rules(|_| true, &[secrets])?;
    scene.client().create(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "database", "namespace": scene.namespace },
        "stringData": { "password": HIDDEN },
    }))?;
    let mut told = String::new();
    for (number, (probe, never)) in [
        (
            "SELECT data FROM core.secrets",
            "SELECT data FROM core.nothing",
        ),
        (
            "SELECT name FROM core.configmaps WHERE name = (SELECT max(name) FROM core.secrets)",
            "SELECT name FROM core.configmaps WHERE name = (SELECT max(name) FROM core.nothing)",
        ),
        (
            "SELECT * FROM kybern.passes",
            "SELECT * FROM kybern.nothing",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let found = asks(&scene, &format!("probe-{number}"), probe)?;
        let nothing = asks(&scene, &format!("never-{number}"), never)?;
        assert!(found.contains("there is no table"), "{found}");
        let names = |text: &str| {
            let text = text.replace("core.secrets", "core.nothing");
            text.replace("kybern.passes", "kybern.nothing")
        };
        assert_eq!(names(&found), nothing);
        told += &found;
    }
    // Nothing of it is anywhere that the host tells something.
    let events = scene
        .client()
        .list("events.k8s.io/v1", "Event", Some(&scene.namespace))?;
    told += &serde_json::to_string(&events)?;
    told += &scene.host().metrics()?;
    told += &std::fs::read_to_string(scene.host().log())?;
    assert!(told.contains("probe-0"), "{told}");
    // As it is, and as Secrets have it.
    for hidden in [HIDDEN, "bm90LWZvci1tYWxsb3J5"] {
        assert!(!told.contains(hidden), "{hidden} in {told}");
    }
    Ok(())
}

#[test]
fn the_same_situation_gives_the_same_plan_also_from_a_plugin_that_tries_to_differ() -> Result<()> {
    // The host of a scene calls each decide twice and compares.
    let scene = Scene::with_evil("pure")?;
    let evil = scene.create_evil("impure")?;
    let map = scene.wait(&scene.object("v1", "ConfigMap", "impure"), |_| true)?;
    assert_eq!(
        map["data"]["calls"], "0",
        "each call has an instance of its own: {}",
        map["data"]
    );
    assert_eq!(
        map["data"]["leftovers"], "0",
        "memory of another call: {}",
        map["data"]
    );
    scene.ready_reason(&evil, "Evil", |c| c["status"] == "True")?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 2 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 2)?;
    for plugin in [scene.namespace.clone(), format!("{}-evil", scene.namespace)] {
        let label = format!("plugin=\"{plugin}\"");
        assert!(scene.metric("kybern_plugin_calls_total", &label)? > 0.0);
        assert!(
            scene.metric("kybern_plugin_crashes_total", &label)? < 1.0,
            "{plugin}"
        );
    }
    Ok(())
}

#[test]
fn a_plugin_that_fails_whatever_it_is_asked_says_so_and_comes_back() -> Result<()> {
    let scene = Scene::with_evil("broken")?;
    let plugin = Object::of(&scene.evil()?)?;
    let names: Vec<String> = (0..12).map(|n| format!("evil-{n}")).collect();
    for name in &names {
        scene.client().create(&json!({
            "apiVersion": EVIL, "kind": "Evil",
            "metadata": { "name": name, "namespace": scene.namespace },
            "spec": { "mode": "trap" },
        }))?;
    }
    let failing = scene.plugin_condition(&plugin, "Failing", "True")?;
    assert_eq!(failing["reason"], "PluginFailing");
    let message = failing["message"].as_str().unwrap_or_default();
    assert!(message.contains("PluginTrapped: "), "{message}");
    // It is loaded, and others may depend on it.
    scene.plugin_condition(&plugin, "Ready", "True")?;
    let label = format!("plugin=\"{}\"", plugin.name);
    assert!(scene.metric("kybern_plugin_breaker_open", &label)? > 0.0);

    for name in &names {
        let evil = scene.object(EVIL, "Evil", name);
        let good = json!({ "spec": { "mode": "ok" } });
        scene.client().merge_patch(&evil, &good)?;
    }
    for name in &names {
        let evil = scene.object(EVIL, "Evil", name);
        scene.ready_reason(&evil, name, |c| c["status"] == "True")?;
    }
    let none = |plugin: &Value| {
        let conditions = plugin["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().all(|c| c["type"] != "Failing"))
    };
    scene.wait(&plugin, none)?;
    scene.converged()
}
