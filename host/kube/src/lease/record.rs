//! The Lease object, as far as election reads and writes it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::clock::micro_time;

use super::LeaseConfig;

/// What the Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) resource_version: String,
    /// Absent when nobody holds it.
    pub(super) holder: Option<String>,
    pub(super) lease: Duration,
    pub(super) transitions: i64,
    /// Kept as text: only whoever writes it looks at it again.
    pub(super) acquired: Option<String>,
    /// The metadata as it was read, so that foreign labels and annotations survive an update.
    pub(super) metadata: Map<String, Value>,
}

#[derive(Deserialize)]
struct Lease {
    metadata: Map<String, Value>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    lease_transitions: Option<i64>,
    acquire_time: Option<String>,
}

impl Record {
    pub(super) fn parse(body: &[u8]) -> Result<Record, serde_json::Error> {
        let lease: Lease = serde_json::from_slice(body)?;
        let version = lease
            .metadata
            .get("resourceVersion")
            .and_then(Value::as_str);
        Ok(Record {
            resource_version: version.unwrap_or_default().to_owned(),
            holder: lease
                .spec
                .holder_identity
                .filter(|holder| !holder.is_empty()),
            lease: Duration::from_secs(lease.spec.lease_duration_seconds.unwrap_or(0)),
            transitions: lease.spec.lease_transitions.unwrap_or(0),
            acquired: lease.spec.acquire_time,
            metadata: lease.metadata,
        })
    }
}

/// The body that creates the Lease (no record), takes it over, or renews it.
pub(super) fn held(config: &LeaseConfig, record: Option<&Record>, now: jiff::Timestamp) -> Bytes {
    let now = micro_time(now);
    let ours = record.is_some_and(|record| record.holder.as_deref() == Some(&config.identity));
    let acquired = record
        .and_then(|record| record.acquired.clone())
        .filter(|_| ours);
    let transitions = record.map_or(0, |record| {
        if ours {
            record.transitions
        } else {
            record.transitions.saturating_add(1)
        }
    });
    body(
        config,
        record,
        json!({
            "holderIdentity": config.identity,
            "leaseDurationSeconds": config.lease.as_secs(),
            "acquireTime": acquired.unwrap_or_else(|| now.clone()),
            "renewTime": now,
            "leaseTransitions": transitions,
        }),
    )
}

/// The body that gives the Lease back, as client-go does it: no holder, and a second to wait.
pub(super) fn released(config: &LeaseConfig, record: &Record, now: jiff::Timestamp) -> Bytes {
    let now = micro_time(now);
    body(
        config,
        Some(record),
        json!({
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": record.transitions,
        }),
    )
}

fn body(config: &LeaseConfig, record: Option<&Record>, spec: Value) -> Bytes {
    let metadata = match record {
        Some(record) => Value::Object(record.metadata.clone()),
        None => json!({ "name": config.name, "namespace": config.namespace }),
    };
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec,
    });
    Bytes::from(lease.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LeaseConfig {
        LeaseConfig::new("n", "l", "a")
    }

    fn spec(body: &Bytes) -> Value {
        serde_json::from_slice::<Value>(body).expect("is JSON")["spec"].clone()
    }

    fn record(holder: &str) -> Record {
        let lease = format!(
            r#"{{"metadata":{{"name":"l","resourceVersion":"7","labels":{{"x":"y"}}}},
               "spec":{{"holderIdentity":"{holder}","leaseDurationSeconds":10,"leaseTransitions":3,
               "acquireTime":"2026-01-01T00:00:00.000000Z"}}}}"#
        );
        Record::parse(lease.as_bytes()).expect("parses")
    }

    #[test]
    fn a_renewal_keeps_the_time_of_acquisition_and_foreign_labels() {
        let body = held(&config(), Some(&record("a")), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(spec(&body)["acquireTime"], "2026-01-01T00:00:00.000000Z");
        assert_eq!(spec(&body)["leaseTransitions"], 3);
        let whole: Value = serde_json::from_slice(&body).expect("is JSON");
        assert_eq!(whole["metadata"]["labels"]["x"], "y");
        assert_eq!(whole["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn a_takeover_counts_as_a_transition() {
        let body = held(&config(), Some(&record("b")), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(spec(&body)["holderIdentity"], "a");
        assert_eq!(spec(&body)["leaseTransitions"], 4);
        assert_eq!(spec(&body)["acquireTime"], "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_released_lease_has_no_holder() {
        let body = released(&config(), &record("a"), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(spec(&body)["holderIdentity"], "");
        assert_eq!(record("").holder, None);
    }
}
