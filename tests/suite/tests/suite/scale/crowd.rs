//! Custom resources by the thousands, two replicas over them, and the phases that they go through.

use super::churn::Churn;
use super::judge::{self, Tally};
use crate::leader::{leads, passes, signal};
use crate::lifecycle::own_plane;
use crate::scene::{SOON, Scene, pass_time};
use anyhow::{Context, Result, bail, ensure};
use kybern_testcluster::{Host, Mark, Progress, Request, Stopwatch, User, until};
use std::time::Duration;

/// At once, while custom resources are created.
const CREATORS: usize = 16;
/// Between two looks at what was written.
const LOOK: Duration = Duration::from_millis(250);
/// Without a write for so long, all is looked at.
const REST: Duration = Duration::from_secs(1);
/// How long anything may take.
const LONG: Duration = Duration::from_secs(1_200);
/// At the end nothing is written for so long.
const QUIET: Duration = Duration::from_secs(3);
/// Changes a second, at most.
const RATE: usize = 100;

/// Does it for each number below `all`, so many at once, until it says no.
pub(crate) fn at_once(
    threads: usize,
    all: usize,
    each: impl Fn(usize) -> Result<bool> + Sync,
) -> Result<()> {
    let each = &each;
    let work = |first: usize| {
        move || {
            for number in (first..all).step_by(threads) {
                if !each(number)? {
                    break;
                }
            }
            Ok(())
        }
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        started
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread of the test panicked"),
            })
    })
}

/// The CR of this number.
pub(super) fn name(number: usize) -> String {
    format!("app-{number}")
}

/// The world of this test.
pub(super) struct Crowd {
    pub(super) scene: Scene,
    pub(super) n: usize,
    users: [User; 2],
    hosts: [Option<Host>; 2],
    /// Before anything was written.
    begin: Mark,
    pub(super) changes: usize,
    /// Who stood still, and from when on it may write nothing.
    stopped: Option<(usize, Mark)>,
}

impl Crowd {
    /// AppService is registered, and no host runs.
    pub(super) fn new(n: usize) -> Result<Self> {
        let mut scene = Scene::on(own_plane()?, "scale")?;
        let registration = scene.appservice()?;
        let registrations = std::slice::from_ref(&registration);
        let other = scene.plane.service_account(&scene.namespace, "other")?;
        scene.grant_to(&other, registrations)?;
        scene.grant(registrations)?;
        scene.start_host()?;
        scene.register(&registration)?;
        scene.stop_host()?;
        let begin = scene.plane.audit().mark()?;
        let users = [scene.user.clone(), other];
        Ok(Self {
            scene,
            n,
            users,
            hosts: [None, None],
            begin,
            changes: 0,
            stopped: None,
        })
    }

    pub(super) fn create(&self) -> Result<()> {
        let watch = Stopwatch::start();
        at_once(CREATORS, self.n, |number| {
            let app = self.scene.app(&name(number), 1);
            self.scene.client().create(&app)?;
            Ok(true)
        })?;
        println!("scale: {} created in {:.1?}", self.n, watch.elapsed());
        Ok(())
    }

    /// A start over custom resources that have nothing yet.
    pub(super) fn cold(&mut self) -> Result<()> {
        let phase = self.phase("cold start")?;
        self.start_both()?;
        let tally = self.settle(&phase)?;
        let more = tally.of_plan().checked_sub(3 * self.n);
        let few = more.is_some_and(|more| more <= 2 * tally.refused);
        ensure!(few, "three each: {tally:?}");
        Ok(())
    }

    /// A restart over what is as it should be.
    pub(super) fn restart(&mut self) -> Result<()> {
        for host in &mut self.hosts {
            host.take().context("it runs")?.stop()?;
        }
        let phase = self.phase("restart")?;
        self.start_both()?;
        self.passes_over_all()?;
        println!(
            "scale: restart: all looked at after {:.1?}",
            phase.watch.elapsed()
        );
        let tally = self.settle(&phase)?;
        ensure!(tally.all() == 0, "a restart writes nothing: {tally:?}");
        Ok(())
    }

