//! A resource that patches what is not its own, the host killed after each write, or each answer
//! lost: what is patched ends as it should be, and nothing of it is left.

use crate::proxy::lead;
use crate::record::keeper;
use crate::scene::{SOON, Scene, pass_time};
use anyhow::{Result, ensure};
use kybern_faults::{Fault, FaultProxy, Injected, Pattern, When};
use kybern_testcluster::{Host, Object, Progress, until};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Without a write for so long the host waits for something to happen.
const REST: Duration = Duration::from_millis(400);

/// What the resource's note is after each step; none at the last: it is deleted.
const NOTES: [Option<&str>; 5] = [Some("1"), Some("2"), Some(""), Some("3"), None];

/// A host behind a proxy for faults, and a ConfigMap of somebody's.
struct World {
    scene: Scene,
    proxy: FaultProxy,
    board: Object,
    /// Shared with hooks that kill it.
    host: Arc<Mutex<Option<Host>>>,
}

impl World {
    fn start(name: &str) -> Result<Self> {
        let scene = Scene::new(name)?;
        let proxy = FaultProxy::start(super::world::upstream(&scene)?)?;
        lead(&scene, &proxy.url())?;
        let registration = keeper(&scene)?;
        scene.grant(std::slice::from_ref(&registration))?;
        let host = Arc::new(Mutex::new(Some(super::world::ready(&scene, &[])?)));
        scene.register(&registration)?;
        let board = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "board", "namespace": scene.namespace },
            "data": { "theirs": "1" },
        });
        scene.client().create(&board)?;
        Ok(Self {
            proxy,
            board: Object::of(&board)?,
            host,
            scene,
        })
    }

    /// The writes of passes.
    fn writes() -> Pattern {
        Pattern::writes().and(|ask| ask.resource != "events" && ask.resource != "plugins")
    }

    /// Starts the host again if it was killed; whether it was.
    fn restart(&self) -> Result<bool> {
        let mut host = self.host.lock().unwrap();
        let killed = host.is_none();
        if killed {
            *host = Some(super::world::ready(&self.scene, &[])?);
        }
        Ok(killed)
    }

    /// Waits until the host has written nothing for a while.
    fn rest(&self) -> Result<()> {
        let journal = self.proxy.journal();
        until("the host to rest", SOON, || {
            let mark = journal.mark();
            pass_time(REST)?;
            let entries = journal.since(mark);
            let write = entries.into_iter().find(|entry| entry.ask.writes());
            Ok(match write {
                None => Progress::Done(()),
                Some(entry) => Progress::Waiting(format!("{entry:?}")),
            })
        })
    }

    fn change(&self, sleeper: &Object, step: usize) -> Result<()> {
        let client = self.scene.client();
        match NOTES[step] {
            None => client.delete(sleeper)?,
            Some(note) => {
                let note = if note.is_empty() { None } else { Some(note) };
                let spec = json!({ "note": note });
                if step == 0 {
                    client.create(&json!({
                        "apiVersion": sleeper.api_version, "kind": sleeper.kind,
                        "metadata": { "name": sleeper.name, "namespace": self.scene.namespace },
                        "spec": spec,
                    }))?
                } else {
                    client.merge_patch(sleeper, &json!({ "spec": spec }))?
                }
            }
        };
        Ok(())
    }

    /// What is missing after a step.
    fn missing(&self, sleeper: &Object, step: usize) -> Result<Option<String>> {
        let client = self.scene.client();
        let board = client.get(&self.board)?;
        let note = NOTES[step].filter(|note| !note.is_empty());
        let mut wanted = json!({ "theirs": "1" });
        if let Some(note) = note {
            wanted[&sleeper.name] = json!(note);
        }
        let ours = board["metadata"]["managedFields"]
            .to_string()
            .contains("kybern/");
        let live = client.find(sleeper)?;
        let held = live.as_ref().is_some_and(|live| {
            let finalizers = live["metadata"]["finalizers"].as_array();
            finalizers.is_some_and(|finalizers| !finalizers.is_empty())
        });
        let seen = live.as_ref().is_none_or(|live| {
            live["status"]["observedGeneration"] == live["metadata"]["generation"]
        });
        let checks = [
            ("the note", board["data"] == wanted),
            ("the field manager", ours == note.is_some()),
            ("the finalizer", held == note.is_some()),
            ("the resource", live.is_some() == NOTES[step].is_some()),
            ("the generation", seen),
        ];
        let open = checks.iter().find(|(_, holds)| !holds);
        Ok(open.map(|(what, _)| format!("{what}: {board} {}", live.unwrap_or(Value::Null))))
    }

    /// Takes a resource of this name through its life; the host's writes.
    fn life(&self, name: &str) -> Result<Vec<String>> {
        let sleeper = self.scene.object("keeper.example.com/v1", "Sleeper", name);
        let mark = self.proxy.journal().mark();
        for step in 0..NOTES.len() {
            self.change(&sleeper, step)?;
            loop {
                until(&format!("{name}, step {step}"), SOON, || {
                    self.restart()?;
                    Ok(match self.missing(&sleeper, step)? {
                        None => Progress::Done(()),
                        Some(what) => Progress::Waiting(what),
                    })
                })?;
                self.rest()?;
                if !self.restart()? && self.missing(&sleeper, step)?.is_none() {
                    break;
                }
            }
        }
        let entries = self.proxy.journal().since(mark);
        let passes = Self::writes();
        let writes = entries
            .iter()
            .filter(|entry| entry.took_effect() && passes.matches(&entry.ask));
        let told = writes.map(|entry| {
            let (ask, none) = (&entry.ask, String::new());
            let part = ask.subresource.as_ref().unwrap_or(&none);
            format!("{:?} {} {part}", ask.verb, ask.resource)
        });
        // Those of one wave come in any order.
        let mut told: Vec<String> = told.collect();
        told.sort();
        Ok(told)
    }

    /// One life for each write of an undisturbed one, with this happening at it.
    fn each(&self, kind: &str, fault: impl Fn(u64) -> Fault) -> Result<()> {
        let base = self.life(&format!("{kind}-base"))?;
        for again in 0..2 {
            let other = self.life(&format!("{kind}-base-{again}"))?;
            ensure!(base == other, "{base:#?}\nand once more\n{other:#?}");
        }
        ensure!(base.len() > 12, "{base:#?}");
        let writes = u64::try_from(base.len())?;
        for number in 1..=writes {
            let injected: Injected = self.proxy.inject(fault(number));
            self.life(&format!("{kind}-{number}"))?;
            ensure!(injected.hits() == 1, "{number}: {:?}", injected.happened());
        }
        println!("{writes} times {kind}");
        let left = self.scene.writes_within(Duration::from_secs(4))?;
        ensure!(left.is_empty(), "not quiet: {left:#?}");
        Ok(())
    }
}

#[test]
fn a_crash_after_any_write_leaves_no_trace_of_a_patch() -> Result<()> {
    let world = World::start("patchcrash")?;
    world.each("crash", |number| {
        let host = Arc::clone(&world.host);
        let kill = move |_: &_| *host.lock().unwrap() = None;
        Fault::after(World::writes(), When::Nth(number), kill)
    })
}

#[test]
fn an_answer_that_is_lost_leaves_no_trace_of_a_patch() -> Result<()> {
    let world = World::start("patchlost")?;
    world.each("lost", |number| {
        Fault::lose_answer(World::writes(), When::Nth(number))
    })
}
