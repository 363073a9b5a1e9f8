//! Single decisions.

use super::*;

#[test]
fn a_streaming_list_becomes_the_watch_on_the_same_connection() {
    let (machine, action) = machine(true, 500);
    assert_eq!(action, Action::StreamList);
    let (machine, output) = machine.step(present("a", 3));
    assert_eq!(names(&output), ["begin", "upsert"]);
    let (machine, output) = machine.step(bookmark(10, true));
    assert_eq!((names(&output), output.action), (vec!["end"], Action::Read));
    let (_, output) = feed(machine, [present("a", 12), Input::Ended, probed(12)]);
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
    let said = |cause| {
        let of = |observation: &Observation| matches!(observation, Observation::Interrupted { cause: said, .. } if *said == cause);
        output.observations.iter().any(of)
    };
    assert!(said(Interruption::Expired) && !said(Interruption::Failed));
    assert_eq!(output.action, Action::StreamList);
    let (machine, _) = machine.step(bookmark(11, true));
    let (_, output) = machine.step(Input::Failed(Failure::Expired));
    assert!(matches!(output.action, Action::Wait(wait) if wait.attempt == 1));
}

#[test]
fn a_complete_table_outlives_one_refusal_of_an_api_server_that_starts() {
    let (machine, output) = watching().step(refused("who are you"));
    assert!(names(&output).is_empty());
    assert!(
        matches!(output.action, Action::Wait(wait) if wait.reason == WaitReason::Refused && wait.attempt == 0)
    );
    let (machine, output) = feed(machine, [Input::Resumed, probed(10), present("b", 11)]);
    assert_eq!(names(&output), ["upsert"], "it goes on where it was");
    let (machine, output) = machine.step(refused("who are you"));
    assert!(names(&output).is_empty(), "it had been known in between");
    let (_, output) = feed(machine, [Input::Resumed, probed(11), refused("no")]);
    assert_eq!(names(&output), ["fail"]);
}

#[test]
fn a_refusal_fails_the_table_once_and_a_complete_list_heals_it() {
    let (machine, _) = machine(true, 500);
    let (machine, output) = machine.step(refused("not served"));
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
    let (_, output) = feed(
        machine,
        [
            refused("forbidden"),
            Input::Resumed,
            probed(20),
            refused("forbidden"),
        ],
    );
    assert_eq!(
        names(&output),
        ["fail"],
        "the table was readable in between"
    );
}

#[test]
fn silence_resumes_the_watch_once_and_then_lists() {
    let (machine, output) = watching().step(Input::Idle);
    assert_eq!(output.action, Action::Probe);
    let (machine, output) = machine.step(probed(10));
    assert_eq!(output.action, Action::Watch { from: 10 });
    let (machine, output) = machine.step(Input::Idle);
    assert_eq!(output.action, Action::StreamList);
    let (machine, _) = machine.step(bookmark(10, true));
    let (machine, output) = machine.step(bookmark(11, false));
    let confirmed = Observation::Bookmark {
        resource_version: 11,
    };
    assert_eq!(output.observations, [confirmed]);
    let (machine, _) = machine.step(Input::Idle);
    let (_, output) = machine.step(probed(11));
    assert_eq!(output.action, Action::Watch { from: 11 }, "it had spoken");
}

/// An API server whose etcd was restored accepts a watch from the future and says nothing.
#[test]
fn a_watch_that_broke_goes_on_only_where_the_server_knows_its_past() {
    for break_ in [Input::Idle, Input::Ended, transient()] {
        let mut machine = watching().step(break_).0;
        if matches!(machine.state, State::Waiting { .. }) {
            let (next, output) = machine.step(Input::Resumed);
            assert_eq!(output.action, Action::Probe);
            machine = next;
        }
        // A probe that fails is tried again, a refused one does not hold the watch up.
        let (waits, output) = machine.clone().step(transient());
        assert!(matches!(output.action, Action::Wait(_)));
        assert_eq!(waits.step(Input::Resumed).1.action, Action::Probe);
        let (_, output) = machine.clone().step(refused("forbidden"));
        assert_eq!(output.action, Action::Watch { from: 10 });
        let (_, output) = machine.clone().step(probed(12));
        assert_eq!(output.action, Action::Watch { from: 10 });
        // Older: the first of two in a row.
        let (machine, output) = machine.step(probed(5));
        assert!(matches!(output.action, Action::Wait(_)));
        assert!(output.observations.iter().any(|observation| matches!(
            observation,
            Observation::Interrupted {
                cause: Interruption::Older,
                ..
            }
        )));
        let (machine, output) = machine.step(Input::Resumed);
        assert_eq!(output.action, Action::StreamList);
        let list = [present("a", 2), bookmark(5, true), probed(5)];
        let (_, output) = feed(machine, list);
        assert_eq!(names(&output), ["epoch"]);
    }
}

#[test]
fn two_lists_in_a_row_that_are_older_than_the_table_are_a_new_epoch() {
    let (machine, output) = feed(
        watching(),
        [bookmark(9, false), present("a", 2), bookmark(5, true)],
    );
    assert!(names(&output).is_empty(), "once may be a stale replica");
    assert!(matches!(output.action, Action::Wait(_)));
    let (machine, output) = feed(machine, [Input::Resumed, bookmark(5, true)]);
    assert_eq!(names(&output), ["begin"]);
    assert_eq!(output.action, Action::Probe);
    let (machine, output) = machine.step(probed(5));
    assert_eq!(names(&output), ["epoch"]);
    assert!(output.observations.contains(&Observation::NewEpoch));
    assert_eq!(output.action, Action::StreamList);
    let (_, output) = feed(machine, [present("a", 2), bookmark(5, true)]);
    assert_eq!(names(&output), ["end"]);
}

