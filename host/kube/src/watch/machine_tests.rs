//! Tests of the state machine: single decisions, and whole histories against a model server.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use kybern_table::{Batch, Change, Deleted, KindKey, Origin};
use proptest::prelude::*;

use super::{
    Patience,
    event::Event,
    failure::Failure,
    machine::{Machine, Start},
    observe::{Observation, Phase},
    protocol::{Action, Input, Output, WaitReason},
};

fn key() -> KindKey {
    KindKey::new("", "v1", "ConfigMap")
}

fn machine(streaming: bool, page: u32) -> (Machine, Action) {
    start(streaming, page, false)
}

fn start(streaming: bool, page: u32, readable: bool) -> (Machine, Action) {
    Machine::new(Start {
        key: key(),
        what: "configmaps in namespace a".to_owned(),
        streaming,
        page,
        patience: Patience {
            tries: 5,
            time: Duration::from_secs(20),
        },
        readable,
    })
}

fn present(name: &str, resource_version: u64) -> Input {
    let raw = Bytes::from(format!("{name}:{resource_version}"));
    Input::Event(Event::Present {
        raw,
        resource_version,
    })
}

fn bookmark(resource_version: u64, initial_events_end: bool) -> Input {
    Input::Event(Event::Bookmark {
        resource_version,
        initial_events_end,
    })
}

fn refused(reason: &str) -> Input {
    Input::Failed(Failure::Refused(reason.to_owned()))
}

fn transient() -> Input {
    Input::Failed(Failure::Transient {
        reason: "broken".to_owned(),
        retry_after: None,
    })
}

/// Feeds inputs and returns the machine with the last output.
fn feed(machine: Machine, inputs: impl IntoIterator<Item = Input>) -> (Machine, Output) {
    let mut last = None;
    let mut machine = machine;
    for input in inputs {
        let (next, output) = machine.step(input);
        machine = next;
        last = Some(output);
    }
    (machine, last.expect("at least one input"))
}

fn names(output: &Output) -> Vec<&'static str> {
    output
        .batch
        .changes
        .iter()
        .map(|change| match change {
            Change::Define(_) => "define",
            Change::Drop(_) => "drop",
            Change::Upsert { .. } => "upsert",
            Change::Delete { .. } => "delete",
            Change::ListBegin { .. } => "begin",
            Change::ListEnd { .. } => "end",
            Change::Fail { .. } => "fail",
            Change::NewEpoch { .. } => "epoch",
        })
        .collect()
}

fn watching() -> Machine {
    let (machine, _) = machine(true, 500);
    feed(machine, [present("a", 3), bookmark(10, true)]).0
}

#[test]
fn a_streaming_list_becomes_the_watch_on_the_same_connection() {
    let (machine, action) = machine(true, 500);
    assert_eq!(action, Action::StreamList);
    let (machine, output) = machine.step(present("a", 3));
    assert_eq!(names(&output), ["begin", "upsert"]);
    let (machine, output) = machine.step(bookmark(10, true));
    assert_eq!((names(&output), output.action), (vec!["end"], Action::Read));
    let (machine, _) = machine.step(present("a", 12));
    let (_, output) = machine.step(Input::Ended);
    assert_eq!(output.action, Action::Watch { from: 12 });
}

#[test]
fn an_empty_kind_is_a_complete_list_too() {
    let (machine, _) = machine(true, 500);
    assert_eq!(names(&machine.step(bookmark(1, true)).1), ["begin", "end"]);
}

#[test]
fn a_server_without_streaming_lists_is_read_in_pages_from_then_on() {
    let (machine, _) = machine(true, 500);
    let unknown = Input::Failed(Failure::BadRequest(
        "sendInitialEvents is forbidden".to_owned(),
    ));
    let (machine, output) = machine.step(unknown);
    assert_eq!(
        output.action,
        Action::ReadPage {
            token: None,
            limit: Some(500)
        }
    );
    let page = |token: Option<&str>| Input::Page {
        items: vec![Bytes::from_static(b"a:1")],
        resource_version: 9,
        token: token.map(str::to_owned),
    };
    let (machine, output) = machine.step(page(Some("t")));
    assert_eq!(names(&output), ["begin", "upsert"]);
    let next = Action::ReadPage {
        token: Some("t".to_owned()),
        limit: Some(500),
    };
    assert_eq!(output.action, next);
    let (machine, output) = machine.step(page(None));
    assert_eq!(
        (names(&output), output.action),
        (vec!["upsert", "end"], Action::Watch { from: 9 })
    );
    let (_, output) = machine.step(Input::Failed(Failure::Expired));
    assert_eq!(
        output.action,
        Action::ReadPage {
            token: None,
            limit: Some(500)
        }
    );
}

#[test]
fn a_plain_bookmark_during_a_streaming_list_means_that_there_is_none() {
    let (machine, _) = machine(true, 500);
    let (_, output) = feed(machine, [present("a", 3), bookmark(10, false)]);
    assert!(matches!(output.action, Action::ReadPage { .. }));
}

