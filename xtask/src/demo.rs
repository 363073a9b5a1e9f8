//! `cargo xtask demo`: a custom resource becomes running Pods on a real API server, is changed, and goes.

mod listing;
mod registration;
mod tour;

use crate::programs;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use clap::Args;
use kybern_testcluster::{
    Client, Component, ControlPlane, Host, HostOptions, Mark, Object, Options, Progress, Stopwatch,
    User, until,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// `cargo xtask demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Waits before the clean-up, so that the cluster can be looked at.
    #[arg(long)]
    keep: bool,
}

const CLASS: &str = "demo";
const NAMESPACE: &str = "default";
const NAME: &str = "nginx-app";
const MANAGER: &str = "kybern-demo";
/// Pods of kwok are Ready within seconds; a slow machine may take longer.
const LIMIT: Duration = Duration::from_secs(120);

const COMPONENTS: [Component; 5] = [
    Component::Etcd,
    Component::KubeApiserver,
    Component::KubeControllerManager,
    Component::KubeScheduler,
    Component::Kwok,
];

/// One row for each Pod, reached from the custom resource through its children.
const QUERY: &str = "\
SELECT a.name AS app, a.spec.size AS wanted, d.status.readyReplicas AS ready,
       s.spec.type AS service, p.name AS pod, p.spec.nodeName AS node, p.status.phase AS phase
FROM appservices a
JOIN apps.deployments d ON d.owner_uid = a.uid
JOIN core.services s ON s.owner_uid = a.uid
JOIN apps.replicasets r ON r.owner_uid = d.uid
JOIN core.pods p ON p.owner_uid = r.uid
ORDER BY pod";

