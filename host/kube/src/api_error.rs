//! What can go wrong when the API server is asked for something.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::fence::NotLeading;

/// How much of an answer that is no `Status` is quoted in the message, in bytes.
const QUOTED_BYTES: usize = 512;

/// One detail of a refusal, as in `Status.details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Machine-readable reason, such as `FieldValueRequired` or `FieldManagerConflict`.
    pub reason: String,
    /// Path of the field, such as `.spec.replicas`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// The API server understood the request and said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// `Status.reason`, such as `NotFound`, `Conflict`, `AlreadyExists`, `Invalid`; may be empty.
    pub reason: String,
    /// `Status.message`, or the beginning of whatever was answered instead of a `Status`.
    pub message: String,
    /// `Status.details.name`: the object that it is about; empty if it is about none.
    pub name: String,
    /// `Status.details.causes`.
    pub causes: Vec<Cause>,
    /// When to come back, from `Retry-After` or `Status.details.retryAfterSeconds`.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// The object, or the kind itself, is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// There is no object of this name; that its kind, or the kind's version, is not served says
    /// nothing of the object.
    #[must_use]
    pub fn is_gone(&self, name: &str) -> bool {
        self.is_not_found() && self.reason == "NotFound" && self.name == name
    }

    /// A POST met an object of that name.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.code == 409 && self.reason == "AlreadyExists"
    }

    /// A precondition (uid, resourceVersion) or a foreign field manager stands in the way.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason != "AlreadyExists"
    }

    /// Another field manager owns a field of a server-side apply without `force`.
    #[must_use]
    pub fn is_field_conflict(&self) -> bool {
        self.is_conflict()
            && self
                .causes
                .iter()
                .any(|cause| cause.reason == "FieldManagerConflict")
    }

    /// The resourceVersion or the continue token is too old: list again.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.code == 410 || self.reason == "Expired" || self.reason == "Gone"
    }

    /// The namespace is being deleted: nothing can be created in it any more.
    #[must_use]
    pub fn is_namespace_terminating(&self) -> bool {
        self.code == 403
            && self
                .causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// The same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code == 429 || self.code >= 500
    }

    pub(crate) fn from_answer(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> ApiError {
        let header = headers
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse::<u64>().ok());
        match serde_json::from_slice::<Status>(body) {
            Ok(status) if status.kind == "Status" => status.into_error(code.as_u16(), header),
            _ => ApiError {
                code: code.as_u16(),
                reason: String::new(),
                message: quote(body),
                name: String::new(),
                causes: Vec::new(),
                retry_after: header.map(Duration::from_secs),
            },
        }
    }

    /// Reads a `Status` object, as it comes in the `ERROR` event of a watch.
    pub(crate) fn from_status(raw: &str) -> ApiError {
        match serde_json::from_str::<Status>(raw) {
            Ok(status) => status.into_error(500, None),
            Err(_) => ApiError {
                code: 500,
                reason: String::new(),
                message: quote(raw.as_bytes()),
                name: String::new(),
                causes: Vec::new(),
                retry_after: None,
            },
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            f.write_str("refused without a message")?;
        } else {
            f.write_str(&self.message)?;
        }
        if self.reason.is_empty() {
            write!(f, " (HTTP {})", self.code)
        } else {
            write!(f, " ({}, HTTP {})", self.reason, self.code)
        }
    }
}

impl std::error::Error for ApiError {}

