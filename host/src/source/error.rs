//! Why a component could not be fetched.

use crate::registration::problem::Problem;

/// Why a component could not be fetched. The text names the place and, where there is one, the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    /// Nothing is kept of it, and nobody was to be asked.
    #[error("it is not kept on disk")]
    NotKept,
    /// It cannot be had now: a retry may help.
    #[error("{0}")]
    Unavailable(String),
    /// What is written in the spec cannot be: only a change helps.
    #[error("{0}")]
    Invalid(String),
    /// It is larger than anything that is taken.
    #[error("{0}")]
    TooLarge(String),
    /// It is not what was pinned.
    #[error("{0}")]
    Digest(String),
    /// It is no bundle.
    #[error("spec.settings.bundle: {0}")]
    Bundle(String),
    /// Nobody signed it.
    #[error("{0}")]
    Unsigned(String),
    /// What is signed there is no signature of it by one of the keys.
    #[error("{0}")]
    BadSignature(String),
    /// A public key cannot be used.
    #[error("{0}")]
    Key(String),
}

impl SourceError {
    /// As a condition tells it. What `far` servers do not have is asked for less and less often.
    pub(crate) fn problem(&self, far: bool) -> Problem {
        let reason = match self {
            Self::NotKept | Self::Unavailable(_) => "SourceUnavailable",
            Self::Invalid(_) => return Problem::new("InvalidSource", self.to_string()),
            Self::TooLarge(_) => "SourceTooLarge",
            Self::Bundle(_) => "InvalidBundle",
            Self::Digest(_) => "DigestMismatch",
            Self::Unsigned(_) => "SignatureMissing",
            Self::BadSignature(_) => "SignatureInvalid",
            Self::Key(_) => "PublicKeyInvalid",
        };
        match far {
            true => Problem::far(reason, self.to_string()),
            false => Problem::passing(reason, self.to_string()),
        }
    }
}

/// What came of a request, told with the place in the spec that it was made for.
pub(super) fn at(place: &str, url: &str, error: &super::web::WebError) -> SourceError {
    use super::web::WebError;
    match error {
        WebError::TooLarge { .. } => SourceError::TooLarge(format!("{place}: {url}: {error}")),
        _ => SourceError::Unavailable(format!("{place}: {url}: {error}")),
    }
}
