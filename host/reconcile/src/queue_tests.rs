//! The queue's contract against a plain model, under random operations.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct K(Arc<str>, u8);

impl Keyed for K {
    fn plugin(&self) -> &Arc<str> {
        &self.0
    }
}

fn key(plugin: u8, n: u8) -> K {
    K(format!("p{plugin}").into(), n)
}

fn queue(limit: usize, each: usize) -> Queue<K> {
    let mut queue = Queue::new(limit);
    for plugin in 0..2u8 {
        queue.open(&key(plugin, 0).0, each);
    }
    queue
}

#[derive(Debug, Clone)]
enum Op {
    Add(u8, u8, Priority),
    Pop,
    Done(usize, Next),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let priority = prop_oneof![
        Just(Priority::Live),
        Just(Priority::Retry),
        Just(Priority::Resync),
        Just(Priority::StartUp)
    ];
    let next = prop_oneof![
        Just(Next::Rest),
        Just(Next::Again),
        (1u64..50).prop_map(|s| Next::After(
            Duration::from_secs(s),
            Priority::Retry,
            Why::default()
        )),
    ];
    prop_oneof![
        4 => (0u8..2, 0u8..4, priority).prop_map(|(p, n, pr)| Op::Add(p, n, pr)),
        4 => Just(Op::Pop),
        3 => (0usize..4, next).prop_map(|(n, next)| Op::Done(n, next)),
        1 => (0u64..20).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Nothing added is lost, nothing runs twice at once, no limit is passed,
    /// and what starts is the first of the most urgent.
    #[test]
    fn keeps_its_contract(ops in prop::collection::vec(op(), 1..200)) {
        let mut now = Instant::now();
        let mut queue = queue(3, 2);
        let mut running: Vec<K> = Vec::new();
        // Keys that were added and have not started since.
        let mut owed: BTreeSet<K> = BTreeSet::new();
        let mut ready: Vec<(Priority, u64, K)> = Vec::new();
        let mut timers: BTreeMap<K, (Instant, Priority)> = BTreeMap::new();
        let mut stamp = 0u64;
        let insert = |ready: &mut Vec<(Priority, u64, K)>, k: &K, p: Priority, stamp: &mut u64| {
            *stamp += 1;
            match ready.iter_mut().find(|(_, _, have)| have == k) {
                Some(slot) if p < slot.0 => *slot = (p, *stamp, k.clone()),
                Some(_) => {}
                None => ready.push((p, *stamp, k.clone())),
            }
        };
        let mut again: BTreeMap<K, Priority> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Add(p, n, priority) => {
                    let k = key(p, n);
                    queue.add(&k, priority, Why::default());
                    owed.insert(k.clone());
                    if running.contains(&k) {
                        let slot = again.entry(k).or_insert(priority);
                        *slot = (*slot).min(priority);
                    } else {
                        insert(&mut ready, &k, priority, &mut stamp);
                    }
                }
                Op::Pass(seconds) => now += Duration::from_secs(seconds),
                Op::Pop => {
                    let mut due: Vec<_> = timers.iter().filter(|(_, (at, _))| *at <= now)
                        .map(|(k, (at, p))| (*at, k.clone(), *p)).collect();
                    due.sort();
                    for (_, k, p) in due {
                        timers.remove(&k);
                        if running.contains(&k) {
                            let slot = again.entry(k).or_insert(p);
                            *slot = (*slot).min(p);
                        } else {
                            insert(&mut ready, &k, p, &mut stamp);
                        }
                    }
                    let of = |k: &K, running: &[K]| running.iter().filter(|r| r.0 == k.0).count();
                    ready.sort();
                    let want = if running.len() < 3 {
                        ready.iter().find(|(_, _, k)| of(k, &running) < 2).map(|(p, _, k)| (*p, k.clone()))
                    } else {
                        None
                    };
                    let got = queue.pop(now).map(|(k, _)| k);
                    match (&want, &got) {
                        (None, None) => {}
                        (Some((p, k)), Some(g)) => {
                            // Two timers due at one instant may come in either order.
                            let place = ready.iter().find(|(_, _, have)| have == g).cloned();
                            prop_assert_eq!(place.clone().map(|(p, ..)| p), Some(*p), "{:?} before {:?}", g, k);
                            prop_assert!(g == k || place.is_some());
                            prop_assert!(!running.contains(g), "ran twice at once");
                            ready.retain(|(_, _, have)| have != g);
                            timers.remove(g);
                            owed.remove(g);
                            running.push(g.clone());
                        }
                        other => prop_assert!(false, "model and queue differ: {other:?}"),
                    }
                }
                Op::Done(n, next) => {
                    if running.is_empty() { continue; }
                    let k = running.remove(n % running.len());
                    queue.done(&k, next.clone(), now);
                    let mut wanted = again.remove(&k);
                    if next == Next::Again {
                        wanted = Some(wanted.map_or(Priority::Retry, |p| p.min(Priority::Retry)));
                    }
                    if let Some(p) = wanted {
                        owed.insert(k.clone());
                        insert(&mut ready, &k, p, &mut stamp);
                    }
                    if let Next::After(after, p, _) = next {
                        timers.insert(k, (now + after, p));
                    }
                }
            }
            prop_assert_eq!(queue.running(), running.len());
        }
        // Everything owed still comes out once there is room.
        let later = now + Duration::from_secs(100_000);
        for k in running.drain(..) {
            queue.done(&k, Next::Rest, later);
        }
        let mut seen = BTreeSet::new();
        while let Some((k, _)) = queue.pop(later) {
            prop_assert!(seen.insert(k.clone()), "{k:?} came twice");
            queue.done(&k, Next::Rest, later);
        }
        prop_assert!(owed.is_subset(&seen), "lost {:?}", owed.difference(&seen).collect::<Vec<_>>());
    }
}

