//! Who asked the API server for what: its audit log.
//!
//! # Why
//! `apiserver_request_total` has no user label; the promise "quiet when
//! converged" is about the requests of one user.
//!
//! # Contract
//! The server logs a request when it is received, before it is answered, in
//! blocking mode. A barrier is a request of ours: when the log holds it, it
//! holds every request that was answered before the barrier was sent.

use crate::client::Client;
use crate::user::User;
use crate::wait::{Progress, until};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WRITTEN: Duration = Duration::from_secs(10);
const BARRIER: &str = "/kybern-audit-barrier/";
const WRITING: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// One request as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who sent it.
    pub user: String,
    /// As whom, if it asked for that.
    pub impersonated: Option<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query.
    pub uri: String,
    /// API group; empty for core and for paths that are no resources.
    pub group: String,
    /// Plural; empty for paths that are no resources.
    pub resource: String,
    /// Such as `status`.
    pub subresource: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Name; a POST has none.
    pub name: Option<String>,
    /// HTTP status, if it has been answered.
    pub code: Option<u16>,
    /// The Pod whose service account token it carried.
    pub pod: Option<String>,
    /// When the server received it: RFC 3339, UTC, microseconds.
    pub received: String,
}

impl Request {
    /// Whether it asks for a change; renewing a Lease is not counted as one, nor is asking what one
    /// may do (POST, and nothing is kept).
    #[must_use]
    pub fn writes(&self) -> bool {
        let lease = self.group == "coordination.k8s.io" && self.resource == "leases";
        let review = self.group == "authorization.k8s.io";
        WRITING.contains(&self.verb.as_str()) && !lease && !review
    }
}

/// The API server's audit log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    client: Client,
    barriers: AtomicU64,
}

impl Audit {
    /// The log at `path`, of the server that `client` asks and that logs as the contract says.
    #[must_use]
    pub fn new(path: PathBuf, client: Client) -> Self {
        Self {
            path,
            client,
            barriers: AtomicU64::new(0),
        }
    }

    /// The place behind everything that was answered until now.
    ///
    /// # Errors
    /// The log does not grow or cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        let number = self.barriers.fetch_add(1, Ordering::Relaxed);
        // Quoted as in the log: 1 is not found in 10.
        let path = format!("{BARRIER}{}-{number}", std::process::id());
        let quoted = format!("\"requestURI\":\"{path}\"");
        let from = self.length()?;
        // There is no such path: the answer is 404, and only the log knows of it.
        match self.client.text(&path) {
            Err(error) if error.code() == Some(404) => {}
            other => {
                other.context("send the barrier")?;
            }
        }
        until("the audit log holds the barrier", WRITTEN, || {
            let text = self.read(from, None)?;
            let end = text
                .find(&quoted)
                .and_then(|at| text.get(at..)?.find('\n').map(|line| at + line + 1));
            Ok(match end {
                Some(end) => Progress::Done(Mark(from + u64::try_from(end)?)),
                None => Progress::Waiting(format!("{} more bytes", text.len())),
            })
        })
    }

    /// Every request between `mark` and now, in the order in which they were received.
    ///
    /// # Errors
    /// As of [`Audit::mark`], or a line is no audit event.
    pub fn since(&self, mark: Mark) -> Result<Vec<Request>> {
        let end = self.mark()?;
        parse(&self.read(mark.0, Some(end.0))?)
    }

    /// What `user` asked to change between `mark` and now, Leases aside.
    ///
    /// # Errors
    /// As of [`Audit::since`].
    pub fn writes_of(&self, user: &User, mark: Mark) -> Result<Vec<Request>> {
        let mut requests = self.since(mark)?;
        requests.retain(|request| {
            let theirs =
                request.user == user.name() || request.impersonated.as_deref() == Some(user.name());
            theirs && request.writes()
        });
        Ok(requests)
    }

    fn length(&self) -> Result<u64> {
        let metadata = std::fs::metadata(&self.path);
        Ok(metadata.context("look at the audit log")?.len())
    }

    fn read(&self, from: u64, to: Option<u64>) -> Result<String> {
        let mut file = File::open(&self.path).context("open the audit log")?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        match to {
            Some(to) => file.take(to.saturating_sub(from)).read_to_end(&mut bytes)?,
            None => file.read_to_end(&mut bytes)?,
        };
        // A character may be cut at the end while the server writes.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Joins the stages of each request.
fn parse(lines: &str) -> Result<Vec<Request>> {
    let mut requests: Vec<Request> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).context("a line of the audit log")?;
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let id = text("/auditID").unwrap_or_default();
        if text("/stage") == Some("RequestReceived") {
            places.insert(id.to_owned(), requests.len());
            requests.push(Request {
                user: text("/user/username").unwrap_or_default().to_owned(),
                impersonated: text("/impersonatedUser/username").map(str::to_owned),
                verb: text("/verb").unwrap_or_default().to_owned(),
                uri: text("/requestURI").unwrap_or_default().to_owned(),
                group: text("/objectRef/apiGroup").unwrap_or_default().to_owned(),
                resource: text("/objectRef/resource").unwrap_or_default().to_owned(),
                subresource: text("/objectRef/subresource").map(str::to_owned),
                namespace: text("/objectRef/namespace").map(str::to_owned),
                name: text("/objectRef/name").map(str::to_owned),
                code: None,
                pod: pod(&event),
                received: text("/requestReceivedTimestamp")
                    .unwrap_or_default()
                    .to_owned(),
            });
        } else if let Some(request) = places.get(id).and_then(|&at| requests.get_mut(at)) {
            let code = event
                .pointer("/responseStatus/code")
                .and_then(Value::as_u64);
            request.code = code.and_then(|code| u16::try_from(code).ok());
            // Known only once the authorisation has been done.
            if request.impersonated.is_none() {
                request.impersonated = text("/impersonatedUser/username").map(str::to_owned);
            }
        }
    }
    Ok(requests)
}

