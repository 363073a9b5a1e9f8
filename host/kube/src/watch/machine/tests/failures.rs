//! What goes on failing: how long it is kept, when it is said, what heals it.

use super::*;

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
    let relisting = feed(watching(), [Input::Idle, probed(10), Input::Idle]).0;
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
