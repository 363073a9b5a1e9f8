//! Requests to a server of this test.

use super::super::{Granted, Secrets};
use super::*;
use kybern_interface::{Grants, HttpGrant};
use kybern_plugin::{Outgoing, Request};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;

/// Answers each connection with one of these texts; what it was sent.
fn server(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let serve = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = vec![0; 65_536];
            let read = stream.read(&mut seen).unwrap();
            seen.truncate(read);
            let _ = stream.write_all(answer.as_bytes());
            String::from_utf8(seen).unwrap()
        };
        answers.into_iter().map(serve).collect()
    });
    (port, thread)
}

fn answer(status: &str, more: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn send(
    grants: Value,
    url: String,
    within: Duration,
    stop: CancellationToken,
) -> Result<Response, SendError> {
    let grants: Vec<HttpGrant> = serde_json::from_value(grants).unwrap();
    let none = Secrets::new(&Grants::default(), std::iter::empty(), None, None);
    let granted = Granted::new(Client::new(), grants, none, stop);
    let request = Request {
        method: "GET".to_owned(),
        url,
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: None,
    };
    let sending =
        tokio::task::spawn_blocking(move || granted.send(request, Vec::new(), within, 1_000));
    sending.await.unwrap()
}

const SOON: Duration = Duration::from_secs(30);

fn here(port: u16) -> Value {
    json!([{ "host": "127.0.0.1", "ports": [port] }])
}

#[tokio::test]
async fn a_granted_request_is_answered_and_a_redirect_is_an_answer() {
    let other = answer(
        "302 Found",
        "location: http://127.0.0.1:1/\r\nx-a: b\r\n",
        "moved",
    );
    let (port, thread) = server(vec![answer("200 OK", "", "hello"), other]);
    let url = format!("http://127.0.0.1:{port}/path?query");
    let stop = CancellationToken::new();
    let first = send(here(port), url.clone(), SOON, stop.clone())
        .await
        .unwrap();
    assert_eq!(
        (first.status, first.body.as_slice()),
        (200, b"hello".as_slice())
    );
    let second = send(here(port), url, SOON, stop).await.unwrap();
    assert_eq!(second.status, 302);
    assert!(second.headers.iter().any(|h| h.name == "location"));
    let seen = thread.join().unwrap();
    assert!(
        seen[0].starts_with("GET /path?query HTTP/1.1\r\n"),
        "{}",
        seen[0]
    );
    let seen = seen[0].to_lowercase();
    assert!(seen.contains(&format!("host: 127.0.0.1:{port}")) && !seen.contains("authorization"));
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_denied_though_it_is_granted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let grants = json!([{ "host": "localhost", "ports": [port] }]);
    let url = format!("http://localhost:{port}/");
    let denied = send(grants, url, SOON, CancellationToken::new())
        .await
        .unwrap_err();
    let SendError::Denied(why) = denied else {
        panic!("{denied:?}");
    };
    assert!(
        why.contains("localhost resolves to") && why.contains("loopback"),
        "{why}"
    );
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn what_is_too_large_too_slow_or_stopped_ends() {
    let (port, thread) = server(vec![answer("200 OK", "", &"x".repeat(1_001))]);
    let url = |port: u16| format!("http://127.0.0.1:{port}/");
    let sent = send(here(port), url(port), SOON, CancellationToken::new()).await;
    assert_eq!(sent, Err(SendError::TooLarge(1_000)));
    thread.join().unwrap();
    // A server that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let short = Duration::from_millis(50);
    let sent = send(here(port), url(port), short, CancellationToken::new()).await;
    assert_eq!(sent, Err(SendError::Timeout));
    let stop = CancellationToken::new();
    let sending = send(here(port), url(port), SOON, stop.clone());
    let stopping = async {
        let _ = tokio::task::spawn_blocking(move || silent.accept()).await;
        stop.cancel();
    };
    let (sent, ()) = tokio::join!(sending, stopping);
    assert!(matches!(sent, Err(SendError::Failed(_))), "{sent:?}");
}
