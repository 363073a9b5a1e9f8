//! What became of one object.

use super::Item;
use kybern_kube::{ApiError, RequestError};
use serde_json::Value;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Updated,
    /// It was already so.
    Unchanged,
    Created,
    /// One of that name was there and was left as it is.
    Exists,
    Applied,
    Deleted,
    /// It goes once its finalizers or its Pod's grace period let it.
    Deleting,
}

/// Why nothing was done, or not certainly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something that the statement read of it has changed, or another field manager has the field.
    Conflict(String),
    /// It is not there any more, or another object has its name.
    Gone(String),
    /// RBAC.
    Forbidden(String),
    /// An admission webhook or policy.
    Denied(String),
    /// Validation: an immutable field, a value that the kind does not allow.
    Invalid(String),
    /// It cannot be known: the answer was lost.
    Unknown(String),
    /// The statement was stopped before.
    NotTried,
    /// Anything else.
    Failed(String),
}

/// One object and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) result: Result<Done, Refusal>,
    /// The object as it was answered; of one that is gone, as it was read.
    pub(crate) after: Option<Value>,
}

impl Outcome {
    pub(super) fn done(item: &Item, done: Done, after: Option<Value>) -> Self {
        let named = after.as_ref().and_then(|object| {
            let name = object.pointer("/metadata/name")?.as_str()?;
            Some(name.to_owned())
        });
        Self {
            namespace: item.namespace.clone(),
            name: named.unwrap_or_else(|| item.name.clone()),
            result: Ok(done),
            after,
        }
    }

    pub(super) fn refused(item: &Item, refusal: Refusal) -> Self {
        let refusal = match refusal {
            // The API server quotes the whole Secret.
            Refusal::Invalid(_) if item.is_secret() => Refusal::Invalid(
                "the API server finds the Secret invalid; what it says is left out, because it quotes values".to_owned(),
            ),
            other => other,
        };
        Self {
            namespace: item.namespace.clone(),
            name: item.name.clone(),
            result: Err(refusal),
            after: None,
        }
    }

    /// One word.
    pub(crate) fn word(&self) -> &'static str {
        match &self.result {
            Ok(Done::Updated) => "updated",
            Ok(Done::Unchanged) => "unchanged",
            Ok(Done::Created) => "created",
            Ok(Done::Exists) => "exists",
            Ok(Done::Applied) => "applied",
            Ok(Done::Deleted) => "deleted",
            Ok(Done::Deleting) => "deleting",
            Err(Refusal::Conflict(_)) => "conflict",
            Err(Refusal::Gone(_)) => "gone",
            Err(Refusal::Forbidden(_)) => "forbidden",
            Err(Refusal::Denied(_)) => "denied",
            Err(Refusal::Invalid(_)) => "invalid",
            Err(Refusal::Unknown(_)) => "unknown",
            Err(Refusal::NotTried) => "not tried",
            Err(Refusal::Failed(_)) => "failed",
        }
    }

    /// What is to be said of it beside the word.
    pub(crate) fn message(&self) -> Option<&str> {
        match &self.result {
            Ok(_) => None,
            Err(Refusal::NotTried) => Some("the statement was stopped before"),
            Err(
                Refusal::Conflict(why)
                | Refusal::Gone(why)
                | Refusal::Forbidden(why)
                | Refusal::Denied(why)
                | Refusal::Invalid(why)
                | Refusal::Unknown(why)
                | Refusal::Failed(why),
            ) => Some(why),
        }
    }
}

impl Refusal {
    /// Of an answer of the API server that nothing can be done about here.
    pub(super) fn of(error: &RequestError) -> Self {
        match error {
            RequestError::Api(api) => Self::of_api(api),
            RequestError::Timeout { .. } | RequestError::Transport { .. } => {
                Self::Unknown(error.chain())
            }
            other => Self::Failed(other.chain()),
        }
    }

    fn of_api(error: &ApiError) -> Self {
        let text = error.to_string();
        let denied = ["admission webhook", "ValidatingAdmissionPolicy"];
        if denied.iter().any(|who| error.message.contains(who)) {
            return Self::Denied(text);
        }
        match error.code {
            403 => Self::Forbidden(text),
            404 => Self::Gone(text),
            409 => Self::Conflict(text),
            400 | 422 => Self::Invalid(text),
            500.. => Self::Unknown(text),
            _ => Self::Failed(text),
        }
    }
}
