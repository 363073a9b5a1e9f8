//! Two replicas and one lease.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use kybern_kube::{
    Cluster, Fence, LeaderState, Leadership,
    clock::{Clock, SystemClock, Timestamp},
    lease::{Election, LeaseConfig, start},
};
use serde_json::{Value, json};

use crate::support::{Jumping, admin, cluster_of, eventually, plane};

fn config(namespace: &str, identity: &str) -> LeaseConfig {
    LeaseConfig {
        lease: Duration::from_secs(2),
        renew_deadline: Duration::from_millis(1400),
        retry: Duration::from_millis(200),
        ..LeaseConfig::new(namespace, "host", identity)
    }
}

async fn until(leadership: &Leadership, what: &str, state: LeaderState) {
    let mut follow = leadership.state();
    let waiting = follow.wait_for(|seen| *seen == state);
    let reached = tokio::time::timeout(crate::support::LIMIT, waiting).await;
    reached.expect(what).expect("the election runs");
}

/// A replica of an election.
type Replica = (Leadership, Election);

/// Two replicas; the first leads and the second knows it.
async fn leader_and_standby(
    first: &Cluster,
    second: &Cluster,
    namespace: &str,
    clock: &Arc<impl Clock + 'static>,
) -> (Replica, Replica) {
    let configs = [config(namespace, "a"), config(namespace, "b")];
    replicas(first, second, configs, clock).await
}

/// The first leads, the second stands by.
async fn replicas(
    first: &Cluster,
    second: &Cluster,
    [leads, stands_by]: [LeaseConfig; 2],
    clock: &Arc<impl Clock + 'static>,
) -> (Replica, Replica) {
    let leader = start(first, leads, clock.clone()).expect("starts");
    until(&leader.0, "a leads", LeaderState::Leading).await;
    let standby = start(second, stands_by, clock.clone()).expect("starts");
    let holder = Some("a".to_owned());
    until(&standby.0, "b stands by", LeaderState::Standby { holder }).await;
    (leader, standby)
}

/// Joins the thread without blocking the test's runtime.
async fn stop(election: Election) {
    tokio::task::spawn_blocking(|| election.stop())
        .await
        .expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_shutdown_hands_the_lease_over_at_once() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("handover").expect("a namespace");
    let clock = Arc::new(SystemClock);
    let ((first, first_election), (second, second_election)) =
        leader_and_standby(&cluster, &cluster, &namespace, &clock).await;
    assert!(first.allowed(Duration::from_millis(500)).is_ok());
    assert!(
        first.allowed(Duration::from_secs(2)).is_err(),
        "longer than the lease"
    );
    assert!(second.allowed(Duration::ZERO).is_err());
    let before = clock.since_boot();
    stop(first_election).await;
    assert_eq!(*first.state().borrow(), LeaderState::Stopped);
    assert!(first.allowed(Duration::ZERO).is_err());
    until(&second, "b leads", LeaderState::Leading).await;
    let took = clock.since_boot() - before;
    assert!(
        took < Duration::from_millis(1900),
        "took {took:?}: as long as the lease"
    );
    stop(second_election).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_stops_writing_before_another_starts() {
    let namespace = plane().namespace("failover").expect("a namespace");
    let user = plane()
        .service_account(&namespace, "leader")
        .expect("a user");
    let rules =
        json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"] }]);
    plane().grant(&user, &rules).expect("grants");
    let clock = Arc::new(SystemClock);
    let limited = cluster_of(plane(), &user).await;
    let cluster = admin(plane()).await;
    let ((first, first_election), (second, second_election)) =
        leader_and_standby(&limited, &cluster, &namespace, &clock).await;
    // From here on `a` is cut off: it can neither renew its lease nor give it back.
    let nothing = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]);
    plane().grant(&user, &nothing).expect("grants");
    let cut_off = clock.since_boot();
    let mut overlaps = 0;
    eventually("b leads", async || {
        let second_may = second.allowed(Duration::ZERO).is_ok();
        let first_may = first.allowed(Duration::ZERO).is_ok();
        overlaps += u32::from(first_may && second_may);
        second_may.then_some(())
    })
    .await;
    assert_eq!(overlaps, 0, "two replicas could write");
    assert!(first.allowed(Duration::ZERO).is_err());
    assert!(clock.since_boot() - cut_off < Duration::from_secs(8));
    stop(first_election).await;
    assert!(second.is_leading());
    stop(second_election).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_slept_does_not_write_before_it_has_renewed() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("sleep").expect("a namespace");
    let clock = Arc::new(Jumping::default());
    let (leadership, election) =
        start(&cluster, config(&namespace, "a"), clock.clone()).expect("starts");
    until(&leadership, "a leads", LeaderState::Leading).await;
    clock.sleep(60);
    assert!(
        leadership.allowed(Duration::ZERO).is_err(),
        "the lease ended during the sleep"
    );
    eventually("a leads again", async || {
        leadership.is_leading().then_some(())
    })
    .await;
    // The connections that writes use were replaced; they work.
    cluster.get_path("/version").await.expect("reads");
    stop(election).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_clocks_that_jump_by_hours_move_no_lead() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("jumps").expect("a namespace");
    let clock = Arc::new(Jumping::default());
    // Nothing here ends by itself: a slow machine must not end it either.
    let patient = |identity| LeaseConfig {
        lease: Duration::from_secs(60),
        renew_deadline: Duration::from_secs(40),
        ..config(&namespace, identity)
    };
    let configs = [patient("a"), patient("b")];
    let ((first, first_election), (second, second_election)) =
        replicas(&cluster, &cluster, configs, &clock).await;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/host");
    let times = async || {
        let lease: Value = serde_json::from_slice(&cluster.get_path(&path).await.expect("reads"))
            .expect("a Lease");
        let spec = &lease["spec"];
        assert_eq!(
            (&spec["holderIdentity"], &spec["leaseTransitions"]),
            (&json!("a"), &json!(0))
        );
        let time = |field: &str| -> Timestamp {
            spec[field]
                .as_str()
                .expect("a time")
                .parse()
                .expect("RFC 3339")
        };
        (time("acquireTime"), time("renewTime"))
    };
    let (acquired, _) = times().await;
    // Back, and forward again: the record says so, and nobody cares.
    for hours in [-5, 9, -10_000, 9_996] {
        clock.turn(hours);
        for _ in 0..3 {
            let (_, before) = times().await;
            eventually("a renewal", async || {
                let (begun, renewed) = times().await;
                assert_eq!(begun, acquired, "it leads since then");
                assert!(first.is_leading() && !second.is_leading(), "{hours} h");
                let far = renewed.duration_since(clock.now()).abs() > SignedDuration::from_secs(60);
                (renewed != before && !far).then_some(())
            })
            .await;
        }
    }
    stop(first_election).await;
    stop(second_election).await;
}
