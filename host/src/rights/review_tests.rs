use super::*;
use crate::fake_api::FakeApi;
use serde_json::{Value, json};

/// What was asked: `rules`, or verb and resource, with the user in whose name.
type Log = Arc<Mutex<Vec<String>>>;

/// A cluster with these rules, and those of a namespace under its name, which gives these rights beside.
async fn cluster(rules: Value, beside: &'static [&'static str]) -> (FakeApi, Log) {
    let log = Log::default();
    let told = Arc::clone(&log);
    let api = FakeApi::start(move |asked| {
        let user = asked
            .lines()
            .find_map(|line| line.strip_prefix("impersonate-user: "));
        let user = user.map(|user| format!(" as {user}")).unwrap_or_default();
        let body: Value = serde_json::from_str(asked.lines().last().unwrap()).unwrap();
        let of = &body["spec"]["resourceAttributes"];
        let (what, status) = match of.is_null() {
            true => match body["spec"]["namespace"].as_str().unwrap() {
                "-" => ("rules".to_owned(), rules.clone()),
                of => (
                    format!("rules {of}"),
                    rules.get(of).unwrap_or(&rules).clone(),
                ),
            },
            false => {
                let text = |field: &str| of[field].as_str().unwrap();
                let what = format!("{} {}", text("verb"), text("resource"));
                let allowed = beside.contains(&&*what);
                (what, json!({ "allowed": allowed }))
            }
        };
        told.lock().push(format!("{what}{user}"));
        async move { Some(json!({ "status": status }).to_string()) }
    })
    .await;
    (api, log)
}

