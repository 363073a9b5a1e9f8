//! Reading objects and lists as raw JSON.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    api_error::RequestError,
    cluster::Cluster,
    encode,
    exchange::{Call, JSON, exchange},
    impersonate::Impersonate,
    resource::{Resource, Target},
};

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Objects per page; the server decides when absent.
    pub limit: Option<u32>,
    /// The token of the page before.
    pub continue_token: Option<String>,
    /// Label selector in the API's own syntax.
    pub label_selector: Option<String>,
    /// Field selector in the API's own syntax.
    pub field_selector: Option<String>,
    /// Ask for metadata alone (`PartialObjectMetadata`).
    pub metadata_only: bool,
    /// Largest accepted page, in bytes; the connection's own bound when absent.
    pub max_bytes: Option<usize>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// The objects, each complete with `apiVersion` and `kind`.
    pub items: Vec<Bytes>,
    /// The resourceVersion at which the whole list is consistent.
    pub resource_version: String,
    /// Token of the next page, when there is one.
    pub continue_token: Option<String>,
}

const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl Cluster {
    /// Reads one object.
    ///
    /// # Errors
    /// [`RequestError`]; [`crate::ApiError::is_not_found`] when it is not there.
    pub async fn get(&self, target: &Target<'_>) -> Result<Bytes, RequestError> {
        self.get_as(target, None).await
    }

    pub(crate) async fn get_as(
        &self,
        target: &Target<'_>,
        impersonate: Option<&Impersonate>,
    ) -> Result<Bytes, RequestError> {
        self.get_path_as(&target.path(None), impersonate).await
    }

    pub(crate) async fn get_path_as(
        &self,
        path: &str,
        impersonate: Option<&Impersonate>,
    ) -> Result<Bytes, RequestError> {
        let mut call = Call::get(self, path.to_owned());
        call.impersonate = impersonate;
        exchange(self, &call).await
    }

    /// Reads any path of the API server, such as `/version`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn get_path(&self, path: &str) -> Result<Bytes, RequestError> {
        exchange(self, &Call::get(self, path.to_owned())).await
    }

    /// Reads one page of a list. Always consistent: never a `resourceVersion=0` list from a cache.
    ///
    /// # Errors
    /// [`RequestError`]; [`crate::ApiError::is_expired`] when the token is too old.
    pub async fn list_page(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<ListPage, RequestError> {
        let limit = options.limit.map(|limit| limit.to_string());
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        let optional = [
            ("limit", limit.as_deref()),
            ("continue", options.continue_token.as_deref()),
            ("labelSelector", options.label_selector.as_deref()),
            ("fieldSelector", options.field_selector.as_deref()),
        ];
        parameters.extend(
            optional
                .iter()
                .filter_map(|(key, value)| Some((*key, (*value)?))),
        );
        let mut call = Call::get(
            self,
            encode::with_query(&resource.collection(namespace), &parameters),
        );
        call.accept = if options.metadata_only {
            METADATA_LIST
        } else {
            JSON
        };
        if let Some(max_bytes) = options.max_bytes {
            call.max_bytes = max_bytes;
        }
        let body = exchange(self, &call).await?;
        parse_page(&body, resource, options.metadata_only).map_err(|source| RequestError::Decode {
            what: call.what(),
            source,
        })
    }

    /// Reads a whole list, page by page, up to `cap` objects.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::TooLarge`] when there are more than `cap`.
    pub async fn list_all(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
        cap: usize,
    ) -> Result<ListPage, RequestError> {
        let mut options = options.clone();
        options.limit = Some(options.limit.unwrap_or(500));
        let mut whole: Vec<Bytes> = Vec::new();
        loop {
            let page = self.list_page(resource, namespace, &options).await?;
            whole.extend(page.items);
            if whole.len() > cap {
                let what = format!("list of {} (more than {cap} objects)", resource.qualified());
                return Err(RequestError::TooLarge { what, limit: cap });
            }
            if page.continue_token.is_none() {
                return Ok(ListPage {
                    items: whole,
                    resource_version: page.resource_version,
                    continue_token: None,
                });
            }
            options.continue_token = page.continue_token;
        }
    }
}

