//! Faults of requests.

use crate::client::{DEPLOYMENTS, SERVICES, create, create_within, until};
use crate::server::{SLOW, Server};
use kybern_faults::{Fate, Fault, Pattern, Verb, When};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn without_a_fault_a_request_passes_and_is_in_the_journal() {
    let server = Server::start();
    let proxy = server.proxy();
    let (code, _, body) = create(&proxy.url(), SERVICES, "web").unwrap();
    assert_eq!((code, &body["metadata"]["uid"]), (201, &"u".into()));
    let journal = proxy.journal().all();
    assert_eq!(journal.len(), 1, "{journal:?}");
    let entry = &journal[0];
    assert_eq!((entry.fate, entry.code), (Fate::Answered, Some(201)));
    assert_eq!(
        (entry.ask.verb, entry.ask.name.as_deref()),
        (Verb::Create, Some("web"))
    );
    assert_eq!(entry.resource_version.as_deref(), Some("9"));
    assert!(entry.took_effect());
}

#[test]
fn the_nth_request_that_matches_is_refused_and_nobody_hears_of_it() {
    let server = Server::start();
    let proxy = server.proxy();
    for code in [409, 422, 429, 500, 503] {
        let before = server.asked().len();
        let web = Pattern::writes().resource("", "services").name("web");
        let fault = proxy.inject(Fault::refuse(web, When::Nth(2), code));
        let codes = |path, name| create(&proxy.url(), path, name).unwrap().0;
        assert_eq!(codes(SERVICES, "web"), 201);
        assert_eq!(codes(SERVICES, "other"), 201, "another name");
        assert_eq!(codes(DEPLOYMENTS, "web"), 201, "another kind");
        let (got, retry_after, status) = create(&proxy.url(), SERVICES, "web").unwrap();
        assert_eq!(got, code);
        assert_eq!(status["code"], code, "{status}");
        assert_eq!(retry_after.is_some(), code == 429, "{retry_after:?}");
        assert_eq!(codes(SERVICES, "web"), 201, "only the second");
        assert_eq!(fault.hits(), 1);
        assert_eq!(server.asked().len() - before, 4, "not the refused one");
    }
}

#[test]
fn a_fault_ends_with_its_handle() {
    let server = Server::start();
    let proxy = server.proxy();
    let fault = proxy.inject(Fault::refuse(Pattern::writes(), When::Each, 500));
    assert_eq!(create(&proxy.url(), SERVICES, "web").unwrap().0, 500);
    drop(fault);
    assert_eq!(create(&proxy.url(), SERVICES, "web").unwrap().0, 201);
}

#[test]
fn an_answer_is_lost_after_the_write_took_effect() {
    let server = Server::start();
    let proxy = server.proxy();
    let fault = proxy.inject(Fault::lose_answer(Pattern::writes(), When::Nth(1)));
    assert!(create(&proxy.url(), SERVICES, "web").is_none());
    let happened = fault.happened();
    assert_eq!(happened.len(), 1);
    assert_eq!(happened[0].code, Some(201));
    assert_eq!(server.asked().len(), 1);
    let entry = &proxy.journal().all()[0];
    assert_eq!(entry.fate, Fate::AnswerLost);
    assert!(entry.took_effect());
    assert_eq!(create(&proxy.url(), SERVICES, "web").unwrap().0, 201);
}

#[test]
fn a_hook_is_called_between_the_effect_and_the_lost_answer() {
    let server = Arc::new(Server::start());
    let proxy = server.proxy();
    let (seen, at_hook) = (Arc::clone(&server), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&at_hook);
    let hook = move |_: &_| count.store(seen.asked().len(), Ordering::SeqCst);
    let fault = proxy.inject(Fault::after(Pattern::writes(), When::Nth(2), hook));
    assert!(create(&proxy.url(), SERVICES, "one").is_some());
    assert!(create(&proxy.url(), SERVICES, "two").is_none());
    assert_eq!((at_hook.load(Ordering::SeqCst), fault.hits()), (2, 1));
}

#[test]
fn a_silenced_request_is_never_answered_and_nobody_hears_of_it() {
    let server = Server::start();
    let proxy = server.proxy();
    let fault = proxy.inject(Fault::silence(Pattern::writes(), When::Nth(1)));
    let limit = Duration::from_millis(300);
    assert!(create_within(limit, &proxy.url(), SERVICES, "web").is_none());
    assert_eq!(fault.hits(), 1);
    assert!(server.asked().is_empty());
    assert!(create(&proxy.url(), SERVICES, "web").is_some());
}

#[test]
fn a_write_is_made_and_noted_though_who_asked_is_gone() {
    let server = Server::start();
    let proxy = server.proxy();
    let limit = Duration::from_millis(300);
    assert!(create_within(limit, &proxy.url(), SERVICES, SLOW).is_none());
    assert!(proxy.journal().all().is_empty());
    server.answer_slow();
    until("it is noted", || proxy.journal().tallies(SLOW).len() == 1);
    assert!(proxy.journal().all()[0].took_effect());
}

#[test]
fn an_unreachable_api_server_is_no_answer() {
    let server = Server::start();
    let proxy = server.proxy();
    drop(server);
    assert!(create(&proxy.url(), SERVICES, "web").is_none());
    assert_eq!(proxy.journal().all()[0].fate, Fate::Unreachable);
}
