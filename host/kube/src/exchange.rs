//! One request and its answer, with every bound enforced.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;

use crate::{
    api_error::{ApiError, RequestError},
    clock::{Clock, SystemClock},
    cluster::Cluster,
    fence::Fence,
    impersonate::Impersonate,
};

/// Largest body of a refusal that is read; a `Status` is far smaller.
const MAX_REFUSAL_BYTES: usize = 1 << 20;

/// Plain JSON.
pub(crate) const JSON: &str = "application/json";

/// Everything about one request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) accept: &'a str,
    /// Content type and body.
    pub(crate) body: Option<(&'static str, Bytes)>,
    pub(crate) impersonate: Option<&'a Impersonate>,
    pub(crate) timeout: Duration,
    pub(crate) max_bytes: usize,
    /// For writes: who must allow it, and for how long the permission must last.
    pub(crate) fence: Option<(&'a dyn Fence, Duration)>,
}

impl<'a> Call<'a> {
    /// A read with the connection's default bounds.
    pub(crate) fn get(cluster: &Cluster, uri: String) -> Call<'a> {
        Call {
            method: Method::GET,
            uri,
            accept: JSON,
            body: None,
            impersonate: None,
            timeout: cluster.limits().request_timeout,
            max_bytes: cluster.limits().max_answer_bytes,
            fence: None,
        }
    }

    /// `GET /api/v1/pods`, without the query: it may hold a selector with data in it.
    pub(crate) fn what(&self) -> String {
        let path = self.uri.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }

    fn request(&self) -> Result<Request<Body>, RequestError> {
        let invalid = |source| RequestError::Invalid {
            what: self.what(),
            source,
        };
        let accept = HeaderValue::from_str(self.accept).map_err(|error| invalid(error.into()))?;
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.uri)
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some((content_type, _)) = &self.body {
            request = request.header(header::CONTENT_TYPE, *content_type);
        }
        if let (Some(impersonate), Some(headers)) = (self.impersonate, request.headers_mut()) {
            impersonate.add_to(headers).map_err(invalid)?;
        }
        let body = self
            .body
            .as_ref()
            .map(|(_, bytes)| bytes.clone())
            .unwrap_or_default();
        request.body(Body::from(body)).map_err(invalid)
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn exchange(cluster: &Cluster, call: &Call<'_>) -> Result<Bytes, RequestError> {
    let whole = async {
        let response = send(cluster, call).await?;
        collect(response, call.max_bytes, &call.what()).await
    };
    match tokio::time::timeout(call.timeout, whole).await {
        Ok(result) => result,
        Err(_) => Err(RequestError::Timeout {
            what: call.what(),
            limit: call.timeout,
        }),
    }
}

/// Sends a request and hands back the answer with its body unread; refusals become errors.
/// The timeout covers everything up to the headers of the answer.
pub(crate) async fn open(
    cluster: &Cluster,
    call: &Call<'_>,
) -> Result<Response<Body>, RequestError> {
    match tokio::time::timeout(call.timeout, send(cluster, call)).await {
        Ok(result) => result,
        Err(_) => Err(RequestError::Timeout {
            what: call.what(),
            limit: call.timeout,
        }),
    }
}

async fn send(cluster: &Cluster, call: &Call<'_>) -> Result<Response<Body>, RequestError> {
    let request = call.request()?;
    let client = cluster.client();
    if let Some((fence, needed)) = call.fence {
        fence.allowed(needed)?;
    }
    let mut sending = pin!(client.send(request));
    // Asking again before each poll keeps a write from reaching the connection after the machine
    // slept, when tokio's timer does not know how much time has passed.
    let answer = poll_fn(|context| {
        if let Some((fence, _)) = call.fence
            && let Err(error) = fence.allowed(Duration::ZERO)
        {
            return std::task::Poll::Ready(Err(RequestError::NotLeading(error)));
        }
        sending
            .as_mut()
            .poll(context)
            .map_err(|source| transport(call.what(), source))
    })
    .await?;
    let (parts, body) = answer.into_parts();
    if parts.status.is_success() {
        return Ok(Response::from_parts(parts, body));
    }
    if parts.status == StatusCode::UNAUTHORIZED {
        cluster.unauthorized(SystemClock.since_boot());
    }
    let refusal = read_some(body, MAX_REFUSAL_BYTES).await;
    Err(RequestError::Api(ApiError::from_answer(
        parts.status,
        &parts.headers,
        &refusal,
    )))
}

fn transport(what: String, source: kube::Error) -> RequestError {
    RequestError::Transport {
        what,
        source: Box::new(source),
    }
}

async fn collect(
    response: Response<Body>,
    limit: usize,
    what: &str,
) -> Result<Bytes, RequestError> {
    let mut body = response.into_body();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| transport(what.to_owned(), source))?;
        if let Some(data) = frame.data_ref() {
            if whole.len().saturating_add(data.len()) > limit {
                return Err(RequestError::TooLarge {
                    what: what.to_owned(),
                    limit,
                });
            }
            whole.extend_from_slice(data);
        }
    }
    Ok(whole.freeze())
}

/// Reads up to `limit` bytes; an error on the way just ends it.
async fn read_some(mut body: Body, limit: usize) -> Bytes {
    let mut whole = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            whole.extend_from_slice(data);
        }
        if whole.len() >= limit {
            break;
        }
    }
    whole.freeze()
}
