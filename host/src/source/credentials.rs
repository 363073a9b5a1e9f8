//! Who asks a registry: a user's name and password, from a docker config.

use super::error::SourceError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Under which Docker Hub's are kept.
const HUB: &str = "https://index.docker.io/v1/";

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

impl Credentials {
    /// A user's name and password.
    pub(crate) fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// What the docker config in a file says of this registry; none if it says nothing, or is not there.
    pub(crate) fn of_docker_file(path: &Path, registry: &str) -> Result<Option<Self>, SourceError> {
        let place = path.display().to_string();
        match std::fs::read(path) {
            Ok(config) => Self::of_docker_config(&config, registry, &place),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SourceError::Unavailable(format!("{place}: {error}"))),
        }
    }

    /// What a docker config says of this registry; none if it says nothing. `place` is where the
    /// config is.
    pub(crate) fn of_docker_config(
        config: &[u8],
        registry: &str,
        place: &str,
    ) -> Result<Option<Self>, SourceError> {
        let wrong = |what: String| SourceError::Unavailable(format!("{place}: {what}"));
        // What serde says of it could hold a part of a password.
        let config: DockerConfig = serde_json::from_slice(config)
            .map_err(|_| wrong("is no docker config (JSON with `auths`)".to_owned()))?;
        let entry = config.auths.iter().find(|(key, _)| names(key, registry));
        let found = match entry {
            Some((_, entry)) => entry.credentials(&wrong)?,
            None => None,
        };
        let helper = config.helpers.get(registry).or(config.store.as_ref());
        match (found, helper) {
            (None, Some(helper)) => Err(wrong(format!(
                "the password for {registry} is with the credential helper `{helper}`, which is not asked; give --username and --password-stdin, or a config with `auth`"
            ))),
            (found, _) => Ok(found),
        }
    }

    /// As a header says it.
    pub(crate) fn basic(&self) -> Option<HeaderValue> {
        let text = STANDARD.encode(format!("{}:{}", self.user, self.password));
        let mut value = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Entry {
    fn credentials(
        &self,
        wrong: &impl Fn(String) -> SourceError,
    ) -> Result<Option<Credentials>, SourceError> {
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Credentials::new(user, password)));
        }
        if self.identitytoken.as_ref().is_some_and(|t| !t.is_empty()) {
            return Err(wrong(
                "an identitytoken is not used; put user and password into it".to_owned(),
            ));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else {
            return Ok(None);
        };
        let text = STANDARD
            .decode(auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) =
            pair.ok_or_else(|| wrong("`auth` is not base64 of USER:PASSWORD".to_owned()))?;
        Ok(Some(Credentials::new(user, password)))
    }
}

/// Whether a key of `auths` means this registry: a host, perhaps as an address.
fn names(key: &str, registry: &str) -> bool {
    let hub = matches!(registry, "docker.io" | "index.docker.io");
    if hub && matches!(key, HUB | "docker.io" | "index.docker.io") {
        return true;
    }
    let key = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let host = key.split('/').next().unwrap_or_default();
    host == registry && !key.trim_end_matches('/').contains('/')
        || key.trim_end_matches('/') == format!("{registry}/v1")
        || key.trim_end_matches('/') == format!("{registry}/v2")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: &serde_json::Value, registry: &str) -> Result<Option<Credentials>, String> {
        Credentials::of_docker_config(config.to_string().as_bytes(), registry, "there")
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_registry_finds_its_own_entry_and_no_other() {
        let config = json!({ "auths": {
            "r.example": { "auth": STANDARD.encode("u:p:q") },
            "https://s.example/v2/": { "username": "v", "password": "w" },
            HUB: { "username": "h", "password": "i" },
            "t.example/other": { "username": "t", "password": "t" },
        } });
        let of = |registry: &str| read(&config, registry).unwrap();
        assert_eq!(of("r.example"), Some(Credentials::new("u", "p:q")));
        assert_eq!(of("s.example"), Some(Credentials::new("v", "w")));
        assert_eq!(of("docker.io"), Some(Credentials::new("h", "i")));
        for other in ["r.example:5000", "t.example", "example", "evil.r.example"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_without_its_content() {
        let auth = json!({ "auths": { "r.example": { "auth": "c2VjcmV0" } } });
        let told = read(&auth, "r.example").unwrap_err();
        assert!(
            told.contains("there: `auth`") && !told.contains("c2VjcmV0"),
            "{told}"
        );
        let helper = json!({ "credsStore": "desktop" });
        assert!(
            read(&helper, "r.example")
                .unwrap_err()
                .contains("--password-stdin")
        );
        let told = Credentials::of_docker_config(b"{\"auths\": secret", "r", "there").unwrap_err();
        assert!(!told.to_string().contains("secret"), "{told}");
        assert_eq!(format!("{:?}", Credentials::new("u", "p")), "Credentials");
    }
}