/// A request to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server refused. [`ApiError::is_transient`] says whether a retry can help.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// This process may not write now. Nothing was sent, unless the lease was lost while the answer
    /// was awaited: then the write may have happened. Whoever leads next decides anew.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// No complete answer in time. A write may or may not have happened; a guarded retry is right.
    #[error("{what}: no answer within {limit:?}")]
    Timeout {
        /// Method and path.
        what: String,
        /// The time that was allowed.
        limit: Duration,
    },
    /// The connection failed. A write may or may not have happened; a guarded retry is right.
    #[error("{what}: the connection to the API server failed")]
    Transport {
        /// Method and path.
        what: String,
        /// The client's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is larger than this client accepts. A retry does not help; smaller pages may.
    #[error("{what}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// Method and path.
        what: String,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The answer is not what the protocol promises. A retry does not help.
    #[error("{what}: cannot read the answer")]
    Decode {
        /// Method and path.
        what: String,
        /// The decoder's error.
        #[source]
        source: serde_json::Error,
    },
    /// The request cannot be built, for example a name that is no URL. A retry does not help.
    #[error("{what}: the request is not valid")]
    Invalid {
        /// Method and path.
        what: String,
        /// The error of the http library.
        #[source]
        source: http::Error,
    },
}

impl RequestError {
    /// The API server's refusal, when it was one.
    #[must_use]
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            RequestError::Api(error) => Some(error),
            _ => None,
        }
    }

    /// The same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            RequestError::Api(error) => error.is_transient(),
            RequestError::Timeout { .. } | RequestError::Transport { .. } => true,
            RequestError::NotLeading(_)
            | RequestError::TooLarge { .. }
            | RequestError::Decode { .. }
            | RequestError::Invalid { .. } => false,
        }
    }

    /// Text with all sources, for logs and for a table's failure reason.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// Joins an error and its sources, leaving out a source that only repeats what was said.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut current = error.source();
    while let Some(source) = current {
        let part = source.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        current = source.source();
    }
    text
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    kind: String,
    code: Option<u16>,
    reason: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    name: Option<String>,
    causes: Option<Vec<Cause>>,
    retry_after_seconds: Option<u64>,
}

impl Status {
    fn into_error(self, code: u16, retry_after: Option<u64>) -> ApiError {
        let details = self.details.unwrap_or_default();
        ApiError {
            code: self.code.filter(|code| *code != 0).unwrap_or(code),
            reason: self.reason.unwrap_or_default(),
            message: self.message.unwrap_or_default(),
            name: details.name.unwrap_or_default(),
            causes: details.causes.unwrap_or_default(),
            retry_after: retry_after
                .or(details.retry_after_seconds.filter(|seconds| *seconds > 0))
                .map(Duration::from_secs),
        }
    }
}

fn quote(body: &[u8]) -> String {
    let cut = body.get(..QUOTED_BYTES).unwrap_or(body);
    String::from_utf8_lossy(cut).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_an_error_with_causes_and_retry_after() {
        let body = br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Deployment is invalid",
            "reason":"Invalid","details":{"name":"a","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.selector"}],
            "retryAfterSeconds":3},"code":422}"#;
        let error =
            ApiError::from_answer(StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), body);
        assert_eq!(error.code, 422);
        assert_eq!(error.reason, "Invalid");
        assert_eq!(error.name, "a");
        assert_eq!(error.causes.len(), 1);
        assert_eq!(error.causes[0].field, "spec.selector");
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(
            error.to_string(),
            "Deployment is invalid (Invalid, HTTP 422)"
        );
    }

    #[test]
    fn an_answer_that_is_no_status_is_quoted() {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::RETRY_AFTER,
            http::HeaderValue::from_static("7"),
        );
        let error = ApiError::from_answer(StatusCode::NOT_FOUND, &headers, b"404 page not found\n");
        assert!(error.is_not_found());
        assert_eq!(error.message, "404 page not found");
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn already_exists_is_not_a_conflict() {
        let body = br#"{"kind":"Status","reason":"AlreadyExists","code":409,"message":"m"}"#;
        let error = ApiError::from_answer(StatusCode::CONFLICT, &HeaderMap::new(), body);
        assert!(error.is_already_exists());
        assert!(!error.is_conflict());
    }

    #[test]
    fn sources_are_said_once() {
        let error = RequestError::Transport {
            what: "GET /x".to_owned(),
            source: Box::new(std::io::Error::other("broken pipe")),
        };
        assert_eq!(
            error.chain(),
            "GET /x: the connection to the API server failed: broken pipe"
        );
    }
}
