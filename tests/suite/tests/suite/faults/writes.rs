//! Every write of a CR's life refused once in each way, or its answer lost.

use super::oracle::Outcome;
use super::steps::STEPS;
use super::world::World;
use anyhow::{Result, ensure};
use kybern_faults::{Fault, Injected, Pattern, When};

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

/// What becomes of CRs that nothing happens to: of all the same.
pub(crate) fn undisturbed(world: &World) -> Result<Outcome> {
    let names: Vec<String> = (0..3).map(|number| format!("base-{number}")).collect();
    for step in STEPS {
        world.step(step, &names)?;
    }
    let base = world.outcome(&names[0])?;
    for name in &names[1..] {
        let other = world.outcome(name)?;
        let worse = other.worse_than(&base);
        ensure!(other == base, "{worse:?}: {} writes", other.writes);
    }
    ensure!(base.writes > 10, "{base:#?}");
    Ok(base)
}

#[test]
fn a_write_that_fails_once_in_whatever_way_leaves_no_trace() -> Result<()> {
    let world = World::start("faultwrites")?;
    let base = undisturbed(&world)?;
    let mut cases: Vec<(String, Injected)> = Vec::new();
    for kind in MATRIX {
        for number in 1..=base.writes {
            let name = format!("{}-{number}-x", kind.name());
            let fault = world.proxy.inject(kind.at(number, &name));
            cases.push((name, fault));
        }
    }
    let names: Vec<String> = cases.iter().map(|(name, _)| name.clone()).collect();
    for step in STEPS {
        world.step(step, &names)?;
    }
    world.quiet()?;
    let mut wrong = Vec::new();
    for (name, fault) in &cases {
        if fault.hits() != 1 {
            wrong.push(format!("{name}: it happened {} times", fault.hits()));
        }
        let worse = world.outcome(name)?.worse_than(&base);
        wrong.extend(worse.iter().map(|what| format!("{name}: {what}")));
    }
    println!("{} faults", cases.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
