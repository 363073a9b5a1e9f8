//! The condition `Authorized`: whether a registration may do all that its plugin asks for.
//!
//! Two walls stand there: `spec.grants`, which the administrator gives to the plugin, and the rights
//! of the host, or of the service account in whose name it writes, in the cluster.

use super::condition::Says;
use super::report::Outcome;
use crate::rights::Found;
use kybern_interface::Registration;

const KIND: &str = "Authorized";
/// The reason of what the API server says, which is not known at once after a start.
const LACKS: &str = "RightsMissing";

/// The condition; none while nothing is known.
pub(super) fn authorized(
    registration: &Registration,
    outcome: &Outcome,
    found: Option<&Found>,
) -> Option<Says> {
    let ungranted = match outcome {
        Outcome::Active { ungranted, .. } => ungranted.as_slice(),
        Outcome::Broken(_) => &[],
        Outcome::Releasing(_) => return None,
    };
    let grants = (!ungranted.is_empty()).then(|| {
        let missing = ungranted.join("; ");
        format!(
            "the manifest asks for more than spec.grants gives: {missing}; add it there (`kybern plugin inspect --registration` prints all of it)"
        )
    });
    let lacks = found.and_then(Found::told);
    match (grants, lacks, found) {
        (Some(grants), Some(lacks), _) => {
            let message = format!("{lacks}. And {grants}");
            Some(Says::new(KIND, false, LACKS, message))
        }
        (None, Some(lacks), _) => Some(Says::new(KIND, false, LACKS, lacks)),
        (Some(grants), None, Some(_)) => Some(ungranted_only(grants)),
        (Some(grants), None, None) => {
            let lacked = before(registration).filter(|said| said.reason == LACKS);
            Some(lacked.unwrap_or_else(|| ungranted_only(grants)))
        }
        (None, None, Some(found)) => Some(found.unknown().map_or_else(granted, unknown)),
        (None, None, None) => before(registration),
    }
}

fn ungranted_only(grants: String) -> Says {
    Says::new(KIND, false, "GrantsMissing", grants)
}

fn granted() -> Says {
    let message = "the grants cover what the manifest asks for, and the cluster gives the rights";
    Says::new(KIND, true, "Granted", message)
}

fn unknown(why: String) -> Says {
    Says {
        status: "Unknown",
        ..Says::new(KIND, false, "ReviewRefused", why)
    }
}

/// What was said of this generation before, also by a host that ran before.
fn before(registration: &Registration) -> Option<Says> {
    let mut all = registration.status.conditions.iter();
    let said = all.find(|said| said.kind == KIND)?;
    let is_of_now = said.observed_generation == Some(registration.generation());
    // What the grants lacked is known without asking.
    let by_review = is_of_now && said.reason != "GrantsMissing";
    let status = ["True", "False", "Unknown"];
    let status = status.into_iter().find(|one| *one == said.status)?;
    by_review.then(|| Says {
        kind: KIND,
        status,
        reason: said.reason.clone(),
        message: said.message.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::*;
    use crate::rights::Lacks;
    use kybern_kube::Right;
    use serde_json::{Value, json};

    fn registration(said: Value) -> Registration {
        serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": "a", "generation": 3 },
            "spec": { "source": { "file": "x" } }, "status": { "conditions": said },
        }))
        .unwrap()
    }

    fn active(ungranted: &[&str]) -> Outcome {
        Outcome::Active {
            digest: "sha256:a".into(),
            version: "1".into(),
            world: "w".into(),
            image: None,
            resources: vec![],
            written: vec![],
            ungranted: ungranted.iter().map(|one| (*one).to_owned()).collect(),
            degraded: None,
            unsupported: vec![],
            trial: None,
            failing: None,
            releasing: None,
        }
    }

    fn lacking() -> Found {
        let missing = vec![Right {
            group: "apps".into(),
            resource: "deployments".into(),
            name: None,
            namespace: None,
            verb: "create",
        }];
        Found {
            host: Lacks {
                missing,
                ..Lacks::default()
            },
            account: None,
        }
    }

    fn says(outcome: &Outcome, found: Option<&Found>) -> Option<(&'static str, String, String)> {
        let says = authorized(&registration(json!([])), outcome, found)?;
        Some((says.status, says.reason, says.message))
    }

    #[test]
    fn both_walls_are_told() {
        let (status, reason, message) = says(&active(&["read Pod"]), Some(&lacking())).unwrap();
        assert_eq!((status, &*reason), ("False", "RightsMissing"));
        assert!(message.contains("create deployments.apps") && message.contains("read Pod"));
        let (status, reason, _) = says(&active(&["read Pod"]), None).unwrap();
        assert_eq!((status, &*reason), ("False", "GrantsMissing"));
        let all = Found::default();
        let (status, reason, _) = says(&active(&[]), Some(&all)).unwrap();
        assert_eq!((status, &*reason), ("True", "Granted"));
        assert_eq!(says(&active(&[]), None), None, "nothing is known");
    }

    #[test]
    fn what_cannot_run_says_what_it_lacks() {
        let broken = Outcome::Broken(Problem::new("KindUnreadable", "no"));
        let (status, reason, _) = says(&broken, Some(&lacking())).unwrap();
        assert_eq!((status, &*reason), ("False", "RightsMissing"));
    }

    #[test]
    fn what_cannot_be_asked_is_unknown() {
        let host = Lacks {
            unknown: Some("no".into()),
            ..Lacks::default()
        };
        let found = Found {
            host,
            account: None,
        };
        let (status, reason, message) = says(&active(&[]), Some(&found)).unwrap();
        assert_eq!((status, &*reason), ("Unknown", "ReviewRefused"));
        assert!(message.ends_with("cannot be asked: no"), "{message}");
    }

    #[test]
    fn a_restart_says_what_was_said_until_it_is_known_anew() {
        let said = |generation: i64, reason: &str| {
            json!([{ "type": "Authorized", "status": "False", "reason": reason, "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation }])
        };
        let now = |said: Value| authorized(&registration(said), &active(&[]), None);
        let kept = now(said(3, "RightsMissing")).unwrap();
        assert_eq!((kept.status, &*kept.message), ("False", "m"));
        assert_eq!(now(said(2, "RightsMissing")), None, "of another generation");
        assert_eq!(now(said(3, "GrantsMissing")), None, "they are granted now");
        let ungranted = |said: Value, found: Option<&Found>| {
            let says = authorized(&registration(said), &active(&["read Pod"]), found).unwrap();
            (says.reason, says.message)
        };
        let lacked = ("RightsMissing".to_owned(), "m".to_owned());
        assert_eq!(ungranted(said(3, "RightsMissing"), None), lacked);
        for (said, found) in [
            (said(2, "RightsMissing"), None),
            (said(3, "ReviewRefused"), None),
            (said(3, "RightsMissing"), Some(&Found::default())),
        ] {
            assert_eq!(ungranted(said, found).0, "GrantsMissing");
        }
    }
}
