//! The queue against a plain model that looks at everything each time, under random operations.

use super::*;
use kybern_table::KindKey;
use proptest::prelude::*;

/// What is known of a cause: its first, how many, and what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Because {
    first: StartedBy,
    count: u32,
    timer: bool,
    on_hold: OnHold,
}

impl Because {
    fn of(why: &Why) -> Self {
        let started = why.causes.started();
        Self {
            first: started.by,
            count: started.others + 1,
            timer: why.timer,
            on_hold: why.on_hold,
        }
    }

    fn join(first: Option<Self>, later: Option<Self>) -> Option<Self> {
        let (Some(first), Some(later)) = (first.clone(), later.clone()) else {
            return first.or(later);
        };
        Some(Self {
            first: first.first,
            count: first.count + later.count,
            timer: first.timer || later.timer,
            on_hold: first.on_hold.max(later.on_hold),
        })
    }
}

#[derive(Debug, Clone)]
struct Waiting {
    at: Instant,
    stamp: u64,
    priority: Priority,
    why: Because,
    holds: bool,
    gathered: Option<Because>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Idle,
    Ready(Priority, u64),
    Running(Priority, Option<Priority>),
}

#[derive(Debug, Clone)]
struct Item {
    is: Is,
    why: Option<Because>,
    waits: Option<Waiting>,
}

#[derive(Debug)]
struct Model {
    items: BTreeMap<K, Item>,
    closed: [bool; 2],
    gates: [Option<Instant>; 4],
    stamp: u64,
    starts: u64,
}

const LIMIT: usize = 3;
const EACH: usize = 2;

fn lane(k: &K) -> usize {
    usize::from(k.0 == key(1, 0).0)
}

impl Model {
    fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    fn add(&mut self, k: &K, priority: Priority, why: Option<Because>) {
        let stamp = self.stamp();
        if self.closed[lane(k)] {
            return;
        }
        let item = self.items.entry(k.clone()).or_insert(Item {
            is: Is::Idle,
            why: None,
            waits: None,
        });
        let waits = why.as_ref().is_none_or(|why| why.on_hold == OnHold::Waits);
        if item.is == Is::Idle
            && let Some(later) = &mut item.waits
            && later.holds
            && waits
        {
            later.gathered = Because::join(later.gathered.take(), why);
            later.priority = later.priority.min(priority);
            return;
        }
        item.why = Because::join(item.why.take(), why);
        item.is = match item.is {
            Is::Idle => Is::Ready(priority, stamp),
            Is::Ready(before, _) if priority < before => Is::Ready(priority, stamp),
            Is::Running(started, again) => {
                Is::Running(started, Some(again.map_or(priority, |p| p.min(priority))))
            }
            ready @ Is::Ready(..) => ready,
        };
    }

    fn running(&self) -> Vec<K> {
        let runs = |item: &Item| matches!(item.is, Is::Running(..));
        let items = self.items.iter();
        items
            .filter(|(_, i)| runs(i))
            .map(|(k, _)| k.clone())
            .collect()
    }

    fn wake(&mut self, now: Instant) {
        for gate in &mut self.gates {
            *gate = gate.filter(|until| *until > now);
        }
        let mut due: Vec<(Instant, u64, K)> = Vec::new();
        for (k, item) in &self.items {
            if let Some(later) = item.waits.as_ref().filter(|later| later.at <= now) {
                due.push((later.at, later.stamp, k.clone()));
            }
        }
        due.sort();
        for (.., k) in due {
            let later = self.items.get_mut(&k).unwrap().waits.take().unwrap();
            let why = Because::join(Some(later.why), later.gathered);
            self.add(&k, later.priority, why);
        }
    }

    fn pop(&mut self, now: Instant) -> Option<(K, Because)> {
        self.wake(now);
        let running = self.running();
        if running.len() >= LIMIT {
            return None;
        }
        let mut ready: Vec<(Priority, u64, K)> = Vec::new();
        for (k, item) in &self.items {
            let room = running.iter().filter(|r| r.0 == k.0).count() < EACH;
            if let Is::Ready(priority, stamp) = item.is
                && room
                && self.gates[Priority::ALL.iter().position(|p| *p == priority).unwrap()].is_none()
            {
                ready.push((priority, stamp, k.clone()));
            }
        }
        if self.starts % 8 == 7 {
            ready.sort_by_key(|(_, stamp, _)| *stamp);
        } else {
            ready.sort();
        }
        let (priority, _, k) = ready.into_iter().next()?;
        self.starts += 1;
        let item = self.items.get_mut(&k).unwrap();
        item.is = Is::Running(priority, None);
        let gathered = item.waits.take().and_then(|later| later.gathered);
        let why = Because::join(item.why.take(), gathered);
        Some((k, why.unwrap()))
    }

    fn done(&mut self, k: &K, next: &Next, now: Instant) {
        let item = self.items.get_mut(k).unwrap();
        let Is::Running(_, again) = item.is else {
            panic!("{k:?} does not run");
        };
        item.is = Is::Idle;
        let mut why = item.why.take();
        if self.closed[lane(k)] {
            self.items.remove(k);
            return;
        }
        let mut wanted = again;
        match next {
            Next::Rest => {}
            Next::Again => {
                let retry = Why::of(StartedBy::Retry, OnHold::Waits);
                why = Because::join(why, Some(Because::of(&retry)));
                wanted = Some(again.map_or(Priority::Retry, |p| p.min(Priority::Retry)));
            }
            Next::After(after, priority, due) | Next::Hold(after, priority, due) => {
                let stamp = self.stamp();
                self.items.get_mut(k).unwrap().waits = Some(Waiting {
                    at: now + *after,
                    stamp,
                    priority: *priority,
                    why: Because::of(due),
                    holds: matches!(next, Next::Hold(..)),
                    gathered: None,
                });
            }
        }
        if let Some(priority) = wanted {
            self.add(k, priority, why);
        }
    }

