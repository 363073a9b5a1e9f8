//! Runs `act` against answers that a test gives.

use crate::http::{Request, Response, SecretRequest, SendError};
use crate::{Effect, Gvk, HookError, Plugin, Value, json};
use serde::Serialize;
use std::cell::RefCell;

type Answering = Box<dyn FnMut(&Request) -> Result<Response, SendError>>;

thread_local! {
    /// Who answers the requests of the act hook that runs on this thread.
    static ANSWERING: RefCell<Option<Answering>> = const { RefCell::new(None) };
    /// The secrets that its manifest names.
    static SECRETS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// An effect for a test, and the world outside that it meets.
pub struct Acting {
    effect: Effect,
    answering: Option<Answering>,
}

impl Acting {
    /// The first attempt of an effect.
    pub fn new(name: &str, key: &str, input: impl Serialize) -> Result<Self, HookError> {
        let metadata = json!({ "name": "test", "namespace": "default", "uid": "1" });
        let effect = Effect {
            name: name.to_owned(),
            key: key.to_owned(),
            attempt: 1,
            input: serde_json::to_value(input).map_err(super::refusal)?,
            resource: Gvk::new("", "v1", "Test"),
            metadata: metadata.as_object().cloned().unwrap_or_default(),
            settings: json!({}),
        };
        Ok(Self {
            effect,
            answering: None,
        })
    }

    /// Another attempt than the first.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.effect.attempt = attempt;
        self
    }

    /// Answers the hook's requests; without this they are denied.
    #[must_use]
    pub fn answering(
        mut self,
        answer: impl FnMut(&Request) -> Result<Response, SendError> + 'static,
    ) -> Self {
        self.answering = Some(Box::new(answer));
        self
    }

    /// Runs `act`, after the checks that a host would make.
    pub fn act<P: Plugin>(self) -> Result<Value, HookError> {
        let manifest = super::manifest::<P>()?;
        let name = &self.effect.name;
        if !manifest.effects.iter().any(|ask| ask.name == *name) {
            return Err(super::refusal(format!(
                "the manifest names no effect `{name}`"
            )));
        }
        let http =
            |ask: &kybern_interface::CapabilityAsk| ask.name == kybern_interface::Capability::Http;
        if self.answering.is_some() && !manifest.capabilities.iter().any(http) {
            return Err(super::refusal(
                "the manifest does not ask for the capability http",
            ));
        }
        let secrets = manifest.secrets.into_iter().map(|ask| ask.name);
        SECRETS.with_borrow_mut(|all| *all = secrets.collect());
        ANSWERING.with_borrow_mut(|answering| *answering = self.answering);
        let result = super::act::<P>(&self.effect);
        ANSWERING.with_borrow_mut(Option::take);
        result
    }
}

/// The same for one with secrets: whoever answers sees their names instead.
pub(crate) fn answer_with_secrets(given: &SecretRequest) -> Result<Response, SendError> {
    let mut request = given.request.clone();
    for header in &given.secrets {
        let named = SECRETS.with_borrow(|secrets| secrets.contains(&header.secret));
        if !named {
            let name = &header.secret;
            return Err(SendError::Denied(format!(
                "the manifest names no secret `{name}`"
            )));
        }
        let value = format!("{}<{}>", header.prefix, header.secret);
        request.headers.push((header.name.clone(), value));
    }
    answer(&request)
}

/// The answer to a request of the hook that runs on this thread.
pub(crate) fn answer(request: &Request) -> Result<Response, SendError> {
    ANSWERING.with_borrow_mut(|answering| match answering {
        Some(answer) => answer(request),
        None => Err(SendError::Denied(
            "nobody answers in this test: `testing::Acting` does".to_owned(),
        )),
    })
}
