//! Heads of requests and answers: what a guest may say, and what it gets to see.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Uri};
use kybern_plugin::{Header, Request, SendError};

/// Headers of one request or answer, and bytes of all of them.
const MAX_HEADERS: usize = 64;
const MAX_BYTES: usize = 32 * 1024;
/// Bytes of an address.
const MAX_URL: usize = 8 * 1024;

/// What concerns one connection, and so the host alone (RFC 9110, section 7.6.1), and what follows
/// from the address and the body.
const HOSTS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request that makes sense.
pub(super) struct Checked {
    /// Without the brackets of an address, without a dot at its end.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) request: http::Request<Bytes>,
}

impl Checked {
    pub(super) fn method(&self) -> &Method {
        self.request.method()
    }
}

/// Reads a guest's request.
pub(super) fn request(given: Request) -> Result<Checked, SendError> {
    let invalid = |what: String| SendError::Invalid(what);
    if given.url.len() > MAX_URL {
        return Err(invalid(format!(
            "the address has more than {MAX_URL} bytes"
        )));
    }
    let method = Method::from_bytes(given.method.as_bytes())
        .map_err(|_| invalid("the method is none".to_owned()))?;
    let uri: Uri = given
        .url
        .parse()
        .map_err(|_| invalid("the address cannot be read".to_owned()))?;
    let (host, port) = place(&uri)?;
    let mut request = http::Request::new(Bytes::from(given.body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers(&given.headers)?;
    Ok(Checked {
        host,
        port,
        request,
    })
}

/// Host and port of an address.
fn place(uri: &Uri) -> Result<(String, u16), SendError> {
    let port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => {
            let what = "an address begins with http:// or https://";
            return Err(SendError::Invalid(what.to_owned()));
        }
    };
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if bare.is_empty() || authority.is_some_and(|authority| authority.contains('@')) {
        let what = "an address names a host, and no user or password";
        return Err(SendError::Invalid(what.to_owned()));
    }
    Ok((bare.to_owned(), uri.port_u16().unwrap_or(port)))
}

/// A header's name, if a guest may give it.
pub(super) fn name(given: &str) -> Result<HeaderName, SendError> {
    let name = HeaderName::from_bytes(given.as_bytes())
        .map_err(|_| SendError::Invalid("a header's name is none".to_owned()))?;
    if HOSTS.contains(&name.as_str()) {
        return Err(SendError::Invalid(format!(
            "the header {name} is the host's"
        )));
    }
    Ok(name)
}

fn headers(given: &[Header]) -> Result<HeaderMap, SendError> {
    let bytes: usize = given.iter().map(|h| h.name.len() + h.value.len()).sum();
    if given.len() > MAX_HEADERS || bytes > MAX_BYTES {
        return Err(SendError::Invalid(format!(
            "a request has at most {MAX_HEADERS} headers of {MAX_BYTES} bytes together"
        )));
    }
    let mut headers = HeaderMap::new();
    for Header { name: given, value } in given {
        let name = name(given)?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| SendError::Invalid(format!("the value of header {name} is none")))?;
        // Never shown by anything that prints a request.
        value.set_sensitive(true);
        headers.append(name, value);
    }
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "kybern/",
            env!("CARGO_PKG_VERSION")
        )));
    Ok(headers)
}

/// What a guest sees of an answer's headers: those of the connection left out, as many as may be.
pub(super) fn shown(headers: &HeaderMap) -> Vec<Header> {
    let mut left = MAX_BYTES;
    headers
        .iter()
        .filter(|(name, _)| !HOSTS.contains(&name.as_str()))
        .filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            left = left.checked_sub(name.as_str().len() + value.len())?;
            Some(Header {
                name: name.as_str().to_owned(),
                value: value.to_owned(),
            })
        })
        .take(MAX_HEADERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> Result<Checked, SendError> {
        request(Request {
            method: "GET".to_owned(),
            url: "http://a.com".to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| Header {
                    name: (*name).to_owned(),
                    value: (*value).to_owned(),
                })
                .collect(),
            body: Vec::new(),
            timeout_ms: None,
        })
    }

    #[test]
    fn what_concerns_the_connection_is_the_hosts() {
        for name in [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "connection",
            "Upgrade",
            "TE",
        ] {
            let error = with(&[(name, "x")]).err().unwrap();
            assert!(format!("{error:?}").contains("is the host's"), "{name}");
        }
        assert!(with(&[("X-A", "a\r\nHost: b")]).is_err());
        assert!(with(&[("X A", "a")]).is_err());
        assert!(with(&[("X-A", &"a".repeat(MAX_BYTES))]).is_err());
        let many = vec![("X-A", "a"); MAX_HEADERS + 1];
        assert!(with(&many).is_err());
        let good = with(&[("Authorization", "hidden"), ("X-A", "1"), ("x-a", "2")]).unwrap();
        assert_eq!(good.request.headers().get_all("x-a").iter().count(), 2);
        assert!(!format!("{:?}", good.request.headers()).contains("hidden"));
        assert!(good.request.headers().contains_key("user-agent"));
    }

    #[test]
    fn an_answers_headers_are_bounded() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert(
            "x-large",
            HeaderValue::from_str(&"a".repeat(MAX_BYTES)).unwrap(),
        );
        for _ in 0..100 {
            headers.append("x-a", HeaderValue::from_static("b"));
        }
        let shown = shown(&headers);
        assert_eq!(shown.len(), MAX_HEADERS);
        assert!(shown.iter().all(|header| header.name == "x-a"));
    }
}
