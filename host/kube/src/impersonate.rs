//! Acting as somebody else, so that the API server applies that user's permissions.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The user on whose behalf a request is made (`Impersonate-User`, `Impersonate-Group`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Impersonate {
    /// User name, such as `system:serviceaccount:team-a:deployer`.
    pub user: String,
    /// Groups. The API server adds those of a service account itself if there are none here, and
    /// needs no right on groups then.
    pub groups: Vec<String>,
}

impl Impersonate {
    /// A service account, in the groups that its own token would carry.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Impersonate {
        Impersonate {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: Vec::new(),
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
