//! The only way to change the cluster.
//!
//! # Contract
//! * Every write asks the [`Fence`] first, with its own timeout and a margin, and again each time it
//!   makes progress; the API server is told the same timeout.
//! * Nothing is retried here: after [`RequestError::Timeout`] or [`RequestError::Transport`] the
//!   outcome is unknown, and only the caller knows which guard (POST, uid) makes a retry harmless.
//! * Bodies go out as given and answers come back as raw JSON.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::{
    api_error::RequestError,
    cluster::Cluster,
    encode,
    exchange::{Call, JSON, exchange},
    fence::Fence,
    impersonate::Impersonate,
    resource::{Resource, Target},
    write_options::{ApplyOptions, DeleteOptions, PatchOptions, WriteOptions},
};

const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Bounds of writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritesConfig {
    /// For one whole write; 5 s unless told. Must be well under the lease duration.
    pub timeout: Duration,
    /// By how much the lease must outlast the timeout; 1 s unless told.
    pub margin: Duration,
    /// Largest accepted answer, in bytes; 8 MiB unless told.
    pub max_answer_bytes: usize,
}

impl Default for WritesConfig {
    fn default() -> WritesConfig {
        WritesConfig {
            timeout: Duration::from_secs(5),
            margin: Duration::from_secs(1),
            max_answer_bytes: 8 << 20,
        }
    }
}

/// What a deletion led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is gone.
    Gone,
    /// The object has a deletionTimestamp and waits for finalizers, dependents or its grace period;
    /// this is how it looks now.
    Pending(Bytes),
}

/// Writes to a cluster, behind a fence. Cheap to clone.
#[derive(Clone)]
pub struct Writes {
    cluster: Cluster,
    fence: Arc<dyn Fence>,
    config: WritesConfig,
    impersonate: Option<Arc<Impersonate>>,
}

impl Writes {
    /// Writes that the fence must allow.
    #[must_use]
    pub fn new(cluster: Cluster, fence: Arc<dyn Fence>) -> Writes {
        Writes {
            cluster,
            fence,
            config: WritesConfig::default(),
            impersonate: None,
        }
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_config(mut self, config: WritesConfig) -> Writes {
        self.config = config;
        self
    }

    /// The same on behalf of another user.
    #[must_use]
    pub fn acting_as(mut self, impersonate: Option<Impersonate>) -> Writes {
        self.impersonate = impersonate.map(Arc::new);
        self
    }

    /// Creates an object (POST). The namespace is that of the URL; the body's must agree.
    ///
    /// # Errors
    /// [`RequestError`]; [`crate::ApiError::is_already_exists`] when the name is taken.
    pub async fn create(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Bytes, RequestError> {
        let mut parameters = Vec::new();
        push_write(&mut parameters, options);
        self.send(
            Method::POST,
            &resource.collection(namespace),
            &parameters,
            Some((JSON, body)),
        )
        .await
    }

    /// Server-side apply. The body is JSON with `apiVersion`, `kind` and `metadata.name`; with a
    /// `metadata.uid` it never creates (409 when absent, 422 when another object has the name).
    ///
    /// # Errors
    /// [`RequestError`]; [`crate::ApiError::is_field_conflict`] without `force`.
    pub async fn apply(
        &self,
        target: &Target<'_>,
        body: Bytes,
        options: &ApplyOptions,
    ) -> Result<Bytes, RequestError> {
        self.apply_to(target, None, body, options).await
    }

    /// Server-side apply of the `status` subresource.
    ///
    /// # Errors
    /// As [`Writes::apply`]; 404 also when the kind has no status subresource.
    pub async fn apply_status(
        &self,
        target: &Target<'_>,
        body: Bytes,
        options: &ApplyOptions,
    ) -> Result<Bytes, RequestError> {
        self.apply_to(target, Some("status"), body, options).await
    }

    /// Server-side apply of a subresource.
    ///
    /// # Errors
    /// As [`Writes::apply`]; 404 also when the kind has no such subresource.
    pub async fn apply_part(
        &self,
        target: &Target<'_>,
        subresource: &str,
        body: Bytes,
        options: &ApplyOptions,
    ) -> Result<Bytes, RequestError> {
        self.apply_to(target, Some(subresource), body, options)
            .await
    }

    async fn apply_to(
        &self,
        target: &Target<'_>,
        subresource: Option<&str>,
        body: Bytes,
        options: &ApplyOptions,
    ) -> Result<Bytes, RequestError> {
        let mut parameters = vec![
            ("fieldManager", options.field_manager.as_str()),
            ("force", if options.force { "true" } else { "false" }),
        ];
        if options.dry_run {
            parameters.push(("dryRun", "All"));
        }
        if options.strict {
            parameters.push(("fieldValidation", "Strict"));
        }
        self.send(
            Method::PATCH,
            &target.path(subresource),
            &parameters,
            Some((APPLY, body)),
        )
        .await
    }

    /// Applies a JSON patch (RFC 6902), atomically; a failed `test` answers 422.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn json_patch(
        &self,
        target: &Target<'_>,
        patch: Bytes,
        options: &PatchOptions,
    ) -> Result<Bytes, RequestError> {
        self.patch(target, (JSON_PATCH, patch), options).await
    }

    /// Applies a JSON merge patch (RFC 7386).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn merge_patch(
        &self,
        target: &Target<'_>,
        patch: Bytes,
        options: &PatchOptions,
    ) -> Result<Bytes, RequestError> {
        self.patch(target, (MERGE_PATCH, patch), options).await
    }