#[test]
fn first_in_first_out_inside_a_priority_and_urgent_first() {
    let now = Instant::now();
    let mut queue = queue(10, 10);
    queue.add(&key(0, 1), Priority::StartUp, Why::default());
    queue.add(&key(0, 2), Priority::Resync, Why::default());
    queue.add(&key(1, 3), Priority::Live, Why::default());
    queue.add(&key(0, 4), Priority::Live, Why::default());
    queue.add(&key(0, 1), Priority::Retry, Why::default());
    let order: Vec<u8> = std::iter::from_fn(|| queue.pop(now))
        .map(|(k, _)| k.1)
        .collect();
    assert_eq!(order, [3, 4, 1, 2]);
}

#[test]
fn a_full_plugin_does_not_hold_up_another() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    queue.add(&key(0, 1), Priority::Live, Why::default());
    queue.add(&key(0, 2), Priority::Live, Why::default());
    queue.add(&key(1, 3), Priority::StartUp, Why::default());
    assert_eq!(queue.pop(now).map(|(k, _)| k.1), Some(1));
    assert_eq!(queue.pop(now).map(|(k, _)| k.1), Some(3));
    assert_eq!(queue.pop(now), None);
    queue.done(&key(0, 1), Next::Rest, now);
    assert_eq!(queue.pop(now).map(|(k, _)| k.1), Some(2));
}

#[test]
fn an_earlier_pass_cancels_the_timer() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    let timer = Why::of(StartedBy::Timer, OnHold::Waits);
    queue.add(&key(0, 1), Priority::Live, Why::default());
    queue.pop(now).unwrap();
    let next = Next::After(Duration::from_secs(60), Priority::Live, timer.clone());
    queue.done(&key(0, 1), next.clone(), now);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(60)));
    queue.add(&key(0, 1), Priority::Live, Why::default());
    assert_eq!(queue.pop(now), Some((key(0, 1), Why::default())));
    assert_eq!(queue.next_due(), None);
    queue.done(&key(0, 1), next, now);
    let later = now + Duration::from_secs(61);
    assert_eq!(queue.pop(later), Some((key(0, 1), timer)));
}

#[test]
fn a_key_that_never_rests_is_slowed_down() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    let k = key(0, 1);
    let mut passes = 0;
    queue.add(&k, Priority::Live, Why::default());
    while queue.pop(now).is_some() {
        passes += 1;
        queue.done(&k, Next::Again, now);
    }
    assert_eq!(passes, 100);
    let due = queue.next_due().unwrap();
    assert_eq!(due, now + Duration::from_secs(1));
    assert!(queue.pop(due).is_some());
}

#[test]
fn a_key_that_rests_and_comes_back_is_slowed_down_all_the_same() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    let k = key(0, 1);
    let mut passes = 0;
    for _ in 0..200 {
        queue.add(&k, Priority::Live, Why::default());
        if queue.pop(now).is_some() {
            passes += 1;
            queue.done(&k, Next::Rest, now);
        }
    }
    assert_eq!(passes, 100);
}

#[test]
fn what_is_kept_of_keys_that_are_gone_goes_with_their_buckets() {
    let now = Instant::now();
    let mut queue = queue(300, 300);
    for n in 0..200 {
        let k = key(0, n);
        queue.add(&k, Priority::Live, Why::default());
        queue.pop(now).unwrap();
        queue.done(&k, Next::Rest, now);
    }
    // One of them is due again meanwhile.
    queue.add(&key(0, 7), Priority::Live, Why::default());
    queue.pop(now).unwrap();
    let later = now + Duration::from_secs(2);
    assert_eq!(queue.pop(later), None);
    assert_eq!(queue.entries.len(), 1);
    queue.done(&key(0, 7), Next::Rest, later);
    assert_eq!(queue.pop(later + Duration::from_secs(2)), None);
    assert_eq!((queue.entries.len(), queue.fading.len()), (0, 0));
}

