//! Who asks: writes, and watches that are read line by line.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use ureq::Agent;

/// How long something that must come may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const SERVICES: &str = "/api/v1/namespaces/a/services";
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/a/deployments";

fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .new_agent()
}

/// Code, Retry-After and body of a create; None without an answer.
pub(crate) fn create(url: &str, path: &str, name: &str) -> Option<(u16, Option<String>, Value)> {
    create_within(SOON, url, path, name)
}

pub(crate) fn create_within(
    limit: Duration,
    url: &str,
    path: &str,
    name: &str,
) -> Option<(u16, Option<String>, Value)> {
    let body = json!({ "metadata": { "name": name } }).to_string();
    let sent = agent(limit).post(format!("{url}{path}")).send(body);
    let mut answer = sent.ok()?;
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
    let text = answer.body_mut().read_to_string().ok()?;
    let body = serde_json::from_str(&text).unwrap();
    Some((answer.status().as_u16(), retry_after, body))
}

/// What a watch says, in order; `END` when it ends.
pub(crate) fn watch(url: &str, path: &str, query: &str) -> Receiver<String> {
    let (said, lines) = channel();
    watch_into(url, path, query, said);
    lines
}

/// The same, of several watches. Returns when the watch is open.
pub(crate) fn watch_into(url: &str, path: &str, query: &str, said: Sender<String>) {
    let uri = format!("{url}{path}?watch=true{query}");
    let answer = agent(SOON * 10).get(uri).call().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    std::thread::spawn(move || {
        let reader = BufReader::new(answer.into_body().into_reader());
        for line in reader.lines().map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap();
            let object = &event["object"]["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let kind = text(&event["type"]);
            let told = format!("{kind} {}", text(&object["name"]));
            if said.send(told).is_err() {
                return;
            }
        }
        let _ = said.send("END".to_owned());
    });
}

/// Waits until something holds.
#[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
pub(crate) fn until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < SOON, "{what}");
        std::thread::yield_now();
    }
}
