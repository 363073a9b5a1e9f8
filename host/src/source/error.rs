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
    /// A chart that its bundle names cannot be had, for this reason of the others.
    #[error("{text}")]
    Chart {
        /// The condition's.
        reason: &'static str,
        /// Which chart, from where, and why.
        text: String,
    },
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
    /// The condition's reason.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotKept | Self::Unavailable(_) => "SourceUnavailable",
            Self::Invalid(_) => "InvalidSource",
            Self::TooLarge(_) => "SourceTooLarge",
            Self::Bundle(_) => "InvalidBundle",
            Self::Digest(_) => "DigestMismatch",
            Self::Unsigned(_) => "SignatureMissing",
            Self::BadSignature(_) => "SignatureInvalid",
            Self::Key(_) => "PublicKeyInvalid",
            Self::Chart { reason, .. } => reason,
        }
    }

    /// As a condition tells it. What `far` servers do not have is asked for less and less often.
    pub(crate) fn problem(&self, far: bool) -> Problem {
        let reason = self.reason();
        if matches!(self, Self::Invalid(_)) {
            return Problem::new(reason, self.to_string());
        }
        match far || matches!(self, Self::Chart { .. }) {
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
