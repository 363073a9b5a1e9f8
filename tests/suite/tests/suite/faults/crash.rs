//! A host that is killed after each write of a CR's life.

use super::operator::STEPS;
use super::oracle::Outcome;
use super::world::World;
use super::writes::undisturbed;
use anyhow::{Result, ensure};
use kybern_faults::{Fault, Injected, Pattern, When};
use std::sync::Arc;

/// Kills the host when these writes of this CR's have taken effect, before the host hears of it.
fn crash_after(world: &World, when: When, name: &str) -> Injected {
    let host = Arc::clone(&world.host);
    let writes = Pattern::writes().about(name);
    let kill = move |_: &_| *host.lock().unwrap() = None;
    world.proxy.inject(Fault::after(writes, when, kill))
}

/// A life for each write of an undisturbed one, the host killed after that write.
pub(super) fn after_any_write(world: &World, base: &Outcome) -> Result<()> {
    let mut wrong = Vec::new();
    for number in 1..=base.writes {
        let name = format!("crash-{number}-x");
        let crash = crash_after(world, When::Nth(number), &name);
        for step in STEPS {
            world.step(step, std::slice::from_ref(&name))?;
        }
        ensure!(crash.hits() == 1, "{name}: {:?}", crash.happened());
        ensure!(world.restarts() == number, "{name}: the host lives");
        let worse = world.outcome(&name)?.worse_than(base);
        wrong.extend(worse.iter().map(|what| format!("{name}: {what}")));
    }
    println!("{} crashes", base.writes);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// One life, the host killed after each write: no host makes two, but at once.
pub(super) fn after_every_write(world: &World, base: &Outcome) -> Result<()> {
    let name = "crashes-x";
    let crashes = crash_after(world, When::Each, name);
    for step in STEPS {
        let before = world.restarts();
        world.step(step, &[name.to_owned()])?;
        ensure!(world.restarts() > before, "{step:?}: the host lives");
    }
    println!("{} crashes, {} writes", world.restarts(), crashes.hits());
    let worse = world.outcome(name)?.worse_than(base);
    ensure!(worse.is_empty(), "{name}: {}", worse.join("\n"));
    Ok(())
}

/// Those that nothing happened to are as they were: each start found them as they should be.
pub(super) fn others_untouched(world: &World, base: &Outcome) -> Result<()> {
    for number in 0..3 {
        let name = format!("base-{number}");
        let now = world.outcome(&name)?;
        ensure!(now == *base, "{name}: {now:#?}\ninstead of\n{base:#?}");
    }
    Ok(())
}

#[test]
fn a_crash_after_any_write_leaves_no_trace() -> Result<()> {
    let world = World::start("faultcrash")?;
    let base = undisturbed(&world)?;
    after_any_write(&world, &base)?;
    world.quiet()?;
    others_untouched(&world, &base)
}
