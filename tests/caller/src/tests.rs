//! The plugin natively.

use super::*;
use kybern_sdk::testing::{self, Acting};

fn acting(url: &str) -> Acting {
    let input = json!({ "url": url, "method": "POST", "secret": "s", "spin": false });
    Acting::new("call", "k1", input).unwrap()
}

fn answer(status: u16) -> http::Response {
    http::Response {
        status,
        headers: vec![("Retry-After".into(), "7".into())],
        body: b"hello".to_vec(),
    }
}

#[test]
fn an_effect_is_a_request_with_its_key() {
    let outcome = acting("http://a.com/x").answering(|request| {
        assert_eq!(
            (request.method.as_str(), request.url.as_str()),
            ("POST", "http://a.com/x")
        );
        let key = ("Idempotency-Key".to_owned(), "k1".to_owned());
        assert!(request.headers.contains(&key));
        Ok(answer(201))
    });
    let outcome = outcome.act::<Caller>().unwrap();
    assert_eq!(outcome, json!({ "status": 201, "text": "hello" }));
}

#[test]
fn a_secret_is_named_and_not_known() {
    let input = json!({ "url": "http://a.com", "method": "GET", "secret": "", "spin": false, "authorized": true });
    let acting = Acting::new("call", "k1", input).unwrap();
    let outcome = acting.answering(|request| {
        let header = ("Authorization".to_owned(), "Bearer <api-token>".to_owned());
        assert!(request.headers.contains(&header), "{request:?}");
        Ok(answer(200))
    });
    assert_eq!(outcome.act::<Caller>().unwrap()["status"], 200);
}

#[test]
fn what_the_server_says_decides_whether_it_is_called_again() {
    let error = |status| {
        let acting = acting("http://a.com/x").answering(move |_| Ok(answer(status)));
        acting.act::<Caller>().unwrap_err()
    };
    let HookError::Retry(failure) = error(503) else {
        panic!("503 is tried again");
    };
    assert_eq!(failure.retry_after_ms, Some(7_000));
    assert!(matches!(error(404), HookError::Invalid(_)));
    let denied = acting("http://a.com/x").act::<Caller>().unwrap_err();
    assert!(matches!(denied, HookError::Invalid(_)), "{denied}");
}

#[test]
fn the_plan_names_what_lives_and_what_ends() {
    let plan = testing::Situation::new(json!({
        "apiVersion": "caller.example.com/v1", "kind": "Call", "metadata": { "name": "a" },
        "spec": { "url": "http://a.com", "key": "k1", "undo": "http://a.com/undo", "early": true },
    }))
    .decide::<Caller>()
    .unwrap();
    let text = format!("{plan:?}");
    assert!(text.contains("Finalize") && text.contains("k1"), "{text}");
    assert!(
        text.contains("Denied"),
        "the pure hook sends nothing: {text}"
    );
}
