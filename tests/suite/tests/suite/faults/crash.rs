//! A host that is killed after each write of a CR's life.

use super::steps::STEPS;
use super::world::World;
use super::writes::undisturbed;
use anyhow::{Result, ensure};
use kybern_faults::{Fault, Injected, Pattern, When};
use std::sync::Arc;

/// Kills the host when this write of this CR's has taken effect, before the host hears of it.
fn crash_after(world: &World, number: u64, name: &str) -> Injected {
    let host = Arc::clone(&world.host);
    let writes = Pattern::writes().name(name);
    let kill = move |_: &_| *host.lock().unwrap() = None;
    world
        .proxy
        .inject(Fault::after(writes, When::Nth(number), kill))
}

#[test]
fn a_crash_after_any_write_leaves_no_trace() -> Result<()> {
    let world = World::start("faultcrash")?;
    let base = undisturbed(&world)?;
    let mut wrong = Vec::new();
    for number in 1..=base.writes {
        let name = format!("crash-{number}-x");
        let crash = crash_after(&world, number, &name);
        for step in STEPS {
            world.step(step, std::slice::from_ref(&name))?;
        }
        ensure!(crash.hits() == 1, "{name}: {:?}", crash.happened());
        ensure!(world.restarts() == number, "{name}: the host lives");
        let worse = world.outcome(&name)?.worse_than(&base);
        wrong.extend(worse.iter().map(|what| format!("{name}: {what}")));
    }
    world.quiet()?;
    // Each start found all others as they should be.
    for number in 0..3 {
        let name = format!("base-{number}");
        let now = world.outcome(&name)?;
        if now != base {
            wrong.push(format!("{name}: {now:#?}\ninstead of\n{base:#?}"));
        }
    }
    println!("{} crashes", base.writes);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
