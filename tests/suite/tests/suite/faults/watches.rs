//! Watches that tell late, twice, in another order, not at all, or of an earlier time.

use super::operator::{STEPS, Step};
use super::oracle::Outcome;
use super::world::World;
use super::writes::undisturbed;
use crate::scene::SOON;
use anyhow::{Result, ensure};
use kybern_faults::{Entry, EventPattern, Fault, Flow, Flowing, Injected, Mark, Pattern, When};
use kybern_testcluster::{Progress, until};

/// Group and plural.
type Kind = (&'static str, &'static str);

fn wait_hits(what: &str, at_least: usize, hits: impl Fn() -> usize) -> Result<()> {
    until(what, SOON, || {
        Ok(match hits() {
            seen if seen >= at_least => Progress::Done(()),
            seen => Progress::Waiting(format!("{seen} times")),
        })
    })
}

fn compare(world: &World, name: &str, base: &Outcome) -> Result<()> {
    let worse = world.outcome(name)?.worse_than(base);
    ensure!(worse.is_empty(), "{name}: {}", worse.join("\n"));
    Ok(())
}

fn disturb(world: &World, (group, plural): Kind, name: &str, flow: Flow) -> Flowing {
    let events = EventPattern::of(group, plural).name(name);
    world.proxy.disturb(events, flow)
}

/// Does it for each kind at once, with a CR of its own: more happens to each than its own fault.
fn for_each_kind(world: &World, each: impl Fn(Kind) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|threads| {
        let each = &each;
        let running = world
            .operator
            .disturbed()
            .map(|kind| threads.spawn(move || each(kind)));
        let ended = running.map(|thread| thread.join().expect("the thread ends"));
        ended.into_iter().collect()
    })
}

/// Takes a CR through all steps, each inside of `around`, and compares it in the end.
fn run(
    world: &World,
    name: &str,
    base: &Outcome,
    around: impl Fn(Step, &dyn Fn() -> Result<()>) -> Result<()>,
) -> Result<()> {
    for step in STEPS {
        around(step, &|| world.make(step, name))?;
        world.settle(&[name.to_owned()])?;
    }
    compare(world, name, base)
}

/// The next time that this watch is resumed the API server has forgotten what came since.
fn expire(world: &World, (group, plural): Kind) -> Result<Injected> {
    let resumed = Pattern::resumed_watches().resource(group, plural);
    let expired = world
        .proxy
        .inject(Fault::refuse(resumed, When::First(1), 410));
    let cut = world.proxy.cut(&Pattern::any().resource(group, plural));
    ensure!(cut > 0, "nobody watches {plural}");
    Ok(expired)
}

/// Waits until the host has got so many lists of this kind.
fn wait_lists(world: &World, (group, plural): Kind, since: Mark, at_least: usize) -> Result<()> {
    let lists = Pattern::streamed_lists().resource(group, plural);
    wait_hits(&format!("lists of {plural}"), at_least, || {
        let asked = world.proxy.journal().since(since);
        let got = |entry: &&Entry| entry.code == Some(200) && lists.matches(&entry.ask);
        asked.iter().filter(got).count()
    })
}

/// Events come late, in another order, and twice.
pub(super) fn tell_otherwise(world: &World, base: &Outcome) -> Result<()> {
    for_each_kind(world, |kind| {
        let name = format!("late-{}-x", kind.1);
        run(world, &name, base, |step, make| {
            let held = disturb(world, kind, &name, Flow::Hold);
            make()?;
            if world.operator.changes(step, kind.1) {
                wait_hits("an event to be held", 1, || held.hits())?;
            }
            world.rest(std::slice::from_ref(&name))
        })
    })?;
    // What the host wrote last, the CR's status, is told before what it wrote first.
    let name = "reordered-x";
    let [resource, children @ ..] = world.operator.disturbed();
    run(world, name, base, |step, make| {
        let held = children.map(|kind| disturb(world, kind, name, Flow::Hold));
        let apps = disturb(world, resource, name, Flow::Pass);
        make()?;
        if world.operator.changes(step, resource.1) {
            // The change and the status.
            wait_hits("the CR's events to pass", 2, || apps.hits())?;
        }
        wait_hits("children's events to be held", 1, || {
            held.iter().map(Flowing::hits).sum()
        })?;
        world.rest(&[name.to_owned()])
    })?;
    let name = "twice-x";
    let twice = world
        .operator
        .disturbed()
        .map(|kind| disturb(world, kind, name, Flow::Repeat));
    run(world, name, base, |_, make| make())?;
    ensure!(twice.iter().all(|kind| kind.hits() >= 3), "{twice:?}");
    Ok(())
}

#[test]
fn watches_that_tell_late_twice_or_in_another_order_leave_no_trace() -> Result<()> {
    let world = World::start("faultevents")?;
    let base = undisturbed(&world)?;
    tell_otherwise(&world, &base)?;
    world.quiet()
}