#[test]
fn an_expired_watch_lists_again_at_once_and_then_with_growing_waits() {
    let (machine, output) = watching().step(Input::Failed(Failure::Expired));
    assert_eq!(output.action, Action::StreamList);
    let (machine, _) = machine.step(bookmark(11, true));
    let (_, output) = machine.step(Input::Failed(Failure::Expired));
    assert!(matches!(output.action, Action::Wait(wait) if wait.attempt == 1));
}

#[test]
fn a_refusal_fails_the_table_once_and_a_complete_list_heals_it() {
    let (machine, output) = watching().step(refused("not served"));
    assert_eq!(names(&output), ["fail"]);
    assert!(
        matches!(output.action, Action::Wait(wait) if wait.reason == WaitReason::Refused && wait.attempt == 0)
    );
    let (machine, output) = feed(machine, [Input::Resumed, refused("not served")]);
    assert!(names(&output).is_empty(), "said already");
    assert!(matches!(output.action, Action::Wait(wait) if wait.attempt == 1));
    let (machine, output) = feed(machine, [Input::Resumed, refused("forbidden")]);
    assert_eq!(names(&output), ["fail"], "another reason");
    let (machine, _) = machine.step(Input::Resumed);
    let (machine, output) = machine.step(bookmark(20, true));
    assert_eq!(names(&output), ["begin", "end"]);
    let (_, output) = machine.step(refused("forbidden"));
    assert_eq!(
        names(&output),
        ["fail"],
        "the table was readable in between"
    );
}

/// Fails again and again, each time after the wait that was asked for; how often until the table
/// says so, and the machine then.
fn until_said(machine: Machine, failure: impl Fn() -> Failure) -> (u32, Machine, Output) {
    let (mut machine, mut now) = (machine, Duration::ZERO);
    for failures in 1..100 {
        let (next, output) = machine.at(now).step(Input::Failed(failure()));
        if !names(&output).is_empty() {
            return (failures, next, output);
        }
        let Action::Wait(wait) = output.action else {
            panic!("not waiting: {:?}", output.action);
        };
        assert_eq!(wait.attempt + 1, failures, "each wait longer than the last");
        now += wait.at_least.unwrap_or(Duration::from_millis(100));
        machine = next.at(now).step(Input::Resumed).0;
    }
    panic!("never said")
}

