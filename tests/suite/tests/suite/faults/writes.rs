//! Every write of a CR's life refused once in each way, or its answer lost.

use super::oracle::Outcome;
use super::steps::STEPS;
use super::world::World;
use crate::scene::SOON;
use anyhow::{Result, ensure};
use kybern_faults::{EventPattern, Fault, Flow, Flowing, Injected, Pattern, When};
use kybern_testcluster::until;

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

impl Kind {
    fn name(self) -> String {
        match self {
            Self::Refused(code) => format!("refused-{code}"),
            Self::Silenced => "silenced".to_owned(),
            Self::AnswerLost => "lost".to_owned(),
        }
    }

    fn at(self, number: u64, name: &str) -> Fault {
        let (writes, when) = (Pattern::writes().name(name), When::Nth(number));
        match self {
            Self::Refused(code) => Fault::refuse(writes, when, code),
            Self::Silenced => Fault::silence(writes, when),
            Self::AnswerLost => Fault::lose_answer(writes, when),
        }
    }
}

/// CRs with one fault each.
struct Cases(Vec<(String, Injected)>);

impl Cases {
    /// One for each kind and write.
    fn inject(world: &World, kinds: &[Kind], writes: u64) -> Self {
        let mut cases = Vec::new();
        for kind in kinds {
            for number in 1..=writes {
                let name = format!("{}-{number}-x", kind.name());
                let fault = world.proxy.inject(kind.at(number, &name));
                cases.push((name, fault));
            }
        }
        Self(cases)
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Each fault happened, and left no trace.
    fn compare(&self, world: &World, base: &Outcome) -> Result<()> {
        world.quiet()?;
        let mut wrong = Vec::new();
        for (name, fault) in &self.0 {
            if fault.hits() != 1 {
                wrong.push(format!("{name}: it happened {} times", fault.hits()));
            }
            let worse = world.outcome(name)?.worse_than(base);
            wrong.extend(worse.iter().map(|what| format!("{name}: {what}")));
        }
        println!("{} faults", self.0.len());
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

#[test]
fn a_write_that_fails_once_in_whatever_way_leaves_no_trace() -> Result<()> {
    let world = World::start("faultwrites")?;
    let base = undisturbed(&world)?;
    let cases = Cases::inject(&world, &MATRIX, base.writes);
    for step in STEPS {
        world.step(step, &cases.names())?;
    }
    cases.compare(&world, &base)
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
            step.make(&world.scene, name)?;
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
    cases.compare(&world, &base)
}
