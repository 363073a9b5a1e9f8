//! Undoing patches: the empty intent under the CR's manager takes back what only it owned.
//!
//! # Contract
//! - Only the object with the recorded uid is written: gone, or another of that name, is undone.
//! - Fields that others own too keep their values; so does everything else on the object.
//! - What the API server refuses as invalid without our fields is handed over instead while the CR
//!   is being deleted: the values stay, and nobody owns them. Nothing stays Terminating for it.

use crate::act::{Actor, uid_of};
use crate::diff;
use crate::error::WriteError;
use crate::grant;
use crate::patch;
use crate::patched::Patched;
use crate::traits::WriteBody;
use serde_json::Value;

/// What becomes of a patch that the API server does not let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stubborn {
    /// It is told.
    Fails,
    /// Its values stay.
    HandedOver,
}

/// Takes a patch back.
pub(crate) async fn undo(
    actor: &Actor<'_>,
    patched: &Patched,
    stubborn: Stubborn,
) -> Result<(), WriteError> {
    let target = patched.target();
    if let Some(why) = grant::never(&target.gvk) {
        tracing::warn!(%target, why, "a record lists a patch that cannot be ours");
        return Ok(());
    }
    let mut object = patch::empty(&target);
    let path = ["metadata", "uid"].map(str::to_owned);
    crate::intent::set_path(&mut object, &path, Value::from(patched.uid.as_str()));
    let body = WriteBody::Patch {
        object,
        manager: actor.patch_manager(),
        part: patched.part.subresource().to_owned(),
    };
    match actor.write(&target, body).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        // Another object by now, none, or one that changes all the time.
        Err(error) if error.is_conflict() => match live(actor, patched).await? {
            Some(_) => Err(error),
            None => Ok(()),
        },
        Err(error) if error.is_invalid() && stubborn == Stubborn::HandedOver => {
            tracing::warn!(%target, %error, "a patch cannot be undone: its values stay");
            hand_over(actor, patched).await
        }
        Err(error) => Err(error),
    }
}

/// Leaves a patch's values as they are, owned by nobody.
pub(crate) async fn hand_over(actor: &Actor<'_>, patched: &Patched) -> Result<(), WriteError> {
    let Some(live) = live(actor, patched).await? else {
        return Ok(());
    };
    let Some(patch) = diff::disown(&live, &actor.patch_manager()) else {
        return Ok(());
    };
    match actor.patch(&patched.target(), patch).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// The object, if it is still there.
async fn live(actor: &Actor<'_>, patched: &Patched) -> Result<Option<Value>, WriteError> {
    let live = actor.deps.apply.read(&patched.target()).await?;
    Ok(live.filter(|live| uid_of(live) == patched.uid))
}
