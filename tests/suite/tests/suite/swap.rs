//! One version of a plugin takes another's place: under load, and with a host that is killed while
//! it does.

use crate::faults::world::{ready, upstream};
use crate::proxy::lead;
use crate::revision::{OLD, digest, renamed};
use crate::sandbox::sum;
use crate::scene::{SOON, Scene, pass_time};
use anyhow::{Context, Result, ensure};
use kybern_faults::{Fault, FaultProxy, Pattern, When};
use kybern_testcluster::{Host, Object, Progress, guest, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the components call themselves.
const NAMES: [&str; 3] = [OLD, "planner-revisio2", "planner-revisio3"];

/// A swap of one resource has fewer writes than that.
const MOST_WRITES: usize = 9;
/// Without a write for so long the host waits for something to happen.
const REST: Duration = Duration::from_millis(500);

/// A component that can be registered.
struct Version {
    name: &'static str,
    file: PathBuf,
    digest: String,
}

/// The planner in three versions, the first registered.
struct Swap {
    scene: Scene,
    plugin: Object,
    versions: Vec<Version>,
}

impl Swap {
    fn start(scene: Scene, host: impl FnOnce(&mut Scene) -> Result<()>) -> Result<Self> {
        let mut scene = scene;
        let wasm = std::fs::read(guest("kybern-planner")?)?;
        let version = |name: &'static str| {
            let file = scene
                .plane
                .folder()
                .join(format!("{}-{name}.wasm", scene.namespace));
            std::fs::write(&file, renamed(wasm.clone(), name)?)?;
            let digest = digest(&file)?;
            Ok(Version { name, file, digest })
        };
        let versions: Vec<Version> = NAMES.into_iter().map(version).collect::<Result<_>>()?;
        let registration = json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": scene.namespace },
            "spec": {
                "class": scene.class,
                "resources": [{ "group": "planner.example.com", "version": "v1", "kind": "Planned" }],
                "source": { "file": versions[0].file },
                "grants": { "write": [
                    { "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"] },
                    { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] },
                    { "group": "scheduling.k8s.io", "kinds": ["PriorityClass"], "verbs": ["apply"], "scope": "Cluster" },
                ] },
            },
        });
        scene.grant(std::slice::from_ref(&registration))?;
        host(&mut scene)?;
        let plugin = scene.register(&registration)?;
        Ok(Self {
            scene,
            plugin,
            versions,
        })
    }

    /// A resource whose ConfigMap says which change of it was seen, and by whom.
    fn spec(change: u64) -> Value {
        let map = json!([{ "type": "apply", "object": {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "$NAME" },
            "data": { "by": "$REVISION", "change": change.to_string() },
        } }]);
        json!({ "actions": map.to_string() })
    }

    fn object(&self, name: &str) -> Object {
        self.scene.object("planner.example.com/v1", "Planned", name)
    }

    fn create(&self, name: &str) -> Result<()> {
        self.scene.client().create(&json!({
            "apiVersion": "planner.example.com/v1", "kind": "Planned",
            "metadata": { "name": name, "namespace": self.scene.namespace },
            "spec": named(Self::spec(0), name),
        }))?;
        Ok(())
    }

    fn change(&self, name: &str, change: u64) -> Result<()> {
        let patch = json!({ "spec": named(Self::spec(change), name) });
        self.scene
            .client()
            .merge_patch(&self.object(name), &patch)?;
        Ok(())
    }

    fn register(&self, version: usize) -> Result<()> {
        let patch = json!({ "spec": { "source": { "file": self.versions[version].file } } });
        self.scene.client().merge_patch(&self.plugin, &patch)?;
        Ok(())
    }

    fn runs(&self, version: usize) -> Result<bool> {
        let plugin = self.scene.client().get(&self.plugin)?;
        Ok(plugin["status"]["active"]["digest"] == self.versions[version].digest.as_str())
    }

    /// Waits until this change's ConfigMap is there, made by this version.
    fn made(&self, name: &str, change: u64, version: usize) -> Result<()> {
        let wanted = json!({ "by": self.versions[version].name, "change": change.to_string() });
        let map = self.scene.object("v1", "ConfigMap", name);
        self.scene.wait(&map, |map| map["data"] == wanted)?;
        Ok(())
    }

    fn maps(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.scene.namespace)
    }
}

fn named(mut spec: Value, name: &str) -> Value {
    let actions = spec["actions"].as_str().unwrap().replace("$NAME", name);
    spec["actions"] = json!(actions);
    spec
}

/// Which version each ConfigMap was written by, and for which change, as it came; since that
/// resourceVersion.
fn histories(swap: &Swap, since: &str) -> Result<BTreeMap<String, Vec<(u64, usize)>>> {
    let path = format!(
        "{}?watch=true&resourceVersion={since}&timeoutSeconds=1",
        swap.maps()
    );
    let mut histories: BTreeMap<String, Vec<(u64, usize)>> = BTreeMap::new();
    for line in swap.scene.client().text(&path)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        ensure!(event["type"] != "ERROR", "{event}");
        let data = &event["object"]["data"];
        let Some(by) = data["by"].as_str() else {
            continue;
        };
        let name = event["object"]["metadata"]["name"].as_str();
        let name = name.context("a name")?.to_owned();
        let version = NAMES.iter().position(|known| *known == by);
        let change = data["change"].as_str().context("a change")?.parse()?;
        let one = (change, version.context("a version")?);
        histories.entry(name).or_default().push(one);
    }
    Ok(histories)
}