/// Watches begin again where they began.
pub(super) fn tell_again(world: &World, base: &Outcome) -> Result<()> {
    for_each_kind(world, |kind| {
        let name = format!("replayed-{}-x", kind.1);
        let start = world.scene.plane.store().revision()?.to_string();
        run(world, &name, base, |step, make| {
            make()?;
            if !world.operator.changes(step, kind.1) {
                return Ok(());
            }
            world.settle(std::slice::from_ref(&name))?;
            let watches = Pattern::any().resource(kind.0, kind.1);
            let replay = Fault::replay(watches.clone(), When::First(1), &start);
            let replay = world.proxy.inject(replay);
            let events = disturb(world, kind, &name, Flow::Pass);
            ensure!(world.proxy.cut(&watches) > 0, "nobody watches {}", kind.1);
            wait_hits("a watch to be replayed", 1, || replay.hits())?;
            wait_hits("its events", 1, || events.hits())
        })
    })?;
    Ok(())
}

#[test]
fn watches_that_tell_everything_once_more_leave_no_trace() -> Result<()> {
    let world = World::start("faultreplay")?;
    let base = undisturbed(&world)?;
    tell_again(&world, &base)?;
    world.quiet()
}

/// Events are lost, until a list brings what they said.
pub(super) fn lose_events(world: &World, base: &Outcome) -> Result<()> {
    for_each_kind(world, |kind| {
        let name = format!("dropped-{}-x", kind.1);
        run(world, &name, base, |step, make| {
            if !world.operator.changes(step, kind.1) {
                return make();
            }
            let lost = disturb(world, kind, &name, Flow::Drop);
            make()?;
            wait_hits("an event to be lost", 1, || lost.hits())?;
            world.rest(std::slice::from_ref(&name))?;
            drop(lost);
            let mark = world.proxy.journal().mark();
            let expired = expire(world, kind)?;
            wait_hits("a resumed watch to be refused", 1, || expired.hits())?;
            wait_lists(world, kind, mark, 1)
        })
    })?;
    Ok(())
}

#[test]
fn events_that_are_lost_come_with_the_next_list() -> Result<()> {
    let world = World::start("faultlost")?;
    let base = undisturbed(&world)?;
    lose_events(&world, &base)?;
    world.quiet()
}

/// Lists are of an earlier time.
pub(super) fn tell_of_earlier(world: &World, base: &Outcome) -> Result<()> {
    for_each_kind(world, |kind| {
        // A server that is behind, for a moment or for long: an etcd that was restored would say the
        // same to whoever asks for one object.
        for times in [1, 3] {
            let name = format!("older-{}-{times}-x", kind.1);
            let epochs = world.epochs(kind.1)?;
            run(world, &name, base, |step, make| {
                let before = world.scene.plane.store().revision()?.to_string();
                make()?;
                if !world.operator.changes(step, kind.1) {
                    return Ok(());
                }
                world.settle(std::slice::from_ref(&name))?;
                let lists = Pattern::streamed_lists().resource(kind.0, kind.1);
                let older = Fault::older_list(lists, When::First(times), &before);
                let older = world.proxy.inject(older);
                let mark = world.proxy.journal().mark();
                let _expired = expire(world, kind)?;
                let times = usize::try_from(times)?;
                wait_lists(world, kind, mark, times + 1)?;
                ensure!(older.hits() == times, "{older:?}");
                Ok(())
            })?;
            let believed = world.epochs(kind.1)? > epochs;
            ensure!(!believed, "{name}: {epochs} epochs before");
        }
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_list_of_an_earlier_time_leaves_no_trace() -> Result<()> {
    let world = World::start("faultolder")?;
    let base = undisturbed(&world)?;
    tell_of_earlier(&world, &base)?;
    world.quiet()
}

/// A CR is replaced by one of the same name, and then somebody collects the old one's children,
/// while events of this kind are held.
fn replace(world: &World, name: &str, held: Option<Kind>) -> Result<()> {
    let names = [name.to_owned()];
    world.step(Step::Create, &names)?;
    let hold = held.map(|kind| disturb(world, kind, name, Flow::Hold));
    let (app, deployment, service) = world.scene.app_objects(name);
    let client = world.scene.client();
    client.delete(&app)?;
    world.make(Step::Create, name)?;
    let is_app = held == Some(world.operator.disturbed()[0]);
    let hits = || hold.as_ref().map_or(1, Flowing::hits);
    if is_app {
        wait_hits("the CR's events to be held", 1, hits)?;
    }
    world.rest(&names)?;
    let hold = if is_app {
        drop(hold);
        None
    } else {
        hold
    };
    world.rest(&names)?;
    client.delete(&deployment)?;
    client.delete(&service)?;
    if let Some(hold) = &hold {
        wait_hits("a child's events to be held", 1, || hold.hits())?;
    }
    world.rest(&names)?;
    drop(hold);
    world.settle(&names)
}

#[test]
fn the_same_name_with_a_new_uid_leaves_no_trace() -> Result<()> {
    let world = World::start("faultuid")?;
    replace(&world, "plain-x", None)?;
    let base = world.outcome("plain-x")?;
    for child in base.children.values() {
        // What was the old one's is left alone.
        ensure!((child.uids, child.changes) == (2, 0), "{base:#?}");
    }
    for_each_kind(&world, |kind| {
        let name = format!("replaced-{}-x", kind.1);
        replace(&world, &name, Some(kind))?;
        compare(&world, &name, &base)
    })?;
    world.quiet()
}
