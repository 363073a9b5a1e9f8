//! One HTTP request with every bound: sizes, times, redirects, and who is talked to in the clear.
//!
//! # Contract
//! * An answer that says it is larger than it may be is refused before it is read; one that grows
//!   larger is refused when it does.
//! * A redirect is followed for reading only, never from https to http, and never from the world to
//!   this machine. What proves who asks goes to the place that was named and nowhere else.
//! * Plain http only to this machine, and to hosts that the administrator lists.

use super::limits::SourceConfig;
use crate::outgoing::{self, Connector, Names, Unsent};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use url::Url;

/// Why a request was not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebError {
    /// It may not be sent there.
    #[error("{0}")]
    Refused(String),
    /// The answer is larger than it may be.
    #[error("the answer has {claimed} bytes, at most {most} are read")]
    TooLarge {
        /// What it says, or what was read.
        claimed: u64,
        /// What it may have.
        most: u64,
    },
    /// It ended before it was whole.
    #[error("the answer broke off: {0}")]
    Truncated(String),
    /// Nothing came for a while.
    #[error("nothing came for {0} s")]
    Idle(u64),
    /// Nobody answered.
    #[error("{0}")]
    Failed(String),
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// GET, HEAD, or what writes.
    pub(crate) method: Method,
    /// Where.
    pub(crate) url: Url,
    /// With what.
    pub(crate) headers: HeaderMap,
    /// Proves who asks; goes to no other place.
    pub(crate) authorization: Option<HeaderValue>,
    /// What is written.
    pub(crate) body: Bytes,
    /// Most bytes of the answer.
    pub(crate) most: usize,
    /// Who named the place, if it was a server: then it is as good as a redirect.
    pub(crate) named_by: Option<Url>,
}

impl Ask {
    /// Reads.
    pub(crate) fn get(url: Url, most: usize) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            body: Bytes::new(),
            most,
            named_by: None,
        }
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its code.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    /// Who gave it, after redirects.
    pub(crate) url: Url,
}

/// Sends requests. Clones share what trusts whom.
#[derive(Clone)]
pub(crate) struct Web {
    limits: SourceConfig,
    plain: Arc<[String]>,
    /// Made with the first request: reading the machine's certificates takes a while.
    connector: Arc<OnceLock<Result<Connector, String>>>,
}

impl Web {
    /// With these bounds; `plain` hosts (`HOST` or `HOST:PORT`) may be talked to without TLS.
    pub(crate) fn new(limits: SourceConfig, plain: Vec<String>) -> Self {
        Self {
            limits,
            plain: plain.into(),
            connector: Arc::default(),
        }
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> &SourceConfig {
        &self.limits
    }

    /// Whether this host may be talked to in the clear.
    pub(crate) fn may_be_plain(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let with_port = url
            .port_or_known_default()
            .map(|port| format!("{host}:{port}"));
        let listed = |name: &String| *name == host || Some(name) == with_port.as_ref();
        is_here(url) || self.plain.iter().any(listed)
    }

    /// Sends it, and again where it is redirected to.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Answer, WebError> {
        let mut ask = ask;
        let mut left = self.limits.redirects;
        let first = ask.url.origin();
        let named = ask.named_by.clone().unwrap_or_else(|| ask.url.clone());
        if is_downgrade(&named, &ask.url) {
            return Err(downgrade(&named, &ask.url));
        }
        loop {
            self.allowed(&ask.url, &named)?;
            let answer = self.once(&ask).await?;
            let Some(next) = redirect(&ask, &answer) else {
                return Ok(answer);
            };
            let next = next?;
            if left == 0 {
                return Err(WebError::Refused(format!(
                    "it was redirected more than {} times, at last to {}",
                    self.limits.redirects,
                    shown(&next)
                )));
            }
            left -= 1;
            if is_downgrade(&ask.url, &next) {
                return Err(downgrade(&ask.url, &next));
            }
            if next.origin() != first {
                ask.authorization = None;
            }
            ask.url = next;
        }
    }

    /// Whether anything may be sent there; `named` is what was asked for.
    fn allowed(&self, url: &Url, named: &Url) -> Result<(), WebError> {
        let refused = |why: String| Err(WebError::Refused(why));
        match url.scheme() {
            "https" => {}
            "http" if self.may_be_plain(url) => {}
            "http" => {
                return refused(format!(
                    "{} would be talked to without TLS: use https, or list it with `kybern run --insecure-registry`",
                    shown(url)
                ));
            }
            other => return refused(format!("{other}: is neither https nor http")),
        }
        if url.host().is_none() {
            return refused(format!("{} names no host", shown(url)));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused(format!("{}: leave user and password out", shown(url)));
        }
        let redirected = url.origin() != named.origin();
        let Some(address) = literal(url) else {
            return match redirected && is_here(url) && !is_here(named) {
                true => refused(format!("{} leads to this machine", shown(named))),
                false => Ok(()),
            };
        };
        let why = match redirected && !is_here(named) {
            true => outgoing::refused(address),
            false => outgoing::never(address),
        };
        why.map_or(Ok(()), |why| refused(format!("{address} {why}")))
    }

