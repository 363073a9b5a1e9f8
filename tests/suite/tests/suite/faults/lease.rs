//! A leader that loses its lease after each write of a CR's life, while another replica waits.
//!
//! Within each step there is one CR for each write: after that write, and before the leader hears
//! of it, its answers end, and the lease is lost. Then the step is finished by the other replica.

use super::operator::{Operator, STEPS, Step};
use super::world::{World, upstream};
use super::writes::undisturbed_by_step;
use crate::leader::{leads, signal};
use crate::proxy::{another, lead};
use crate::scene::{Language, SOON};
use anyhow::{Result, bail, ensure};
use kybern_faults::{Entry, Fault, FaultProxy, Injected, Pattern, When};
use kybern_testcluster::{Host, Object, Progress, until};
use serde_json::json;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How a lease is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The leader cannot reach it, and it runs out.
    Unreachable,
    /// The leader is told that it may not renew it, and it runs out.
    Refused,
    /// Somebody gives it away while the leader relies on it.
    GivenAway,
    /// The leader stands still meanwhile: for it no time passes.
    StoodStill,
}

/// A write that took effect, and whose answer comes when this opens: never as an answer.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let open = self.open.lock().unwrap();
        let waited = self.opened.wait_timeout_while(open, SOON, |open| !*open);
        drop(waited.unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Two replicas, each on a way of its own.
struct Pair {
    world: World,
    second: Mutex<Option<Host>>,
}

impl Pair {
    fn start(name: &str, operator: Operator) -> Result<Self> {
        let mut world = World::start_with(name, operator, &["--leader-elect=true"])?;
        let proxy = FaultProxy::start(upstream(&world.scene)?)?;
        let mut second = world.scene.replica(another(&world.scene, &proxy.url())?)?;
        world.beside.push(proxy);
        lead(&world.scene, &world.proxy.url())?;
        second.wait_ready()?;
        let second = Mutex::new(Some(second));
        Ok(Self { world, second })
    }

    fn host(&self, which: usize) -> MutexGuard<'_, Option<Host>> {
        match which {
            0 => self.world.host.lock().unwrap(),
            _ => self.second.lock().unwrap(),
        }
    }

    fn leads(&self, which: usize) -> Result<bool> {
        leads(self.host(which).as_ref().expect("it runs"))
    }

    fn signal(&self, which: usize, name: &str) -> Result<()> {
        signal(self.host(which).as_mut().expect("it runs"), name)
    }

    fn leader(&self) -> Result<usize> {
        for which in 0..2 {
            if self.leads(which)? {
                return Ok(which);
            }
        }
        bail!("nobody leads")
    }

    fn proxy(&self, which: usize) -> &FaultProxy {
        match which {
            0 => &self.world.proxy,
            _ => &self.world.beside[0],
        }
    }

    fn wait(&self, which: usize, leading: bool) -> Result<()> {
        until("the lead to change", SOON, || {
            Ok(match self.leads(which)? == leading {
                true => Progress::Done(()),
                false => Progress::Waiting(format!("replica {which}")),
            })
        })
    }

    /// The leader loses its lease; the other one has it when this returns.
    fn lose(&self, old: usize, loss: Loss) -> Result<()> {
        let leases = Pattern::any().resource("coordination.k8s.io", "leases");
        let fault = match loss {
            Loss::Unreachable => Some(Fault::silence(leases, When::Each)),
            Loss::Refused => Some(Fault::refuse(leases, When::Each, 403)),
            Loss::GivenAway | Loss::StoodStill => None,
        };
        let _fault = fault.map(|fault| self.proxy(old).inject(fault));
        match loss {
            Loss::GivenAway => self.give_away()?,
            Loss::StoodStill => self.signal(old, "-STOP")?,
            Loss::Unreachable | Loss::Refused => {}
        }
        self.wait(1 - old, true)?;
        if loss == Loss::StoodStill {
            self.signal(old, "-CONT")?;
        }
        self.wait(old, false)
    }

    fn give_away(&self) -> Result<()> {
        let scene = &self.world.scene;
        let name = format!("kybern-{}", scene.class);
        let lease = Object::new("coordination.k8s.io/v1", "Lease", &scene.namespace, &name);
        let patch = json!({ "spec": { "holderIdentity": "" } });
        scene.client().merge_patch(&lease, &patch)?;
        Ok(())
    }

    /// One step, in the middle of which the lease is lost.
    fn step(&self, step: Step, loss: Loss, names: &[String], now: &[(String, u64)]) -> Result<()> {
        let old = self.leader()?;
        let gate = Arc::new(Gate::default());
        let held: Vec<Injected> = now
            .iter()
            .map(|(name, number)| {
                let (writes, gate) = (Pattern::writes().about(name), Arc::clone(&gate));
                let hold = move |_: &_| gate.wait();
                let fault = Fault::after(writes, When::Nth(*number), hold);
                self.proxy(old).inject(fault)
            })
            .collect();
        for name in names {
            self.world.make(step, name)?;
        }
        until("each write to be made", SOON, || {
            let hits: usize = held.iter().map(Injected::hits).sum();
            Ok((hits == now.len()).then_some(()).into())
        })?;
        self.lose(old, loss)?;
        let journal = self.proxy(old).journal();
        let mark = journal.mark();
        gate.open();
        self.world.settle(names)?;
        // Those that were held are noted when they took effect, before.
        let wrote = |entry: &Entry| entry.ask.writes();
        let late: Vec<Entry> = journal.since(mark).into_iter().filter(wrote).collect();
        ensure!(late.is_empty(), "{step:?}: the old leader wrote: {late:#?}");
        Ok(())
    }
}

