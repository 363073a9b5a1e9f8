//! A small blocking client of the API server: JSON in, JSON out.

use crate::kinds::{Kinds, Resource, base};
use crate::kubeconfig;
use crate::object::Object;
use crate::user::User;
use crate::wait::{Progress, until};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Method, Request};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Kept for the next request: tests that make thousands of objects use some threads.
const IDLE_CONNECTIONS: usize = 16;
/// How long the storage of a changed CustomResourceDefinition may take to be made anew.
const STORAGE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: u64 = 1 << 30;
const APPLY: &str = "application/apply-patch+yaml";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const JSON: &str = "application/json";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API server could not be reached or broke off; may be tried again.
    #[error("{request}: no answer")]
    NoAnswer {
        /// Method and path.
        request: String,
        /// The transport's error.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The API server said no.
    #[error("{request}: {code} {reason}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        code: u16,
        /// `reason` of the Status, such as `NotFound`.
        reason: String,
        /// `message` of the Status.
        message: String,
    },
    /// The answer is no JSON.
    #[error("{request}: the answer is no JSON")]
    Malformed {
        /// Method and path.
        request: String,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The API server serves no such kind.
    #[error("{kind} of {api_version} is not served")]
    UnknownKind {
        /// `v1` or `group/version`.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// The manifest lacks something that every object has.
    #[error("the manifest names no object: {0}")]
    Manifest(String),
}

impl ClientError {
    /// HTTP status, if the API server answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the storage of a custom kind is being made anew after a change of its definition:
    /// requests that come in between are turned away without a Retry-After.
    fn is_new_storage(&self) -> bool {
        matches!(self, Self::Refused { code: 503, message, .. } if message == "apiserver is shutting down")
    }
}

type Result<T> = std::result::Result<T, ClientError>;

/// A blocking client with one user's token; clones share connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agent: Agent,
    url: String,
    authorization: String,
    kinds: Kinds,
}

/// The certificates in a PEM file.
pub(crate) fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Certificate<'static>>> {
    let mut all = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item? {
            all.push(certificate);
        }
    }
    Ok(all)
}

