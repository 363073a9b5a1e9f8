//! Whole histories against a model server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// What may happen around a watch.
#[derive(Clone, Debug)]
enum Op {
    Put(u8),
    Remove(u8),
    /// Lets the watch do its next thing.
    Turn,
    Break,
    Idle,
    Bookmark,
    /// Everything up to now is too old to be watched from.
    Compact,
    FailNext,
    RefuseNext,
    Garbage,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u8..8).prop_map(Op::Put),
        2 => (0_u8..8).prop_map(Op::Remove),
        12 => Just(Op::Turn),
        1 => Just(Op::Break),
        1 => Just(Op::Idle),
        1 => Just(Op::Bookmark),
        1 => Just(Op::Compact),
        1 => Just(Op::FailNext),
        1 => Just(Op::RefuseNext),
        1 => Just(Op::Garbage),
    ]
}

/// What the table store does with changes, as far as it matters here.
#[derive(Default)]
struct Table {
    rows: BTreeMap<String, u64>,
    listed: Option<BTreeSet<String>>,
    ready: bool,
}

fn split(raw: &Bytes) -> (String, u64) {
    let text = std::str::from_utf8(raw).expect("is text");
    let (name, version) = text.split_once(':').expect("has a version");
    (name.to_owned(), version.parse().expect("is a number"))
}

impl Table {
    fn apply(&mut self, batch: Batch) {
        for change in batch.changes {
            match change {
                Change::ListBegin { .. } => self.listed = Some(BTreeSet::new()),
                Change::Upsert { raw, origin, .. } => {
                    let (name, version) = split(&raw);
                    match (origin, &mut self.listed) {
                        (Origin::List, None) => panic!("an item outside of a list"),
                        (_, Some(listed)) => drop(listed.insert(name.clone())),
                        (_, None) => assert!(self.ready, "an event before the first list"),
                    }
                    let row = self.rows.entry(name).or_default();
                    *row = version.max(*row);
                }
                Change::Delete {
                    target: Deleted::Raw(raw),
                    ..
                } => {
                    let (name, version) = split(&raw);
                    if self.rows.get(&name).is_some_and(|row| *row <= version) {
                        self.rows.remove(&name);
                    }
                }
                Change::ListEnd {
                    resource_version, ..
                } => {
                    let listed = self.listed.take().expect("an end without a beginning");
                    self.rows
                        .retain(|name, row| listed.contains(name) || *row > resource_version);
                    self.ready = true;
                }
                Change::Fail { .. } => (self.ready, self.listed) = (false, None),
                other => panic!("not expected from this server: {other:?}"),
            }
        }
    }
}

struct World {
    streaming: bool,
    objects: BTreeMap<String, u64>,
    history: Vec<(u64, String, bool)>,
    version: u64,
    compacted: u64,
    next_failure: Option<Failure>,
    machine: Machine,
    action: Action,
    /// Items of a streaming list that were not read yet.
    queue: VecDeque<Event>,
    cursor: u64,
    /// What the pages of the present list are cut from.
    pages: (u64, Vec<Bytes>),
    table: Table,
}

impl World {
    fn new(streaming: bool) -> World {
        let (machine, action) = machine(true, 3);
        World {
            streaming,
            objects: BTreeMap::new(),
            history: Vec::new(),
            version: 1,
            compacted: 0,
            next_failure: None,
            machine,
            action,
            queue: VecDeque::new(),
            cursor: 0,
            pages: (0, Vec::new()),
            table: Table::default(),
        }
    }

    fn input(&mut self, input: Input) {
        let (machine, output) = self.machine.clone().step(input);
        self.machine = machine;
        self.action = output.action;
        self.table.apply(output.batch);
    }

    fn put(&mut self, name: u8, exists: bool) {
        let name = name.to_string();
        if !exists && !self.objects.contains_key(&name) {
            return;
        }
        self.version += 1;
        if exists {
            self.objects.insert(name.clone(), self.version);
        } else {
            self.objects.remove(&name);
        }
        self.history.push((self.version, name, exists));
    }

    fn items(&self) -> Vec<Bytes> {
        self.objects
            .iter()
            .map(|(name, row)| Bytes::from(format!("{name}:{row}")))
            .collect()
    }

    fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.queue.pop_front() {
            return Some(event);
        }
        let (version, name, exists) = self
            .history
            .iter()
            .find(|(version, ..)| *version > self.cursor)?
            .clone();
        self.cursor = version;
        let raw = Bytes::from(format!("{name}:{version}"));
        Some(if exists {
            Event::Present {
                raw,
                resource_version: version,
            }
        } else {
            Event::Absent {
                raw,
                resource_version: version,
            }
        })
    }

    /// Does what the machine asked for; says whether there was anything to do.
    fn turn(&mut self) -> bool {
        if !matches!(self.action, Action::Read | Action::Wait(_))
            && let Some(failure) = self.next_failure.take()
        {
            self.input(Input::Failed(failure));
            return true;
        }
        match self.action.clone() {
            Action::Wait(_) => self.input(Input::Resumed),
            Action::StreamList if !self.streaming => {
                self.input(Input::Failed(Failure::BadRequest("no".to_owned())));
            }
            Action::StreamList => {
                let items = self.items().into_iter().map(|raw| Event::Present {
                    resource_version: split(&raw).1,
                    raw,
                });
                self.queue = items.collect();
                let end = Event::Bookmark {
                    resource_version: self.version,
                    initial_events_end: true,
                };
                self.queue.push_back(end);
                self.cursor = self.version;
                self.action = Action::Read;
            }
            Action::Probe => self.input(probed(self.version)),
            Action::Watch { from } if from < self.compacted => {
                self.input(Input::Failed(Failure::Expired));
            }
            Action::Watch { from } => {
                self.queue.clear();
                self.cursor = from;
                self.action = Action::Read;
            }
            Action::ReadPage { token, limit } => self.page(token, limit),
            Action::Read => match self.next_event() {
                Some(event) => self.input(Input::Event(event)),
                None => return false,
            },
        }
        true
    }

    fn page(&mut self, token: Option<String>, limit: Option<u32>) {
        let start: usize = match token {
            None => {
                self.pages = (self.version, self.items());
                0
            }
            Some(_) if self.pages.0 < self.compacted => {
                self.input(Input::Failed(Failure::Expired));
                return;
            }
            Some(token) => token.parse().expect("is an index"),
        };
        let size = limit.map_or(usize::MAX, |limit| usize::try_from(limit).expect("small"));
        let end = start.saturating_add(size).min(self.pages.1.len());
        let items = self.pages.1[start..end].to_vec();
        let token = (end < self.pages.1.len()).then(|| end.to_string());
        self.input(Input::Page {
            items,
            resource_version: self.pages.0,
            token,
        });
    }

    fn apply(&mut self, op: &Op) {
        let open = self.action == Action::Read;
        match op {
            Op::Put(name) => self.put(*name, true),
            Op::Remove(name) => self.put(*name, false),
            Op::Turn => drop(self.turn()),
            Op::Break if open => self.input(Input::Ended),
            Op::Idle if open => self.input(Input::Idle),
            Op::Garbage if open => {
                self.input(Input::Failed(Failure::Unusable("not JSON".to_owned())));
            }
            // A bookmark vouches for what was sent, so it comes only when all was.
            Op::Bookmark if open && self.queue.is_empty() && self.cursor == self.version => {
                self.input(bookmark(self.version, false));
            }
            Op::Compact => {
                self.compacted = self.version;
                if open && self.queue.is_empty() && self.cursor < self.compacted {
                    self.input(Input::Failed(Failure::Expired));
                }
            }
            Op::FailNext => {
                let reason = "broken".to_owned();
                self.next_failure = Some(Failure::Transient {
                    reason,
                    retry_after: None,
                });
            }
            Op::RefuseNext => self.next_failure = Some(Failure::Refused("forbidden".to_owned())),
            Op::Break | Op::Idle | Op::Garbage | Op::Bookmark => {}
        }
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.turn() {
                return;
            }
        }
        panic!("the watch never comes to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens on the way: once everything was read, the table is the server.
    #[test]
    fn the_table_ends_up_equal_to_the_server(
        streaming: bool,
        ops in prop::collection::vec(op(), 0..160),
    ) {
        let mut world = World::new(streaming);
        for op in &ops {
            world.apply(op);
            for (name, row) in &world.table.rows {
                let known = world.history.iter().any(|(version, of, _)| version == row && of == name);
                prop_assert!(known, "a row that never was");
            }
        }
        world.settle();
        prop_assert!(world.table.ready);
        prop_assert_eq!(&world.table.rows, &world.objects);
    }

    /// A machine that is only told of failures keeps waiting, longer and longer, and never spins.
    #[test]
    fn failures_alone_never_lead_to_a_busy_loop(kinds in prop::collection::vec(0_u8..5, 1..60)) {
        let (mut machine, mut action) = machine(true, 500);
        let mut requests = 0_u32;
        let mut waits = 0_u32;
        for kind in kinds {
            let input = match (&action, kind) {
                (Action::Wait(_), _) => { waits += 1; Input::Resumed }
                (_, 0) => transient(),
                (_, 1) => refused("no"),
                (_, 2) => Input::Ended,
                (_, 3) => Input::Failed(Failure::Expired),
                (_, _) => Input::Failed(Failure::BadRequest("no".to_owned())),
            };
            if !matches!(action, Action::Wait(_)) {
                requests += 1;
            }
            let (next, output) = machine.step(input);
            machine = next;
            action = output.action;
        }
        // The fall-back to pages and the first expiry may each go on at once.
        prop_assert!(requests <= waits + 4, "{requests} requests, {waits} waits");
    }
}
