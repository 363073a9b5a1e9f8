//! A component at an HTTP(S) address.

use super::digest::{digest, pinned};
use super::error::{SourceError, at};
use super::web::{Ask, Web, shown};
use bytes::Bytes;
use url::Url;

/// The place in the spec.
pub(super) const PLACE: &str = "spec.source.http.url";

/// The address, if anything may be fetched from there.
pub(crate) fn address(text: &str) -> Result<Url, SourceError> {
    let invalid = |why: &str| SourceError::Invalid(format!("{PLACE}: `{text}` {why}"));
    let url: Url = text
        .parse()
        .map_err(|_| invalid("is no address; write https://HOST/PATH"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err(invalid("is no address; write https://HOST/PATH"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceError::Invalid(format!(
            "{PLACE}: leave user and password out; a registry (spec.source.oci) takes a pullSecret"
        )));
    }
    Ok(url)
}

/// What is there, if it has the digest.
pub(super) async fn fetch(web: &Web, text: &str, wanted: &str) -> Result<Bytes, SourceError> {
    let url = address(text)?;
    let place = shown(&url);
    let ask = Ask::get(url, web.limits().component_bytes);
    let body = body(web, ask, PLACE).await?;
    pinned(Some(wanted), &digest(&body), &place)?;
    Ok(body)
}

/// What is there; `place` is what names the address.
pub(super) async fn body(web: &Web, ask: Ask, place: &str) -> Result<Bytes, SourceError> {
    let url = shown(&ask.url);
    let answer = web
        .send(ask)
        .await
        .map_err(|error| at(place, &url, &error))?;
    if !answer.status.is_success() {
        return Err(SourceError::Unavailable(format!(
            "{place}: {} answers {}",
            shown(&answer.url),
            answer.status
        )));
    }
    Ok(answer.body)
}