    /// Changes, and nothing else.
    pub(super) fn churn(&mut self) -> Result<()> {
        let some = self.n / 2;
        self.churning("churn", |_, churn| made(churn, some))
    }

    /// The leader is killed in the middle of changes.
    pub(super) fn kill(&mut self) -> Result<()> {
        let some = self.n / 10;
        self.churning("SIGKILL", |crowd, churn| {
            made(churn, some)?;
            let old = crowd.leader()?;
            crowd.host(old)?.process().kill()?;
            let watch = Stopwatch::start();
            // Somebody starts it again; whichever of the two finds first that the lease ran out leads.
            crowd.hosts[old] = Some(crowd.launch(old)?);
            until("a replica to lead", SOON, || Ok(crowd.find_leader().into()))?;
            println!(
                "scale: SIGKILL: another leads after {:.1?}",
                watch.elapsed()
            );
            made(churn, churn.made() + some)
        })
    }

    /// The leader stands still until another leads, and goes on.
    pub(super) fn stand_still(&mut self) -> Result<()> {
        let some = self.n / 10;
        self.churning("SIGSTOP", |crowd, churn| {
            made(churn, some)?;
            let old = crowd.leader()?;
            signal(crowd.host(old)?, "-STOP")?;
            let watch = Stopwatch::start();
            crowd.lead(1 - old)?;
            println!(
                "scale: SIGSTOP: another leads after {:.1?}",
                watch.elapsed()
            );
            let mark = crowd.scene.plane.audit().mark()?;
            crowd.stopped = Some((old, mark));
            signal(crowd.host(old)?, "-CONT")?;
            let host = crowd.host(old)?;
            until("the old leader to stand by", SOON, || {
                host.process().alive()?;
                Ok((!leads(host)?).then_some(()).into())
            })?;
            made(churn, churn.made() + some)
        })?;
        let (old, mark) = self.stopped.context("it stood still")?;
        let theirs = self.writes_of(&self.users[old], mark)?;
        ensure!(theirs.is_empty(), "the old leader wrote: {theirs:#?}");
        ensure!(!leads(self.host(old)?)?, "and leads again");
        Ok(())
    }

    /// What became of all, and then nothing is written.
    pub(super) fn judge(&mut self) -> Result<()> {
        let mark = self.scene.plane.audit().mark()?;
        pass_time(QUIET)?;
        for user in &self.users {
            let writes = self.writes_of(user, mark)?;
            ensure!(writes.is_empty(), "not quiet: {writes:#?}");
        }
        let requests = self.scene.plane.audit().since(self.begin)?;
        let theirs = |request: &&Request| self.users.iter().any(|user| user.name() == request.user);
        let writes = requests.iter().filter(theirs).filter(|r| r.writes());
        judge::writes(writes, &judge::objects(&self.scene)?, self.n)
    }

    /// Changes at a rate, while `meanwhile` runs; then all comes to rest.
    fn churning(
        &mut self,
        what: &'static str,
        meanwhile: impl FnOnce(&mut Self, &Churn) -> Result<()>,
    ) -> Result<()> {
        let phase = self.phase(what)?;
        let churn = Churn::new(self);
        let rate = u32::try_from((self.n / 4).clamp(1, RATE))?;
        let took = std::thread::scope(|scope| -> Result<Duration> {
            let running = scope.spawn(|| churn.run(rate));
            let done = meanwhile(self, &churn);
            churn.end();
            let took = running.join();
            done?;
            took.map_err(|_| anyhow::anyhow!("churn panicked"))?
        })?;
        let made = churn.made();
        self.changes += made;
        println!("scale: {what}: {made} changes in {took:.1?}");
        self.settle(&phase)?;
        Ok(())
    }

    fn launch(&self, which: usize) -> Result<Host> {
        let user = &self.users[which];
        self.scene.replica(self.scene.plane.kubeconfig(user)?)
    }

    fn host(&mut self, which: usize) -> Result<&mut Host> {
        self.hosts[which].as_mut().context("it runs")
    }

    /// The first one leads, whichever that is, before the second one starts.
    fn start_both(&mut self) -> Result<()> {
        for which in 0..2 {
            let mut host = self.launch(which)?;
            host.wait_ready()?;
            self.hosts[which] = Some(host);
            if which == 0 {
                self.lead(0)?;
            }
        }
        Ok(())
    }

