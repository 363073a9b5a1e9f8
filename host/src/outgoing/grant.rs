//! `grants.http`: what may be granted, and whether a request is.

use super::address;
use super::head::Checked;
use http::Method;
use kybern_interface::HttpGrant;
use kybern_plugin::SendError;
use std::net::IpAddr;

/// Methods that open something else than a request and its answer.
const NEVER_METHODS: [&str; 2] = ["CONNECT", "TRACE"];

/// What is wrong with a grant.
pub(crate) fn check(grant: &HttpGrant) -> Result<(), String> {
    check_host(&grant.host)?;
    if grant.ports.contains(&0) {
        return Err("port 0 is no port".to_owned());
    }
    for method in &grant.methods {
        let known = Method::from_bytes(method.as_bytes()).is_ok();
        let upper = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        if !known || !upper || NEVER_METHODS.contains(&method.as_str()) {
            return Err(format!(
                "method `{method}` is none that can be granted: write it like GET"
            ));
        }
    }
    Ok(())
}

/// What is wrong with a host that is to be granted.
pub(super) fn check_host(host: &str) -> Result<(), String> {
    match literal(host) {
        Some(address) => match address::never(address) {
            Some(why) => Err(format!("host `{host}` {why}")),
            None => Ok(()),
        },
        None => name(host),
    }
}

/// A name, or `*.` and a name.
fn name(host: &str) -> Result<(), String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inner)
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(())
    } else {
        Err(format!(
            "host `{host}` is no name: write it like etcd.example.com, *.example.com or 10.0.0.7, ports apart"
        ))
    }
}

/// The address that a host is, if it is one.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Whether one of the grants allows the request; the reason if none does.
pub(super) fn granted(grants: &[HttpGrant], request: &Checked) -> Result<(), SendError> {
    let method = request.method();
    let found = grants.iter().any(|grant| {
        matches(&grant.host, &request.host)
            && is_port(&grant.ports, request.port)
            && is_method(&grant.methods, method)
    });
    if !found {
        return Err(SendError::Denied(format!(
            "no grant allows {method} to {} port {} (spec.grants.http)",
            request.host, request.port
        )));
    }
    match literal(&request.host).and_then(address::never) {
        Some(why) => Err(SendError::Denied(format!("{} {why}", request.host))),
        None => Ok(()),
    }
}

/// Whether a grant's host is this one. An address is only granted by itself.
pub(super) fn matches(granted: &str, host: &str) -> bool {
    if let Some(address) = literal(host) {
        return literal(granted) == Some(address);
    }
    let host = host.to_ascii_lowercase();
    let granted = granted.to_ascii_lowercase();
    match granted.strip_prefix("*.") {
        Some(domain) => host
            .strip_suffix(domain)
            .and_then(|labels| labels.strip_suffix('.'))
            .is_some_and(|labels| !labels.is_empty()),
        None => granted == host,
    }
}

fn is_port(granted: &[u16], port: u16) -> bool {
    match granted {
        [] => matches!(port, 80 | 443),
        ports => ports.contains(&port),
    }
}

fn is_method(granted: &[String], method: &Method) -> bool {
    match granted {
        [] => *method == Method::GET,
        methods => methods.iter().any(|granted| granted == method.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::head;
    use super::*;
    use kybern_plugin::Request;
    use serde_json::{Value, json};

    fn grant(value: Value) -> HttpGrant {
        serde_json::from_value(value).unwrap()
    }

    fn verdict(grant: &HttpGrant, method: &str, url: &str) -> Result<(), SendError> {
        let request = Request {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: None,
        };
        let request = head::request(request)?;
        granted(std::slice::from_ref(grant), &request)
    }

    #[test]
    fn host_port_and_method_must_all_match() {
        let etcd =
            grant(json!({ "host": "*.etcd.svc", "ports": [2379], "methods": ["GET", "POST"] }));
        let goes = |method: &str, url: &str| verdict(&etcd, method, url).is_ok();
        assert!(goes("POST", "http://a.etcd.svc:2379/v3"));
        assert!(goes("GET", "https://x.a.ETCD.svc:2379"));
        assert!(goes("GET", "http://a.etcd.svc.:2379"));
        assert!(!goes("PUT", "http://a.etcd.svc:2379"));
        assert!(!goes("POST", "http://a.etcd.svc"));
        for host in [
            "etcd.svc",
            "xetcd.svc",
            ".etcd.svc",
            "a.etcd.svc.evil.com",
            "a.etcd.svc@evil.com",
            "evil.com",
        ] {
            assert!(!goes("GET", &format!("http://{host}:2379/")), "{host}");
        }
        let plain = grant(json!({ "host": "example.com" }));
        for (url, is) in [
            ("http://example.com", true),
            ("https://example.com/x?y#z", true),
            ("http://example.com:443", true),
            ("http://example.com:8080", false),
            ("http://a.example.com", false),
            ("ftp://example.com", false),
            ("example.com", false),
            ("http://example.com@10.0.0.1/", false),
            ("http:///x", false),
        ] {
            assert_eq!(verdict(&plain, "GET", url).is_ok(), is, "{url}");
        }
        assert!(verdict(&plain, "HEAD", "http://example.com").is_err());
        let denied = verdict(&plain, "GET", "http://other.com/secret?token=1").unwrap_err();
        let text = format!("{denied:?}");
        assert!(
            text.contains("GET to other.com port 80") && !text.contains("token"),
            "{text}"
        );
    }

    #[test]
    fn an_address_is_granted_by_itself_alone() {
        let here = grant(json!({ "host": "127.0.0.1", "ports": [8080] }));
        assert!(verdict(&here, "GET", "http://127.0.0.1:8080").is_ok());
        for host in [
            "127.0.0.2",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
        ] {
            assert!(
                verdict(&here, "GET", &format!("http://{host}:8080")).is_err(),
                "{host}"
            );
        }
        let six = grant(json!({ "host": "fd12::7" }));
        assert!(verdict(&six, "GET", "http://[fd12:0::7]/").is_ok());
        let numbers = grant(json!({ "host": "*.0.0.1" }));
        assert!(verdict(&numbers, "GET", "http://127.0.0.1/").is_err());
    }

    #[test]
    fn what_can_be_granted_is_a_name_or_an_address() {
        let good = |value: Value| check(&grant(value));
        for host in [
            "example.com",
            "*.example.com",
            "etcd",
            "10.0.0.7",
            "fd12::7",
            "[fd12::7]",
            "169.254.169.254",
        ] {
            assert_eq!(good(json!({ "host": host })), Ok(()), "{host}");
        }
        for host in [
            "",
            "*",
            "*.",
            "*.*.com",
            "a.*.com",
            "http://a.com",
            "a.com:80",
            "a.com/x",
            "a b",
            "0.0.0.0",
        ] {
            assert!(good(json!({ "host": host })).is_err(), "{host}");
        }
        assert!(good(json!({ "host": "a", "ports": [0] })).is_err());
        for method in ["get", "", "CONNECT", "TRACE", "G T", "*"] {
            assert!(
                good(json!({ "host": "a", "methods": [method] })).is_err(),
                "{method}"
            );
        }
    }
}