fn pods_may_be_read() -> Value {
    let rule = json!({ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"] });
    json!({ "resourceRules": [rule], "incomplete": false })
}

fn needs(rights: &[(&'static str, &str)]) -> Needs {
    let of = |(verb, resource): &(&'static str, &str)| Right {
        group: String::new(),
        resource: (*resource).to_owned(),
        name: None,
        namespace: None,
        verb,
    };
    rights.iter().map(of).collect()
}

fn host(rights: &[(&'static str, &str)]) -> Asked {
    Asked {
        host: needs(rights),
        account: None,
    }
}

/// A first look.
async fn look(reviewer: &Reviewer, asked: &Asked, depth: Depth) -> Result<Found, RequestError> {
    reviewer.look(asked, depth, &mut Answered::default()).await
}

#[tokio::test]
async fn a_thousand_registrations_whose_rights_are_there_cost_one_request() {
    let (api, log) = cluster(pods_may_be_read(), &[]).await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let asked = host(&[("get", "pods"), ("list", "pods")]);
    let looks = (0..1_000).map(|_| look(&reviewer, &asked, Depth::Rules));
    for found in futures::future::join_all(looks).await {
        assert!(found.unwrap().is_granted());
    }
    assert_eq!(*log.lock(), ["rules"]);
    let counts = reviewer.counts();
    assert_eq!(counts.running.load(Ordering::Relaxed), 0);
    assert_eq!(counts.rules.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_no_rule_gives_is_asked_for_and_named_if_it_is_missing() {
    let (api, log) = cluster(pods_may_be_read(), &["get secrets"]).await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let asked = host(&[("get", "pods"), ("get", "secrets"), ("patch", "secrets")]);
    let found = look(&reviewer, &asked, Depth::Rules).await.unwrap();
    let missing = needs(&[("patch", "secrets")])
        .into_iter()
        .collect::<Vec<_>>();
    assert_eq!(found.host.missing, missing);
    assert_eq!(*log.lock(), ["rules", "get secrets", "patch secrets"]);
}

#[tokio::test]
async fn after_a_refusal_no_rule_is_believed() {
    // An authorizer before RBAC refuses what RBAC's rules give.
    let (api, _log) = cluster(pods_may_be_read(), &["list pods"]).await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let asked = host(&[("get", "pods"), ("list", "pods")]);
    assert!(
        look(&reviewer, &asked, Depth::Rules)
            .await
            .unwrap()
            .is_granted()
    );
    let found = look(&reviewer, &asked, Depth::Each).await.unwrap();
    let missing = needs(&[("get", "pods")]).into_iter().collect::<Vec<_>>();
    assert_eq!(found.host.missing, missing);
}

/// Rights on pods in namespaces.
fn within(rights: &[(&'static str, &str)]) -> Asked {
    let of = |(verb, namespace): &(&'static str, &str)| {
        let mut right = needs(&[(*verb, "pods")]).pop_first().unwrap();
        right.namespace = Some((*namespace).to_owned());
        right
    };
    Asked {
        host: rights.iter().map(of).collect(),
        account: None,
    }
}

#[tokio::test]
async fn a_host_kept_to_a_namespace_costs_one_request_more() {
    let rules = json!({ "resourceRules": [], "team": pods_may_be_read() });
    let (api, log) = cluster(rules, &[]).await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let asked = within(&[("get", "team"), ("list", "team")]);
    let looks = (0..1_000).map(|_| look(&reviewer, &asked, Depth::Rules));
    for found in futures::future::join_all(looks).await {
        assert!(found.unwrap().is_granted());
    }
    assert_eq!(*log.lock(), ["rules", "rules team"]);
}

#[tokio::test]
async fn rules_of_a_namespace_give_nothing_elsewhere() {
    let rules = json!({ "resourceRules": [], "a": pods_may_be_read(), "b": {} });
    let (api, log) = cluster(rules, &[]).await;
    let config = RightsConfig {
        namespaces: 2,
        ..RightsConfig::default()
    };
    let reviewer = Reviewer::new(api.cluster.clone(), config);
    let mut asked = within(&[("get", "a"), ("get", "b"), ("get", "c")]);
    asked.host.extend(needs(&[("list", "pods")]));
    let found = look(&reviewer, &asked, Depth::Rules).await.unwrap();
    let missing = found.host.missing.iter();
    let places: Vec<_> = missing.map(|right| right.namespace.as_deref()).collect();
    assert_eq!(places, [None, Some("b"), Some("c")]);
    // Beyond the bound each right is asked for.
    let lists = ["rules", "rules a", "rules b"];
    let rights = ["list pods", "get pods", "get pods"];
    assert_eq!(*log.lock(), [lists, rights].concat());
}

#[tokio::test]
async fn looks_go_on_from_where_the_last_ended() {
    let rules = json!({ "resourceRules": [], "incomplete": true });
    let (api, log) = cluster(rules, &["get a", "get c", "get d", "get e"]).await;
    let config = RightsConfig {
        rights: 2,
        ..RightsConfig::default()
    };
    let reviewer = Reviewer::new(api.cluster.clone(), config);
    let asked = host(&[
        ("get", "a"),
        ("get", "b"),
        ("get", "c"),
        ("get", "d"),
        ("get", "e"),
    ]);
    let mut answered = Answered::default();
    let mut left = Vec::new();
    for _ in 0..3 {
        let looked = reviewer.look(&asked, Depth::Rules, &mut answered).await;
        let found = looked.unwrap();
        assert_eq!(found.missing(), 1, "it stays missing");
        left.push(found.host.unasked);
    }
    assert_eq!(left, [3, 1, 0]);
    let asked = [
        "rules", "get a", "get b", "get c", "get d", "get e", "get a",
    ];
    assert_eq!(*log.lock(), asked);
}

#[tokio::test]
async fn looks_after_a_refusal_ask_for_all_that_rules_give() {
    let rules = json!({ "verbs": ["*"], "apiGroups": [""], "resources": ["*"] });
    let rules = json!({ "resourceRules": [rules] });
    // An authorizer before RBAC refuses the last one.
    let (api, _log) = cluster(rules, &["get a", "get b", "get c", "get d"]).await;
    let config = RightsConfig {
        rights: 2,
        ..RightsConfig::default()
    };
    let reviewer = Reviewer::new(api.cluster.clone(), config);
    let all = ["a", "b", "c", "d", "e"].map(|name| ("get", name));
    let asked = host(&all);
    let mut answered = Answered::default();
    let mut looks = Vec::new();
    for depth in [Depth::Each, Depth::Rest, Depth::Rest, Depth::Each] {
        let found = reviewer.look(&asked, depth, &mut answered).await.unwrap();
        looks.push((found.host.unsure, found.missing()));
    }
    assert_eq!(looks, [(3, 0), (1, 0), (0, 1), (3, 1)]);
}

#[tokio::test]
async fn many_service_accounts_share_their_lists() {
    let (api, log) = cluster(pods_may_be_read(), &[]).await;
    let reviewer = Reviewer::new(api.cluster.clone(), at_leisure());
    let asked = |number: usize| {
        let account = Account {
            namespace: "team".into(),
            name: format!("a{number}"),
        };
        Asked {
            host: needs(&[("get", "pods")]),
            account: Some((account, needs(&[("get", "pods")]))),
        }
    };
    for _ in 0..3 {
        for number in 0..300 {
            let found = look(&reviewer, &asked(number), Depth::Rules).await;
            assert!(found.unwrap().is_granted());
        }
    }
    assert_eq!(log.lock().len(), 301, "one list of each, and the host's");
    let kept = reviewer.counts().rules_bytes.load(Ordering::Relaxed);
    assert!((300 * 256..1 << 20).contains(&kept), "{kept}");
}

#[tokio::test]
async fn lists_of_rules_are_kept_as_far_as_there_is_room() {
    let (api, log) = cluster(pods_may_be_read(), &[]).await;
    let config = RightsConfig {
        rules_bytes: 300,
        ..at_leisure()
    };
    let reviewer = Reviewer::new(api.cluster.clone(), config);
    let asked = host(&[("get", "pods")]);
    for _ in 0..2 {
        let found = look(&reviewer, &asked, Depth::Rules).await.unwrap();
        assert!(found.is_granted());
    }
    assert_eq!(*log.lock(), ["rules", "rules"]);
    let kept = reviewer.counts().rules_bytes.load(Ordering::Relaxed);
    assert_eq!(kept, 0);
}

/// Lists stay, however busy the machine is.
fn at_leisure() -> RightsConfig {
    RightsConfig {
        rules_age: Duration::from_secs(3600),
        ..RightsConfig::default()
    }
}

#[tokio::test]
async fn a_look_asks_no_more_than_its_bound_and_says_so() {
    let (api, log) = cluster(json!({ "resourceRules": [], "incomplete": true }), &[]).await;
    let config = RightsConfig {
        rights: 2,
        ..RightsConfig::default()
    };
    let reviewer = Reviewer::new(api.cluster.clone(), config);
    let asked = host(&[("get", "a"), ("get", "b"), ("get", "c")]);
    let found = look(&reviewer, &asked, Depth::Rules).await.unwrap();
    assert_eq!((found.missing(), found.host.unasked), (2, 1));
    assert!(!found.is_granted() && log.lock().len() == 3);
}

#[tokio::test]
async fn who_may_not_ask_lacks_nothing_that_is_known() {
    let refusal = json!({ "kind": "Status", "code": 403, "reason": "Forbidden", "message": "no" });
    let api = FakeApi::start(move |_| {
        let refusal = refusal.to_string();
        async move { Some(refusal) }
    })
    .await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let found = look(&reviewer, &host(&[("get", "pods")]), Depth::Rules).await;
    let found = found.unwrap();
    assert_eq!((found.told(), found.is_granted()), (None, false));
    assert_eq!(
        found.unknown().unwrap(),
        "what the host may do cannot be asked: no"
    );
}

#[tokio::test]
async fn what_an_unwell_server_says_is_no_answer() {
    let refusal = json!({ "kind": "Status", "code": 503, "message": "later" });
    let api = FakeApi::start(move |_| {
        let refusal = refusal.to_string();
        async move { Some(refusal) }
    })
    .await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let found = look(&reviewer, &host(&[("get", "pods")]), Depth::Rules).await;
    assert!(found.is_err(), "what was known stays: {found:?}");
}

#[tokio::test]
async fn a_service_account_is_asked_for_in_its_own_name() {
    let (api, log) = cluster(pods_may_be_read(), &[]).await;
    let reviewer = Reviewer::new(api.cluster.clone(), RightsConfig::default());
    let account = Account {
        namespace: "team".into(),
        name: "deployer".into(),
    };
    let asked = Asked {
        host: needs(&[("get", "pods")]),
        account: Some((account, needs(&[("create", "pods")]))),
    };
    let found = look(&reviewer, &asked, Depth::Rules).await.unwrap();
    assert!(
        found.told().unwrap().starts_with(
            "service account team/deployer may not: create pods in all of the cluster."
        )
    );
    let user = "as system:serviceaccount:team:deployer";
    assert_eq!(
        *log.lock(),
        [
            "rules".to_owned(),
            format!("rules {user}"),
            format!("create pods {user}")
        ]
    );
}
