//! `kybern plugin record`: one pass over the cluster as it is, written down as a case.

use super::cases::{self, Outcome};
use super::component::Component;
use super::rows::Row;
use super::situation::Recorded;
use crate::args::RecordArgs;
use crate::commands::dry::{self, Asked, Dry};
use crate::terminal::say;
use crate::wiring::decide::Guests;
use anyhow::Context;
use async_trait::async_trait;
use kybern_interface::{Plan, Sensing, Situation, Trigger};
use kybern_plugin::NamedAnswer;
use kybern_reconcile::{Active, Answer, Decide, DecideError, Ending};
use parking_lot::Mutex;
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;

/// Makes the pass and writes the case.
pub(super) async fn run(args: RecordArgs) -> anyhow::Result<ExitCode> {
    let component = args.wasm.as_deref().map(Component::read).transpose()?;
    let cluster = crate::cluster::connect(&args.cluster).await?;
    let registration = dry::registration(&cluster, &args.plugin).await?;
    let active = registration.status.active.clone();
    let asked = Asked {
        cluster: &cluster,
        registry: &args.registry,
        registration,
        component: component.map(|component| component.bytes),
        object: &args.object,
    };
    let seen: Arc<Mutex<Option<Seen>>> = Arc::default();
    let recorder = Arc::clone(&seen);
    let dry = Dry::prepare(asked, |guests| Arc::new(Recorder { guests, recorder })).await?;
    if let Some(active) = active.filter(|active| active.digest != dry.digest) {
        eprintln!("decided by {}; the host runs {}", dry.digest, active.digest);
    }
    let pass = dry.pass().await?;
    let Some(seen) = seen.lock().take() else {
        let why = match pass.ending {
            Ending::Failed { reason, message } | Ending::Waiting { reason, message } => {
                format!("{reason}: {message}")
            }
            _ => "the custom resource is paused, deleted, or sense skips it".to_owned(),
        };
        eprintln!("nothing is recorded: decide was not called: {why}");
        return Ok(ExitCode::FAILURE);
    };
    let outcome = match seen.decided {
        Ok(plan) => Outcome::Plan(plan),
        Err(DecideError::Hook(error)) => Outcome::Error((&error).into()),
        Err(crashed) => {
            eprintln!("nothing is recorded: {crashed}");
            return Ok(ExitCode::FAILURE);
        }
    };
    cases::write(
        &args.case,
        &recorded(seen.situation, &seen.answers)?,
        &outcome,
    )?;
    say!(
        "{}: situation.yaml, {}: {} of {} as it is now, by {}",
        args.case.display(),
        outcome.file(),
        args.object,
        args.plugin,
        dry.digest
    );
    Ok(ExitCode::SUCCESS)
}

/// What one `decide` saw, and what came of it.
struct Seen {
    situation: Situation,
    answers: Vec<Answer>,
    decided: Result<Plan, DecideError>,
}

/// Calls the plugin, and keeps what it was called with.
struct Recorder {
    guests: Guests,
    recorder: Arc<Mutex<Option<Seen>>>,
}

#[async_trait]
impl Decide for Recorder {
    async fn sense(
        &self,
        active: &Active,
        trigger: Trigger,
        answers: &[Answer],
    ) -> Result<Sensing, DecideError> {
        self.guests.sense(active, trigger, answers).await
    }

    async fn decide(
        &self,
        active: &Active,
        situation: Situation,
        answers: &[Answer],
    ) -> Result<Plan, DecideError> {
        let decided = self.guests.decide(active, situation.clone(), answers).await;
        *self.recorder.lock() = Some(Seen {
            situation,
            answers: answers.to_vec(),
            decided: decided.clone(),
        });
        decided
    }
}

/// The situation as a file has it.
fn recorded(situation: Situation, answers: &[Answer]) -> anyhow::Result<Recorded> {
    let rows = answers.iter().map(|answer| {
        let rows = rows(answer).with_context(|| format!("the answer of `{}`", answer.name))?;
        Ok((answer.name.clone(), rows))
    });
    Ok(Recorded {
        object: situation.object,
        rows: rows.collect::<anyhow::Result<_>>()?,
        outcomes: situation.outcomes,
        state: situation.state,
        settings: situation.settings,
        now: situation.now,
    })
}

/// The rows of an answer, whole numbers as numbers: a reader knows the column's type by them.
fn rows(answer: &Answer) -> anyhow::Result<Vec<Row>> {
    let named = NamedAnswer {
        name: answer.name.clone(),
        schema: Arc::clone(&answer.schema),
        batches: answer.batches.clone(),
    };
    let mut rows = named.to_json().map_err(anyhow::Error::msg)?;
    let fields = answer.schema.fields().iter();
    let whole = fields.filter(|field| field.data_type().is_integer());
    for field in whole {
        for value in rows.iter_mut().filter_map(|row| row.get_mut(field.name())) {
            if let Some(number) = value.as_str().and_then(|text| text.parse().ok()) {
                *value = Value::Number(number);
            }
        }
    }
    Ok(rows)
}