#[derive(Deserialize)]
struct RawList<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    #[serde(borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    api_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

pub(crate) fn parse_page(
    body: &[u8],
    resource: &Resource,
    metadata_only: bool,
) -> Result<ListPage, serde_json::Error> {
    let list: RawList<'_> = serde_json::from_slice(body)?;
    let items = list.items.unwrap_or_default();
    let items = items
        .into_iter()
        .map(|item| complete(item.get(), resource, metadata_only))
        .collect::<Result<Vec<Bytes>, _>>()?;
    Ok(ListPage {
        items,
        resource_version: list.metadata.resource_version,
        continue_token: list
            .metadata
            .continue_token
            .filter(|token| !token.is_empty()),
    })
}

/// Gives an object its `apiVersion` and `kind`: items of a list of a built-in kind lack both, and
/// metadata-only objects carry those of `PartialObjectMetadata`.
pub(crate) fn complete(
    raw: &str,
    resource: &Resource,
    metadata_only: bool,
) -> Result<Bytes, serde_json::Error> {
    let typed: Typed<'_> = serde_json::from_str(raw)?;
    if metadata_only {
        let metadata = typed.metadata.map_or("{}", RawValue::get);
        return Ok(Bytes::from(format!(
            "{{\"apiVersion\":\"{}\",\"kind\":\"{}\",\"metadata\":{metadata}}}",
            resource.api_version(),
            resource.kind,
        )));
    }
    if typed.kind.is_some() && typed.api_version.is_some() {
        return Ok(Bytes::copy_from_slice(raw.as_bytes()));
    }
    let rest = raw
        .trim_start()
        .strip_prefix('{')
        .unwrap_or_default()
        .trim_start();
    let mut whole = String::with_capacity(raw.len().saturating_add(64));
    whole.push('{');
    if typed.api_version.is_none() {
        whole.push_str(&format!("\"apiVersion\":\"{}\"", resource.api_version()));
        whole.push(',');
    }
    if typed.kind.is_none() {
        whole.push_str(&format!("\"kind\":\"{}\"", resource.kind));
        whole.push(',');
    }
    if rest.starts_with('}') {
        whole.pop();
    }
    whole.push_str(rest);
    Ok(Bytes::from(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> Resource {
        Resource::new("", "v1", "Pod", "pods", true)
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).expect("is text")
    }

    #[test]
    fn items_of_built_in_kinds_get_their_type() {
        let body = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"abc"},
            "items":[{"metadata":{"name":"a"}},{},{"apiVersion":"v1","kind":"Pod","spec":{}}]}"#;
        let page = parse_page(body, &pods(), false).expect("is a list");
        assert_eq!(page.resource_version, "7");
        assert_eq!(page.continue_token.as_deref(), Some("abc"));
        let items: Vec<&str> = page.items.iter().map(text).collect();
        assert_eq!(
            items,
            [
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#,
                r#"{"apiVersion":"v1","kind":"Pod"}"#,
                r#"{"apiVersion":"v1","kind":"Pod","spec":{}}"#
            ]
        );
        for item in items {
            let value: serde_json::Value = serde_json::from_str(item).expect("is JSON");
            assert_eq!(value["kind"], "Pod");
        }
    }

    #[test]
    fn metadata_only_objects_keep_their_own_kind() {
        let raw = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}"#;
        let whole = complete(raw, &pods(), true).expect("is an object");
        assert_eq!(
            text(&whole),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#
        );
    }

    #[test]
    fn a_list_without_items_is_empty_and_an_empty_token_is_none() {
        let body = br#"{"metadata":{"resourceVersion":"1","continue":""},"items":null}"#;
        let page = parse_page(body, &pods(), false).expect("is a list");
        assert!(page.items.is_empty());
        assert_eq!(page.continue_token, None);
    }
}