fn a_lease_lost_after_any_write(name: &str, losses: &[Loss]) -> Result<()> {
    lost_by(Operator::AppService(Language::Rust), name, losses)
}

/// The same, of this operator, whose objects have all its CR's name.
fn lost_by(operator: Operator, name: &str, losses: &[Loss]) -> Result<()> {
    let pair = Pair::start(name, operator)?;
    let world = &pair.world;
    let (base, writes) = undisturbed_by_step(world)?;
    let names: Vec<String> = (1..=base.writes).map(|n| format!("lost-{n}-x")).collect();
    let mut before = 0;
    for (number, (step, until)) in STEPS.into_iter().zip(writes).enumerate() {
        let now = (before + 1..=until).map(|n| (format!("lost-{n}-x"), n - before));
        let now: Vec<(String, u64)> = now.collect();
        let loss = losses[number % losses.len()];
        pair.step(step, loss, &names, &now)?;
        before = until;
    }
    world.quiet()?;
    let mut wrong = Vec::new();
    for name in &names {
        let worse = world.outcome(name)?.worse_than(&base);
        wrong.extend(worse.iter().map(|what| format!("{name}: {what}")));
    }
    println!("{} writes, {} losses", base.writes, STEPS.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_lease_that_runs_out_after_any_write_leaves_no_trace() -> Result<()> {
    a_lease_lost_after_any_write("faultlease", &[Loss::Unreachable, Loss::Refused])
}

#[test]
fn a_lease_that_is_given_away_after_any_write_leaves_no_trace() -> Result<()> {
    a_lease_lost_after_any_write("faultgiven", &[Loss::GivenAway])
}

#[test]
fn a_leader_that_stands_still_after_any_write_leaves_no_trace() -> Result<()> {
    a_lease_lost_after_any_write("faultstill", &[Loss::StoodStill])
}

#[test]
fn a_lease_that_is_lost_after_any_write_of_a_bundle_leaves_no_trace() -> Result<()> {
    lost_by(
        Operator::AppService(Language::Yaml),
        "faultleaseyaml",
        &[Loss::GivenAway],
    )
}
