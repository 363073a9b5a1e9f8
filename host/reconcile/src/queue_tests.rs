//! The queue's contract, case by case; under random operations in `queue_model.rs`.

use super::*;

#[path = "queue_model.rs"]
mod model;

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

/// What started and why, however its turn came.
fn because(started: Option<(K, Why)>) -> Option<(K, Why)> {
    let turn = Turn::default();
    started.map(|(k, why)| (k, Why { turn, ..why }))
}

#[test]
fn what_waits_longest_is_not_kept_waiting_by_a_flood() {
    let now = Instant::now();
    let mut queue = queue(1, 1);
    for n in 0..4 {
        queue.add(&key(0, n), Priority::StartUp, Why::default(), now);
    }
    let mut waited = Vec::new();
    for start in 0..40u8 {
        // Every start is followed by two more live changes.
        queue.add(&key(1, start), Priority::Live, Why::default(), now);
        queue.add(&key(1, start + 100), Priority::Live, Why::default(), now);
        let (k, _) = queue.pop(now).unwrap();
        if k.0 == key(0, 0).0 {
            waited.push((start, k.1));
        }
        queue.done(&k, Next::Rest, now);
    }
    assert_eq!(waited, [(7, 0), (15, 1), (23, 2), (31, 3)]);
}

#[test]
fn first_in_first_out_inside_a_priority_and_urgent_first() {
    let now = Instant::now();
    let mut queue = queue(10, 10);
    queue.add(&key(0, 1), Priority::StartUp, Why::default(), now);
    queue.add(&key(0, 2), Priority::Resync, Why::default(), now);
    queue.add(&key(1, 3), Priority::Live, Why::default(), now);
    queue.add(&key(0, 4), Priority::Live, Why::default(), now);
    queue.add(&key(0, 1), Priority::Retry, Why::default(), now);
    let order: Vec<u8> = std::iter::from_fn(|| queue.pop(now))
        .map(|(k, _)| k.1)
        .collect();
    assert_eq!(order, [3, 4, 1, 2]);
}

#[test]
fn a_full_plugin_does_not_hold_up_another() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    queue.add(&key(0, 1), Priority::Live, Why::default(), now);
    queue.add(&key(0, 2), Priority::Live, Why::default(), now);
    queue.add(&key(1, 3), Priority::StartUp, Why::default(), now);
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
    queue.add(&key(0, 1), Priority::Live, Why::default(), now);
    queue.pop(now).unwrap();
    let next = Next::After(Duration::from_secs(60), Priority::Live, timer.clone());
    queue.done(&key(0, 1), next.clone(), now);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(60)));
    queue.add(&key(0, 1), Priority::Live, Why::default(), now);
    assert_eq!(because(queue.pop(now)), Some((key(0, 1), Why::default())));
    assert_eq!(queue.next_due(), None);
    queue.done(&key(0, 1), next, now);
    let later = now + Duration::from_secs(61);
    assert_eq!(because(queue.pop(later)), Some((key(0, 1), timer)));
}

#[test]
fn a_key_that_never_rests_is_slowed_down() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    let k = key(0, 1);
    let mut passes = 0;
    queue.add(&k, Priority::Live, Why::default(), now);
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
fn what_a_key_is_slowed_down_for_is_told() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    let k = key(0, 1);
    let why = || Why::of(StartedBy::Resource, OnHold::Waits);
    for _ in 0..200 {
        queue.add(&k, Priority::Live, why(), now);
        if queue.pop(now).is_some() {
            queue.done(&k, Next::Rest, now);
        }
    }
    let all = queue.all(now);
    assert_eq!(all.len(), 1);
    assert!(matches!(all[0].place, Place::Delayed { holds: true, .. }));
    assert_eq!(all[0].causes.kind(), why().causes.kind());
}

#[test]
fn a_key_that_rests_and_comes_back_is_slowed_down_all_the_same() {
    let now = Instant::now();
    let mut queue = queue(10, 1);
    let k = key(0, 1);
    let mut passes = 0;
    for _ in 0..200 {
        queue.add(&k, Priority::Live, Why::default(), now);
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
        queue.add(&k, Priority::Live, Why::default(), now);
        queue.pop(now).unwrap();
        queue.done(&k, Next::Rest, now);
    }
    // One of them is due again meanwhile.
    queue.add(&key(0, 7), Priority::Live, Why::default(), now);
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
    queue.add(&key(0, 1), Priority::Live, Why::default(), now);
    queue.add(&key(0, 2), Priority::Live, Why::default(), now);
    queue.pop(now).unwrap();
    queue.close(&key(0, 0).0);
    queue.add(&key(0, 3), Priority::Live, Why::default(), now);
    assert_eq!(queue.pop(now), None);
    assert_eq!(queue.running_of(&key(0, 0).0), 1);
    queue.done(&key(0, 1), Next::Again, now);
    assert_eq!((queue.running(), queue.pop(now)), (0, None));
    assert_eq!(queue.entries.len(), 0);
}

/// A queue with one key that is held for a minute.
fn held(now: Instant) -> (Queue<K>, K) {
    let mut queue = queue(10, 10);
    let k = key(0, 1);
    queue.add(&k, Priority::Resync, Why::default(), now);
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
    queue.add(&k, Priority::Live, timer.clone(), now);
    assert_eq!(queue.pop(now + Duration::from_secs(59)), None);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(60)));
    let due = queue.pop(now + Duration::from_secs(60));
    assert_eq!(because(due), Some((k, timer)));
}

