//! Requests to a server of this test.

use super::super::connect::Resolver;
use super::super::{Granted, Secrets};
use super::*;
use kybern_interface::{Grants, HttpGrant};
use kybern_plugin::{Outgoing, Request};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

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
    send_through(Client::new(), grants, url, within, stop).await
}

async fn send_through(
    client: Client,
    grants: Value,
    url: String,
    within: Duration,
    stop: CancellationToken,
) -> Result<Response, SendError> {
    let grants: Vec<HttpGrant> = serde_json::from_value(grants).unwrap();
    let none = Secrets::new(&Grants::default(), std::iter::empty(), None, None);
    let granted = Granted::new(client, grants, none, stop);
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

/// What becomes of a request to a granted name that somebody answers for with these addresses, one
/// list after the other, and how often that was asked.
async fn resolved(answers: &[&[&str]], port: u16) -> (SendError, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers: Vec<Vec<SocketAddr>> = answers
        .iter()
        .map(|answer| {
            let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
            answer.iter().map(address).collect()
        })
        .collect();
    let count = Arc::clone(&asked);
    let resolver = Resolver::new(Names::Granted, move |name| {
        assert_eq!(name, "api.example.com.");
        let at = count.fetch_add(1, Ordering::SeqCst);
        Ok(answers[at.min(answers.len() - 1)].clone())
    });
    let client = Client::with(Connector::resolving(resolver).unwrap());
    let grants = json!([{ "host": "api.example.com", "ports": [port] }]);
    let url = format!("http://api.example.com:{port}/");
    let short = Duration::from_millis(300);
    let sent = send_through(client, grants, url, short, CancellationToken::new()).await;
    (sent.unwrap_err(), asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn whoever_answers_for_a_granted_name_leads_it_nowhere_that_is_guarded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let here = "is a loopback address: only a grant of that very address allows it";
    let local = "is a link-local address: only a grant of that very address allows it";
    for (addresses, wanted) in [
        (["127.0.0.1"].as_slice(), format!("127.0.0.1, which {here}")),
        (&["::1"], format!("::1, which {here}")),
        (
            &["::ffff:127.0.0.1"],
            format!("::ffff:127.0.0.1, which {here}"),
        ),
        (
            &["169.254.169.254"],
            format!("169.254.169.254, which {local}"),
        ),
        (
            &["::ffff:169.254.169.254"],
            format!("::ffff:169.254.169.254, which {local}"),
        ),
        // Good ones before and behind do not make up for it.
        (
            &["192.0.2.1", "127.0.0.1", "192.0.2.2"],
            format!("127.0.0.1, which {here}"),
        ),
    ] {
        let (error, asked) = resolved(&[addresses], port).await;
        let wanted = format!("api.example.com resolves to {wanted}");
        assert_eq!(error, SendError::Denied(wanted));
        assert_eq!(asked, 1, "{addresses:?}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

/// Rebinding: the name leads somewhere else when it is asked for a second time. It is not.
#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Nobody's address (RFC 5737), then this machine's.
    let (error, asked) = resolved(&[&["192.0.2.1"], &["127.0.0.1"]], port).await;
    assert!(
        matches!(error, SendError::Timeout | SendError::Failed(_)),
        "{error:?}"
    );
    assert_eq!(asked, 1);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn a_redirect_to_another_host_or_port_is_not_followed() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = other.local_addr().unwrap().port();
    let codes = [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Same",
        "308 Same",
    ];
    let redirect = |code: &&str| {
        let more = format!("location: http://127.0.0.1:{elsewhere}/\r\n");
        answer(code, &more, "")
    };
    let (port, thread) = server(codes.iter().map(redirect).collect());
    for code in codes {
        let url = format!("http://127.0.0.1:{port}/");
        let sent = send(here(port), url, SOON, CancellationToken::new()).await;
        let status = sent.unwrap().status;
        assert!(code.starts_with(&status.to_string()), "{status}");
    }
    thread.join().unwrap();
    // The guest asks for it itself.
    let url = format!("http://127.0.0.1:{elsewhere}/");
    let sent = send(here(port), url, SOON, CancellationToken::new()).await;
    let reason = format!("no grant allows GET to 127.0.0.1 port {elsewhere} (spec.grants.http)");
    assert_eq!(sent, Err(SendError::Denied(reason)));
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "nobody has connected");
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
