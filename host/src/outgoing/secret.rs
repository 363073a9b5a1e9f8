//! Secrets by reference: the guest names one, the host puts it into a header.
//!
//! # Contract
//! A value is read after everything else of the request was allowed, goes only to hosts that its
//! grant names, over TLS unless the grant says otherwise, and never into an address or a body. The
//! guest never gets it: not as itself, and not where the answer repeats it byte by byte. What a
//! server makes of it otherwise (encoded, compressed, in parts) is not recognised.

use super::grant;
use super::head::{self, Checked};
use crate::values::{Got, Hidden, Kind, ObjectAt, Seen, ValuesConfig, once};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderValue;
use http::uri::Scheme;
use kybern_interface::{Grants, SecretGrant};
use kybern_kube::Cluster;
use kybern_plugin::{Header, Response, SecretHeader, SendError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Secrets of one registration, and of one request.
const MOST: [usize; 2] = [64, 8];
/// Bytes of a value. A shorter one could not be told from other text where an answer repeats it.
const BYTES: std::ops::RangeInclusive<usize> = 8..=8 * 1024;
/// Bytes before a value.
const PREFIX: usize = 256;
/// Stands where the answer repeated a value; no longer than the shortest.
const INSTEAD: &[u8] = b"********";

/// Reads a key of a Secret.
pub(crate) trait ReadSecret: Send + Sync {
    /// What is there now.
    fn read<'a>(&'a self, at: &'a ObjectAt, key: &'a str) -> BoxFuture<'a, Seen>;
}

impl ReadSecret for Cluster {
    fn read<'a>(&'a self, at: &'a ObjectAt, key: &'a str) -> BoxFuture<'a, Seen> {
        once(self, at, key, ValuesConfig::default().value_bytes).boxed()
    }
}

/// What is wrong with `grants.secrets`.
pub(crate) fn check(grants: &Grants) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let [most, _] = MOST;
    if grants.secrets.len() > most {
        return Err(format!("at most {most} secrets can be granted"));
    }
    for grant in &grants.secrets {
        let name = &grant.name;
        if !is_name(name) {
            return Err(format!(
                "the secret {:?} has no name that a plugin can refer to: write it like api-token",
                name.chars().take(63).collect::<String>()
            ));
        }
        if !names.insert(name) {
            return Err(format!("the secret `{name}` is granted twice"));
        }
        if grant.secret_ref.name.is_empty() || grant.secret_ref.key.is_empty() {
            return Err(format!(
                "the secret `{name}` needs secretRef.name and secretRef.key"
            ));
        }
        if grant.hosts.is_empty() {
            return Err(format!(
                "the secret `{name}` names no hosts: say where it may be sent"
            ));
        }
        for host in &grant.hosts {
            grant::check_host(host).map_err(|why| format!("the secret `{name}`: {why}"))?;
        }
    }
    Ok(())
}

/// Lower-case letters, digits and `-`.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

/// The secrets of one act call.
pub(crate) struct Secrets {
    /// Those that the manifest asks for and the registration grants.
    grants: Vec<SecretGrant>,
    /// Of the custom resource.
    namespace: Option<String>,
    reader: Option<Arc<dyn ReadSecret>>,
}

/// The values of one request, by the names of their secrets.
pub(super) type Values = BTreeMap<String, Hidden>;