    async fn patch(
        &self,
        target: &Target<'_>,
        body: (&'static str, Bytes),
        options: &PatchOptions,
    ) -> Result<Bytes, RequestError> {
        let mut parameters = Vec::new();
        push_write(&mut parameters, &options.write);
        let path = target.path(options.subresource.as_deref());
        self.send(Method::PATCH, &path, &parameters, Some(body))
            .await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`RequestError`]; 409 when a precondition does not hold, 404 when it is already gone.
    pub async fn delete(
        &self,
        target: &Target<'_>,
        options: &DeleteOptions,
    ) -> Result<Deletion, RequestError> {
        let mut body = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": options.propagation.name(),
        });
        if let Some(fields) = body.as_object_mut() {
            let mut preconditions = serde_json::Map::new();
            if let Some(uid) = &options.uid {
                preconditions.insert("uid".to_owned(), json!(uid));
            }
            if let Some(version) = &options.resource_version {
                preconditions.insert("resourceVersion".to_owned(), json!(version));
            }
            if !preconditions.is_empty() {
                fields.insert("preconditions".to_owned(), preconditions.into());
            }
            if let Some(seconds) = options.grace_period_seconds {
                fields.insert("gracePeriodSeconds".to_owned(), json!(seconds));
            }
            if options.dry_run {
                fields.insert("dryRun".to_owned(), json!(["All"]));
            }
        }
        let body = Bytes::from(body.to_string());
        let answer = self
            .send(Method::DELETE, &target.path(None), &[], Some((JSON, body)))
            .await?;
        Ok(deletion(answer))
    }

    /// Creates a subresource (POST), such as `eviction`; the answer is the subresource's.
    ///
    /// # Errors
    /// [`RequestError`]; 429 when a disruption budget allows no eviction now.
    pub async fn create_subresource(
        &self,
        target: &Target<'_>,
        name: &str,
        body: Bytes,
    ) -> Result<Bytes, RequestError> {
        let path = target.path(Some(name));
        self.send(Method::POST, &path, &[], Some((JSON, body)))
            .await
    }

    /// Reads a subresource, such as `scale`, as the same user; not fenced.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn get_subresource(
        &self,
        target: &Target<'_>,
        name: &str,
    ) -> Result<Bytes, RequestError> {
        let path = target.path(Some(name));
        self.cluster
            .get_path_as(&path, self.impersonate.as_deref())
            .await
    }

    /// Reads one object, as the same user; not fenced.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn get(&self, target: &Target<'_>) -> Result<Bytes, RequestError> {
        self.cluster
            .get_as(target, self.impersonate.as_deref())
            .await
    }

    /// The cluster that is written to.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes, RequestError> {
        let timeout = format!("{}ms", self.config.timeout.as_millis());
        let mut parameters = parameters.to_vec();
        parameters.push(("timeout", &timeout));
        let call = Call {
            method,
            uri: encode::with_query(path, &parameters),
            accept: JSON,
            body,
            impersonate: self.impersonate.as_deref(),
            timeout: self.config.timeout,
            max_bytes: self.config.max_answer_bytes,
            fence: Some((
                self.fence.as_ref(),
                self.config.timeout.saturating_add(self.config.margin),
            )),
        };
        exchange(&self.cluster, &call).await
    }
}

fn push_write<'a>(parameters: &mut Vec<(&'a str, &'a str)>, options: &'a WriteOptions) {
    if let Some(manager) = options.field_manager.as_deref() {
        parameters.push(("fieldManager", manager));
    }
    if options.dry_run {
        parameters.push(("dryRun", "All"));
    }
    if options.strict {
        parameters.push(("fieldValidation", "Strict"));
    }
}

/// The API server answers with a `Status` when the object is gone, else with the object.
fn deletion(answer: Bytes) -> Deletion {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        #[serde(default)]
        kind: String,
        #[serde(default)]
        metadata: Meta,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        #[serde(default)]
        deletion_timestamp: Option<String>,
    }
    match serde_json::from_slice::<Answer>(&answer) {
        // Some kinds answer with the last state of an object that is already gone; it then has no
        // deletionTimestamp, because nothing had to wait.
        Ok(object) if object.kind != "Status" && object.metadata.deletion_timestamp.is_some() => {
            Deletion::Pending(answer)
        }
        _ => Deletion::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_waits_only_with_a_timestamp() {
        let status = Bytes::from_static(br#"{"kind":"Status","status":"Success"}"#);
        assert_eq!(deletion(status), Deletion::Gone);
        let last = Bytes::from_static(br#"{"kind":"Pod","metadata":{"name":"a"}}"#);
        assert_eq!(deletion(last), Deletion::Gone);
        let waiting = Bytes::from_static(
            br#"{"kind":"Pod","metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}"#,
        );
        assert_eq!(deletion(waiting.clone()), Deletion::Pending(waiting));
    }
}