    /// Waits until this one leads.
    fn lead(&mut self, which: usize) -> Result<()> {
        let host = self.host(which)?;
        let leading = until("a replica to lead", SOON, || {
            host.process().alive()?;
            Ok(leads(host)?.then_some(()).into())
        });
        leading.with_context(|| host.process().tail())
    }

    /// One that does not answer, because it starts or stands still, does not lead.
    fn find_leader(&self) -> Option<usize> {
        let leading =
            |host: &Option<Host>| host.as_ref().is_some_and(|h| leads(h).unwrap_or(false));
        self.hosts.iter().position(leading)
    }

    fn leader(&self) -> Result<usize> {
        self.find_leader().context("nobody leads")
    }

    /// Waits until the leader, just started, has passed over each.
    fn passes_over_all(&mut self) -> Result<()> {
        let all = f64::from(u32::try_from(self.n)?);
        let leader = self.leader()?;
        let host = self.host(leader)?;
        until("a pass over each", LONG, || {
            let now = passes(host)?;
            Ok(match now >= all {
                true => Progress::Done(()),
                false => Progress::Waiting(now.to_string()),
            })
        })
    }

    fn phase(&self, what: &'static str) -> Result<Phase> {
        let mark = self.scene.plane.audit().mark()?;
        Ok(Phase {
            what,
            mark,
            watch: Stopwatch::start(),
        })
    }

    /// Waits until all are as they should be, and no replica writes; what was written.
    fn settle(&mut self, phase: &Phase) -> Result<Tally> {
        let took = until("all to be as wanted", LONG, || {
            let rested = self.rest()?;
            let took = phase.watch.elapsed().saturating_sub(rested);
            let objects = judge::objects(&self.scene)?;
            Ok(match judge::wrong(&objects, self.n) {
                None => Progress::Done(took),
                Some(wrong) => Progress::Waiting(wrong),
            })
        })?;
        let tally = self.tally(phase)?;
        let leader = self.leader()?;
        let id = self.host(leader)?.process().id();
        println!(
            "scale: {}: {took:.1?} until the last write; {tally:?}; the leader: {}",
            phase.what,
            judge::usage(id)?
        );
        Ok(tally)
    }

    /// Waits until no replica has written for a while; for how long it then was.
    fn rest(&self) -> Result<Duration> {
        let mut watch = Stopwatch::start();
        until("the replicas to rest", LONG, || {
            let mark = self.scene.plane.audit().mark()?;
            pass_time(LOOK)?;
            for user in &self.users {
                if !self.writes_of(user, mark)?.is_empty() {
                    watch = Stopwatch::start();
                }
            }
            let rested = watch.elapsed();
            Ok((rested >= REST).then_some(rested).into())
        })
    }

    /// Writes of one replica since then; Events change nothing, and everybody may write them.
    fn writes_of(&self, user: &User, mark: Mark) -> Result<Vec<Request>> {
        let mut writes = self.scene.plane.audit().writes_of(user, mark)?;
        writes.retain(|write| write.resource != "events");
        Ok(writes)
    }

    fn tally(&self, phase: &Phase) -> Result<Tally> {
        let mut tally = Tally::default();
        for user in &self.users {
            let writes = self.scene.plane.audit().writes_of(user, phase.mark)?;
            writes.iter().for_each(|write| tally.add(write));
            for write in writes.iter().filter(|write| Tally::refuses(write)) {
                let (verb, resource, code) = (&write.verb, &write.resource, write.code);
                println!("scale: refused: {verb} {resource}: {code:?}");
            }
        }
        Ok(tally)
    }
}

/// One of the phases.
struct Phase {
    what: &'static str,
    mark: Mark,
    watch: Stopwatch,
}

/// Waits until so many changes were made.
fn made(churn: &Churn, some: usize) -> Result<()> {
    until("changes", LONG, || {
        let made = churn.made();
        Ok(match made >= some {
            true => Progress::Done(()),
            false => Progress::Waiting(made.to_string()),
        })
    })
}
