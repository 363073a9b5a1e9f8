//! One table goes through all of it.

use super::crowd::Crowd;
use super::fresh::{Fresh, Sums};
use super::network::Network;
use super::table::Table;
use crate::lifecycle::own_plane;
use crate::scene::{SOON, Scene, condition, pass_time};
use anyhow::{Result, ensure};
use kybern_kube::Interruption;
use kybern_testcluster::{Progress, Stopwatch, until};
use serde_json::{Value, json};
use std::time::Duration;

/// Pods.
const PODS: u64 = 20_000;
/// The idle deadline of the watches here; there is always something to hear.
const IDLE: Duration = Duration::from_secs(5);
/// Beside the stated deadline: for requests, pauses between tries and unoptimised code on a busy
/// machine.
const SLACK: Duration = Duration::from_secs(15);
/// How long it may take to compare everything, and to list it before.
const LONG: Duration = Duration::from_secs(180);
/// Changes while something is wrong.
const CHANGES: u64 = 400;

struct Torture {
    scene: Scene,
    network: Network,
    crowd: Crowd,
    table: Table,
    fresh: Fresh,
    /// Numbers of changes that were used.
    changes: u64,
    checks: u32,
}

impl Torture {
    fn start() -> Result<Self> {
        let plane = own_plane()?;
        let mut scene = Scene::on(plane, "watching")?;
        let crowd = Crowd::fill(plane, PODS)?;
        let registration = registration(&scene)?;
        scene.grant(std::slice::from_ref(&registration))?;
        let network = Network::new(&scene)?;
        let kubeconfig = network.lead(&scene)?;
        let idle = format!("--watch-idle={}s", IDLE.as_secs());
        scene.start_host_everywhere(&[&idle])?;
        scene.register(&registration)?;
        let table = Table::start(&kubeconfig, IDLE)?;
        Ok(Self {
            scene,
            network,
            crowd,
            table,
            fresh: Fresh::default(),
            changes: 0,
            checks: 0,
        })
    }

    /// Changes pods; fails if the API server did not let it.
    fn change(&mut self) -> Result<()> {
        let done = self.crowd.change(self.changes, CHANGES);
        self.changes += CHANGES;
        ensure!(done >= CHANGES * 3 / 4, "only {done} changes");
        Ok(())
    }

    /// Waits until both tables are what the API server has.
    fn equal(&mut self, after: &str) -> Result<()> {
        let watch = Stopwatch::start();
        let plane = self.scene.plane;
        let sums = self.fresh.until_equal(plane, LONG, || self.table.view())?;
        let own = watch.elapsed();
        self.host_equal(sums)?;
        let host = watch.elapsed();
        let said = self.table.said();
        eprintln!("{after}: {sums:?}; equal after {own:?}, the host after {host:?}; {said:?}");
        ensure!(said.errors.is_empty(), "{:?}", said.errors);
        Ok(())
    }

    /// The same, asked of the host's own table by a plugin.
    fn host_equal(&mut self, sums: Sums) -> Result<()> {
        self.checks += 1;
        let name = format!("compare-{}", self.checks);
        let client = self.scene.client();
        client.create(&json!({
            "apiVersion": "evil.example.com/v1", "kind": "Evil",
            "metadata": { "name": name, "namespace": self.scene.namespace },
            "spec": { "mode": "compare", "queries": sums.queries() },
        }))?;
        let object = self.scene.object("evil.example.com/v1", "Evil", &name);
        condition(client, &object, "Ready", |c| c["status"] == "True")?;
        client.delete(&object)?;
        client.wait_gone(&object, SOON)
    }

    /// What the host counted for pods with this label.
    fn metric(&self, name: &str, label: &str) -> Result<f64> {
        self.scene.metric(name, &format!("table=\"v1/Pod\"{label}"))
    }

    fn interruptions(&self, cause: Interruption) -> Result<(u64, f64)> {
        let said = self.table.said().interruptions;
        let label = format!(",cause=\"{}\"", cause.name());
        let host = self.metric("kybern_watch_interruptions_total", &label)?;
        Ok((said.get(&cause).copied().unwrap_or_default(), host))
    }

    /// Waits until both watches have named this cause more often than before.
    fn named(&self, cause: Interruption, before: (u64, f64)) -> Result<()> {
        until(&format!("the cause {}", cause.name()), SOON, || {
            let now = self.interruptions(cause)?;
            Ok(if now.0 > before.0 && now.1 > before.1 {
                Progress::Done(())
            } else {
                Progress::Waiting(format!("{now:?}"))
            })
        })
    }

    fn confirmed(&self) -> Result<f64> {
        self.metric("kybern_watch_confirmed_timestamp_seconds", "")
    }

