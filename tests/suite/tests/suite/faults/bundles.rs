//! Operators in YAML, interpreted: several faults in one life.
//!
//! A bundle has its own plans, state and reads; what is written for them is the host's, which goes
//! through each fault by itself with AppService in Rust. So here one life has many: the host is
//! killed after every write, and every fourth write fails (409, 500, or its answer is lost) while
//! watches of other CRs tell late, twice, in another order and not at all.
//! With `KYBERN_FAULTS=all` each fault at each write has a life of its own here too, whatever way it
//! fails, and watches begin again and tell of an earlier time as well.

use super::operator::Operator;
use super::oracle::Outcome;
use super::world::World;
use super::writes::{fail_once, undisturbed};
use super::{crash, watches};
use crate::scene::Language;
use anyhow::Result;

const APPSERVICE: Operator = Operator::AppService(Language::Yaml);

/// Whether each fault shall have a life of its own.
fn all() -> bool {
    std::env::var_os("KYBERN_FAULTS").is_some_and(|value| value == "all")
}

/// An undisturbed run of an operator, and a run with faults beside it.
fn beside(
    name: &str,
    operator: Operator,
    faults: impl Fn(&World, &Outcome) -> Result<()>,
) -> Result<()> {
    let world = World::start_with(name, operator, &[])?;
    let base = undisturbed(&world)?;
    faults(&world, &base)?;
    world.quiet()?;
    crash::others_untouched(&world, &base)
}

fn crashes(name: &str, operator: Operator) -> Result<()> {
    beside(name, operator, |world, base| {
        if all() {
            return crash::after_any_write(world, base);
        }
        crash::after_every_write(world, base)
    })
}

fn disturbances(name: &str, operator: Operator) -> Result<()> {
    beside(name, operator, |world, base| {
        at_once(&[
            &|| fail_once(world, base, !all()),
            &|| watches::tell_otherwise(world, base),
            &|| watches::lose_events(world, base),
        ])?;
        if all() {
            watches::tell_again(world, base)?;
            watches::tell_of_earlier(world, base)?;
        }
        Ok(())
    })
}

/// Does all of it at the same time.
fn at_once(all: &[&(dyn Fn() -> Result<()> + Sync)]) -> Result<()> {
    std::thread::scope(|threads| {
        let running: Vec<_> = all.iter().map(|one| threads.spawn(one)).collect();
        let ended = running.into_iter();
        let mut ended = ended.map(|thread| thread.join().expect("the thread ends"));
        ended.try_for_each(|end| end)
    })
}

#[test]
fn a_crash_after_every_write_of_appservice_leaves_no_trace() -> Result<()> {
    crashes("yamlcrash", APPSERVICE)
}

#[test]
fn failing_writes_and_disturbed_watches_of_appservice_leave_no_trace() -> Result<()> {
    disturbances("yamlfaults", APPSERVICE)
}

#[test]
fn a_crash_after_every_write_of_a_microservice_leaves_no_trace() -> Result<()> {
    crashes("msdcrash", Operator::MicroService)
}

#[test]
fn failing_writes_and_disturbed_watches_of_a_microservice_leave_no_trace() -> Result<()> {
    disturbances("msdfaults", Operator::MicroService)
}