fn overloaded(reason: &str, retry_after: Option<u64>) -> Failure {
    Failure::Transient {
        reason: reason.to_owned(),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

#[test]
fn a_list_that_goes_on_failing_is_said_tried_again_and_healed_by_the_first_that_comes() {
    for streaming in [true, false] {
        let (machine, _) = machine(streaming, 500);
        let (failures, machine, output) = until_said(machine, || overloaded("HTTP 503", None));
        assert_eq!((failures, names(&output)), (5, vec!["fail"]));
        assert!(matches!(
            &output.batch.changes[0],
            Change::Fail { reason, .. }
                if reason == "configmaps in namespace a cannot be listed for now: HTTP 503; this host goes on trying"
        ));
        assert_eq!(
            output.observations.last(),
            Some(&Observation::Phase(Phase::Failed))
        );
        let Action::Wait(wait) = output.action else {
            panic!("not waiting: {:?}", output.action);
        };
        assert_eq!(
            (wait.reason, wait.attempt),
            (WaitReason::Retry, 4),
            "the waits go on growing"
        );
        let again = || Input::Failed(overloaded("HTTP 503", None));
        let (machine, output) = feed(machine, [Input::Resumed, again()]);
        assert!(names(&output).is_empty(), "said already");
        let other = Input::Failed(overloaded("HTTP 429", None));
        let (machine, output) = feed(machine, [Input::Resumed, other]);
        assert_eq!(names(&output), ["fail"], "another reason");
        let (machine, _) = machine.step(Input::Resumed);
        let list = if streaming {
            bookmark(20, true)
        } else {
            Input::Page {
                items: Vec::new(),
                resource_version: 20,
                token: None,
            }
        };
        let (machine, output) = machine.step(list);
        assert_eq!(names(&output), ["begin", "end"]);
        let (_, output) = feed(machine, [Input::Ended, Input::Resumed, again()]);
        assert!(names(&output).is_empty(), "a complete table is kept");
    }
}

#[test]
fn a_list_that_breaks_halfway_again_and_again_starts_over_once_it_was_said() {
    let (mut machine, _) = machine(false, 500);
    let page = || Input::Page {
        items: vec![Bytes::from_static(b"a:1")],
        resource_version: 9,
        token: Some("t".to_owned()),
    };
    machine = machine.step(page()).0;
    let (failures, machine, _) = until_said(machine, || overloaded("HTTP 500", None));
    assert_eq!(failures, 5, "pages that came do not count as failures");
    let (_, output) = machine.step(Input::Resumed);
    let first = Action::ReadPage {
        token: None,
        limit: Some(500),
    };
    assert_eq!(output.action, first, "the store has given the rest up");
}

#[test]
fn patience_ends_with_time_too() {
    let slow = |seconds| {
        until_said(machine(true, 500).0, || {
            overloaded("HTTP 429", Some(seconds))
        })
        .0
    };
    assert_eq!((slow(1), slow(9), slow(300)), (5, 3, 1));
    // Items that come are a sign of life.
    let (machine, _) = machine(true, 500);
    let (machine, _) = machine.at(Duration::from_secs(60)).step(present("a", 3));
    let (machine, output) = machine.at(Duration::from_secs(70)).step(Input::Ended);
    assert!(names(&output).is_empty());
    let (machine, _) = machine.step(Input::Resumed);
    let (_, output) = machine.at(Duration::from_secs(85)).step(transient());
    assert_eq!(names(&output), ["fail"]);
}

#[test]
fn a_table_that_is_complete_outlives_any_number_of_failures() {
    let relisting = feed(watching(), [Input::Idle, Input::Idle]).0;
    for mut machine in [watching(), relisting, start(true, 500, true).0] {
        for hour in 0..50 {
            let now = Duration::from_secs(3600 * hour);
            let (next, output) = machine.at(now).step(transient());
            assert!(names(&output).is_empty(), "{hour}");
            assert!(
                output
                    .observations
                    .contains(&Observation::Phase(Phase::Waiting))
            );
            machine = next.step(Input::Resumed).0;
        }
    }
}

#[test]
fn silence_resumes_the_watch_once_and_then_lists() {
    let (machine, output) = watching().step(Input::Idle);
    assert_eq!(output.action, Action::Watch { from: 10 });
    let (machine, output) = machine.step(Input::Idle);
    assert_eq!(output.action, Action::StreamList);
    let (machine, _) = machine.step(bookmark(10, true));
    let (machine, _) = machine.step(bookmark(11, false));
    let (_, output) = machine.step(Input::Idle);
    assert_eq!(output.action, Action::Watch { from: 11 }, "it had spoken");
}

#[test]
fn two_lists_in_a_row_that_are_older_than_the_table_are_a_new_epoch() {
    let (machine, output) = feed(
        watching(),
        [Input::Idle, Input::Idle, present("a", 2), bookmark(5, true)],
    );
    assert!(names(&output).is_empty(), "once may be a stale replica");
    assert!(matches!(output.action, Action::Wait(_)));
    let (machine, output) = feed(machine, [Input::Resumed, bookmark(5, true)]);
    assert_eq!(names(&output), ["begin", "epoch"]);
    assert!(output.observations.contains(&Observation::NewEpoch));
    assert_eq!(output.action, Action::StreamList);
    let (_, output) = feed(machine, [present("a", 2), bookmark(5, true)]);
    assert_eq!(names(&output), ["end"]);
}

#[test]
fn a_bookmark_that_goes_backwards_leads_to_a_list() {
    let (_, output) = watching().step(bookmark(9, false));
    assert_eq!(output.action, Action::StreamList);
}

#[test]
fn pages_shrink_until_they_fit_and_then_the_kind_fails() {
    let (mut machine, _) = machine(false, 16);
    for limit in [4, 1] {
        let too_large = Input::Failed(Failure::PageTooLarge("big".to_owned()));
        let (next, output) = machine.step(too_large);
        machine = next;
        assert_eq!(
            output.action,
            Action::ReadPage {
                token: None,
                limit: Some(limit)
            }
        );
    }
    let (_, output) = machine.step(Input::Failed(Failure::PageTooLarge("big".to_owned())));
    assert_eq!(names(&output), ["fail"]);
}

#[test]
fn tokens_that_keep_expiring_lead_to_one_whole_list() {
    let (machine, _) = machine(false, 500);
    let page = || Input::Page {
        items: Vec::new(),
        resource_version: 9,
        token: Some("t".to_owned()),
    };
    let expired = || Input::Failed(Failure::Expired);
    let (machine, output) = feed(machine, [page(), expired()]);
    assert_eq!(
        output.action,
        Action::ReadPage {
            token: None,
            limit: Some(500)
        }
    );
    let (_, output) = feed(machine, [page(), expired(), Input::Resumed]);
    assert_eq!(
        output.action,
        Action::ReadPage {
            token: None,
            limit: None
        }
    );
}

#[test]
fn a_watch_that_ends_without_a_word_waits_longer_each_time() {
    let mut machine = watching();
    for attempt in 0..4 {
        let (next, output) = machine.step(Input::Ended);
        assert!(matches!(output.action, Action::Wait(wait) if wait.attempt == attempt));
        let (next, output) = next.step(Input::Resumed);
        assert_eq!(output.action, Action::Watch { from: 10 });
        machine = next;
    }
    let (_, output) = feed(machine, [present("b", 11), Input::Ended]);
    assert_eq!(output.action, Action::Watch { from: 11 });
}

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