/// What TokenRequest binds a Pod's token to.
fn pod(event: &Value) -> Option<String> {
    let names = event
        .pointer("/user/extra")?
        .get("authentication.kubernetes.io/pod-name")?;
    names.get(0)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(id: &str, stage: &str, verb: &str, group: &str, resource: &str) -> String {
        json!({
            "auditID": id, "stage": stage, "verb": verb, "user": { "username": "host" },
            "objectRef": { "apiGroup": group, "resource": resource, "name": "x" },
            "responseStatus": { "code": 201 },
        })
        .to_string()
    }

    #[test]
    fn stages_of_a_request_are_one() {
        let log = [
            event("a", "RequestReceived", "create", "apps", "deployments"),
            event("b", "RequestReceived", "watch", "", "pods"),
            event("a", "ResponseComplete", "create", "apps", "deployments"),
        ]
        .join("\n");
        let requests = parse(&log).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].code, Some(201));
        assert!(requests[0].writes());
        assert_eq!(requests[1].code, None);
        assert!(!requests[1].writes());
    }

    #[test]
    fn the_pod_and_the_time_of_a_request_are_known() {
        let event = json!({
            "auditID": "a", "stage": "RequestReceived", "verb": "get",
            "requestReceivedTimestamp": "2026-01-02T03:04:05.678901Z",
            "user": {
                "username": "system:serviceaccount:n:s",
                "extra": { "authentication.kubernetes.io/pod-name": ["s-1"] },
            },
        });
        let requests = parse(&event.to_string()).unwrap();
        assert_eq!(requests[0].pod.as_deref(), Some("s-1"));
        assert_eq!(requests[0].received, "2026-01-02T03:04:05.678901Z");
    }

    #[test]
    fn leases_are_no_writes_but_their_name_alone_does_not_hide_one() {
        let lease = event(
            "a",
            "RequestReceived",
            "update",
            "coordination.k8s.io",
            "leases",
        );
        let other = event("b", "RequestReceived", "update", "example.com", "leases");
        assert!(!parse(&lease).unwrap()[0].writes());
        assert!(parse(&other).unwrap()[0].writes());
    }
}
