//! `spec.trial`: a revision that is tried before it decides for all.

use super::condition::Says;
use super::origin;
use super::prepared::Prepared;
use super::problem::Problem;
use kybern_interface::{Registration, Trial, TrialMode, TrialState, TrialStatus};
use kybern_reconcile::{TrialRules, Trialled};

/// Share of a canary, and of its resources that may fail, unless told.
const SHARE: u8 = 10;
const FAILURES: u8 = 5;

/// What a trial may do.
pub(super) fn rules(trial: &Trial) -> Result<TrialRules, Problem> {
    let percent = |field: &str, text: Option<&str>| -> Result<Option<u8>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let number = text
            .strip_suffix('%')
            .and_then(|n| n.trim().parse::<u8>().ok());
        match number.filter(|number| *number <= 100) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::new(
                "InvalidTrial",
                format!(
                    "spec.trial.{field} `{text}` is no share: write a whole number from 0% to 100%"
                ),
            )),
        }
    };
    if !crate::source::is_digest(&trial.digest) {
        return Err(Problem::new(
            "InvalidTrial",
            format!(
                "spec.trial.digest `{}` is not `sha256:` and 64 lower-case hex digits; `kybern plugin inspect FILE` prints it",
                trial.digest
            ),
        ));
    }
    if let Some(source) = &trial.source {
        origin::place(source).map_err(|problem| {
            Problem::new(problem.reason, format!("spec.trial: {}", problem.message))
        })?;
    }
    let shadow = trial.mode == TrialMode::Shadow;
    if shadow && trial.share.is_some() {
        return Err(Problem::new(
            "InvalidTrial",
            "spec.trial.share is for mode Canary: a shadow plans for all and decides for none",
        ));
    }
    Ok(TrialRules {
        digest: trial.digest.clone(),
        shadow,
        share: percent("share", trial.share.as_deref())?.unwrap_or(SHARE),
        max_failures: percent("maxFailures", trial.max_failures.as_deref())?.unwrap_or(FAILURES),
        max_differences: percent("maxDifferences", trial.max_differences.as_deref())?,
    })
}

/// Whether it was ended before, as the status says: it is not begun again by itself.
pub(super) fn is_over(registration: &Registration) -> bool {
    let wanted = registration.spec.trial.as_ref().map(|trial| &trial.digest);
    let told = registration.status.trial.as_ref();
    told.is_some_and(|told| Some(&told.digest) == wanted && told.state == TrialState::RolledBack)
}

/// How a trial goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Going {
    /// For the status.
    pub(super) status: TrialStatus,
    /// For the condition.
    pub(super) says: Says,
}

/// How the trial of a registration goes, if it has one.
pub(super) fn going(
    registration: &Registration,
    main: &Prepared,
    problem: Option<Problem>,
    seen: Option<Trialled>,
) -> Option<Going> {
    let trial = registration.spec.trial.as_ref()?;
    let going = |state, status, reason: &str, message: String| {
        let digest = trial.digest.clone();
        Some(Going {
            status: TrialStatus { digest, state },
            says: Says::new("Trial", status, reason, message),
        })
    };
    if *main.plugin.digest() == trial.digest {
        let message = "the revision decides for all already; remove spec.trial".to_owned();
        let state = match is_over(registration) {
            true => TrialState::RolledBack,
            false => TrialState::Pending,
        };
        return going(state, false, "AlreadyActive", message);
    }
    let seen = seen.filter(|seen| seen.digest == trial.digest);
    if let Some(seen) = seen.as_ref().filter(|seen| seen.over) {
        let message = format!(
            "{}; it decides for nobody who does not name it",
            found(seen)
        );
        return going(TrialState::RolledBack, false, "RolledBack", message);
    }
    if is_over(registration) {
        let before = registration.status.conditions.iter();
        let before = before.filter(|c| c.kind == "Trial" && c.reason == "RolledBack");
        let message = before.map(|c| c.message.clone()).next();
        let message = message.unwrap_or_else(|| "it was ended before".to_owned());
        return going(TrialState::RolledBack, false, "RolledBack", message);
    }
    if let Some(problem) = problem {
        return going(
            TrialState::Pending,
            false,
            problem.reason,
            problem.message.clone(),
        );
    }
    let shadow = trial.mode == TrialMode::Shadow;
    let mut told = registration.status.conditions.iter();
    let told = told.find(|c| c.kind == "Trial" && c.status == "True");
    if let (None, Some(before)) = (&seen, told)
        && registration
            .status
            .trial
            .as_ref()
            .is_some_and(|of| of.digest == trial.digest)
    {
        // Nothing was seen yet in this life of the host: what was found before stands.
        return going(
            TrialState::Running,
            true,
            &before.reason,
            before.message.clone(),
        );
    }
    let seen = seen.unwrap_or_default();
    let reason = match (
        seen.failures.is_empty(),
        seen.differences.is_empty(),
        shadow,
    ) {
        (false, ..) => "Fails",
        (true, false, _) => "PlansDiffer",
        (true, true, true) => "Shadow",
        (true, true, false) => "Canary",
    };
    let message = match found(&seen) {
        found if !found.is_empty() => found,
        _ if shadow => {
            "it plans beside the revision that decides; nothing differs so far".to_owned()
        }
        _ => "it decides for its share; nothing fails so far".to_owned(),
    };
    going(TrialState::Running, true, reason, message)
}

/// What was found, in the same words for the same findings.
fn found(seen: &Trialled) -> String {
    let list = |what: &str, all: &[String]| match all {
        [] => None,
        all => Some(format!("{what}: {}", all.join("; "))),
    };
    let found = [
        list("fails", &seen.failures),
        list("plans something else", &seen.differences),
    ];
    found.into_iter().flatten().collect::<Vec<_>>().join(". ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(trial: serde_json::Value) -> Result<TrialRules, String> {
        let mut whole = json!({ "digest": format!("sha256:{}", "a".repeat(64)) });
        for (key, value) in trial.as_object().unwrap() {
            whole[key] = value.clone();
        }
        rules(&serde_json::from_value(whole).unwrap()).map_err(|problem| problem.message)
    }

    #[test]
    fn shares_are_whole_percents_with_defaults() {
        let rules = of(json!({})).unwrap();
        assert!(!rules.shadow);
        assert_eq!(
            (rules.share, rules.max_failures, rules.max_differences),
            (10, 5, None)
        );
        let rules =
            of(json!({ "share": "50%", "maxFailures": "0%", "maxDifferences": "1%" })).unwrap();
        assert_eq!(
            (rules.share, rules.max_failures, rules.max_differences),
            (50, 0, Some(1))
        );
        assert!(of(json!({ "mode": "Shadow" })).unwrap().shadow);
        for bad in [
            json!({ "share": "10" }),
            json!({ "share": "101%" }),
            json!({ "maxFailures": "-1%" }),
            json!({ "maxDifferences": "1.5%" }),
            json!({ "digest": "sha256:a" }),
            json!({ "mode": "Shadow", "share": "10%" }),
            json!({ "source": {} }),
            json!({ "source": { "http": { "url": "ftp://a.example/b" } } }),
        ] {
            let why = of(bad.clone()).unwrap_err();
            assert!(why.starts_with("spec.trial"), "{bad}: {why}");
        }
    }
}
