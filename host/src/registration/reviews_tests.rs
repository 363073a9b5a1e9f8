use super::*;
use crate::fake_api::FakeApi;
use crate::rights::{Lacks, Needs, RightsConfig};
use kybern_kube::Right;
use prometheus_client::registry::Registry;

fn needs(resource: &str) -> Asked {
    let right = Right {
        group: "apps".into(),
        resource: resource.into(),
        name: None,
        namespace: None,
        verb: "patch",
    };
    Asked {
        host: Needs::from([right]),
        account: None,
    }
}

fn found(missing: bool) -> Found {
    let missing = needs("x").host.into_iter().filter(|_| missing).collect();
    Found {
        host: Lacks {
            missing,
            ..Lacks::default()
        },
        account: None,
    }
}

const REFRESH: Duration = Duration::from_secs(600);

/// Ends the look that is due, and says what the next waits for.
async fn looks(reviews: &mut Reviews, now: u64, missing: bool) -> (Depth, u64) {
    ends(reviews, now, Ok(found(missing))).await
}

async fn ends(reviews: &mut Reviews, now: u64, came: Result<Found, RequestError>) -> (Depth, u64) {
    let now = Duration::from_secs(now);
    assert_eq!(reviews.wait(now), Some(Duration::ZERO), "a look is due");
    let depth = reviews.all["a"].depth;
    reviews.begin("a", depth, async move { came });
    assert_eq!(reviews.wait(now), None, "one at a time");
    reviews.changed().await;
    assert!(reviews.due(now));
    reviews.all.get_mut("a").unwrap().settle(REFRESH, now);
    (depth, reviews.wait(now).unwrap().as_secs())
}

fn one(served: &Arc<Served>) -> Reviews {
    let mut reviews = Reviews::default();
    follow(&mut reviews, served, "deployments/scale");
    reviews
}

fn follow(reviews: &mut Reviews, served: &Arc<Served>, resource: &str) {
    let made = Made {
        of: ("u".into(), 1),
        served: Arc::clone(served),
    };
    reviews.entry("a", made, || needs(resource), Duration::ZERO);
}

#[tokio::test]
async fn what_is_missing_is_asked_for_less_and_less_often_and_what_is_there_rarely() {
    let mut reviews = one(&Arc::default());
    let (rules, far) = (Depth::Rules, REFRESH.as_secs());
    assert_eq!(looks(&mut reviews, 0, true).await, (rules, 5));
    assert_eq!(looks(&mut reviews, 5, true).await, (rules, 10));
    assert_eq!(looks(&mut reviews, 15, true).await, (rules, 20));
    assert_eq!(looks(&mut reviews, 35, false).await, (rules, far));
    assert_eq!(looks(&mut reviews, 635, true).await, (rules, 5));
}

#[tokio::test]
async fn a_refusal_is_a_reason_to_look_closely_and_a_thousand_are_no_more() {
    let mut reviews = one(&Arc::default());
    looks(&mut reviews, 0, false).await;
    let refused = |plural: &str| Refused {
        plugin: "a".into(),
        group: "apps".into(),
        plural: plural.into(),
    };
    let at = Duration::from_secs(100);
    reviews.refused(&refused("daemonsets"), at);
    assert!(!reviews.due(at), "another kind's");
    reviews.refused(&refused("deployments"), at);
    assert_eq!(
        looks(&mut reviews, 100, false).await,
        (Depth::Each, REFRESH.as_secs())
    );
    // Whatever goes on refusing is no right of ours.
    let mut now = 101;
    for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
        for _ in 0..1_000 {
            reviews.refused(&refused("deployments"), Duration::from_secs(now));
        }
        let wait = reviews.wait(Duration::from_secs(now)).unwrap().as_secs();
        assert_eq!(wait, pause - 1);
        let ended = now + wait;
        looks(&mut reviews, ended, false).await;
        now = ended + 1;
    }
}

#[tokio::test]
async fn a_look_after_a_refusal_goes_on_until_all_rights_were_asked_for() {
    let mut reviews = one(&Arc::default());
    looks(&mut reviews, 0, false).await;
    let unsure = |unsure: usize| {
        let mut found = found(false);
        found.host.unsure = unsure;
        Ok(found)
    };
    reviews.unreadable("a", Duration::from_secs(100));
    let (each, rest) = (Depth::Each, Depth::Rest);
    assert_eq!(ends(&mut reviews, 100, unsure(40)).await, (each, 5));
    // Refused meanwhile: what was answered before does not count.
    reviews.unreadable("a", Duration::from_secs(101));
    assert_eq!(ends(&mut reviews, 105, unsure(40)).await, (each, 10));
    assert_eq!(ends(&mut reviews, 115, unsure(8)).await, (rest, 20));
    let far = REFRESH.as_secs();
    assert_eq!(ends(&mut reviews, 135, unsure(0)).await, (rest, far));
    assert_eq!(looks(&mut reviews, 735, false).await, (Depth::Rules, far));
}

#[tokio::test]
async fn what_rules_give_and_an_authorizer_refuses_stays_missing() {
    let mut reviews = one(&Arc::default());
    looks(&mut reviews, 0, false).await;
    reviews.unreadable("a", Duration::from_secs(100));
    let each = Depth::Each;
    assert_eq!(looks(&mut reviews, 100, true).await, (each, 5));
    assert_eq!(looks(&mut reviews, 105, true).await, (each, 10));
    // Nor does a look without an answer end the doubt.
    let unwell = Err(RequestError::Timeout {
        what: "x".into(),
        limit: Duration::ZERO,
    });
    assert_eq!(ends(&mut reviews, 115, unwell).await, (each, 20));
    let far = REFRESH.as_secs();
    assert_eq!(looks(&mut reviews, 135, false).await, (each, far));
    assert_eq!(looks(&mut reviews, 735, false).await, (Depth::Rules, far));
}

#[tokio::test]
async fn what_is_refused_while_it_is_looked_is_looked_at_again() {
    let mut reviews = one(&Arc::default());
    let now = Duration::from_secs(1);
    reviews.begin("a", Depth::Rules, async { Ok(found(false)) });
    reviews.unreadable("a", now);
    reviews.changed().await;
    reviews.all.get_mut("a").unwrap().settle(REFRESH, now);
    assert_eq!(reviews.wait(now), Some(Duration::from_secs(5)));
    assert_eq!(looks(&mut reviews, 6, false).await.0, Depth::Each);
}

#[tokio::test]
async fn other_needs_are_looked_at_at_once_and_the_same_are_not() {
    let served = Arc::default();
    let mut reviews = one(&served);
    looks(&mut reviews, 0, false).await;
    follow(&mut reviews, &Arc::default(), "deployments/scale");
    assert!(
        !reviews.due(Duration::ZERO),
        "discovered anew, and nothing else"
    );
    follow(&mut reviews, &Arc::default(), "deployments");
    assert!(reviews.due(Duration::ZERO) && reviews.all["a"].found.is_none());
}

#[tokio::test]
async fn what_is_forgotten_is_not_counted_as_missing() {
    let api = FakeApi::start(|_| async { None }).await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let mut registry = Registry::default();
    crate::rights::register(&mut registry, reviewer.clone());
    let counted = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.contains(r#"kybern_rights_missing{plugin="a"} 2"#)
    };
    let mut reviews = one(&Arc::default());
    reviewer.told("a", Some(2));
    reviews.retain(|_| true, &reviewer);
    assert!(counted() && reviews.all.contains_key("a"));
    // As when the lead is lost.
    reviews.retain(|_| false, &reviewer);
    assert!(!counted() && reviews.all.is_empty());
}
