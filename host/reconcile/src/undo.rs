//! Undoing patches: the empty intent under the CR's manager takes back what only it owned.
//!
//! # Contract
//! - Only the object with the recorded uid is written: gone, or another of that name, is undone.
//! - That the version that was patched is not served any more says nothing of the object: it is
//!   undone in another. While its kind is not served at all it is not undone, and not forgotten;
//!   unless everything is let go of, since objects go with their kind.
//! - Fields that others own too keep their values; so does everything else on the object.
//! - What the API server refuses as invalid without our fields is handed over instead while the CR
//!   is being deleted: the values stay, and nobody owns them. Nothing stays Terminating for it.

use crate::act::{Actor, uid_of};
use crate::diff;
use crate::error::WriteError;
use crate::grant;
use crate::patch;
use crate::patched::{Part, Patched};
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

/// What is done about a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is taken back.
    Undo(Stubborn),
    /// Its values stay as they are, owned by nobody.
    HandOver,
}

impl Way {
    /// Whether nothing of the patch is to be known afterwards.
    fn lets_go(self) -> bool {
        self != Self::Undo(Stubborn::Fails)
    }
}

/// Ends a patch.
pub(crate) async fn undo(actor: &Actor<'_>, patched: &Patched, way: Way) -> Result<(), WriteError> {
    let target = patched.target();
    if let Some(why) = grant::never(&target.gvk) {
        tracing::warn!(%target, why, "a record lists a patch that cannot be ours");
        return Ok(());
    }
    let unserved = match end(actor, patched, way).await {
        Err(error) if error.is_not_found() => error,
        ended => return ended,
    };
    let kinds = &actor.deps.kinds;
    let Some(versions) = kinds.versions(&target.gvk.group, &target.gvk.kind) else {
        return Err(unserved);
    };
    for version in versions.iter().filter(|v| **v != target.gvk.version) {
        match end(actor, &patched.served_as(version), way).await {
            Err(error) if error.is_not_found() => {}
            ended => return ended,
        }
    }
    if versions.is_empty() && way.lets_go() {
        tracing::warn!(%target, "a patch went with its kind, which is not served any more");
        return Ok(());
    }
    Err(unserved)
}

/// Ends a patch in the version that it names.
async fn end(actor: &Actor<'_>, patched: &Patched, way: Way) -> Result<(), WriteError> {
    match way {
        Way::Undo(stubborn) => take_back(actor, patched, stubborn).await,
        Way::HandOver => hand_over(actor, patched).await,
    }
}

async fn take_back(
    actor: &Actor<'_>,
    patched: &Patched,
    stubborn: Stubborn,
) -> Result<(), WriteError> {
    let target = patched.target();
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
        Err(error) if error.is_gone(&target.name) && patched.part != Part::Status => Ok(()),
        // The same is said of a status whose subresource the kind has lost.
        Err(error) if error.is_gone(&target.name) => match live(actor, patched).await? {
            None => Ok(()),
            Some(_) if stubborn == Stubborn::HandedOver => hand_over(actor, patched).await,
            Some(_) => Err(error),
        },
        // Another object by now, none, or one that changes all the time.
        Err(error) if error.is_conflict() => match live(actor, patched).await? {
            Some(_) => Err(error),
            None => Ok(()),
        },
        // Its kind may have lost the subresource: the object itself can still be handed over.
        Err(error)
            if stubborn == Stubborn::HandedOver
                && (error.is_invalid()
                    || (error.is_not_found() && patched.part == Part::Status)) =>
        {
            tracing::warn!(%target, %error, "a patch cannot be undone: its values stay");
            hand_over(actor, patched).await
        }
        Err(error) => Err(error),
    }
}

/// Leaves a patch's values as they are, owned by nobody.
async fn hand_over(actor: &Actor<'_>, patched: &Patched) -> Result<(), WriteError> {
    let Some(live) = live(actor, patched).await? else {
        return Ok(());
    };
    let Some(patch) = diff::disown(&live, &actor.patch_manager(), patched.part.subresource())
    else {
        return Ok(());
    };
    let target = patched.target();
    match actor.patch(&target, patch).await {
        Err(error) if !error.is_gone(&target.name) => Err(error),
        _ => Ok(()),
    }
}

/// The object, if it is still there.
async fn live(actor: &Actor<'_>, patched: &Patched) -> Result<Option<Value>, WriteError> {
    let live = actor.deps.apply.read(&patched.target()).await?;
    Ok(live.filter(|live| uid_of(live) == patched.uid))
}
