//! A leader that is killed, removed or frozen: the other replica goes on in time, and nothing is written twice.
//!
//! Times are those of the API server: from a request sent just before the
//! blow to the first write of whoever goes on.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kybern_node_tests::{AppService, Container, Node, Release, Replica, SOON, kubectl};
use kybern_testcluster::{Mark, Progress, Request, until};
use serde_json::json;
use std::time::Duration;

/// A lost leader's lease has to run out, and be tried for.
const LOST: Duration = Duration::from_secs(15);
/// A clean end gives the lease back: one try to take it, every 2 s, and one list of each kind.
const CLEAN: Duration = Duration::from_secs(5);

/// Two replicas with one AppService, and everything that they asked for since.
struct Scene {
    release: Release,
    app: AppService,
    start: Mark,
}

/// A place in the log, by a request that is told from all others by its path.
struct Moment {
    path: String,
}

impl Moment {
    fn now(node: &Node, name: &str) -> Result<Self> {
        let path = format!("/version?{name}");
        node.client().text(&path)?;
        Ok(Self { path })
    }
}

impl Scene {
    fn start(name: &str) -> Result<Self> {
        let release = Release::new(name)?;
        let node = release.node();
        node.definitions()?;
        let start = node.audit().mark()?;
        let rules = release.plugin_rules(&[release.registration()])?;
        release
            .helm(&json!({ "rbac": { "pluginRules": rules } }))?
            .ok()?;
        release.wait_ready(2)?;
        release.register()?;
        let app = release.create_app("web", 1)?;
        Ok(Self {
            release,
            app,
            start,
        })
    }

    fn node(&self) -> &'static Node {
        self.release.node()
    }

    fn resize(&self, size: u32) -> Result<()> {
        let patch = json!({ "spec": { "size": size } });
        self.node().client().merge_patch(&self.app.app, &patch)?;
        Ok(())
    }

    /// Waits until the Deployment has this size, and returns the time from `moment` to the first write
    /// of whoever goes on: any replica, or this one where the old leader still could.
    fn answered(&self, moment: &Moment, size: u32, by: Option<&Replica>) -> Result<Duration> {
        let what = format!("{size} replicas");
        self.node()
            .client()
            .wait_for(&self.app.deployment, &what, SOON, |deployment| {
                deployment["spec"]["replicas"] == size
            })?;
        let requests = self.node().audit().since(self.start)?;
        let from = requests
            .iter()
            .position(|request| request.uri == moment.path)
            .context("the moment is in the log")?;
        let first = self
            .writes()?
            .into_iter()
            .filter(is_deployment)
            .filter(|write| by.is_none_or(|by| write.pod.as_deref() == Some(by.name.as_str())))
            .find(|write| write.received > requests[from].received)
            .with_context(|| {
                let name = &self.release.name;
                format!("none of {name} wrote it: another host serves the same AppService")
            })?;
        between(&requests[from], &first)
    }

    /// What the replicas asked to change: their own and their children's objects, not the Lease.
    fn writes(&self) -> Result<Vec<Request>> {
        let mut requests = self.release.requests(self.start)?;
        requests.retain(Request::writes);
        Ok(requests)
    }

    /// Each child was created once, and the Deployment applied once for each change after that.
    ///
    /// Before the first apply one JSON patch turns the fields of the creation into applied ones.
    fn nothing_was_written_twice(&self, changes: usize) -> Result<()> {
        let writes = self.writes()?;
        let count = |resource: &str, verb: &str| {
            let found = writes.iter().filter(|write| {
                write.resource == resource && write.verb == verb && write.subresource.is_none()
            });
            found.count()
        };
        for child in ["deployments", "services"] {
            assert_eq!(count(child, "create"), 1, "{child}: {writes:#?}");
            assert_eq!(count(child, "delete"), 0, "{child}: {writes:#?}");
        }
        let (applied, converted): (Vec<_>, Vec<_>) = writes
            .iter()
            .filter(|write| is_deployment(write) && write.verb == "patch")
            .partition(|write| write.uri.contains("force=true"));
        assert_eq!(applied.len(), changes, "{writes:#?}");
        assert_eq!(converted.len(), 1, "{writes:#?}");
        assert_eq!(count("services", "patch"), 0, "{writes:#?}");
        // The registration's finalizer is added on condition that nobody else changed it meanwhile.
        let raced = |write: &Request| write.resource == "plugins" && write.code == Some(409);
        let refused: Vec<_> = writes
            .iter()
            .filter(|write| write.code.is_some_and(|code| code >= 400) && !raced(write))
            .collect();
        ensure!(refused.is_empty(), "{refused:#?}");
        Ok(())
    }

    /// Waits until somebody else than `old` holds the Lease; who.
    fn new_leader(&self, old: &Replica) -> Result<Replica> {
        until("another leader", SOON, || {
            let leader = self.release.leader()?;
            Ok(if leader.name == old.name {
                Progress::Waiting(leader.name)
            } else {
                Progress::Done(leader)
            })
        })
    }
}