    /// Pods change while the API server restarts.
    fn restart(&mut self) -> Result<()> {
        let broken = [
            Interruption::Closed,
            Interruption::Failed,
            Interruption::Expired,
        ];
        let total = |this: &Self| -> Result<(u64, f64)> {
            let mut all = (0, 0.0);
            for cause in broken {
                let (own, host) = this.interruptions(cause)?;
                all = (all.0 + own, all.1 + host);
            }
            Ok(all)
        };
        let before = total(self)?;
        let (crowd, first, plane) = (self.crowd, self.changes, self.scene.plane);
        self.changes += 3 * CHANGES;
        std::thread::scope(|threads| -> Result<()> {
            let churn = threads.spawn(move || crowd.change(first, 3 * CHANGES));
            pass_time(Duration::from_secs(1))?;
            plane.restart_api_server()?;
            churn.join().expect("no panic");
            Ok(())
        })?;
        // Some of it failed while the server was away.
        self.change()?;
        self.equal("restart of the API server")?;
        let after = total(self)?;
        ensure!(
            after.0 > before.0 && after.1 > before.1,
            "{before:?}, {after:?}"
        );
        Ok(())
    }

    /// The network forgets the connections, and tells nobody.
    fn silence(&mut self) -> Result<()> {
        let before = self.interruptions(Interruption::Silent)?;
        self.network.forget_connections();
        let watch = Stopwatch::start();
        let (pod, version) = self.crowd.mark("silence")?;
        until("what happened in silence is seen", IDLE + SLACK, || {
            let row = self.table.row(&pod);
            let seen = row.is_some_and(|row| row.resource_version() >= version);
            Ok(seen.then_some(()).into())
        })?;
        let took = watch.elapsed();
        ensure!(took >= IDLE / 2, "{took:?}: it was not silent");
        self.change()?;
        self.equal("silence")?;
        self.named(Interruption::Silent, before)
    }

    /// What happened while the connection was cut has been forgotten by API server and etcd.
    fn expire(&mut self) -> Result<()> {
        let before = self.interruptions(Interruption::Expired)?;
        self.network.cut();
        let cut = self.confirmed()?;
        let watch = Stopwatch::start();
        self.change()?;
        let plane = self.scene.plane;
        plane.stop_api_server()?;
        plane.store().compact()?;
        plane.start_api_server()?;
        // Nothing confirms the table meanwhile, and its age says so.
        ensure!((self.confirmed()? - cut).abs() < 1.0, "who confirmed it?");
        ensure!(self.metric("kybern_table_readable", "")? > 0.0);
        let away = watch.elapsed();
        self.network.mend();
        self.equal("410")?;
        ensure!(self.confirmed()? - cut >= away.as_secs_f64());
        self.named(Interruption::Expired, before)
    }

    /// etcd is what it was before the last changes.
    fn restore(&mut self) -> Result<()> {
        let older = self.interruptions(Interruption::Older)?;
        let epochs = (
            self.table.said().epochs,
            self.metric("kybern_watch_epochs_total", "")?,
        );
        let plane = self.scene.plane;
        let copy = plane.store().copy()?;
        self.lose()?;
        let lost = plane.store().revision()?;
        plane.stop_api_server()?;
        plane.store().restore(&copy)?;
        plane.start_api_server()?;
        ensure!(plane.store().revision()? < lost, "nothing was lost");
        self.equal("restored etcd")?;
        self.named(Interruption::Older, older)?;
        ensure!(self.table.said().epochs > epochs.0);
        ensure!(self.metric("kybern_watch_epochs_total", "")? > epochs.1);
        Ok(())
    }

    /// The same, as Kubernetes asks for it: the revision is raised past all that anybody saw.
    fn restore_raised(&mut self) -> Result<()> {
        let before = self.interruptions(Interruption::Expired)?;
        let plane = self.scene.plane;
        let copy = plane.store().copy()?;
        self.lose()?;
        let lost = plane.store().revision()?;
        plane.stop_api_server()?;
        plane.store().restore(&copy)?;
        plane.store().raise_revision(lost + 100)?;
        plane.store().compact()?;
        plane.start_api_server()?;
        self.equal("restored etcd with a raised revision")?;
        self.named(Interruption::Expired, before)
    }

    /// Changes that both tables have seen, and that will not have been.
    fn lose(&mut self) -> Result<()> {
        let plane = self.scene.plane;
        until("the API server is back", SOON, || {
            Ok(plane.client().text("/readyz").ok().into())
        })?;
        self.change()?;
        self.equal("changes that will be lost")
    }
}

/// A plugin that compares what it is asked to, of pods.
fn registration(scene: &Scene) -> Result<Value> {
    let mut registration = scene.evil()?;
    let read = &mut registration["spec"]["grants"]["read"];
    *read = json!([
        { "group": "", "kinds": ["ConfigMap"] },
        { "group": "", "kinds": ["Pod"], "scope": "Cluster" },
    ]);
    Ok(registration)
}

#[test]
fn twenty_thousand_pods_are_in_the_table_as_they_are_whatever_happens_on_the_way() -> Result<()> {
    let watch = Stopwatch::start();
    let mut torture = Torture::start()?;
    eprintln!("filled and started after {:?}", watch.elapsed());
    let crowd = torture.crowd;
    crowd.with_pulse(|| {
        torture.equal("start")?;
        torture.restart()?;
        torture.silence()?;
        torture.expire()?;
        torture.restore()?;
        torture.restore_raised()?;
        eprintln!("all of it after {:?}", watch.elapsed());
        Ok(())
    })
}
