//! An operator under measurement: a process with a user of its own, on a control plane of its own.
//!
//! # Contract
//! Peers are started as `PROGRAM be-appservice SYSTEM KUBECONFIG` or `PROGRAM be-relay SYSTEM
//! KUBECONFIG HOP` and run until SIGTERM. Kybern is `kybern run`, with what it needs registered
//! before. Nobody elects a leader. The user may everything, so that nobody's rights are checked for
//! longer than the others'.

use crate::args::Options;
use crate::clock::{now, pass};
use crate::proc::{self, Resident};
use crate::systems::System;
use anyhow::{Context, Result, bail, ensure};
use kybern_testcluster::{ControlPlane, Mark, Object, Options as PlaneOptions, Process, User};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a plugin may take to be ready.
const LOADED: Duration = Duration::from_secs(120);
/// How long a process may take to end.
const GRACE: Duration = Duration::from_secs(30);
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(50);
/// A process rests when it used at most so much of its processor for so long.
const REST: Duration = Duration::from_secs(3);
const QUICK_REST: Duration = Duration::from_millis(300);
const RESTING: f64 = 0.06;

/// A system and its program.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) system: System,
    pub(crate) program: PathBuf,
}

/// Those of `all` that were asked for and whose program is there.
pub(crate) fn operators(all: &[System], options: &Options) -> Vec<Operator> {
    let mut found = Vec::new();
    for &system in all {
        if !options.systems.is_empty() && !options.systems.contains(&system) {
            continue;
        }
        let program = match system {
            System::Kybern => &options.kybern,
            System::ControllerRuntime => &options.controller_runtime,
            System::KubeRs => &options.kube_rs,
            _ => &None,
        };
        match program.clone() {
            Some(program) => found.push(Operator { system, program }),
            None => eprintln!("{}: left out, its program was not given", system.name()),
        }
    }
    found
}

impl Operator {
    pub(crate) fn name(&self) -> String {
        self.system.name()
    }
}

/// A control plane, with a definition, for one operator.
pub(crate) struct Stage {
    pub(crate) plane: ControlPlane,
    pub(crate) user: User,
    kubeconfig: PathBuf,
    /// For how long an operator does nothing when it rests.
    rest: Duration,
}

/// What one user asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// All of it.
    pub(crate) requests: f64,
    /// What changes something, Events and Leases aside.
    pub(crate) writes: f64,
    /// Events.
    pub(crate) events: f64,
    /// When the last one came, since 1970.
    pub(crate) last: Option<Duration>,
}

impl Stage {
    pub(crate) fn new(of: &Operator, definition: &str, quick: bool) -> Result<Stage> {
        let plane = ControlPlane::start(PlaneOptions::new())?;
        let name = definition
            .lines()
            .find_map(|line| line.strip_prefix("metadata: {name: "))
            .and_then(|rest| rest.strip_suffix('}'))
            .context("the definition's name")?;
        plane.install_crd_yaml(name, definition)?;
        let user = plane.service_account("kube-system", &of.name())?;
        let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        plane.grant(&user, &everything)?;
        if of.system == System::Kybern {
            let crd = Command::new(&of.program).arg("crd").output()?;
            ensure!(crd.status.success(), "kybern crd: {}", crd.status);
            plane.install_crd_yaml("plugins.kybern.dev", &String::from_utf8(crd.stdout)?)?;
        }
        Ok(Stage {
            kubeconfig: plane.kubeconfig(&user)?,
            plane,
            user,
            rest: if quick { QUICK_REST } else { REST },
        })
    }

    /// Starts the operator: `words` are what a peer is told beside the file.
    pub(crate) fn start(&self, of: &Operator, words: [&str; 2]) -> Result<Running> {
        let mut command = Command::new(&of.program);
        if of.system == System::Kybern {
            command
                .args(["run", "--leader-elect=false", "--listen", "127.0.0.1:0"])
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .arg("--compiled")
                .arg(self.plane.folder().join("compiled"));
        } else {
            let [what, more] = words;
            command.args([what, &of.name()]).arg(&self.kubeconfig);
            command.args((!more.is_empty()).then_some(more));
        }
        let began = now()?;
        let process = Process::start(&of.name(), command, self.plane.folder())?;
        Ok(Running {
            process,
            began,
            rest: self.rest,
        })
    }

    /// Registers plugins of Kybern's, which runs, and waits until they are ready.
    pub(crate) fn register(&self, registrations: &[Value]) -> Result<()> {
        let client = self.plane.client();
        for registration in registrations {
            client.create(registration)?;
        }
        for registration in registrations {
            let object = Object::of(registration)?;
            client.wait_for(&object, "to be ready", LOADED, ready)?;
        }
        Ok(())
    }

    /// What the operator asked for since `mark`.
    pub(crate) fn asked(&self, mark: Mark) -> Result<Asked> {
        let mut asked = Asked::default();
        for request in self.plane.audit().since(mark)? {
            if request.user != self.user.name() {
                continue;
            }
            asked.requests += 1.0;
            if request.resource == "events" {
                asked.events += 1.0;
            } else if request.writes() {
                asked.writes += 1.0;
            }
            let received: jiff::Timestamp = request.received.parse()?;
            asked.last = asked
                .last
                .max(Some(Duration::try_from(received.as_duration())?));
        }
        Ok(asked)
    }
}

fn ready(plugin: &Value) -> bool {
    let conditions = plugin
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let ready = |condition: &Value| {
        let text = |path: &str| condition.pointer(path).and_then(Value::as_str);
        text("/type") == Some("Ready") && text("/status") == Some("True")
    };
    conditions.into_iter().flatten().any(ready)
}

/// A running operator; killed when dropped.
pub(crate) struct Running {
    process: Process,
    /// When it was started.
    pub(crate) began: Duration,
    rest: Duration,
}

impl Running {
    pub(crate) fn processor(&self) -> Result<f64> {
        proc::processor(self.process.id())
    }

    pub(crate) fn resident(&self) -> Result<Resident> {
        proc::resident(self.process.id())
    }

    /// Resident bytes, with its part of those that it shares with others.
    pub(crate) fn proportional(&self) -> Result<f64> {
        proc::proportional(self.process.id())
    }

    /// Fails with the end of its log if it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        self.process.alive()
    }

    /// Waits until it rests; the moment from which on it did.
    pub(crate) fn rests(&mut self, limit: Duration) -> Result<Duration> {
        let began = now()?;
        let mut seen: VecDeque<(Duration, f64)> = VecDeque::new();
        loop {
            self.alive()?;
            let (time, used) = (now()?, self.processor()?);
            seen.push_back((time, used));
            while let Some((old, _)) = seen.get(1)
                && time.saturating_sub(*old) >= self.rest
            {
                seen.pop_front();
            }
            if let Some((old, before)) = seen.front()
                && time.saturating_sub(*old) >= self.rest
                && used - before <= RESTING
            {
                return Ok(*old);
            }
            if time.saturating_sub(began) > limit {
                bail!("it does not come to rest within {limit:?}");
            }
            pass(LOOK);
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.terminate()?;
        let began = now()?;
        while self.process.exited()?.is_none() {
            ensure!(now()? - began < GRACE, "it does not end on SIGTERM");
            pass(LOOK);
        }
        Ok(())
    }
}
