//! A real registry of artifacts (CNCF distribution) on this machine, without TLS unless told.

use crate::component::Component;
use crate::keys::hex;
use crate::ports;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::signer::Signer;
use crate::wait::{Progress, until};
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

const READY: Duration = Duration::from_secs(30);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Who may read and write, where anybody is asked.
pub const USER: &str = "somebody";
/// Their password.
pub const PASSWORD: &str = "s3cret";
/// The same, as htpasswd keeps it (bcrypt).
const KEPT: &str = "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

/// A running registry; killed when dropped, with all that it keeps.
#[derive(Debug)]
pub struct Registry {
    address: String,
    /// `http://HOST:PORT`, or https.
    url: String,
    agent: Agent,
    authorization: Option<String>,
    folder: Scratch,
    _process: Process,
}

impl Registry {
    /// Starts one that anybody may read and write.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn open() -> Result<Self> {
        Self::start(None, None)
    }

    /// Starts one that anybody may read and write, over TLS with this certificate and its key (PEM
    /// files).
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn over_tls((certificate, key): (&Path, &Path)) -> Result<Self> {
        Self::start(None, Some((certificate, key)))
    }

    /// Starts one that only [`USER`] may read and write.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn guarded() -> Result<Self> {
        let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        Self::start(Some(format!("Basic {pair}")), None)
    }

    fn start(authorization: Option<String>, tls: Option<(&Path, &Path)>) -> Result<Self> {
        let program = Component::Registry.find()?;
        let folder = Scratch::create()?;
        let [port] = ports::free()?;
        let address = format!("127.0.0.1:{port}");
        let config = folder.path().join("registry.json");
        let users = folder.path().join("htpasswd");
        std::fs::write(&users, format!("{USER}:{KEPT}\n")).context("write the users")?;
        // YAML is what it reads, and JSON is YAML.
        let settings = settings(
            folder.path(),
            &address,
            authorization.as_ref().map(|_| &*users),
            tls,
        );
        std::fs::write(&config, settings.to_string()).context("write the settings")?;
        let (url, agent) = match tls {
            None => (format!("http://{address}"), Agent::new_with_defaults()),
            Some((certificate, _)) => (format!("https://{address}"), trusting(certificate)?),
        };
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none");
        let mut process = Process::start("registry", command, folder.path())?;
        until("the registry answers", READY, || {
            process.alive()?;
            Ok(match agent.get(format!("{url}/")).call() {
                Ok(_) => Progress::Done(()),
                Err(error) => Progress::Waiting(error.to_string()),
            })
        })?;
        Ok(Self {
            address,
            url,
            agent,
            authorization,
            folder,
            _process: process,
        })
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where a blob is.
    #[must_use]
    pub fn blob_url(&self, repository: &str, digest: &str) -> String {
        format!("{}/v2/{repository}/blobs/{digest}", self.url)
    }

    /// The directory that it keeps everything in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A docker config for [`USER`].
    #[must_use]
    pub fn docker_config(&self) -> Value {
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        json!({ "auths": { &self.address: { "auth": auth } } })
    }

    /// Puts a blob into a repository; its digest.
    ///
    /// # Errors
    /// The registry refuses it.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Result<String> {
        let digest = digest(bytes);
        let uploads = format!("{}/v2/{repository}/blobs/uploads/", self.url);
        let begun = self.authorized(self.agent.post(uploads)).send_empty()?;
        let place = begun.headers().get("location").context("a Location")?;
        let place = place.to_str()?;
        let separator = if place.contains('?') { '&' } else { '?' };
        let address = format!("{place}{separator}digest={digest}");
        self.authorized(self.agent.put(address)).send(bytes)?;
        Ok(digest)
    }

    /// Puts a manifest into a repository under a tag; its digest.
    ///
    /// # Errors
    /// The registry refuses it.
    pub fn put_manifest(&self, repository: &str, tag: &str, manifest: &[u8]) -> Result<String> {
        let address = format!("{}/v2/{repository}/manifests/{tag}", self.url);
        let put = self.authorized(self.agent.put(address));
        put.header("Content-Type", MANIFEST).send(manifest)?;
        Ok(digest(manifest))
    }

    /// Signs an artifact as `cosign sign --key` does: a document that names its manifest's digest
    /// (`says`, most often the same as `manifest`), kept under a tag of its own.
    ///
    /// # Errors
    /// The registry refuses it.
    pub fn sign(
        &self,
        repository: &str,
        manifest: &str,
        says: &str,
        signer: &Signer,
    ) -> Result<()> {
        let payload = json!({ "critical": {
            "identity": { "docker-reference": format!("{}/{repository}", self.address) },
            "image": { "docker-manifest-digest": says },
            "type": "cosign container image signature",
        }, "optional": null })
        .to_string();
        let signature = STANDARD.encode(signer.sign(payload.as_bytes())?);
        let blob = self.put_blob(repository, payload.as_bytes())?;
        let config = self.put_blob(repository, b"{}")?;
        let list = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": blob, "size": payload.len(),
                "annotations": { "dev.cosignproject.cosign/signature": signature },
            }],
        });
        let Some(hex) = manifest.strip_prefix("sha256:") else {
            bail!("{manifest} is no digest");
        };
        let tag = format!("sha256-{hex}.sig");
        self.put_manifest(repository, &tag, list.to_string().as_bytes())?;
        Ok(())
    }

    fn authorized<Any>(&self, request: ureq::RequestBuilder<Any>) -> ureq::RequestBuilder<Any> {
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }
}

/// Trusts these certificates (a PEM file), and no others.
fn trusting(certificates: &Path) -> Result<Agent> {
    let pem = std::fs::read(certificates).context("read the certificates")?;
    let roots = RootCerts::Specific(Arc::new(crate::client::certificates(&pem)?));
    let tls = TlsConfig::builder().root_certs(roots).build();
    let config = Agent::config_builder().tls_config(tls).proxy(None).build();
    Ok(config.new_agent())
}

fn settings(
    folder: &Path,
    address: &str,
    users: Option<&Path>,
    tls: Option<(&Path, &Path)>,
) -> Value {
    let mut http = json!({ "addr": address });
    if let (Some((certificate, key)), Value::Object(http)) = (tls, &mut http) {
        let files = json!({ "certificate": certificate, "key": key });
        http.insert("tls".to_owned(), files);
    }
    let mut settings = json!({
        "version": "0.1",
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": folder.join("artifacts") },
            "delete": { "enabled": true },
        },
        "http": http,
    });
    if let (Some(users), Value::Object(all)) = (users, &mut settings) {
        let auth = json!({ "htpasswd": { "realm": "tests", "path": users } });
        all.insert("auth".to_owned(), auth);
    }
    settings
}

/// `sha256:` and 64 hex digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}
