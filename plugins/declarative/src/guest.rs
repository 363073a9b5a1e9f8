//! The hooks, over the files of the component's bundle.

use crate::bundle::{Bundle, Files};
use crate::effects;
use crate::operator::Operator;
use crate::run::{self, Host};
use kybern_interface::{HelmAnswer, HelmRequest, Plan, Situation, Trigger};
use kybern_sdk::raw::{self, Answers, Hooks};
use kybern_sdk::{Effect, HookError, Sensing, Value};
use std::cell::OnceCell;
use std::rc::Rc;

/// The interpreter.
pub struct Declarative;

struct Embedded;

impl Files for Embedded {
    fn paths(&self) -> Vec<String> {
        raw::paths()
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        raw::read(path)
    }
}

thread_local! {
    // A component's bundle never changes: it is read once for each instance.
    static OPERATOR: OnceCell<Rc<Operator>> = const { OnceCell::new() };
}

fn operator() -> Result<Rc<Operator>, HookError> {
    OPERATOR.with(|cell| match cell.get() {
        Some(operator) => Ok(Rc::clone(operator)),
        None => {
            let operator = Operator::load(Bundle::new(Embedded));
            let operator = operator.map_err(|errors| HookError::Invalid(errors.to_string()))?;
            Ok(Rc::clone(cell.get_or_init(|| Rc::new(operator))))
        }
    })
}

/// Rows of a pass; `describe` has none.
struct Sandbox<'a>(Option<Answers<'a>>);

impl Host for Sandbox<'_> {
    fn rows(&self, query: &str) -> Result<Vec<Value>, HookError> {
        self.0
            .map_or_else(|| Ok(Vec::new()), |answers| answers.rows(query))
    }

    fn helm(&self, request: &HelmRequest) -> Result<HelmAnswer, String> {
        raw::helm(request).map_err(|why| why.to_string())
    }
}

impl Hooks for Declarative {
    fn describe() -> Result<Value, HookError> {
        let manifest = crate::describe::manifest(&*operator()?, &Sandbox(None))?;
        serde_json::to_value(manifest).map_err(|why| HookError::Internal(why.to_string()))
    }

    fn sense(trigger: &Trigger, answers: &Answers<'_>) -> Result<Sensing, HookError> {
        run::sense(
            &*operator()?,
            trigger,
            &trigger.queries,
            &Sandbox(Some(*answers)),
        )
    }

    fn decide(situation: &Situation, answers: &Answers<'_>) -> Result<Plan, HookError> {
        run::decide(&*operator()?, situation, &Sandbox(Some(*answers)))
    }

    fn act(effect: &Effect) -> Result<Value, HookError> {
        effects::act(effect)
    }
}

kybern_sdk::export_raw!(
    Declarative,
    manifest = "manifest.json",
    hooks = [describe, sense, decide, act]
);
