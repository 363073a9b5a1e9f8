//! One version of a plugin takes another's place while its resources change.

use crate::world::{World, active, apply, cr, map, plan};
use kybern_reconcile::{Active, Crash, DecideError};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const CRS: usize = 40;
const SWAPS: usize = 12;
/// A pass takes so long, so that some are under way whenever a version comes.
const PASS: Duration = Duration::from_millis(7);

/// What was decided: which resource, which change of it, by which version.
type Decided = Arc<Mutex<Vec<(String, u64, usize)>>>;

fn version(number: usize) -> Active {
    Active {
        digest: format!("sha256:{number}"),
        ..active("reg")
    }
}

/// A world whose versions say what they decide and who they are.
fn world(decided: &Decided) -> World {
    let world = World::new();
    *world.hooks.delay.lock() = PASS;
    for number in 0..=SWAPS {
        let decided = Arc::clone(decided);
        world.decide_as(&format!("sha256:{number}"), move |situation| {
            let name = situation.object["metadata"]["name"].as_str().unwrap();
            let change = situation.object["spec"]["change"].as_u64().unwrap();
            decided.lock().push((name.to_owned(), change, number));
            let data = json!({ "change": change.to_string(), "by": number.to_string() });
            let child = apply(map(&format!("{name}-x"), data));
            Ok(plan(json!([child])))
        });
    }
    world.engine.register(version(0));
    world
}

fn change(world: &World, number: usize, change: u64) {
    let name = format!("a{number}");
    world.api.edit("user", "App", "ns", &name, |a| {
        a["spec"]["change"] = json!(change);
    });
}

#[tokio::test(start_paused = true)]
async fn a_swap_under_load_loses_no_change_and_passes_none_twice() {
    let decided = Decided::default();
    let world = world(&decided);
    for number in 0..CRS {
        let object = cr(&format!("a{number}"), json!({ "change": 0 }));
        world.api.put("user", object);
    }
    let mut last = [0_u64; CRS];
    let mut under_way = 0;
    for round in 0..SWAPS * 60 {
        // A change each millisecond, and a version each 60, passes under way.
        let number = round * 17 % CRS;
        last[number] += 1;
        change(&world, number, last[number]);
        if round % 60 == 30 {
            let before = decided.lock().len();
            world.engine.register(version(round / 60 + 1));
            under_way += usize::from(!world.engine.is_idle());
            assert_eq!(decided.lock().len(), before, "it waits for nobody");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(under_way, SWAPS, "each came in the middle of passes");
    world.settle().await;

    for (number, last) in last.iter().enumerate() {
        let child = world.api.get("ConfigMap", "ns", &format!("a{number}-x"));
        let data = child.unwrap()["data"].clone();
        let wanted = json!({ "change": last.to_string(), "by": SWAPS.to_string() });
        assert_eq!(data, wanted, "a{number}");
    }
    let decided = decided.lock();
    let mut newest: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for one in decided.iter() {
        let (name, change, version) = one;
        assert!(seen.insert(one), "twice: {one:?}");
        let before = newest.entry(name).or_default();
        let goes_on = before.0 <= *change && before.1 <= *version;
        assert!(goes_on, "{name}: {before:?}, then {change} by {version}");
        *before = (*change, *version);
    }
    // What came between two passes is one pass.
    assert!(decided.len() >= CRS * 2, "{}", decided.len());
}

#[tokio::test(start_paused = true)]
async fn a_pass_under_way_ends_with_its_version_and_the_next_is_the_new_ones() {
    let decided = Decided::default();
    let world = world(&decided);
    world.api.put("user", cr("a0", json!({ "change": 0 })));
    world.settle().await;
    decided.lock().clear();
    change(&world, 0, 1);
    tokio::time::sleep(PASS / 2).await;
    assert!(!world.engine.is_idle());
    world.engine.register(version(1));
    // Nobody waits for the pass, and it is not begun anew.
    tokio::time::sleep(PASS).await;
    assert_eq!(*decided.lock(), [("a0".to_owned(), 1, 0)]);
    world.settle().await;
    let both = [("a0".to_owned(), 1, 0), ("a0".to_owned(), 1, 1)];
    assert_eq!(*decided.lock(), both);
    let child = world.api.get("ConfigMap", "ns", "a0-x").unwrap();
    assert_eq!(child["data"]["by"], "1");
}

/// The component of before is gone as soon as the next one is registered.
#[tokio::test(start_paused = true)]
async fn a_pass_that_finds_its_version_gone_says_nothing_and_the_next_is_due_at_once() {
    let decided = Decided::default();
    let world = world(&decided);
    world.api.put("user", cr("a0", json!({ "change": 0 })));
    world.settle().await;
    decided.lock().clear();
    world.api.writes();
    world.decide_as("sha256:0", |_| {
        Err(DecideError::Crashed {
            kind: Crash::Busy,
            message: "reg is being switched; the pass is tried again".into(),
        })
    });
    change(&world, 0, 1);
    tokio::time::sleep(PASS / 2).await;
    assert!(!world.engine.is_idle());
    world.engine.register(version(1));
    tokio::time::sleep(PASS * 3).await;
    assert_eq!(*decided.lock(), [("a0".to_owned(), 1, 1)]);
    world.settle().await;
    assert_eq!(world.ready("a0").0, "True");
    assert_eq!(world.api.events().len(), 0);
    let writes = world.api.writes();
    let statuses = writes.iter().filter(|write| write.starts_with("status"));
    assert_eq!(statuses.count(), 1, "{writes:?}");
}