    fn close(&mut self, plugin: usize) {
        self.closed[plugin] = true;
        self.items.retain(|k, item| {
            if lane(k) != plugin {
                return true;
            }
            item.waits = None;
            item.why = None;
            match &mut item.is {
                Is::Running(_, again) => {
                    *again = None;
                    true
                }
                _ => false,
            }
        });
    }

    fn throttle(&mut self, k: &K, after: Duration, now: Instant) {
        let Some(Item {
            is: Is::Running(started, _),
            ..
        }) = self.items.get(k)
        else {
            return;
        };
        for (at, priority) in Priority::ALL.into_iter().enumerate() {
            if priority >= *started {
                let most = if priority == Priority::Live { 1 } else { 30 };
                let until = now + after.min(Duration::from_secs(most));
                self.gates[at] = self.gates[at].max(Some(until));
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Add(u8, u8, Priority, OnHold, bool),
    Pop,
    Done(usize, Next),
    Pass(u64),
    Close(u8),
    Open(u8),
    Throttle(usize, u64),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

fn next() -> impl Strategy<Value = Next> {
    let due = |by| Why::of(by, OnHold::Waits);
    prop_oneof![
        Just(Next::Rest),
        Just(Next::Again),
        (1u64..50, priority()).prop_map(move |(s, p)| Next::After(
            Duration::from_secs(s),
            p,
            due(StartedBy::Timer)
        )),
        (1u64..50, priority()).prop_map(move |(s, p)| Next::Hold(
            Duration::from_secs(s),
            p,
            due(StartedBy::Retry)
        )),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let on_hold = prop::sample::select(vec![OnHold::Waits, OnHold::Ends, OnHold::Forgets]);
    prop_oneof![
        8 => (0u8..2, 0u8..4, priority(), on_hold, any::<bool>())
            .prop_map(|(p, n, pr, on, timer)| Op::Add(p, n, pr, on, timer)),
        10 => Just(Op::Pop),
        8 => (0usize..4, next()).prop_map(|(n, next)| Op::Done(n, next)),
        3 => (0u64..20).prop_map(Op::Pass),
        2 => (0u8..2).prop_map(Op::Close),
        4 => (0u8..2).prop_map(Op::Open),
        1 => (0usize..4, 0u64..90).prop_map(|(n, s)| Op::Throttle(n, s)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// What starts, when, and why is what the model says: nothing is lost or runs twice at once, no
    /// limit is passed, no hold or gate is shortened, every cause is counted once.
    #[test]
    fn keeps_its_contract(ops in prop::collection::vec(op(), 1..160)) {
        let mut now = Instant::now();
        let mut queue = queue(LIMIT, EACH);
        let mut model = Model {
            items: BTreeMap::new(),
            closed: [false; 2],
            gates: [None; 4],
            stamp: 0,
            starts: 0,
        };
        for (id, op) in ops.into_iter().enumerate() {
            match op {
                Op::Add(p, n, priority, on_hold, timer) => {
                    let by = StartedBy::Table(KindKey::new("", "", id.to_string()));
                    let mut why = Why::of(by, on_hold);
                    why.timer = timer;
                    model.add(&key(p, n), priority, Some(Because::of(&why)));
                    queue.add(&key(p, n), priority, why, now);
                }
                Op::Pass(seconds) => now += Duration::from_secs(seconds),
                Op::Pop => {
                    let got = queue.pop(now).map(|(k, why)| (k, Because::of(&why)));
                    prop_assert_eq!(got, model.pop(now));
                }
                Op::Done(n, next) => {
                    let running = model.running();
                    let Some(k) = running.get(n % running.len().max(1)) else { continue };
                    model.done(k, &next, now);
                    queue.done(k, next, now);
                }
                Op::Close(p) => {
                    model.close(usize::from(p));
                    queue.close(&key(p, 0).0);
                }
                Op::Open(p) => {
                    model.closed[usize::from(p)] = false;
                    queue.open(&key(p, 0).0, EACH);
                }
                Op::Throttle(n, seconds) => {
                    let running = model.running();
                    let Some(k) = running.get(n % running.len().max(1)) else { continue };
                    let after = Duration::from_secs(seconds);
                    model.throttle(k, after, now);
                    queue.throttle(k, after, now);
                }
            }
            prop_assert_eq!(queue.running(), model.running().len());
            let ready = |item: &&Item| matches!(item.is, Is::Ready(..));
            prop_assert_eq!(queue.ready().iter().map(|line| line.length).sum::<usize>(), model.items.values().filter(ready).count());
            prop_assert_eq!(queue.delayed(), model.items.values().filter(|i| i.waits.is_some()).count());
        }
        // Everything comes out in the end, and nothing is left.
        now += Duration::from_secs(100_000);
        loop {
            for k in model.running() {
                model.done(&k, &Next::Rest, now);
                queue.done(&k, Next::Rest, now);
            }
            let got = queue.pop(now).map(|(k, why)| (k, Because::of(&why)));
            prop_assert_eq!(&got, &model.pop(now));
            if got.is_none() { break }
        }
        prop_assert_eq!(queue.pop(now + Duration::from_secs(200)), None);
        prop_assert_eq!((queue.entries.len(), queue.fading.len(), queue.delayed()), (0, 0, 0));
    }
}
