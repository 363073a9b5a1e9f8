//! Sorts what can go wrong with a list or a watch by what has to be done about it.

use std::time::Duration;

use crate::{
    api_error::{ApiError, RequestError},
    resource::Resource,
};

use super::{Scope, event::EventError, lines::LineTooLong};

/// What went wrong, by its cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The resourceVersion or the continue token is too old: list again.
    Expired,
    /// The request itself is refused: if it was a streaming list, the server has none.
    BadRequest(String),
    /// A page is larger than the bound: ask for smaller ones.
    PageTooLarge(String),
    /// Somebody must change something: the kind is not served, or a permission is missing.
    Refused(String),
    /// The server sends what cannot be used: say so, then list again.
    Unusable(String),
    /// Try the same again, after at least this long.
    Transient {
        reason: String,
        retry_after: Option<Duration>,
    },
}

/// What was being done, for messages and for the cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    List,
    Watch,
}

impl Doing {
    fn verb(self) -> &'static str {
        match self {
            Doing::List => "list",
            Doing::Watch => "watch",
        }
    }
}

impl Failure {
    pub(crate) fn from_request(
        error: &RequestError,
        doing: Doing,
        resource: &Resource,
        scope: &Scope,
    ) -> Failure {
        match error {
            RequestError::Api(api) => Failure::from_api(api, doing, resource, scope),
            RequestError::TooLarge { .. } => Failure::PageTooLarge(error.chain()),
            RequestError::Decode { .. } | RequestError::Invalid { .. } => {
                Failure::Unusable(error.chain())
            }
            RequestError::Timeout { .. }
            | RequestError::Transport { .. }
            | RequestError::NotLeading(_) => Failure::Transient {
                reason: error.chain(),
                retry_after: None,
            },
        }
    }

    pub(crate) fn from_api(
        error: &ApiError,
        doing: Doing,
        resource: &Resource,
        scope: &Scope,
    ) -> Failure {
        let kind = resource.qualified();
        let place = scope.place();
        if error.is_expired() {
            return Failure::Expired;
        }
        match error.code {
            400 | 422 => Failure::BadRequest(error.to_string()),
            401 => Failure::Refused(format!(
                "cannot {} {kind}: the API server does not accept this host's credentials: {error}",
                doing.verb()
            )),
            403 => Failure::Refused(format!(
                "cannot {} {kind} in {place}: permission is missing; grant the verbs list and watch on {kind} in {place} to this host's user: {error}",
                doing.verb()
            )),
            404 => Failure::Refused(format!(
                "{kind} ({}) is not served by this cluster; install its CustomResourceDefinition or API server: {error}",
                resource.api_version()
            )),
            405 => Failure::Refused(format!(
                "{kind} ({}) does not support {}: {error}",
                resource.api_version(),
                doing.verb()
            )),
            _ => Failure::Transient {
                reason: error.to_string(),
                retry_after: error.retry_after,
            },
        }
    }
}

impl From<&EventError> for Failure {
    fn from(error: &EventError) -> Failure {
        Failure::Unusable(crate::api_error::chain(error))
    }
}

impl From<LineTooLong> for Failure {
    fn from(error: LineTooLong) -> Failure {
        Failure::Unusable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str) -> ApiError {
        ApiError {
            code,
            reason: reason.to_owned(),
            message: "m".to_owned(),
            name: String::new(),
            causes: Vec::new(),
            retry_after: Some(Duration::from_secs(4)),
        }
    }

    fn sort(code: u16, reason: &str) -> Failure {
        let resource = Resource::new("apps", "v1", "Deployment", "deployments", true);
        let scope = Scope {
            namespace: Some("a".to_owned()),
            ..Scope::default()
        };
        Failure::from_api(&api(code, reason), Doing::Watch, &resource, &scope)
    }

    #[test]
    fn a_missing_permission_is_named() {
        match sort(403, "Forbidden") {
            Failure::Refused(text) => assert!(
                text.contains("grant the verbs list and watch on deployments.apps in namespace a"),
                "{text}"
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn codes_are_sorted_by_their_cure() {
        assert_eq!(sort(410, "Gone"), Failure::Expired);
        assert_eq!(sort(500, "Expired"), Failure::Expired);
        assert!(matches!(sort(404, "NotFound"), Failure::Refused(_)));
        assert!(matches!(sort(405, "MethodNotAllowed"), Failure::Refused(_)));
        assert!(matches!(sort(422, "Invalid"), Failure::BadRequest(_)));
        for code in [429, 500, 503, 504] {
            let wait = Some(Duration::from_secs(4));
            assert!(
                matches!(sort(code, ""), Failure::Transient { retry_after, .. } if retry_after == wait)
            );
        }
    }
}
