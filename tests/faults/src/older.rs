//! Lists as they were at an earlier resourceVersion.

use crate::events::INITIAL_EVENTS_END;
use bytes::Bytes;
use form_urlencoded::{Serializer, parse};
use http::Uri;
use http::uri::PathAndQuery;
use serde_json::{Value, json};

/// What a list at that time is asked for with.
pub(crate) fn list_uri(uri: &Uri, version: &str) -> Option<Uri> {
    let watching = [
        "watch",
        "allowWatchBookmarks",
        "timeoutSeconds",
        "sendInitialEvents",
        "resourceVersion",
        "resourceVersionMatch",
    ];
    let exact = [
        ("resourceVersion", version),
        ("resourceVersionMatch", "Exact"),
    ];
    changed(uri, &watching, &exact)
}

/// What a watch from that time is asked for with.
pub(crate) fn watch_uri(uri: &Uri, version: &str) -> Option<Uri> {
    let list = [
        "sendInitialEvents",
        "resourceVersion",
        "resourceVersionMatch",
    ];
    changed(uri, &list, &[("resourceVersion", version)])
}

fn changed(uri: &Uri, without: &[&str], with: &[(&str, &str)]) -> Option<Uri> {
    let mut query = Serializer::new(String::new());
    for (key, value) in parse(uri.query().unwrap_or_default().as_bytes()) {
        if !without.contains(&key.as_ref()) {
            query.append_pair(&key, &value);
        }
    }
    query.extend_pairs(with);
    let text = format!("{}?{}", uri.path(), query.finish());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// A list as the lines of a streaming list.
pub(crate) fn lines(list: &[u8]) -> Option<Vec<Bytes>> {
    let mut list: Value = serde_json::from_slice(list).ok()?;
    let kind = list.get("kind")?.as_str()?.strip_suffix("List")?.to_owned();
    let api_version = list.get("apiVersion")?.clone();
    let version = list.pointer("/metadata/resourceVersion")?.clone();
    let mut lines = Vec::new();
    // A list without items may say null.
    for item in list.get_mut("items")?.as_array_mut().into_iter().flatten() {
        let mut item = item.take();
        // Lists of built-in kinds say it once, for all.
        if let Some(fields) = item.as_object_mut() {
            fields.entry("kind").or_insert_with(|| json!(kind));
            fields
                .entry("apiVersion")
                .or_insert_with(|| api_version.clone());
        }
        lines.push(line(&json!({ "type": "ADDED", "object": item })));
    }
    lines.push(line(&json!({ "type": "BOOKMARK", "object": {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {
            "resourceVersion": version,
            "creationTimestamp": null,
            "annotations": { INITIAL_EVENTS_END: "true" },
        },
    } })));
    Some(lines)
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}