impl Secrets {
    /// Those that were granted; `asked` are the names in the manifest.
    pub(crate) fn new<'a>(
        grants: &Grants,
        asked: impl Iterator<Item = &'a str>,
        namespace: Option<String>,
        reader: Option<Arc<dyn ReadSecret>>,
    ) -> Self {
        let asked: BTreeSet<&str> = asked.collect();
        let both = grants.secrets.iter();
        let both = both.filter(|grant| asked.contains(grant.name.as_str()));
        Self {
            grants: both.cloned().collect(),
            namespace,
            reader,
        }
    }

    /// The grants of what these headers name; all of them allow this request.
    pub(super) fn granted<'a>(
        &'a self,
        headers: &[SecretHeader],
        request: &Checked,
    ) -> Result<Vec<&'a SecretGrant>, SendError> {
        let [_, most] = MOST;
        if headers.len() > most {
            let what = format!("a request has at most {most} headers with secrets");
            return Err(SendError::Invalid(what));
        }
        headers
            .iter()
            .map(|header| self.grant(header, request))
            .collect()
    }

    fn grant(&self, header: &SecretHeader, request: &Checked) -> Result<&SecretGrant, SendError> {
        let denied = |why: String| Err(SendError::Denied(why));
        let name = head::name(&header.name)?;
        if request.request.headers().contains_key(&name) {
            let what = format!("the header {name} is given twice, once with a secret");
            return Err(SendError::Invalid(what));
        }
        if header.prefix.len() > PREFIX {
            let what = format!("the prefix of header {name} has more than {PREFIX} bytes");
            return Err(SendError::Invalid(what));
        }
        let secret = &header.secret;
        if !is_name(secret) {
            let what = "a secret's name is none".to_owned();
            return Err(SendError::Invalid(what));
        }
        let Some(grant) = self.grants.iter().find(|grant| grant.name == *secret) else {
            return denied(format!(
                "no grant allows the secret `{secret}` (the manifest's secrets, spec.grants.secrets)"
            ));
        };
        let host = &request.host;
        if !grant
            .hosts
            .iter()
            .any(|granted| grant::matches(granted, host))
        {
            return denied(format!(
                "the secret `{secret}` may not be sent to {host} (spec.grants.secrets, hosts)"
            ));
        }
        let tls = request.request.uri().scheme() == Some(&Scheme::HTTPS);
        if !tls && !grant.allow_plain_http {
            return denied(format!(
                "the secret `{secret}` may not be sent over http (spec.grants.secrets, allowPlainHttp)"
            ));
        }
        Ok(grant)
    }

    /// Their values, as they are now.
    pub(super) async fn read(&self, grants: &[&SecretGrant]) -> Result<Values, SendError> {
        let mut values = Values::new();
        for grant in grants {
            if !values.contains_key(&grant.name) {
                let value = self.one(grant).await.map_err(SendError::Failed)?;
                values.insert(grant.name.clone(), value);
            }
        }
        Ok(values)
    }

    async fn one(&self, grant: &SecretGrant) -> Result<Hidden, String> {
        let (name, of) = (&grant.name, &grant.secret_ref);
        let failed = |why: &str| format!("the secret `{name}`: {why}");
        let reader = self.reader.as_ref();
        let reader = reader.ok_or_else(|| failed("there is no cluster here"))?;
        let namespace = of.namespace.clone().or_else(|| self.namespace.clone());
        let namespace = namespace.ok_or_else(|| {
            failed("the resource has no namespace: name one in spec.grants.secrets[].secretRef")
        })?;
        let at = ObjectAt {
            kind: Kind::Secret,
            namespace,
            name: of.name.clone(),
        };
        match reader.read(&at, &of.key).await {
            Seen::There(mut values) => match values.remove(&of.key) {
                Some(Got::Value(value)) => {
                    usable(&value).map_err(|why| failed(&format!("{at} key {} {why}", of.key)))
                }
                Some(Got::TooLarge(_)) => Err(failed(&format!("{at} key {} is too long", of.key))),
                None => Err(failed(&format!("{at} has no key {}; add it", of.key))),
            },
            Seen::Absent | Seen::Pending => Err(failed(&format!("{at} does not exist; create it"))),
            Seen::Failed(why) => Err(failed(&format!("{at} cannot be read: {why}"))),
        }
    }
}

/// The value without the end of line that files have.
fn usable(value: &Hidden) -> Result<Hidden, String> {
    let bytes = value.bytes();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    // Servers take them away: what they send back would be another text.
    if bytes.trim_ascii() != bytes {
        return Err("begins or ends with a blank; remove it".to_owned());
    }
    if !BYTES.contains(&bytes.len()) {
        let (least, most) = (BYTES.start(), BYTES.end());
        return Err(format!("needs {least} to {most} bytes"));
    }
    match HeaderValue::from_bytes(bytes) {
        Ok(_) => Ok(Hidden::new(bytes)),
        Err(_) => Err("holds what no header can".to_owned()),
    }
}

/// Puts the values into the request.
pub(super) fn put_in(
    request: &mut Checked,
    headers: &[SecretHeader],
    values: &Values,
) -> Result<(), SendError> {
    for header in headers {
        let name = head::name(&header.name)?;
        let mut whole = header.prefix.clone().into_bytes();
        if let Some(value) = values.get(&header.secret) {
            whole.extend_from_slice(value.bytes());
        }
        let mut value = HeaderValue::from_bytes(&whole)
            .map_err(|_| SendError::Invalid(format!("the prefix of header {name} is none")))?;
        value.set_sensitive(true);
        request.request.headers_mut().append(name, value);
    }
    Ok(())
}

/// The answer, without what it repeats of the values.
pub(super) fn taken_out(answer: Response, values: &Values) -> Response {
    let mut body = answer.body;
    let mut headers = answer.headers;
    // The longest first: one may be a part of another.
    let mut values: Vec<&[u8]> = values.values().map(Hidden::bytes).collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in values {
        body = without(body, value);
        headers = headers
            .into_iter()
            .map(|header| shown(header, value))
            .collect();
    }
    Response {
        body,
        headers,
        ..answer
    }
}

fn shown(header: Header, value: &[u8]) -> Header {
    let text = |text: String| {
        let bytes = without(text.into_bytes(), value);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Header {
        name: text(header.name),
        value: text(header.value),
    }
}

fn without(bytes: Vec<u8>, value: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let Some((first, after)) = rest.split_first() {
        rest = match rest.strip_prefix(value) {
            Some(after) => {
                kept.extend_from_slice(INSTEAD);
                after
            }
            None => {
                kept.push(*first);
                after
            }
        };
    }
    kept
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
