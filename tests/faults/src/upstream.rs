//! The API server, over TLS or plainly.

use crate::error::FaultError;
use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Of one connection, or of nobody but the one who said it.
const NOT_PASSED_ON: [header::HeaderName; 7] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// An API server to pass requests on to.
#[derive(Debug, Clone)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    tls: Option<ClientConfig>,
}

/// Connections to it, which live in one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    upstream: Upstream,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Upstream {
    /// The API server at `url`, whose certificate one of those in `pem` must have signed. Without
    /// any, only plain HTTP works.
    ///
    /// # Errors
    /// [`FaultError`], when the URL or the certificates are none.
    pub fn new(url: &str, pem: Option<&[u8]>) -> Result<Self, FaultError> {
        let wrong = || FaultError::Url {
            url: url.to_owned(),
        };
        let parts = url.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        Ok(Self {
            scheme: parts.scheme.ok_or_else(wrong)?,
            authority: parts.authority.ok_or_else(wrong)?,
            tls: pem.map(tls).transpose()?,
        })
    }
}

fn tls(pem: &[u8]) -> Result<ClientConfig, FaultError> {
    let wrong = |reason: String| FaultError::Authority { reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl Connections {
    /// To be called, and used, inside one runtime.
    pub(crate) fn new(upstream: Upstream) -> Result<Self, FaultError> {
        let tls = match upstream.tls.clone() {
            Some(tls) => tls,
            None => tls_of_nobody()?,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { upstream, client })
    }

    /// Sends a request; its headers are those of whoever asks.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(self.upstream.scheme.clone());
        parts.authority = Some(self.upstream.authority.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        *request.headers_mut() = passed_on(headers);
        self.client.request(request).await
    }
}

fn tls_of_nobody() -> Result<ClientConfig, FaultError> {
    tls(b"")
}

/// The headers that go on to the next hop.
pub(crate) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in NOT_PASSED_ON {
        passed.remove(name);
    }
    passed
}