#[test]
fn lists_of_a_server_that_is_behind_are_no_new_epoch_however_many() {
    let (mut machine, _) = feed(watching(), [bookmark(9, false), bookmark(5, true)]);
    for _ in 0..3 {
        let (doubting, output) = feed(machine, [Input::Resumed, bookmark(5, true)]);
        assert_eq!(output.action, Action::Probe);
        let (behind, output) = doubting.step(probed(11));
        assert!(names(&output).is_empty());
        assert!(matches!(output.action, Action::Wait(_)));
        assert!(output.observations.iter().any(|seen| matches!(
            seen,
            Observation::Interrupted {
                cause: Interruption::Older,
                ..
            }
        )));
        machine = behind;
    }
    let (_, output) = feed(machine, [Input::Resumed, bookmark(11, true)]);
    assert_eq!(names(&output), ["begin", "end"]);
}

#[test]
fn who_cannot_be_asked_is_believed_when_that_is_refused_twice() {
    let older = [bookmark(9, false), bookmark(5, true)];
    let (machine, _) = feed(watching(), older);
    let again = || [Input::Resumed, bookmark(5, true), refused("no list")];
    let (machine, output) = feed(machine, again());
    assert!(names(&output).is_empty(), "it may know us in a moment");
    assert!(matches!(output.action, Action::Wait(_)));
    let (_, output) = feed(machine, again());
    assert_eq!(names(&output), ["epoch"]);
}

#[test]
fn a_new_watch_knows_another_etcd_by_what_the_table_holds() {
    let first = [present("a", 2), bookmark(5, true)];
    let (machine, _) = start_above(9, true, 500, false);
    let (machine, output) = feed(machine, first);
    assert!(names(&output).is_empty(), "once may be a stale replica");
    let again = [Input::Resumed, bookmark(5, true), probed(5)];
    let (_, output) = feed(machine, again);
    assert_eq!(names(&output), ["epoch"]);
    let (machine, _) = start_above(5, true, 500, false);
    let (_, output) = feed(machine, [bookmark(5, true)]);
    assert_eq!(names(&output), ["begin", "end"]);
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
        let (next, output) = feed(next, [Input::Resumed, probed(10)]);
        assert_eq!(output.action, Action::Watch { from: 10 });
        machine = next;
    }
    // One that had something to say goes on at once.
    let (machine, output) = feed(machine, [present("b", 11), Input::Ended]);
    assert_eq!(output.action, Action::Probe);
    let (_, output) = machine.step(probed(11));
    assert_eq!(output.action, Action::Watch { from: 11 });
}

/// Pages need the permission to list only: they say nothing of the watch.
#[test]
fn lists_that_no_watch_may_follow_come_less_and_less_often() {
    let (mut machine, _) = machine(false, 500);
    let page = |resource_version| Input::Page {
        items: Vec::new(),
        resource_version,
        token: None,
    };
    let mut waits = Vec::new();
    for version in 10..14 {
        let (next, output) = machine.step(page(version));
        assert_eq!(output.action, Action::Watch { from: version });
        machine = next;
        // Once or twice until the table fails and is listed again.
        loop {
            let (next, output) = machine.step(refused("no watch"));
            let Action::Wait(wait) = output.action else {
                panic!("{:?} without a wait", output.action);
            };
            waits.push(wait.attempt);
            let (next, output) = next.step(Input::Resumed);
            machine = next;
            if output.action != Action::Probe {
                break;
            }
            machine = machine.step(probed(version)).0;
        }
    }
    let ascending: Vec<u32> = (0..).take(waits.len()).collect();
    assert_eq!(waits, ascending);
}

#[test]
fn one_streaming_list_that_falls_silent_is_an_accident_two_in_a_row_are_the_server() {
    let is_paged = |action: &Action| matches!(action, Action::ReadPage { .. });
    let page = |resource_version| Input::Page {
        items: Vec::new(),
        resource_version,
        token: None,
    };
    let (silent, _) = machine(true, 500);
    let (machine, output) = feed(silent, [present("a", 3), Input::Idle]);
    assert!(is_paged(&output.action));
    let (machine, output) = feed(machine, [page(10), Input::Failed(Failure::Expired)]);
    assert_eq!(output.action, Action::StreamList, "another try");
    let (well, _) = feed(
        machine.clone(),
        [bookmark(11, true), Input::Failed(Failure::Expired)],
    );
    let (well, output) = well.step(Input::Resumed);
    assert_eq!(output.action, Action::StreamList);
    let (well, output) = well.step(Input::Idle);
    assert!(is_paged(&output.action));
    let (_, output) = feed(
        well,
        [page(12), Input::Failed(Failure::Expired), Input::Resumed],
    );
    assert_eq!(output.action, Action::StreamList, "the count begins anew");
    let (machine, _) = machine.step(Input::Idle);
    let (_, output) = feed(
        machine,
        [page(12), Input::Failed(Failure::Expired), Input::Resumed],
    );
    assert!(is_paged(&output.action), "for good");
}