/// Shows it; without a control plane and without Go, the same without a cluster.
pub(crate) fn run(workspace: &Workspace, args: &DemoArgs) -> Result<()> {
    let watch = Stopwatch::start();
    for component in COMPONENTS {
        if component.present()?.is_none() && !kybern_testcluster::go_is_there() {
            return tour::run(workspace, component);
        }
    }
    let programs = Programs::build(workspace)?;
    for component in COMPONENTS {
        component.find()?;
    }

    title("A control plane: etcd, kube-apiserver, the built-in controllers, one fake node");
    let started = Stopwatch::start();
    let plane = ControlPlane::start(Options::new().with_controller_manager().with_kwok(1))?;
    say(&format!(
        "{} after {:.1} s",
        plane.url(),
        started.elapsed().as_secs_f64()
    ));

    title("Kybern: its CustomResourceDefinition, then the host");
    let user = prepare(&plane, &programs)?;
    let mark = plane.audit().mark()?;
    let mut host = Host::start(&HostOptions {
        binary: programs.kybern.clone(),
        kubeconfig: plane.kubeconfig(&user)?,
        class: CLASS.to_owned(),
        arguments: vec!["--leader-elect=false".to_owned()],
        environment: Vec::new(),
        folder: plane.folder().to_owned(),
    })?;
    let shown = host
        .wait_ready()
        .and_then(|()| story(&plane, &programs, &user, mark, args.keep));
    if shown.is_err() {
        // The directory goes with the control plane: what the host said is lost otherwise.
        eprintln!("the end of the host's log:\n{}", host.process().tail());
    }
    shown?;

    title("The host ends, then the control plane");
    let status = host.stop()?;
    ensure!(status.success(), "kybern did not end well: {status}");
    drop(plane);
    say(&format!(
        "done after {:.0} s",
        watch.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// What is built before anything starts.
struct Programs {
    kybern: PathBuf,
    plugin: PathBuf,
    fixture: PathBuf,
}

impl Programs {
    fn build(workspace: &Workspace) -> Result<Self> {
        title("Build the host, and the plugin as a wasm component");
        let kybern = programs::kybern(workspace)?;
        let guests = crate::guests::build(&workspace.cache, &["appservice"])?;
        let plugin = guests.into_iter().next().context("one guest was built")?;
        Ok(Self {
            kybern,
            plugin: plugin.path,
            fixture: fixture(workspace),
        })
    }
}

fn fixture(workspace: &Workspace) -> PathBuf {
    workspace
        .root
        .join("tests")
        .join("fixtures")
        .join("appservice.yaml")
}

/// Installs the Plugin kind; returns whom the host runs as.
fn prepare(plane: &ControlPlane, programs: &Programs) -> Result<User> {
    say("kybern crd | kubectl apply -f -");
    let definition = output(Command::new(&programs.kybern).arg("crd"))?;
    plane.install_crd_yaml("plugins.kybern.dev", &definition)?;
    let user = plane.service_account(NAMESPACE, "kybern")?;
    plane.grant(&user, &registration::host_rules())?;
    say(&format!(
        "kybern run --class {CLASS}    # as {}",
        user.name()
    ));
    Ok(user)
}

fn story(
    plane: &ControlPlane,
    programs: &Programs,
    user: &User,
    mark: Mark,
    keep: bool,
) -> Result<()> {
    let client = plane.client();
    title("Register the plugin: what it may read and write is granted here");
    let plugin = registration::plugin(CLASS, &programs.plugin);
    client.apply(&plugin, MANAGER)?;
    let object = Object::of(&plugin)?;
    client.wait_for(&object, "Ready", LIMIT, |now| {
        condition(now, "Ready") == "True"
    })?;
    say(&format!("{object} is Ready"));

    title("Apply an AppService");
    let manifest = std::fs::read_to_string(&programs.fixture)
        .with_context(|| format!("read {}", programs.fixture.display()))?;
    print!("{}", indented(&manifest));
    let watch = Stopwatch::start();
    let app = Object::new("app.example.com/v1", "AppService", NAMESPACE, NAME);
    client.apply_yaml(&app, &manifest, MANAGER)?;
    wait_for_size(client, &app, 2)?;
    say(&format!(
        "as wanted after {:.1} s:",
        watch.elapsed().as_secs_f64()
    ));
    listing::print(client, NAMESPACE)?;

    title("Ask the cluster with SQL");
    print!("{}", indented(QUERY));
    println!("\n{}", indented(&query(plane, programs)?));

    title("Change its size: 2 to 3");
    client.merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    wait_for_size(client, &app, 3)?;
    println!("{}", indented(&query(plane, programs)?));
    say("what the host has written so far, by the API server's audit log:");
    for (write, count) in writes(plane, user, mark)? {
        say(&format!("  {count:>3}  {write}"));
    }

    if keep {
        title("Look around; press Enter to go on");
        say(&format!(
            "export KUBECONFIG={}",
            plane.admin_kubeconfig()?.display()
        ));
        say(&format!(
            "{} sql \"SELECT name FROM pods\"",
            programs.kybern.display()
        ));
        std::io::stdin().read_line(&mut String::new())?;
    }

    title("Delete it: its children go too");
    client.delete(&app)?;
    say("(Kubernetes' garbage collector deletes them; it learns of a new kind within 30 s)");
    client.wait_gone(&app, LIMIT)?;
    for child in children() {
        client.wait_gone(&child, LIMIT)?;
        say(&format!("{child} is gone"));
    }
    until("the Pods are gone", LIMIT, || {
        let left = client.list("v1", "Pod", Some(NAMESPACE))?.len();
        Ok(match left {
            0 => Progress::Done(()),
            left => Progress::Waiting(format!("{left} Pods")),
        })
    })?;
    say("all Pods are gone");

    title("Remove the plugin: nothing stays Terminating");
    client.delete(&object)?;
    client.wait_gone(&object, LIMIT)?;
    say(&format!("{object} is gone"));
    Ok(())
}

fn children() -> [Object; 2] {
    [
        Object::new("apps/v1", "Deployment", NAMESPACE, NAME),
        Object::new("v1", "Service", NAMESPACE, NAME),
    ]
}

/// Waits until the Pods are Ready, and the custom resource's status says so.
fn wait_for_size(client: &Client, app: &Object, size: u64) -> Result<()> {
    for child in children() {
        client.wait_for(&child, "exists", LIMIT, |_| true)?;
    }
    client.wait_for(
        app,
        &format!("{size} Pods ready in its status"),
        LIMIT,
        |now| {
            let status = |field: &str| {
                now.pointer(&format!("/status/{field}"))
                    .and_then(Value::as_u64)
            };
            status("readyReplicas") == Some(size) && status("replicas") == Some(size)
        },
    )?;
    Ok(())
}

fn query(plane: &ControlPlane, programs: &Programs) -> Result<String> {
    output(
        Command::new(&programs.kybern)
            .arg("sql")
            .arg("--kubeconfig")
            .arg(plane.admin_kubeconfig()?)
            .arg(QUERY),
    )
}

/// How often the host wrote what.
fn writes(plane: &ControlPlane, user: &User, mark: Mark) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for write in plane.audit().writes_of(user, mark)? {
        let subresource = write
            .subresource
            .map(|name| format!("/{name}"))
            .unwrap_or_default();
        let what = format!("{} {}{subresource}", write.verb, write.resource);
        *counts.entry(what).or_default() += 1;
    }
    Ok(counts)
}

/// `status` of a condition, empty if it is not there.
fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let all = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
        .and_then(|condition| condition.get("status")?.as_str())
        .unwrap_or_default()
}

/// Standard output of a program that succeeds; what it says beside that is shown only if it does not.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "`{}` failed ({}):\n{}",
        crate::workspace::words(command),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("the output is no text")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn say(text: &str) {
    println!("   {text}");
}
