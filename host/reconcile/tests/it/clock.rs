//! A wall clock that is put hours forward or back: what waits waits as long as before.

use crate::effects::{calling, heard, retry, secs};
use crate::faults::{STEPS, clean_run, step};
use crate::world::{World, cr, plan};
use kybern_interface::HookError;
use kybern_reconcile::DecideError;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Each is undone by a later one.
const JUMPS: [i64; 6] = [5, -9, 4, -10_000, 9_990, 10];

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_written_and_passes_write_no_other_time() {
    let world = World::new();
    for n in 0..STEPS {
        step(&world.api, n);
        world.settle().await;
    }
    world.api.writes();
    world.decides();
    for (n, hours) in JUMPS.into_iter().enumerate() {
        world.wall.jump(hours);
        world.settle().await;
        assert_eq!(world.decides(), 0, "{hours} h: somebody asks for it");
        // A pass that looks at everything.
        world.api.edit("user", "App", "ns", "a", |a| {
            a["metadata"]["labels"] = json!({ "pass": n.to_string() });
        });
        world.settle().await;
        assert_eq!(world.decides(), 1, "{hours} h");
        assert_eq!(world.api.writes(), Vec::<String>::new(), "{hours} h");
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_before_any_write_ends_in_the_same_state_after_as_many_writes() {
    let (clean, writes) = clean_run().await;
    for k in 0..writes {
        for hours in [-5, 5] {
            let world = World::new();
            let (wall, count) = (world.wall.clone(), Arc::new(AtomicUsize::new(0)));
            let seen = Arc::clone(&count);
            world.api.fail_with(move |_| {
                if seen.fetch_add(1, Ordering::SeqCst) == k {
                    wall.jump(hours);
                }
                None
            });
            for n in 0..STEPS {
                step(&world.api, n);
                world.settle().await;
            }
            assert_eq!(world.api.picture(), clean, "{hours} h at write {k}");
            assert_eq!(count.load(Ordering::SeqCst), writes, "{hours} h at {k}");
        }
    }
}

/// Decisions within an hour, with a jump each minute.
async fn decisions(world: World, jumps: &[i64]) -> usize {
    world.api.put("user", cr("a", json!({})));
    for minute in 0..60 {
        tokio::time::sleep(secs(60)).await;
        if let Some(hours) = jumps.get(minute % JUMPS.len()) {
            world.wall.jump(*hours);
        }
    }
    world.decides()
}

#[tokio::test(start_paused = true)]
async fn what_fails_backs_off_and_what_asks_to_come_again_does_as_without_jumps() {
    let failing = || {
        let world = World::new();
        world.decide(|_| Err(DecideError::Hook(HookError::Internal("bug".into()))));
        world
    };
    let asking = || {
        let world = World::new();
        world.decide(|_| {
            let mut plan = plan(json!([]));
            plan.requeue_after_ms = Some(90_000);
            Ok(plan)
        });
        world
    };
    let calm = decisions(failing(), &[]).await;
    assert!(calm > 20, "{calm}");
    assert_eq!(decisions(failing(), &JUMPS).await, calm);
    let calm = decisions(asking(), &[]).await;
    assert!((36..=48).contains(&calm), "{calm}");
    assert_eq!(decisions(asking(), &JUMPS).await, calm);
}

/// Before the next attempt was due the clock was put back: it would have waited five hours.
#[tokio::test(start_paused = true)]
async fn an_effect_that_failed_is_tried_again_soon_whichever_way_the_clock_went() {
    for hours in [-5, 5] {
        for restart in [false, true] {
            let mut world = calling(json!({ "calls": { "k1": 1 } })).await;
            world.act(|effect| {
                let result = match effect.attempt {
                    1..=3 => retry("down"),
                    n => Ok(json!(n)),
                };
                (Duration::ZERO, result)
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(world.acts(), ["call k1 #1"]);
            world.wall.jump(hours);
            if restart {
                // As another replica, whose clock is another one.
                world.restart().await;
            }
            tokio::time::sleep(secs(20)).await;
            let case = format!("{hours} h, restart: {restart}");
            let again: Vec<String> = (2..=4).map(|n| format!("call k1 #{n}")).collect();
            assert_eq!(world.acts(), again, "{case}");
            assert_eq!(heard(&world), "k1=4@4", "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_gets_old_runs_once_more_at_most_and_then_at_its_pace() {
    for hours in [-5, 5] {
        let world = calling(json!({ "calls": { "k1": 1 }, "maxAgeMs": 60_000 })).await;
        tokio::time::sleep(secs(30)).await;
        assert_eq!(world.acts().len(), 1);
        world.wall.jump(hours);
        tokio::time::sleep(secs(601)).await;
        let acts = world.acts().len();
        assert!((10..=11).contains(&acts), "{hours} h: {acts}");
    }
}