#[test]
fn a_closed_plugin_takes_nothing_and_drains() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    queue.add(&key(0, 1), Priority::Live, Why::default());
    queue.add(&key(0, 2), Priority::Live, Why::default());
    queue.pop(now).unwrap();
    queue.close(&key(0, 0).0);
    queue.add(&key(0, 3), Priority::Live, Why::default());
    assert_eq!(queue.pop(now), None);
    assert_eq!(queue.running_of(&key(0, 0).0), 1);
    queue.done(&key(0, 1), Next::Again, now);
    assert_eq!((queue.running(), queue.pop(now)), (0, None));
    assert_eq!(queue.entries.len(), 0);
}

#[test]
fn backoff_doubles_up_to_its_cap() {
    let base = Duration::from_millis(5);
    let cap = Duration::from_secs(300);
    assert_eq!(backoff(base, cap, 0, 1.0), base);
    assert_eq!(backoff(base, cap, 3, 1.0), base * 8);
    assert_eq!(backoff(base, cap, 3, 0.0), base * 4);
    assert_eq!(backoff(base, cap, 90, 1.0), cap);
}

/// A queue with one key that is held for a minute.
fn held(now: Instant) -> (Queue<K>, K) {
    let mut queue = queue(10, 10);
    let k = key(0, 1);
    queue.add(&k, Priority::Resync, Why::default());
    queue.pop(now).unwrap();
    let hold = Next::Hold(Duration::from_secs(60), Priority::Retry, Why::default());
    queue.done(&k, hold, now);
    (queue, k)
}

#[test]
fn a_hold_is_not_shortened_and_what_came_meanwhile_is_not_lost() {
    let now = Instant::now();
    let (mut queue, k) = held(now);
    let timer = Why::of(StartedBy::Timer, OnHold::Waits);
    queue.add(&k, Priority::Live, timer.clone());
    assert_eq!(queue.pop(now + Duration::from_secs(59)), None);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(60)));
    let due = queue.pop(now + Duration::from_secs(60));
    assert_eq!(due, Some((k, timer)));
}

#[test]
fn a_hold_that_begins_counts_for_what_came_while_the_pass_ran() {
    let now = Instant::now();
    let (mut queue, k) = held(now);
    let later = now + Duration::from_secs(60);
    queue.pop(later).unwrap();
    queue.add(&k, Priority::Live, Why::default());
    let hold = Next::Hold(Duration::from_secs(60), Priority::Retry, Why::default());
    queue.done(&k, hold.clone(), later);
    assert_eq!(queue.pop(later), None);
    assert!(queue.pop(later + Duration::from_secs(60)).is_some());
    // The same, and the CR itself has changed while it ran.
    queue.add(
        &k,
        Priority::Live,
        Why::of(StartedBy::Resource, OnHold::Forgets),
    );
    queue.done(&k, hold, later);
    assert!(queue.pop(later).is_some());
}

#[test]
fn what_ends_a_hold_takes_along_what_waited_with_it() {
    for on_hold in [OnHold::Ends, OnHold::Forgets] {
        let now = Instant::now();
        let (mut queue, k) = held(now);
        let timer = Why::of(StartedBy::Timer, OnHold::Waits);
        queue.add(&k, Priority::Resync, timer);
        queue.add(&k, Priority::Live, Why::of(StartedBy::Resource, on_hold));
        let (_, why) = queue.pop(now).unwrap();
        assert_eq!((why.timer, why.on_hold), (true, on_hold));
        assert_eq!(queue.next_due(), None);
    }
}

#[test]
fn a_gate_holds_back_what_is_no_more_urgent_and_opens_again() {
    let now = Instant::now();
    let mut queue = queue(10, 10);
    let add = |queue: &mut Queue<K>, n: u8, priority| {
        queue.add(&key(0, n), priority, Why::default());
    };
    add(&mut queue, 1, Priority::Retry);
    queue.pop(now).unwrap();
    queue.throttle(&key(0, 1), Duration::from_secs(600), now);
    add(&mut queue, 2, Priority::StartUp);
    add(&mut queue, 3, Priority::Retry);
    add(&mut queue, 4, Priority::Live);
    let pop = |queue: &mut Queue<K>, seconds| {
        let at = now + Duration::from_secs(seconds);
        queue.pop(at).map(|(k, _)| k.1)
    };
    assert_eq!(pop(&mut queue, 0), Some(4));
    assert_eq!(pop(&mut queue, 29), None);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(30)));
    assert_eq!(pop(&mut queue, 30), Some(3));
    assert_eq!(pop(&mut queue, 30), Some(2));
    assert_eq!(queue.next_due(), None);
    // A live change that is refused holds back everything, itself for a second.
    queue.throttle(&key(0, 4), Duration::from_secs(600), now);
    add(&mut queue, 5, Priority::Live);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(1)));
    assert_eq!(pop(&mut queue, 0), None);
    assert_eq!(pop(&mut queue, 1), Some(5));
}
