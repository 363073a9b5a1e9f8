//! Every write of a CR's life refused once in each way, or its answer lost.

use super::operator::STEPS;
use super::oracle::Outcome;
use super::world::World;
use crate::scene::SOON;
use anyhow::{Result, ensure};
use kybern_faults::{EventPattern, Fault, Flow, Flowing, Injected, Pattern, When};
use kybern_testcluster::until;
use std::ops::RangeInclusive;

/// What happens to one write.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Refused(u16),
    Silenced,
    AnswerLost,
}

const MATRIX: [Kind; 7] = [
    Kind::Refused(409),
    Kind::Refused(422),
    Kind::Refused(429),
    Kind::Refused(500),
    Kind::Refused(503),
    Kind::Silenced,
    Kind::AnswerLost,
];

/// Those that several of are in one life: one that says what is behind, one that says nothing, and
/// one that is no answer.
const FEW: [Kind; 3] = [Kind::Refused(409), Kind::Refused(500), Kind::AnswerLost];

/// In such a life, from one write to the next that fails.
const APART: u64 = 4;

impl Kind {
    fn name(self) -> String {
        match self {
            Self::Refused(code) => format!("refused-{code}"),
            Self::Silenced => "silenced".to_owned(),
            Self::AnswerLost => "lost".to_owned(),
        }
    }

    fn at(self, when: When, name: &str) -> Fault {
        let writes = Pattern::writes().about(name);
        match self {
            Self::Refused(code) => Fault::refuse(writes, when, code),
            Self::Silenced => Fault::silence(writes, when),
            Self::AnswerLost => Fault::lose_answer(writes, when),
        }
    }
}

/// CRs, each with faults of its own.
struct Cases {
    cases: Vec<(String, Injected)>,
    /// How often each fault happens, at least and at most.
    times: RangeInclusive<usize>,
}

impl Cases {
    /// One for each kind and write.
    fn inject(world: &World, kinds: &[Kind], writes: u64) -> Self {
        let mut cases = Vec::new();
        for kind in kinds {
            for number in 1..=writes {
                let name = format!("{}-{number}-x", kind.name());
                let fault = world.proxy.inject(kind.at(When::Nth(number), &name));
                cases.push((name, fault));
            }
        }
        Self {
            cases,
            times: 1..=1,
        }
    }

    /// Some for each kind: each write of an undisturbed life fails in one of them.
    fn inject_several(world: &World, kinds: &[Kind]) -> Self {
        let mut cases = Vec::new();
        for kind in kinds {
            for first in 1..=APART {
                let name = format!("{}-from-{first}-x", kind.name());
                let when = When::Every { first, step: APART };
                let fault = world.proxy.inject(kind.at(when, &name));
                cases.push((name, fault));
            }
        }
        Self {
            cases,
            times: 3..=usize::MAX,
        }
    }

    fn names(&self) -> Vec<String> {
        self.cases.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Each fault happened, and left no trace.
    fn compare(&self, world: &World, base: &Outcome) -> Result<()> {
        let mut wrong = Vec::new();
        for (name, fault) in &self.cases {
            if !self.times.contains(&fault.hits()) {
                wrong.push(format!("{name}: it happened {} times", fault.hits()));
            }
            let worse = world.outcome(name)?.worse_than(base);
            wrong.extend(worse.iter().map(|what| format!("{name}: {what}")));
        }
        let hits: usize = self.cases.iter().map(|(_, fault)| fault.hits()).sum();
        println!("{hits} faults");
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// What becomes of CRs that nothing happens to: of all the same.
pub(crate) fn undisturbed(world: &World) -> Result<Outcome> {
    Ok(undisturbed_by_step(world)?.0)
}

/// The same, and how many writes there were after each step.
pub(crate) fn undisturbed_by_step(world: &World) -> Result<(Outcome, Vec<u64>)> {
    let names: Vec<String> = (0..3).map(|number| format!("base-{number}")).collect();
    let mut writes = Vec::new();
    for step in STEPS {
        world.step(step, &names)?;
        writes.push(world.outcome(&names[0])?.writes);
    }
    let base = world.outcome(&names[0])?;
    for name in &names[1..] {
        let other = world.outcome(name)?;
        let worse = other.worse_than(&base);
        ensure!(other == base, "{worse:?}: {} writes", other.writes);
    }
    ensure!(base.writes > 10, "{base:#?}");
    Ok((base, writes))
}

/// Every write fails once in each way, in a life for each of both; or in a few ways, several in a life.
pub(super) fn fail_once(world: &World, base: &Outcome, several: bool) -> Result<()> {
    let cases = if several {
        Cases::inject_several(world, &FEW)
    } else {
        Cases::inject(world, &MATRIX, base.writes)
    };
    for step in STEPS {
        world.step(step, &cases.names())?;
    }
    cases.compare(world, base)
}

#[test]
fn a_write_that_fails_once_in_whatever_way_leaves_no_trace() -> Result<()> {
    let world = World::start("faultwrites")?;
    let base = undisturbed(&world)?;
    fail_once(&world, &base, false)?;
    world.quiet()
}

#[test]
fn an_answer_that_is_lost_while_watches_are_late_leaves_no_trace() -> Result<()> {
    let world = World::start("faultunseen")?;
    let base = undisturbed(&world)?;
    let cases = Cases::inject(&world, &[Kind::AnswerLost], base.writes);
    let names = cases.names();
    for step in STEPS {
        let children = [("apps", "deployments"), ("", "services")].map(|(group, plural)| {
            let events = EventPattern::of(group, plural);
            world.proxy.disturb(events, Flow::Hold)
        });
        for name in &names {
            world.make(step, name)?;
        }
        until("children's events to be held", SOON, || {
            let held: usize = children.iter().map(Flowing::hits).sum();
            Ok((held > 0).then_some(()).into())
        })?;
        // Until it cannot do more with what it knows.
        world.rest(&names)?;
        drop(children);
        world.settle(&names)?;
    }
    world.quiet()?;
    cases.compare(&world, &base)
}
