//! What is known of an effect, step by step.

use super::*;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn effect(key: &str, input: &str) -> Identity {
    Identity {
        name: "call".into(),
        key: key.into(),
        input: input.into(),
    }
}

fn ok(n: u32) -> OutcomeResult {
    OutcomeResult::Ok(json!(n))
}

fn failed(reason: &str) -> OutcomeResult {
    OutcomeResult::Error(reason.into())
}

const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

#[test]
fn an_effect_runs_until_it_succeeds_and_then_until_that_is_old() {
    let mut all = Outcomes::default();
    let a = effect("a", "1");
    assert_eq!(
        all.standing(&a, None, "r1", at(0)),
        Standing::Due(Past::None)
    );
    assert_eq!(all.begin(&a), 1);
    assert!(all.visible().is_empty());
    // A host ended meanwhile: the next attempt counts on.
    assert_eq!(
        all.standing(&a, None, "r1", at(1)),
        Standing::Due(Past::None)
    );
    assert_eq!(all.begin(&a), 2);
    all.end(&a, at(2), &failed("no"), Some(Retry::At(at(10))));
    let wait = Duration::from_secs(7);
    assert_eq!(
        all.standing(&a, None, "r1", at(3)),
        Standing::Later(wait, "no".into())
    );
    let again = Standing::Due(Past::Failure("no".into()));
    assert_eq!(all.standing(&a, None, "r1", at(10)), again);
    // Another node's clock is behind, a little or a lot: it does not wait until that one is right.
    assert_eq!(
        all.standing(&a, None, "r1", at(1)),
        Standing::Later(wait, "no".into())
    );
    assert_eq!(all.standing(&a, None, "r1", at(-9_999)), again);
    assert_eq!(all.begin(&a), 3);
    assert_eq!(all.visible()[0].attempt, 2, "what is known stays");
    all.end(&a, at(11), &ok(7), None);
    assert_eq!(
        all.standing(&a, None, "r1", at(9_999)),
        Standing::Done { old_in: None }
    );
    let left = Some(Duration::from_secs(3_599));
    assert_eq!(
        all.standing(&a, HOUR, "r1", at(12)),
        Standing::Done { old_in: left }
    );
    assert_eq!(
        all.standing(&a, HOUR, "r1", at(3_611)),
        Standing::Due(Past::Success)
    );
    // Another node's clock is behind, a little or a lot.
    assert_eq!(
        all.standing(&a, HOUR, "r1", at(10)),
        Standing::Done { old_in: left }
    );
    assert_eq!(
        all.standing(&a, HOUR, "r1", at(-9_999)),
        Standing::Due(Past::Success)
    );
    assert_eq!(all.begin(&a), 1, "attempts count anew");
    assert_eq!(all.visible()[0].result, ok(7));
}

#[test]
fn another_input_is_another_effect_and_takes_the_place() {
    let mut all = Outcomes::default();
    let (one, two) = (effect("a", "1"), effect("a", "2"));
    all.begin(&one);
    all.end(&one, at(0), &failed("bad"), Some(Retry::Under("r1".into())));
    assert_eq!(
        all.standing(&one, None, "r1", at(1)),
        Standing::Failed("bad".into())
    );
    assert_eq!(
        all.standing(&two, None, "r1", at(1)),
        Standing::Due(Past::None)
    );
    assert_eq!(all.begin(&two), 1);
    all.end(&one, at(2), &ok(1), None);
    assert!(all.visible().is_empty(), "it was for another input");
    all.end(&two, at(3), &ok(2), None);
    assert_eq!(all.visible().len(), 1);
}

#[test]
fn what_no_plan_names_is_forgotten() {
    let mut all = Outcomes::default();
    let (a, b) = (effect("a", "1"), effect("b", "1"));
    for effect in [&a, &b] {
        all.begin(effect);
        all.end(effect, at(0), &ok(1), None);
    }
    all.keep(&[effect("b", "2")]);
    let keys: Vec<String> = all.visible().into_iter().map(|o| o.key).collect();
    assert_eq!(keys, ["b"]);
    all.end(&a, at(1), &ok(1), None);
    assert_eq!(all.visible().len(), 1, "late outcomes come to nothing");
}

#[test]
fn what_is_written_is_read_back_and_not_printed() {
    let mut all = Outcomes::default();
    all.begin(&effect("a", "1"));
    all.end(
        &effect("a", "1"),
        at(0),
        &failed("hidden"),
        Some(Retry::At(at(3))),
    );
    all.begin(&effect("b", "1"));
    all.end(
        &effect("b", "1"),
        at(0),
        &OutcomeResult::Ok(json!({ "token": "hidden" })),
        None,
    );
    let text = serde_json::to_string(&all).unwrap();
    let back: Outcomes = serde_json::from_str(&text).unwrap();
    assert!(back == all);
    assert!(!format!("{back:?}").contains("hidden"));
}
