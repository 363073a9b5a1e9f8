//! Disturbances of watches.

use crate::client::{DEPLOYMENTS, SERVICES, SOON, until, watch, watch_into};
use crate::server::Server;
use kybern_faults::{EventPattern, Fault, Flow, Observer, Pattern, When};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, channel};

fn named(name: &str) -> Value {
    json!({ "metadata": { "name": name, "uid": name, "resourceVersion": "10" } })
}

fn bookmark(ends_list: bool) -> Value {
    let annotations = if ends_list {
        json!({ "k8s.io/initial-events-end": "true" })
    } else {
        json!({})
    };
    json!({ "metadata": { "resourceVersion": "11", "annotations": annotations } })
}

fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(SOON).unwrap()
}

fn services() -> EventPattern {
    EventPattern::of("", "services")
}

#[test]
fn events_pass_while_the_watch_stays_open() {
    let server = Server::start();
    let proxy = server.proxy();
    let lines = watch(&proxy.url(), SERVICES, "");
    for name in ["one", "two"] {
        server.say(SERVICES, "ADDED", &named(name));
        assert_eq!(next(&lines), format!("ADDED {name}"));
    }
    assert_eq!(proxy.open_watches(&Pattern::any()), 1);
}

#[test]
fn held_events_come_in_order_when_they_are_let_go() {
    let server = Server::start();
    let proxy = server.proxy();
    let lines = watch(&proxy.url(), SERVICES, "");
    let held = proxy.disturb(services().name("one"), Flow::Hold);
    server.say(SERVICES, "ADDED", &named("zero"));
    server.say(SERVICES, "ADDED", &named("one"));
    server.say(SERVICES, "ADDED", &named("two"));
    assert_eq!(next(&lines), "ADDED zero");
    until("one is held", || held.hits() == 1);
    assert!(lines.try_recv().is_err(), "nothing overtakes");
    drop(held);
    assert_eq!(next(&lines), "ADDED one");
    assert_eq!(next(&lines), "ADDED two");
}

#[test]
fn kinds_change_their_order() {
    let server = Server::start();
    let proxy = server.proxy();
    let (said, lines) = channel();
    watch_into(&proxy.url(), SERVICES, "", said.clone());
    watch_into(&proxy.url(), DEPLOYMENTS, "", said);
    let held = proxy.disturb(services(), Flow::Hold);
    let counted = proxy.disturb(EventPattern::of("apps", "deployments"), Flow::Pass);
    server.say(SERVICES, "ADDED", &named("first"));
    until("the first is held", || held.hits() == 1);
    server.say(DEPLOYMENTS, "ADDED", &named("second"));
    assert_eq!(next(&lines), "ADDED second");
    assert_eq!(counted.hits(), 1);
    drop(held);
    assert_eq!(next(&lines), "ADDED first");
}

#[test]
fn dropped_events_are_lost_but_no_bookmarks_and_no_list() {
    let server = Server::start();
    let proxy = server.proxy();
    let lines = watch(&proxy.url(), SERVICES, "&sendInitialEvents=true");
    let lost = proxy.disturb(services(), Flow::Drop);
    server.say(SERVICES, "ADDED", &named("listed"));
    server.say(SERVICES, "BOOKMARK", &bookmark(true));
    server.say(SERVICES, "MODIFIED", &named("listed"));
    server.say(SERVICES, "BOOKMARK", &bookmark(false));
    assert_eq!(next(&lines), "ADDED listed");
    assert_eq!(next(&lines), "BOOKMARK -");
    assert_eq!(next(&lines), "BOOKMARK -");
    assert_eq!(lost.hits(), 1);
    drop(lost);
    server.say(SERVICES, "DELETED", &named("listed"));
    assert_eq!(next(&lines), "DELETED listed");
}

#[test]
fn repeated_events_come_twice() {
    let server = Server::start();
    let proxy = server.proxy();
    let lines = watch(&proxy.url(), SERVICES, "");
    let twice = proxy.disturb(services(), Flow::Repeat);
    server.say(SERVICES, "ADDED", &named("one"));
    assert_eq!(next(&lines), "ADDED one");
    assert_eq!(next(&lines), "ADDED one");
    assert_eq!(twice.hits(), 1);
}

#[test]
fn a_cut_watch_ends_and_only_that() {
    let server = Server::start();
    let proxy = server.proxy();
    let lines = watch(&proxy.url(), SERVICES, "");
    let others = watch(&proxy.url(), DEPLOYMENTS, "");
    assert_eq!(proxy.cut(&Pattern::any().resource("", "services")), 1);
    assert_eq!(next(&lines), "END");
    server.say(DEPLOYMENTS, "ADDED", &named("one"));
    assert_eq!(next(&others), "ADDED one");
    assert_eq!(proxy.open_watches(&Pattern::any()), 1);
}

#[test]
fn an_older_list_is_that_of_the_time_and_goes_on_from_there() {
    let server = Server::start();
    let proxy = server.proxy();
    let lists = Pattern::lists().resource("", "services");
    let older = proxy.inject(Fault::older_list(lists, When::Nth(1), "7"));
    let query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=a%3Db";
    let lines = watch(&proxy.url(), SERVICES, query);
    assert_eq!(next(&lines), "ADDED one");
    assert_eq!(next(&lines), "BOOKMARK -");
    server.say(SERVICES, "MODIFIED", &named("one"));
    assert_eq!(next(&lines), "MODIFIED one");
    assert_eq!(older.hits(), 1);
    let path = "GET /api/v1/namespaces/a/services?";
    assert_eq!(
        server.asked(),
        [
            format!("{path}labelSelector=a%3Db&resourceVersion=7&resourceVersionMatch=Exact"),
            format!("{path}watch=true&labelSelector=a%3Db&resourceVersion=7"),
        ]
    );
}

#[test]
fn a_resumed_watch_goes_on_from_an_earlier_time() {
    let server = Server::start();
    let proxy = server.proxy();
    let replay = proxy.inject(Fault::replay(Pattern::any(), When::Each, "7"));
    let list = watch(&proxy.url(), SERVICES, "&sendInitialEvents=true");
    let lines = watch(&proxy.url(), DEPLOYMENTS, "&resourceVersion=9");
    server.say(DEPLOYMENTS, "MODIFIED", &named("one"));
    assert_eq!(next(&lines), "MODIFIED one");
    assert_eq!(replay.hits(), 1, "a list is not resumed");
    let asked = server.asked();
    assert!(asked[0].ends_with("services?watch=true&sendInitialEvents=true"));
    assert!(asked[1].ends_with("deployments?watch=true&resourceVersion=7"));
    drop(list);
}

#[test]
fn an_observer_counts_what_becomes_of_an_object() {
    let server = Server::start();
    let paths = [SERVICES.to_owned()];
    let observer = Observer::start(server.upstream(), "token", &paths).unwrap();
    assert_eq!(observer.broken(), None);
    for (kind, name) in [
        ("ADDED", "one"),
        ("MODIFIED", "one"),
        ("DELETED", "one"),
        ("ADDED", "one"),
        ("ADDED", "two"),
    ] {
        server.say(SERVICES, kind, &named(name));
    }
    until("it is seen", || {
        !observer.life("services", "two").uids.is_empty()
    });
    let life = observer.life("services", "one");
    assert_eq!((life.uids.len(), life.changes, life.deletes), (2, 1, 1));
    drop(server);
    until("it says that it is blind", || observer.broken().is_some());
}