fn is_deployment(request: &Request) -> bool {
    request.resource == "deployments" && request.subresource.is_none()
}

fn between(from: &Request, to: &Request) -> Result<Duration> {
    let at = |request: &Request| request.received.parse::<Timestamp>();
    let took = at(to)?.duration_since(at(from)?);
    Duration::try_from(took).context("the write came before the moment")
}

/// Notes the figure; fails past the limit.
fn within(node: &Node, what: &str, took: Duration, limit: Duration) -> Result<()> {
    node.figure(&format!(
        "{what}: first write after {:.2} s (limit {} s)",
        took.as_secs_f64(),
        limit.as_secs()
    ))?;
    ensure!(
        took <= limit,
        "{what}: the first write came after {took:?}, not within {limit:?}"
    );
    Ok(())
}

#[test]
fn a_killed_leader_is_replaced_in_time() -> Result<()> {
    let scene = Scene::start("kill")?;
    let leader = scene.release.leader()?;
    let process = Container::of(scene.node(), &leader.pod)?;
    let moment = Moment::now(scene.node(), "kill")?;
    process.kill()?;
    scene.resize(2)?;
    let took = scene.answered(&moment, 2, None)?;
    scene.release.wait_app(&scene.app, 2)?;
    scene.nothing_was_written_twice(1)?;
    within(scene.node(), "SIGKILL", took, LOST)?;

    // The kubelet starts the container again in the same Pod: two replicas once more.
    let replicas = scene.release.wait_ready(2)?;
    let killed = replicas.iter().find(|replica| replica.name == leader.name);
    let killed = killed.context("the Pod is the same")?;
    assert_eq!(killed.restarts(), 1);
    assert_eq!(killed.last_end().context("an end")?["exitCode"], 137);
    Ok(())
}

/// Deletes the leader's Pod, with these arguments of kubectl, and notes when another goes on.
fn remove_leader(name: &str, how: &[&str], what: &str, limit: Duration) -> Result<()> {
    let scene = Scene::start(name)?;
    let leader = scene.release.leader()?;
    let moment = Moment::now(scene.node(), name)?;
    let namespace = &scene.release.name;
    let mut command = vec!["delete", "pod", &leader.name, "--namespace", namespace];
    command.extend(how);
    kubectl(command)?.ok()?;
    // Not before: the old leader works until it is told to end, and would do this too.
    let next = scene.new_leader(&leader)?;
    scene.resize(2)?;
    let took = scene.answered(&moment, 2, Some(&next))?;
    scene.release.wait_app(&scene.app, 2)?;
    scene.nothing_was_written_twice(1)?;
    within(scene.node(), what, took, limit)
}

#[test]
fn a_removed_leader_hands_over_at_once() -> Result<()> {
    remove_leader("removed", &["--wait=false"], "pod deleted", CLEAN)
}

#[test]
fn a_leader_removed_by_force_is_replaced_in_time() -> Result<()> {
    let force = ["--force", "--grace-period=0"];
    remove_leader("forced", &force, "pod deleted by force", LOST)
}

#[test]
fn a_frozen_leader_writes_nothing_after_it_was_replaced() -> Result<()> {
    let scene = Scene::start("frozen")?;
    let leader = scene.release.leader()?;
    let process = Container::of(scene.node(), &leader.pod)?;
    let moment = Moment::now(scene.node(), "frozen")?;
    process.freeze()?;
    // It finds this in its watch when it is thawed, and would act on it.
    scene.resize(2)?;
    let took = scene.answered(&moment, 2, None)?;
    let next = scene.new_leader(&leader)?;
    process.thaw()?;
    scene.resize(3)?;
    scene.release.wait_app(&scene.app, 3)?;
    // The thawed one is a standby with the same process, and back in its Service.
    let replicas = scene.release.wait_ready(2)?;
    let thawed = replicas.iter().find(|replica| replica.name == leader.name);
    assert_eq!(thawed.context("the Pod is the same")?.restarts(), 0);
    ensure!(process.state().is_some(), "the process is the same");
    assert_eq!(scene.release.leader()?.name, next.name, "who leads stays");

    let writes = scene.writes()?;
    let over = writes
        .iter()
        .find(|write| write.pod.as_deref() == Some(next.name.as_str()) && is_deployment(write))
        .context("the next leader's first write")?;
    let late: Vec<_> = writes
        .iter()
        .filter(|write| write.received > over.received)
        .filter(|write| write.pod.as_deref() == Some(leader.name.as_str()))
        .collect();
    ensure!(
        late.is_empty(),
        "written after the other took over: {late:#?}"
    );
    scene.nothing_was_written_twice(2)?;
    within(scene.node(), "SIGSTOP", took, LOST)
}
