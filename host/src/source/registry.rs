//! One repository of a registry (OCI distribution specification 1.1): manifests and blobs.
//!
//! # Contract
//! Nothing is taken that does not have the digest that was asked for. A password goes to the
//! registry that was named and to the token server that this registry names, a token to the
//! registry alone.

use super::artifact::{Descriptor, MANIFEST};
use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::digest::digest;
use super::error::{SourceError, at};
use super::reference::Reference;
use super::web::{Answer, Ask, Web, WebError, shown};
use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use url::Url;

/// What is to be done in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is read.
    Pull,
    /// It is written as well.
    Push,
}

impl Access {
    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// One repository, as one user sees it.
pub(crate) struct Registry {
    pub(super) web: Web,
    /// `https://HOST/v2/REPOSITORY/`.
    pub(super) base: Url,
    pub(super) reference: Reference,
    /// How the reference is called where it was written.
    pub(super) place: String,
    credentials: Option<Credentials>,
    access: Access,
    authorization: Option<HeaderValue>,
}

impl Registry {
    /// The repository of a reference that is written at `place`.
    pub(crate) fn new(
        web: &Web,
        reference: &Reference,
        place: &str,
        credentials: Option<Credentials>,
        access: Access,
    ) -> Result<Self, SourceError> {
        let host = reference.host();
        let address = |scheme: &str| {
            let text = format!("{scheme}://{host}/v2/{}/", reference.repository);
            Url::parse(&text).map_err(|_| {
                SourceError::Invalid(format!("{place}: `{host}` is no host of a registry"))
            })
        };
        let plain = address("http")?;
        let base = match web.may_be_plain(&plain) {
            true => plain,
            false => address("https")?,
        };
        Ok(Self {
            web: web.clone(),
            base,
            reference: reference.clone(),
            place: place.to_owned(),
            credentials,
            access,
            authorization: None,
        })
    }

    /// A manifest by tag or digest; none if there is none.
    pub(crate) async fn manifest(&mut self, which: &str) -> Result<Option<Bytes>, SourceError> {
        let most = self.web.limits().manifest_bytes;
        let mut ask = Ask::get(self.below(&format!("manifests/{which}"))?, most);
        ask.headers
            .insert(ACCEPT, HeaderValue::from_static(MANIFEST));
        let answer = self.call(ask).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.succeeded(&answer)?;
        if which.starts_with("sha256:") {
            self.is(&answer.body, which, "manifest")?;
        }
        Ok(Some(answer.body))
    }

    /// What a manifest names. Its size is within bounds already.
    pub(crate) async fn blob(&mut self, part: &Descriptor) -> Result<Bytes, SourceError> {
        let size = usize::try_from(part.size).unwrap_or(usize::MAX);
        let ask = Ask::get(self.below(&format!("blobs/{}", part.digest))?, size);
        let answer = self.call(ask).await?;
        self.succeeded(&answer)?;
        if answer.body.len() < size {
            return Err(SourceError::Unavailable(format!(
                "{}: the layer of {} ends after {} of {size} bytes",
                self.place,
                self.reference,
                answer.body.len()
            )));
        }
        self.is(&answer.body, &part.digest, "layer")?;
        Ok(answer.body)
    }

    /// Whether it is what was asked for.
    fn is(&self, bytes: &[u8], wanted: &str, what: &str) -> Result<(), SourceError> {
        let found = digest(bytes);
        if found == wanted {
            return Ok(());
        }
        Err(SourceError::Digest(format!(
            "{}: {} answers with a {what} of digest {found} where {wanted} was asked for",
            self.place, self.reference.registry
        )))
    }

    /// Sends a request, once more with a token or a password if it is asked for.
    pub(super) async fn call(&mut self, mut ask: Ask) -> Result<Answer, SourceError> {
        let named = ask.url.origin() == self.base.origin();
        ask.authorization = self.authorization.clone().filter(|_| named);
        let answer = self.send(ask.clone()).await?;
        // Who was refused with a token may have waited too long: it is asked for anew, once.
        if answer.status != StatusCode::UNAUTHORIZED || !named || answer.url != ask.url {
            return Ok(answer);
        }
        let challenge = challenge::of(&answer.headers).ok_or_else(|| {
            self.denied("and does not say how it wants to be asked (WWW-Authenticate)")
        })?;
        let proof = self.answer(challenge).await?;
        self.authorization = Some(proof.clone());
        ask.authorization = Some(proof);
        self.send(ask).await
    }

