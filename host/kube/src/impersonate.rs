//! Acting as somebody else, so that the API server applies that user's permissions.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The user on whose behalf a request is made (`Impersonate-User`, `Impersonate-Group`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Impersonate {
    /// User name, such as `system:serviceaccount:team-a:deployer`.
    pub user: String,
    /// Groups; the API server adds none by itself.
    pub groups: Vec<String>,
}

impl Impersonate {
    /// A service account with the two groups that its own token would carry.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Impersonate {
        Impersonate {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
        }
    }

    pub(crate) fn add_to(&self, headers: &mut HeaderMap) -> Result<(), http::Error> {
        headers.insert(
            HeaderName::from_static("impersonate-user"),
            HeaderValue::from_str(&self.user)?,
        );
        for group in &self.groups {
            headers.append(
                HeaderName::from_static("impersonate-group"),
                HeaderValue::from_str(group)?,
            );
        }
        Ok(())
    }
}
