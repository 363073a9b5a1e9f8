//! Outgoing HTTP of the act hook: what the registration grants, and nothing else.
//!
//! ```no_run
//! use kybern_sdk::{Effect, HookError, Value, http, json};
//!
//! fn act(effect: &Effect) -> Result<Value, HookError> {
//!     let answer = http::post("https://dns.example.com/records")
//!         // At least once: the other side must know what it has done already.
//!         .header("Idempotency-Key", &effect.key)
//!         .json(&effect.input)?
//!         .send()?
//!         .success()?;
//!     Ok(json!({ "id": answer.json::<Value>()?["id"] }))
//! }
//! ```
//!
//! # Contract
//! The manifest asks (`capability(name = "http")`), `spec.grants.http` allows hosts, ports and
//! methods. Redirects are answers like any other. Only the act hook can send; the others are
//! denied.
//!
//! A request may name secrets that the plugin never sees: `secret(name = "api-token")` in the manifest,
//! `grants.secrets` in the registration, and
//!
//! ```no_run
//! # use kybern_sdk::{HookError, http};
//! # fn act() -> Result<(), HookError> {
//! http::get("https://dns.example.com/records")
//!     .secret("Authorization", "Bearer ", "api-token")
//!     .send()?
//!     .success()?;
//! # Ok(()) }
//! ```
//!
//! In tests [`testing::Acting`](crate::testing::Acting) answers.

use crate::{Failure, HookError, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    /// Like `GET`.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long it may take; none = what the effect has left.
    pub timeout: Option<Duration>,
}

/// An answer, with any status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// No grant allows it, or none can; the reason.
    Denied(String),
    /// The request makes no sense; the reason.
    Invalid(String),
    /// The other side could not be reached; the reason.
    Failed(String),
    /// No answer in time.
    Timeout,
    /// A body is larger than this many bytes.
    TooLarge(u64),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(why) | Self::Invalid(why) | Self::Failed(why) => f.write_str(why),
            Self::Timeout => f.write_str("no answer in time"),
            Self::TooLarge(most) => write!(f, "a body is larger than {most} bytes"),
        }
    }
}

impl std::error::Error for SendError {}

/// What cannot be sent is not tried again; what was not answered is.
impl From<SendError> for HookError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Failed(_) | SendError::Timeout => Self::retry(error.to_string()),
            SendError::Denied(_) | SendError::Invalid(_) | SendError::TooLarge(_) => {
                Self::Invalid(error.to_string())
            }
        }
    }
}

/// A GET.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// A POST.
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// A PUT.
pub fn put(url: impl Into<String>) -> Request {
    request("PUT", url)
}

/// A DELETE.
pub fn delete(url: impl Into<String>) -> Request {
    request("DELETE", url)
}

/// A request with any method.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: None,
    }
}

impl Request {
    /// One more header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A body of JSON, with its content type.
    pub fn json(self, body: &impl Serialize) -> Result<Self, HookError> {
        let body = serde_json::to_vec(body).map_err(|error| {
            HookError::Internal(format!("the body cannot be written as JSON: {error}"))
        })?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// How long it may take.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Sends it and waits for the whole answer.
    pub fn send(self) -> Result<Response, SendError> {
        #[cfg(target_arch = "wasm32")]
        return crate::guest::send(self);
        #[cfg(not(target_arch = "wasm32"))]
        return crate::testing::answer(&self);
    }
}

/// A request with headers that hold secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request does nothing until it is sent"]
pub struct SecretRequest {
    /// The rest of it.
    pub request: Request,
    /// The headers.
    pub secrets: Vec<SecretHeader>,
}

/// A header whose value the host puts in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretHeader {
    /// The header's name.
    pub name: String,
    /// What stands before the secret, like `Bearer `.
    pub prefix: String,
    /// The secret's name in the manifest.
    pub secret: String,
}

impl Request {
    /// One more header, of which the host puts the value in: what stands before it, as `Bearer `,
    /// and a secret that the manifest names. No value that the plugin has can be taken for one.
    pub fn secret(
        self,
        name: impl Into<String>,
        prefix: impl Into<String>,
        secret: impl Into<String>,
    ) -> SecretRequest {
        let request = SecretRequest {
            request: self,
            secrets: Vec::new(),
        };
        request.secret(name, prefix, secret)
    }
}

impl SecretRequest {
    /// One more.
    pub fn secret(
        mut self,
        name: impl Into<String>,
        prefix: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        self.secrets.push(SecretHeader {
            name: name.into(),
            prefix: prefix.into(),
            secret: secret.into(),
        });
        self
    }

    /// Sends it and waits for the whole answer.
    pub fn send(self) -> Result<Response, SendError> {
        #[cfg(target_arch = "wasm32")]
        return crate::guest::send_with_secrets(self);
        #[cfg(not(target_arch = "wasm32"))]
        return crate::testing::answer_with_secrets(&self);
    }
}

impl Response {
    /// The answer if its status is 2xx; else an error by its kind: a retry for 408, 429 and 5xx,
    /// which a Retry-After in seconds delays, also for 401, 403 and 407, which another secret or
    /// another right cures, and invalid for the others.
    pub fn success(self) -> Result<Self, HookError> {
        let status = self.status;
        if (200..300).contains(&status) {
            return Ok(self);
        }
        let text = format!("the server answered {status}");
        Err(match status {
            401 | 403 | 407 | 408 | 429 | 500.. => {
                let seconds = self
                    .header("retry-after")
                    .and_then(|s| s.parse::<u64>().ok());
                HookError::Retry(Failure {
                    message: text,
                    retry_after_ms: seconds.map(|seconds| seconds.saturating_mul(1_000)),
                })
            }
            _ => HookError::Invalid(text),
        })
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. What does not fit is worth another try: servers in trouble answer with pages.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HookError> {
        let value = serde_json::from_slice(&self.body)
            .map_err(|_| HookError::retry("the answer is no JSON"))?;
        decode("answer", &value)
    }
}