#[test]
fn a_hold_that_begins_counts_for_what_came_while_the_pass_ran() {
    let now = Instant::now();
    let (mut queue, k) = held(now);
    let later = now + Duration::from_secs(60);
    queue.pop(later).unwrap();
    queue.add(&k, Priority::Live, Why::default(), now);
    let hold = Next::Hold(Duration::from_secs(60), Priority::Retry, Why::default());
    queue.done(&k, hold.clone(), later);
    assert_eq!(queue.pop(later), None);
    assert!(queue.pop(later + Duration::from_secs(60)).is_some());
    // The same, and the CR itself has changed while it ran.
    queue.add(
        &k,
        Priority::Live,
        Why::of(StartedBy::Resource, OnHold::Forgets),
        now,
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
        queue.add(&k, Priority::Resync, timer, now);
        queue.add(
            &k,
            Priority::Live,
            Why::of(StartedBy::Resource, on_hold),
            now,
        );
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
        queue.add(&key(0, n), priority, Why::default(), now);
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

#[test]
fn a_key_waits_from_when_it_was_due_until_it_starts() {
    let now = Instant::now();
    let mut queue = queue(1, 1);
    let at = |seconds| now + Duration::from_secs(seconds);
    let turn = |queue: &mut Queue<K>, seconds| {
        let (k, why) = queue.pop(at(seconds)).unwrap();
        (k.1, why.turn.priority, why.turn.waited.as_secs())
    };
    let line = |length, oldest| Line { length, oldest };
    queue.add(&key(0, 1), Priority::StartUp, Why::default(), at(0));
    queue.add(&key(0, 2), Priority::StartUp, Why::default(), at(2));
    // More urgent now, but it has waited since it was first due.
    queue.add(&key(0, 1), Priority::Live, Why::default(), at(3));
    queue.add(&key(0, 3), Priority::Live, Why::default(), at(1));
    let none = Line::default();
    let live = line(2, Some(at(0)));
    assert_eq!(queue.ready(), [live, none, none, line(1, Some(at(2)))]);
    assert_eq!(turn(&mut queue, 5), (1, Priority::Live, 5));
    // What comes while it runs is due from then on, and what a delay ends from its end on.
    queue.add(&key(0, 1), Priority::Retry, Why::default(), at(6));
    queue.add(&key(0, 1), Priority::Resync, Why::default(), at(7));
    let later = Next::After(Duration::from_secs(10), Priority::Resync, Why::default());
    queue.done(&key(0, 1), Next::Rest, at(9));
    assert_eq!(turn(&mut queue, 9), (3, Priority::Live, 8));
    queue.done(&key(0, 3), later, at(10));
    assert_eq!(turn(&mut queue, 16), (1, Priority::Retry, 10));
    queue.done(&key(0, 1), Next::Rest, at(16));
    assert_eq!(turn(&mut queue, 17), (2, Priority::StartUp, 15));
    queue.done(&key(0, 2), Next::Rest, at(17));
    assert_eq!(turn(&mut queue, 23), (3, Priority::Resync, 3));
    assert_eq!((queue.ready(), queue.has_ready()), ([none; 4], false));
}

#[test]
fn a_plugin_that_fails_whatever_it_is_asked_starts_one_pass_now_and_then() {
    let mut now = Instant::now();
    let mut queue = queue(8, 4);
    for n in 0..20 {
        queue.add(&key(0, n), Priority::StartUp, Why::default(), now);
    }
    let mut turns = Vec::new();
    for _ in 0..10 {
        let (k, _) = queue.pop(now).unwrap();
        turns.extend(queue.hear(&k, Called::Failed, now));
        queue.done(&k, Next::Rest, now);
    }
    assert_eq!(turns, [Turned::Opened]);
    // Another plugin is not concerned.
    queue.add(&key(1, 0), Priority::StartUp, Why::default(), now);
    assert_eq!(queue.pop(now).map(|(k, _)| k), Some(key(1, 0)));
    queue.done(&key(1, 0), Next::Rest, now);
    // Live changes go on, one at a time.
    for n in [30, 31] {
        queue.add(&key(0, n), Priority::Live, Why::default(), now);
    }
    assert!(queue.waiting(&key(0, 0).0, 9).is_empty());
    assert_eq!(queue.pop(now).map(|(k, _)| k), Some(key(0, 30)));
    assert_eq!(queue.pop(now), None);
    assert_eq!(queue.hear(&key(0, 30), Called::Failed, now), None);
    queue.done(&key(0, 30), Next::Rest, now);
    assert_eq!(queue.pop(now).map(|(k, _)| k), Some(key(0, 31)));
    queue.done(&key(0, 31), Next::Rest, now);
    // The others wait, and nobody has to look before that is over.
    assert_eq!(queue.pop(now), None);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(2)));
    now += Duration::from_secs(2);
    let (k, _) = queue.pop(now).unwrap();
    assert_eq!(queue.pop(now), None);
    assert_eq!(queue.next_due(), None);
    assert_eq!(queue.hear(&k, Called::Returned, now), Some(Turned::Closed));
    let started = std::iter::from_fn(|| queue.pop(now)).count();
    assert_eq!(started, 3, "with the one that runs, as many as it may");
    // Registered anew it is another plugin.
    for n in 0..10 {
        queue.hear(&key(0, n), Called::Failed, now);
    }
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(1)));
    queue.open(&key(0, 0).0, 4);
    assert_eq!(queue.next_due(), None);
}
