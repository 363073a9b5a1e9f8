//! A resource that patches what is not its own, by patches or by SQL statements, the host killed
//! after each write, or each answer lost: what is patched ends as it should be, and nothing of it is
//! left.

use crate::operating::plans::runbook;
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

/// How a resource says what it patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Its plans have patches.
    Patches,
    /// Its plans have statements: one that changes the board, one that makes a copy of the note.
    Statements,
}

impl How {
    fn registration(self, scene: &Scene) -> Result<Value> {
        match self {
            Self::Patches => keeper(scene),
            Self::Statements => runbook(scene),
        }
    }

    fn host(self, scene: &Scene) -> Result<Host> {
        let mut host = match self {
            Self::Patches => scene.launch(&[])?,
            Self::Statements => scene.launch_everywhere()?,
        };
        host.wait_ready()?;
        Ok(host)
    }

    fn resource(self, scene: &Scene, name: &str) -> Object {
        let (version, kind) = match self {
            Self::Patches => ("keeper.example.com/v1", "Sleeper"),
            Self::Statements => ("ops.example.com/v1", "Runbook"),
        };
        scene.object(version, kind, name)
    }

    fn spec(self, scene: &Scene, name: &str, note: Option<&str>) -> Value {
        let Self::Statements = self else {
            return json!({ "note": note });
        };
        let Some(note) = note else {
            return json!({ "statements": [] });
        };
        let update = format!(
            "UPDATE configmaps SET data['{name}'] = $1 WHERE name = 'board' AND namespace = $2"
        );
        let insert = "INSERT INTO configmaps (namespace, name, data['note']) VALUES ($1, $2, $3)";
        json!({ "statements": [
            { "sql": update, "params": [note, scene.namespace] },
            { "sql": insert, "params": [scene.namespace, format!("{name}-copy"), note] },
        ] })
    }
}

/// A host behind a proxy for faults, and a ConfigMap of somebody's.
struct World {
    scene: Scene,
    how: How,
    proxy: FaultProxy,
    board: Object,
    /// Shared with hooks that kill it.
    host: Arc<Mutex<Option<Host>>>,
}

impl World {
    fn start(name: &str, how: How) -> Result<Self> {
        let scene = Scene::new(name)?;
        let proxy = FaultProxy::start(super::world::upstream(&scene)?)?;
        lead(&scene, &proxy.url())?;
        let registration = how.registration(&scene)?;
        scene.grant(std::slice::from_ref(&registration))?;
        let host = Arc::new(Mutex::new(Some(how.host(&scene)?)));
        scene.register(&registration)?;
        let board = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "board", "namespace": scene.namespace },
            "data": { "theirs": "1" },
        });
        scene.client().create(&board)?;
        Ok(Self {
            proxy,
            how,
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
            *host = Some(self.how.host(&self.scene)?);
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

    fn change(&self, resource: &Object, step: usize) -> Result<()> {
        let client = self.scene.client();
        match NOTES[step] {
            None => client.delete(resource)?,
            Some(note) => {
                let note = if note.is_empty() { None } else { Some(note) };
                let spec = self.how.spec(&self.scene, &resource.name, note);
                if step == 0 {
                    client.create(&json!({
                        "apiVersion": resource.api_version, "kind": resource.kind,
                        "metadata": {
                            "name": resource.name, "namespace": self.scene.namespace,
                            "labels": { "corner": self.scene.namespace },
                        },
                        "spec": spec,
                    }))?
                } else {
                    client.merge_patch(resource, &json!({ "spec": spec }))?
                }
            }
        };
        Ok(())
    }

    /// What is missing after a step.
    fn missing(&self, resource: &Object, step: usize) -> Result<Option<String>> {
        let client = self.scene.client();
        let board = client.get(&self.board)?;
        let note = NOTES[step].filter(|note| !note.is_empty());
        let mut wanted = json!({ "theirs": "1" });
        if let Some(note) = note {
            wanted[&resource.name] = json!(note);
        }
        let ours = board["metadata"]["managedFields"]
            .to_string()
            .contains("kybern/");
        let live = client.find(resource)?;
        let held = live.as_ref().is_some_and(|live| {
            let finalizers = live["metadata"]["finalizers"].as_array();
            finalizers.is_some_and(|finalizers| !finalizers.is_empty())
        });
        let copy = self
            .scene
            .object("v1", "ConfigMap", &format!("{}-copy", resource.name));
        let copy = client.find(&copy)?;
        let noted = copy.as_ref().and_then(|copy| copy["data"]["note"].as_str());
        let copied = match (self.how, &live) {
            (How::Patches, _) => copy.is_none(),
            (How::Statements, Some(_)) => noted == note,
            // The garbage collector's work: there is none here.
            (How::Statements, None) => copy.as_ref().is_none_or(|copy| {
                copy["metadata"]["ownerReferences"][0]["name"] == resource.name.as_str()
            }),
        };
        let seen = live.as_ref().is_none_or(|live| {
            live["status"]["observedGeneration"] == live["metadata"]["generation"]
        });
        let checks = [
            ("the note", board["data"] == wanted),
            ("the copy", copied),
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
        let resource = self.how.resource(&self.scene, name);
        let mark = self.proxy.journal().mark();
        for step in 0..NOTES.len() {
            self.change(&resource, step)?;
            loop {
                until(&format!("{name}, step {step}"), SOON, || {
                    self.restart()?;
                    Ok(match self.missing(&resource, step)? {
                        None => Progress::Done(()),
                        Some(what) => Progress::Waiting(what),
                    })
                })?;
                self.rest()?;
                if !self.restart()? && self.missing(&resource, step)?.is_none() {
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

fn crash_after_any_write(name: &str, how: How) -> Result<()> {
    let world = World::start(name, how)?;
    world.each("crash", |number| {
        let host = Arc::clone(&world.host);
        let kill = move |_: &_| *host.lock().unwrap() = None;
        Fault::after(World::writes(), When::Nth(number), kill)
    })
}

fn lose_any_answer(name: &str, how: How) -> Result<()> {
    let world = World::start(name, how)?;
    world.each("lost", |number| {
        Fault::lose_answer(World::writes(), When::Nth(number))
    })
}

#[test]
fn a_crash_after_any_write_leaves_no_trace_of_a_patch() -> Result<()> {
    crash_after_any_write("patchcrash", How::Patches)
}

#[test]
fn an_answer_that_is_lost_leaves_no_trace_of_a_patch() -> Result<()> {
    lose_any_answer("patchlost", How::Patches)
}

#[test]
fn a_crash_after_any_write_leaves_no_trace_of_a_statement() -> Result<()> {
    crash_after_any_write("sqlcrash", How::Statements)
}

#[test]
fn an_answer_that_is_lost_leaves_no_trace_of_a_statement() -> Result<()> {
    lose_any_answer("sqllost", How::Statements)
}
