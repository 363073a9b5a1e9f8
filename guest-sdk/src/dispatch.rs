//! From a hook's input document to its output document; the same path in the sandbox and in tests.

use crate::cursor::ReadRows;
use crate::{Cr, Effect, Gvk, HookError, Plugin, Situation, Trigger, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn sense<P: Plugin>(trigger: &str) -> Result<String, HookError> {
    let document: kybern_interface::Trigger = parse("trigger", trigger)?;
    let cr = read::<P>(&document.resource, &document.object)?;
    write("sensing", &P::sense(&cr, &Trigger::new(document))?)
}

pub(crate) fn decide<P: Plugin>(situation: &str, rows: &dyn ReadRows) -> Result<String, HookError> {
    let document: kybern_interface::Situation = parse("situation", situation)?;
    let cr = read::<P>(&document.resource, &document.object)?;
    let plan = P::decide(&cr, &Situation::new(&document, rows))?;
    write("plan", &plan.build()?)
}

pub(crate) fn act<P: Plugin>(effect: &str) -> Result<String, HookError> {
    let document: Effect = parse("effect", effect)?;
    write("outcome", &P::act(&document)?)
}

fn read<P: Plugin>(resource: &Gvk, object: &Value) -> Result<Cr<P::Spec, P::Status>, HookError> {
    // Types first: their message is the nearer one.
    let cr = Cr::read(resource, object)?;
    P::check(object)?;
    Ok(cr)
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, HookError> {
    serde_json::from_str(text)
        .map_err(|error| HookError::Internal(format!("the host's {what} cannot be read: {error}")))
}

pub(crate) fn write<T: Serialize>(what: &str, document: &T) -> Result<String, HookError> {
    serde_json::to_string(document)
        .map_err(|error| HookError::Internal(format!("the {what} cannot be written: {error}")))
}