    /// What a challenge asks for.
    async fn answer(&self, challenge: Challenge) -> Result<HeaderValue, SourceError> {
        let basic = self.credentials.as_ref().and_then(Credentials::basic);
        match challenge {
            Challenge::Basic => basic.ok_or_else(|| self.denied(&self.who())),
            Challenge::Bearer { realm, service } => self.token(&realm, service, basic).await,
        }
    }

    /// A token of the server that the registry names.
    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        basic: Option<HeaderValue>,
    ) -> Result<HeaderValue, SourceError> {
        let mut url: Url = realm
            .parse()
            .map_err(|_| self.denied("and names no address of a token server"))?;
        let scope = format!(
            "repository:{}:{}",
            self.reference.repository,
            self.access.actions()
        );
        if let Some(service) = &service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &scope);
        let mut ask = Ask::get(url, self.web.limits().manifest_bytes);
        ask.authorization = basic;
        ask.named_by = Some(self.base.clone());
        let answer = self.send(ask).await?;
        if !answer.status.is_success() {
            let server = shown(&answer.url);
            let why = format!(
                "; the token server {server} answers {}: {}",
                answer.status,
                self.who()
            );
            return Err(self.denied(&why));
        }
        token_of(&answer.body).ok_or_else(|| self.denied("and its token server gives no token"))
    }

    async fn send(&self, ask: Ask) -> Result<Answer, SourceError> {
        let url = shown(&ask.url);
        self.web
            .send(ask)
            .await
            .map_err(|error| self.unsent(&url, &error))
    }

    fn unsent(&self, url: &str, error: &WebError) -> SourceError {
        at(&self.place, url, error)
    }

    /// What to do where the registry wants to know who asks.
    fn who(&self) -> String {
        match self.credentials {
            Some(_) => format!(
                "the user or password for {} is wrong, or may not do it",
                self.reference.registry
            ),
            None => format!(
                "give user and password for {} (pullSecret, or the docker config)",
                self.reference.registry
            ),
        }
    }

    fn denied(&self, why: &str) -> SourceError {
        let separator = if why.starts_with(';') { "" } else { " " };
        SourceError::Unavailable(format!(
            "{}: {} wants to know who asks for {}{separator}{why}",
            self.place, self.reference.registry, self.reference.repository
        ))
    }

    /// Whether the answer is a good one; else why not.
    pub(super) fn succeeded(&self, answer: &Answer) -> Result<(), SourceError> {
        if answer.status.is_success() {
            return Ok(());
        }
        if matches!(answer.status.as_u16(), 401 | 403) {
            return Err(self.denied(&format!("and answers {}: {}", answer.status, self.who())));
        }
        Err(SourceError::Unavailable(format!(
            "{}: {} answers {}{}",
            self.place,
            shown(&answer.url),
            answer.status,
            code_of(&answer.body)
        )))
    }

    /// An address of this repository.
    pub(super) fn below(&self, path: &str) -> Result<Url, SourceError> {
        self.base.join(path).map_err(|_| {
            SourceError::Invalid(format!("{}: {path} is no path of a registry", self.place))
        })
    }
}

/// The token in the answer of a token server, as a header says it.
fn token_of(body: &[u8]) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Given {
        token: Option<String>,
        access_token: Option<String>,
    }
    let given: Given = serde_json::from_slice(body).ok()?;
    let token = given.token.or(given.access_token)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The registry's own code of an error, such as ` (NAME_UNKNOWN)`; nothing else of its text.
fn code_of(body: &[u8]) -> String {
    let read = || {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        let code = value.pointer("/errors/0/code")?.as_str()?;
        let known = |b: u8| b.is_ascii_uppercase() || b == b'_';
        (code.len() <= 40 && code.bytes().all(known)).then(|| format!(" ({code})"))
    };
    read().unwrap_or_default()
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