impl Client {
    /// A client of `user` at `url` that trusts the PEM certificates in `authority`.
    pub(crate) fn new(url: &str, authority: &[u8], user: &User) -> anyhow::Result<Self> {
        let roots = certificates(authority)?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            // Never through a proxy: the server is on this machine.
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self(Arc::new(Inner {
            agent,
            url: url.to_owned(),
            authorization: format!("Bearer {}", user.token()),
            kinds: Kinds::default(),
        })))
    }

    /// A client of the current user of a kubeconfig in JSON with a token.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub fn of_kubeconfig(path: &Path) -> anyhow::Result<Self> {
        let (url, authority, user) = kubeconfig::read(path)?;
        Self::new(&url, &authority, &user)
    }

    /// The body of `GET path`, as text.
    ///
    /// # Errors
    /// No answer, or a status other than 2xx.
    pub fn text(&self, path: &str) -> Result<String> {
        self.send(&Method::GET, path, JSON, None)
    }

    /// Sends any request and returns the answer's JSON.
    ///
    /// # Errors
    /// No answer, a status other than 2xx, or no JSON.
    pub fn request(
        &self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let body = body.map(Value::to_string);
        self.request_text(method, path, content_type, body.as_deref())
    }

    fn request_text(
        &self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: Option<&str>,
    ) -> Result<Value> {
        let text = self.send(method, path, content_type, body)?;
        serde_json::from_str(&text).map_err(|source| ClientError::Malformed {
            request: format!("{method} {path}"),
            source,
        })
    }

    /// The object.
    ///
    /// # Errors
    /// As of [`Client::request`]; 404 if it is not there.
    pub fn get(&self, object: &Object) -> Result<Value> {
        self.request(&Method::GET, &self.path(object)?, JSON, None)
    }

    /// The object, or None if it is not there.
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn find(&self, object: &Object) -> Result<Option<Value>> {
        found(self.get(object))
    }

    /// The objects of a kind, of one namespace or of all.
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>> {
        let path = self.collection(api_version, kind, namespace)?;
        let mut list = self.request(&Method::GET, &path, JSON, None)?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Creates `manifest` (POST) and returns it as the server keeps it.
    ///
    /// # Errors
    /// As of [`Client::request`]; 409 if it is there already.
    pub fn create(&self, manifest: &Value) -> Result<Value> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let missing = |what: &str| ClientError::Manifest(format!("no {what}"));
        let api_version = text("/apiVersion").ok_or_else(|| missing("apiVersion"))?;
        let kind = text("/kind").ok_or_else(|| missing("kind"))?;
        let path = self.collection(api_version, kind, text("/metadata/namespace"))?;
        self.request(&Method::POST, &path, JSON, Some(manifest))
    }

    /// Replaces the object (PUT).
    ///
    /// # Errors
    /// As of [`Client::request`]; 409 if the manifest's resourceVersion is not the newest.
    pub fn update(&self, manifest: &Value) -> Result<Value> {
        let path = self.path(&object_of(manifest)?)?;
        self.request(&Method::PUT, &path, JSON, Some(manifest))
    }

    /// Replaces the object's status (PUT /status).
    ///
    /// # Errors
    /// As of [`Client::update`].
    pub fn update_status(&self, manifest: &Value) -> Result<Value> {
        let path = self.path(&object_of(manifest)?)?;
        let path = format!("{path}/status");
        self.request(&Method::PUT, &path, JSON, Some(manifest))
    }

    /// Server-side apply as `manager`, with force.
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn apply(&self, manifest: &Value, manager: &str) -> Result<Value> {
        let path = self.path(&object_of(manifest)?)?;
        let path = format!("{path}?fieldManager={}&force=true", percent(manager));
        self.request(&Method::PATCH, &path, APPLY, Some(manifest))
    }

    /// Server-side apply of a manifest in YAML, which is sent as it stands; `object` is what it describes.
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn apply_yaml(&self, object: &Object, yaml: &str, manager: &str) -> Result<Value> {
        let path = self.path(object)?;
        let path = format!("{path}?fieldManager={}&force=true", percent(manager));
        self.request_text(&Method::PATCH, &path, APPLY, Some(yaml))
    }

    /// JSON merge patch (RFC 7386).
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn merge_patch(&self, object: &Object, patch: &Value) -> Result<Value> {
        self.request(
            &Method::PATCH,
            &self.path(object)?,
            MERGE_PATCH,
            Some(patch),
        )
    }

    /// JSON merge patch of the status.
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn merge_patch_status(&self, object: &Object, patch: &Value) -> Result<Value> {
        let path = format!("{}/status", self.path(object)?);
        self.request(&Method::PATCH, &path, MERGE_PATCH, Some(patch))
    }

    /// JSON patch (RFC 6902).
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn json_patch(&self, object: &Object, patch: &Value) -> Result<Value> {
        self.request(&Method::PATCH, &self.path(object)?, JSON_PATCH, Some(patch))
    }

    /// Deletes the object in the background; it may stay for its finalizers.
    ///
    /// # Errors
    /// As of [`Client::request`]; 404 if it is not there.
    pub fn delete(&self, object: &Object) -> Result<Value> {
        self.delete_with(object, &json!({ "propagationPolicy": "Background" }))
    }

    /// Deletes the object with these DeleteOptions.
    ///
    /// # Errors
    /// As of [`Client::request`]; 404 if it is not there.
    pub fn delete_with(&self, object: &Object, options: &Value) -> Result<Value> {
        self.request(&Method::DELETE, &self.path(object)?, JSON, Some(options))
    }

    /// Posts to a subresource, such as `token`, `eviction` or `binding`.
    ///
    /// # Errors
    /// As of [`Client::request`].
    pub fn post_subresource(&self, object: &Object, name: &str, body: &Value) -> Result<Value> {
        let path = format!("{}/{name}", self.path(object)?);
        self.request(&Method::POST, &path, JSON, Some(body))
    }

    /// Waits until the object is there and `condition` holds for it; returns it.
    ///
    /// # Errors
    /// Time is up (the message shows the object as last seen), or as of [`Client::request`].
    pub fn wait_for(
        &self,
        object: &Object,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        until(&format!("{object}: {what}"), limit, || {
            Ok(match self.find(object)? {
                Some(now) if condition(&now) => Progress::Done(now),
                Some(now) => Progress::Waiting(without_managed_fields(now).to_string()),
                None => Progress::Waiting("it is not there".to_owned()),
            })
        })
    }

    /// Waits until the object is not there.
    ///
    /// # Errors
    /// As of [`Client::wait_for`].
    pub fn wait_gone(&self, object: &Object, limit: Duration) -> anyhow::Result<()> {
        until(&format!("{object} is gone"), limit, || {
            Ok(match self.find(object)? {
                None => Progress::Done(()),
                Some(now) => Progress::Waiting(without_managed_fields(now).to_string()),
            })
        })
    }

    /// Path of the object.
    ///
    /// # Errors
    /// Its kind is not served.
    pub fn path(&self, object: &Object) -> Result<String> {
        let namespace = object.namespace.as_deref();
        let collection = self.collection(&object.api_version, &object.kind, namespace)?;
        Ok(format!("{collection}/{}", object.name))
    }

    fn collection(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Result<String> {
        let Resource { plural, namespaced } = self.resource(api_version, kind)?;
        let base = base(api_version);
        Ok(match namespace {
            Some(namespace) if namespaced => format!("{base}/namespaces/{namespace}/{plural}"),
            _ => format!("{base}/{plural}"),
        })
    }

    /// Discovery, asked once for each kind; an unknown kind is asked for each time.
    fn resource(&self, api_version: &str, kind: &str) -> Result<Resource> {
        if let Some(known) = self.0.kinds.get(api_version, kind) {
            return Ok(known);
        }
        let list = self.request(&Method::GET, &base(api_version), JSON, None);
        if let Some(list) = found(list)? {
            self.0.kinds.learn(api_version, &list);
        }
        let known = self.0.kinds.get(api_version, kind);
        known.ok_or_else(|| ClientError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })
    }

    /// Sends a request; one that is turned away because a CustomResourceDefinition has just been
    /// changed is sent again, as it would be by hand.
    fn send(
        &self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: Option<&str>,
    ) -> Result<String> {
        let mut last = None;
        let sent = until("the kind's storage", STORAGE, || {
            let answer = self.send_through(method, path, content_type, body);
            if !matches!(&answer, Err(error) if error.is_new_storage()) {
                return Ok(Progress::Done(answer));
            }
            let seen = answer.as_ref().err().map(ToString::to_string);
            last = Some(answer);
            Ok(Progress::Waiting(seen.unwrap_or_default()))
        });
        match (sent, last) {
            (Ok(answer), _) | (Err(_), Some(answer)) => answer,
            (Err(_), None) => self.send_through(method, path, content_type, body),
        }
    }

    fn send_through(
        &self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: Option<&str>,
    ) -> Result<String> {
        let answer = match self.send_once(method, path, content_type, body) {
            // A kept connection may have been closed by a restart of the server.
            Err(ureq::Error::Io(_)) if method == Method::GET => {
                self.send_once(method, path, content_type, body)
            }
            other => other,
        };
        let request = || format!("{method} {path}");
        let (code, text) = answer.map_err(|source| ClientError::NoAnswer {
            request: request(),
            source: Box::new(source),
        })?;
        if (200..300).contains(&code) {
            return Ok(text);
        }
        let status: Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name: &str| status.get(name).and_then(Value::as_str);
        Err(ClientError::Refused {
            request: request(),
            code,
            reason: field("reason").unwrap_or_default().to_owned(),
            message: field("message").unwrap_or(&text).to_owned(),
        })
    }

    fn send_once(
        &self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: Option<&str>,
    ) -> std::result::Result<(u16, String), ureq::Error> {
        let builder = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.0.url))
            .header("Authorization", &self.0.authorization)
            .header("Accept", JSON);
        let answer = match body {
            Some(body) => self
                .0
                .agent
                .run(builder.header("Content-Type", content_type).body(body)?),
            None => self.0.agent.run(builder.body(())?),
        };
        let mut answer = answer?;
        let code = answer.status().as_u16();
        let text = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_string()?;
        Ok((code, text))
    }
}

fn found(answer: Result<Value>) -> Result<Option<Value>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn object_of(manifest: &Value) -> Result<Object> {
    Object::of(manifest).map_err(|error| ClientError::Manifest(error.to_string()))
}

fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::ClientError;

    #[test]
    fn only_a_storage_that_is_made_anew_is_waited_for() {
        let refused = |code, message: &str| ClientError::Refused {
            request: "POST /".into(),
            code,
            reason: String::new(),
            message: message.into(),
        };
        assert!(refused(503, "apiserver is shutting down").is_new_storage());
        assert!(!refused(503, "no endpoints").is_new_storage());
        // That may be so for long, and tests want to see it.
        assert!(!refused(429, "storage is (re)initializing").is_new_storage());
        assert!(!refused(409, "apiserver is shutting down").is_new_storage());
    }

    #[test]
    fn managers_are_encoded() {
        assert_eq!(super::percent("kybern/web app"), "kybern%2Fweb%20app");
    }
}
