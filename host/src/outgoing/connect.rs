//! Connections out of the host: names are resolved, every address is checked, certificates are the
//! machine's.

use super::address;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rustls::CertificateError;
use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;

/// Sends one request at a time over a connection of its own.
pub(crate) type Sender =
    hyper_util::client::legacy::Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// Who says which names are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// A grant, for what a plugin asks.
    Granted,
    /// Whoever registers a plugin or runs a command: `localhost` is meant when it is said.
    Administrators,
}

impl Names {
    /// What to do where a name leads to a guarded address.
    fn cure(self) -> &'static str {
        match self {
            Self::Granted => "only a grant of that very address allows it",
            Self::Administrators => "name the address itself if it is meant",
        }
    }
}

/// What sends, and why it trusts nobody if there are no certificates.
pub(crate) struct Connector {
    sender: Sender,
    untrusting: Option<String>,
}

impl Connector {
    /// Reads the machine's certificates.
    pub(crate) fn new(names: Names) -> Result<Self, String> {
        Self::resolving(Resolver::of_machine(names))
    }

    /// The same with another resolver.
    pub(super) fn resolving(resolver: Resolver) -> Result<Self, String> {
        connector(resolver)
    }

    /// What sends to this address, unless nobody could be trusted there.
    pub(crate) fn sender(&self, to: &http::Uri) -> Result<&Sender, String> {
        let tls = to.scheme() == Some(&http::uri::Scheme::HTTPS);
        match (tls, &self.untrusting) {
            (true, Some(why)) => Err(why.clone()),
            _ => Ok(&self.sender),
        }
    }
}

fn connector(resolver: Resolver) -> Result<Connector, String> {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    let ring = rustls::crypto::ring::default_provider;
    let trusting = HttpsConnectorBuilder::new().with_provider_and_native_roots(ring());
    // An image without certificates sends plain requests all the same.
    let (builder, untrusting) = match trusting {
        Ok(builder) => (builder, None),
        Err(error) => {
            let why = format!("this machine's certificates cannot be read: {error}; {TRUST}");
            let nobody = rustls::ClientConfig::builder_with_provider(Arc::new(ring()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let builder = HttpsConnectorBuilder::new().with_tls_config(nobody);
            (builder, Some(why))
        }
    };
    let https = builder.https_or_http().enable_http1().wrap_connector(http);
    let sender = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        // What one request has left behind is of no use to another plugin's.
        .pool_max_idle_per_host(0)
        .build(https);
    Ok(Connector { sender, untrusting })
}

/// Why a request was not answered.
pub(crate) enum Unsent {
    /// Its name leads where no name may.
    Refused(String),
    /// Anything else.
    Failed(String),
}

/// What to do where a certificate is not trusted.
const TRUST: &str =
    "the variable SSL_CERT_FILE names a file (PEM) with all the certificates to trust";

/// What is wrong with a certificate, if that is why nobody was talked to.
fn untrusted(error: &(dyn Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) = error else {
        return None;
    };
    Some(format!(
        "its certificate is signed by nobody whom this machine trusts: {TRUST}"
    ))
}

/// Why a request was not answered.
pub(crate) fn why(error: &(dyn Error + 'static)) -> Unsent {
    let mut reasons = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Refused(why)) = error.downcast_ref() {
            return Unsent::Refused(why.clone());
        }
        reasons.push(error.to_string());
        // What wraps errors as an I/O error hides them from `source`, perhaps more than once.
        let mut within = error.downcast_ref::<std::io::Error>();
        while let Some(inner) = within.and_then(std::io::Error::get_ref) {
            if let Some(Refused(why)) = inner.downcast_ref() {
                return Unsent::Refused(why.clone());
            }
            if let Some(why) = untrusted(inner) {
                reasons.push(why);
            }
            within = inner.downcast_ref();
        }
        next = error.source();
    }
    reasons.dedup();
    Unsent::Failed(reasons.join(": "))
}

/// Names that are looked up at once: each holds one of the threads that hooks of plugins run on.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// A name that leads where no name may.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// Says where a name leads; blocks.
type LookUp = dyn Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync;

/// A resolver, with every address checked. It is asked once for each connection, which goes to an
/// address of that very answer: nobody can answer otherwise between check and connect.
#[derive(Clone)]
pub(crate) struct Resolver {
    names: Names,
    look_up: Arc<LookUp>,
}

impl Resolver {
    /// The machine's.
    fn of_machine(names: Names) -> Self {
        Self::new(names, |name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    pub(super) fn new(
        names: Names,
        look_up: impl Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let look_up = Arc::new(look_up);
        Self { names, look_up }
    }
}

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { names, look_up } = self.clone();
        async move {
            // It takes a thread until it ends, whoever still waits for it.
            let turn = LOOKUPS.acquire().await.map_err(std::io::Error::other)?;
            let asked = name.clone();
            let looking = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                look_up(&address::asked(asked.as_str()))
            });
            let found = looking.await.map_err(std::io::Error::other)??;
            checked(names, name.as_str(), found).map_err(std::io::Error::other)
        }
        .boxed()
    }
}

/// The addresses, if a name may lead to all of them.
fn checked(
    names: Names,
    name: &str,
    found: Vec<SocketAddr>,
) -> Result<std::vec::IntoIter<SocketAddr>, Refused> {
    if names == Names::Administrators && name.eq_ignore_ascii_case("localhost") {
        return Ok(found.into_iter());
    }
    for address in &found {
        if let Some(why) = address::refused(address.ip()) {
            return Err(Refused(format!(
                "{name} resolves to {}, which {why}: {}",
                address.ip(),
                names.cure()
            )));
        }
    }
    Ok(found.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 80)
    }

    #[test]
    fn one_bad_address_among_good_ones_is_enough() {
        for names in [Names::Granted, Names::Administrators] {
            assert!(checked(names, "a", vec![of("10.0.0.1"), of("fd12::1")]).is_ok());
            assert!(checked(names, "a", vec![of("10.0.0.1"), of("169.254.169.254")]).is_err());
        }
    }

    #[test]
    fn localhost_is_what_an_administrator_says_and_nothing_that_a_grant_names() {
        assert!(checked(Names::Administrators, "localhost", vec![of("127.0.0.1")]).is_ok());
        assert!(checked(Names::Administrators, "local", vec![of("127.0.0.1")]).is_err());
        assert!(checked(Names::Granted, "localhost", vec![of("127.0.0.1")]).is_err());
    }
}
