//! The plan while it is made.

use super::objects::{Desired, Key};
use super::patch::Change;
use super::state::State;
use super::{Pass, Run};
use kybern_interface::{
    Action, Adoption, ApplyMode, ApplyObject, Children, Deletion, EffectPhase, ImmutablePolicy,
    Plan, PrunePolicy, RunEffect, SetState,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The effect that makes the host hold a CR until what is done before it goes is done.
pub(crate) const HOLD: &str = "unmount";

pub(crate) struct Building<'a> {
    pub(crate) pass: &'a Pass<'a>,
    pub(crate) children: BTreeMap<Key, Desired>,
    pub(crate) changes: Vec<Change>,
    pub(crate) actions: Vec<Action>,
    pub(crate) status: Map<String, Value>,
    pub(crate) wave: i32,
    pub(crate) deleting: bool,
    /// Something must be done before the CR goes.
    pub(crate) holds: bool,
    pub(crate) waits: Vec<String>,
    pub(crate) requeue: Option<u64>,
    pub(crate) before: State,
    pub(crate) after: State,
    /// Values of the deploy commands.
    pub(crate) values: Value,
}

impl<'a> Building<'a> {
    pub(crate) fn new(pass: &'a Pass<'a>, before: State) -> Self {
        Self {
            pass,
            children: BTreeMap::new(),
            changes: Vec::new(),
            actions: Vec::new(),
            status: Map::new(),
            wave: 0,
            deleting: false,
            holds: false,
            waits: Vec::new(),
            requeue: None,
            after: before.clone(),
            before,
            values: Value::Object(Map::new()),
        }
    }

    /// The plan does not name all children, for this reason.
    pub(crate) fn partial(&mut self, why: impl Into<String>) {
        self.waits.push(why.into());
    }

    pub(crate) fn requeue(&mut self, millis: u64) {
        let millis = millis.max(1000);
        self.requeue = Some(self.requeue.map_or(millis, |there| there.min(millis)));
    }

    /// All ready before what comes later.
    pub(crate) fn barrier(&mut self) {
        for child in self.children.values_mut() {
            child.child.ready = true;
        }
    }

    pub(crate) fn finish(mut self) -> Run<Plan> {
        super::patch::apply(&mut self)?;
        if self.holds {
            let mut effect = RunEffect::new(HOLD, HOLD);
            effect.phase = EffectPhase::Finalize;
            self.actions.push(Action::Effect(effect));
        }
        let mut actions: Vec<Action> = std::mem::take(&mut self.children)
            .into_values()
            .map(apply)
            .collect();
        actions.append(&mut self.actions);
        if !self.status.is_empty() && !self.deleting {
            actions.push(Action::Status {
                status: Value::Object(self.status),
            });
        }
        self.after.bounded();
        if self.after != self.before {
            actions.push(Action::SetState(SetState {
                state: self.after.value(),
            }));
        }
        let why = (!self.waits.is_empty()).then(|| self.waits.join("; "));
        let children = match (&why, self.deleting) {
            (Some(why), _) => Children::Partial(why.clone()),
            (None, false) => Children::Complete,
            (None, true) => Children::Partial("the resource is being deleted".to_owned()),
        };
        let deletion = match (self.deleting, why) {
            (false, _) => Deletion::NotDeleting,
            (true, Some(why)) => Deletion::InProgress(why),
            (true, None) => Deletion::Done,
        };
        Ok(Plan {
            children,
            actions,
            deletion,
            requeue_after_ms: self.requeue,
        })
    }
}

fn apply(desired: Desired) -> Action {
    let child = desired.child;
    Action::Apply(ApplyObject {
        object: desired.object,
        mode: if child.create_once {
            ApplyMode::CreateOnce
        } else {
            ApplyMode::Managed
        },
        wave: desired.wave,
        ready: child.ready,
        on_immutable: if child.recreate {
            ImmutablePolicy::Recreate
        } else {
            ImmutablePolicy::Fail
        },
        adopt: if child.adopt {
            Adoption::IfUnowned
        } else {
            Adoption::Never
        },
        prune: match child.prune.as_deref() {
            Some("orphan") => PrunePolicy::Orphan,
            Some("keep") => PrunePolicy::Keep,
            _ => PrunePolicy::Delete,
        },
        during_deletion: child.during_deletion,
        ignore_paths: child.ignore_paths,
    })
}