    async fn once(&self, ask: &Ask) -> Result<Answer, WebError> {
        let connector = self
            .connector
            .get_or_init(|| Connector::new(Names::Administrators));
        let connector = connector
            .as_ref()
            .map_err(|why| WebError::Failed(why.clone()))?;
        let request = request(ask)?;
        let sender = connector.sender(request.uri()).map_err(WebError::Failed)?;
        let answer =
            self.soon(sender.request(request)).await?.map_err(|error| {
                match outgoing::why(&error) {
                    Unsent::Refused(why) => WebError::Refused(why),
                    Unsent::Failed(why) => WebError::Failed(why),
                }
            })?;
        let (head, body) = answer.into_parts();
        let body = match ask.method {
            Method::HEAD => Bytes::new(),
            // What a redirect says beside its address nobody reads.
            _ if head.status.is_redirection() => Bytes::new(),
            _ if head.status.is_success() => self.whole(&head.headers, body, ask.most).await?,
            // What is wrong takes more words than a small blob.
            _ => {
                let most = ask.most.max(self.limits.manifest_bytes);
                self.whole(&head.headers, body, most).await?
            }
        };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            url: ask.url.clone(),
        })
    }

    /// The body, if it is no larger than it may be.
    async fn whole(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
        most: usize,
    ) -> Result<Bytes, WebError> {
        let too_large = |claimed: u64| WebError::TooLarge {
            claimed,
            most: u64::try_from(most).unwrap_or(u64::MAX),
        };
        let claimed = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        if let Some(claimed) = claimed.and_then(|text| text.parse::<u64>().ok())
            && usize::try_from(claimed).map_or(true, |claimed| claimed > most)
        {
            return Err(too_large(claimed));
        }
        let mut read = Vec::new();
        while let Some(frame) = self.soon(body.frame()).await? {
            let frame = frame.map_err(|error| WebError::Truncated(error.to_string()))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            let length = read.len().saturating_add(piece.len());
            if length > most {
                return Err(too_large(u64::try_from(length).unwrap_or(u64::MAX)));
            }
            read.extend_from_slice(&piece);
        }
        Ok(Bytes::from(read))
    }

    /// What comes of it, if anything does for a while.
    async fn soon<T>(&self, coming: impl Future<Output = T>) -> Result<T, WebError> {
        let idle = self.limits.idle;
        tokio::time::timeout(idle, coming)
            .await
            .map_err(|_| WebError::Idle(idle.as_secs()))
    }
}

/// Without what may be secret in it.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    format!(
        "{}://{}{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        port.unwrap_or_default(),
        url.path()
    )
}

fn request(ask: &Ask) -> Result<http::Request<Full<Bytes>>, WebError> {
    let mut request = http::Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = ask
        .url
        .as_str()
        .parse()
        .map_err(|_| WebError::Refused(format!("{} is no address", shown(&ask.url))))?;
    *request.headers_mut() = ask.headers.clone();
    let agent = HeaderValue::from_static(concat!("kybern/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(USER_AGENT, agent);
    if let Some(secret) = &ask.authorization {
        request.headers_mut().insert(AUTHORIZATION, secret.clone());
    }
    Ok(request)
}

/// Where an answer sends who reads; none if it does not.
fn redirect(ask: &Ask, answer: &Answer) -> Option<Result<Url, WebError>> {
    let reads = ask.method == Method::GET || ask.method == Method::HEAD;
    if !reads || !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let place = answer.headers.get(LOCATION).and_then(|v| v.to_str().ok());
    let next = place.and_then(|place| ask.url.join(place).ok());
    Some(
        next.ok_or_else(|| {
            WebError::Refused(format!("{} redirects to no address", shown(&ask.url)))
        }),
    )
}

/// Whether what came over TLS would go on in the clear.
fn is_downgrade(from: &Url, to: &Url) -> bool {
    from.scheme() == "https" && to.scheme() != "https"
}

fn downgrade(from: &Url, to: &Url) -> WebError {
    WebError::Refused(format!(
        "{} leads to {}: from https only to https",
        shown(from),
        shown(to)
    ))
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Domain(_) => None,
        url::Host::Ipv4(four) => Some(four.into()),
        url::Host::Ipv6(six) => Some(six.into()),
    }
}

/// Whether it names this machine.
fn is_here(url: &Url) -> bool {
    literal(url).map_or_else(
        || url.host_str() == Some("localhost"),
        |address| address.to_canonical().is_loopback(),
    )
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