/// Whether a history is one of versions that came in this order, each after the one before was
/// gone, and of changes in their order.
fn in_order(history: &[(u64, usize)], order: &[usize]) -> bool {
    let mut at = 0;
    let mut last = None;
    history.iter().all(|(change, version)| {
        let goes_on = last.is_none_or(|last| last <= *change);
        last = Some(*change);
        let rest = order.get(at..).unwrap_or_default();
        match rest.iter().position(|known| known == version) {
            Some(further) if goes_on => {
                at += further;
                true
            }
            _ => false,
        }
    })
}

#[test]
fn a_swap_under_load_loses_no_change_and_passes_none_twice() -> Result<()> {
    let order = [0, 1, 2, 0, 1];
    let swap = Swap::start(Scene::new("swapload")?, Scene::start_host)?;
    let names: Vec<String> = (0..10).map(|n| format!("it-{n}")).collect();
    let mut changes = BTreeMap::new();
    for name in &names {
        swap.create(name)?;
        changes.insert(name.as_str(), 0_u64);
    }
    for name in &names {
        swap.made(name, 0, 0)?;
    }
    let list: Value = serde_json::from_str(&swap.scene.client().text(&swap.maps())?)?;
    let since = list["metadata"]["resourceVersion"].as_str();
    let since = since.context("a resourceVersion")?.to_owned();

    for version in &order[1..] {
        swap.register(*version)?;
        until("the swap", SOON, || {
            for (name, change) in changes.iter_mut() {
                *change += 1;
                swap.change(name, *change)?;
            }
            Ok(swap.runs(*version)?.then_some(()).into())
        })?;
    }
    for (name, change) in &changes {
        swap.made(name, *change, 1)?;
    }
    pass_time(REST)?;

    // A watch may end before all of it was sent.
    let whole = until("histories that end with the last change", SOON, || {
        let read = histories(&swap, &since)?;
        let ends = |name: &String| {
            let last = read.get(name).and_then(|history| history.last());
            last == Some(&(changes[name.as_str()], 1))
        };
        Ok(names.iter().all(ends).then_some(read).into())
    });
    let histories = whole?;
    for (name, history) in &histories {
        ensure!(in_order(history, &order), "{name}: {history:?}");
        // Each write was of something new.
        let again = history.windows(2).find(|pair| pair[0] == pair[1]);
        ensure!(again.is_none(), "{name}: {again:?} in {history:?}");
        let most = usize::try_from(changes[name.as_str()])? + order.len();
        ensure!(history.len() <= most, "{name}: {history:?}");
    }
    // A pass whose version has just gone is no crash and none that failed: the next is due at once.
    let label = format!("plugin=\"{}\"", swap.scene.namespace);
    let crashes = swap.scene.metric("kybern_plugin_crashes_total", &label)?;
    ensure!(crashes < 1.0, "{crashes} crashes");
    let metrics = swap.scene.host().metrics()?;
    let of_it: Vec<&str> = metrics
        .lines()
        .filter(|line| line.contains(&label))
        .collect();
    let failed = sum(
        &of_it.join("\n"),
        "kybern_passes_total",
        "result=\"failed\"",
    );
    ensure!(failed < 1.0, "{failed} passes failed");
    Ok(())
}

#[test]
fn a_crash_at_any_write_of_a_swap_leaves_a_version_that_runs() -> Result<()> {
    let scene = Scene::new("swapcrash")?;
    let proxy = FaultProxy::start(upstream(&scene)?)?;
    lead(&scene, &proxy.url())?;
    let host: Arc<Mutex<Option<Host>>> = Arc::default();
    let swap = Swap::start(scene, |scene| {
        *host.lock().unwrap() = Some(ready(scene, &[])?);
        Ok(())
    })?;
    swap.create("one")?;
    swap.made("one", 0, 0)?;
    pass_time(REST)?;

    let mut crashes = 0;
    for number in 1..=MOST_WRITES {
        let version = (number + 1) % NAMES.len();
        let kept = Arc::clone(&host);
        let kill = move |_: &_| *kept.lock().unwrap() = None;
        let when = When::Nth(u64::try_from(number)?);
        let crash = proxy.inject(Fault::after(Pattern::writes(), when, kill));
        let change = u64::try_from(number)?;
        swap.change("one", change)?;
        swap.register(version)?;
        until("the host to rest after a swap", SOON, || {
            let mark = proxy.journal().mark();
            let mut host = host.lock().unwrap();
            if host.is_none() {
                *host = Some(ready(&swap.scene, &[])?);
            }
            drop(host);
            let map = swap.scene.object("v1", "ConfigMap", "one");
            let data = swap.scene.client().get(&map)?["data"].clone();
            let by = swap.versions[version].name;
            if data != json!({ "by": by, "change": change.to_string() }) || !swap.runs(version)? {
                return Ok(Progress::Waiting(format!("{data}")));
            }
            pass_time(REST)?;
            let since = proxy.journal().since(mark);
            let write = since.into_iter().find(|entry| entry.ask.writes());
            Ok(match write {
                None => Progress::Done(()),
                Some(write) => Progress::Waiting(format!("{write:?}")),
            })
        })?;
        swap.scene.plugin_condition(&swap.plugin, "Ready", "True")?;
        if crash.hits() == 0 {
            // It has no more writes.
            break;
        }
        crashes += 1;
    }
    println!("{crashes} crashes");
    // The child, its resource's status, the registration's status.
    ensure!((3..MOST_WRITES).contains(&crashes), "{crashes} crashes");
    Ok(())
}
