//! A registration's limits: quantities and durations as the sandbox takes them.

use super::problem::Problem;
use kybern_interface::{ImageSource, Limits};
use kybern_plugin::CallLimits;
use kybern_reconcile::PassLimits;
use std::time::Duration;

/// Most memory that a registration may ask for, bytes.
const MAX_MEMORY: usize = 1 << 30;
/// Most time that a registration may ask for in a pure call.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Most time that a registration may ask for in an effect.
const MAX_EFFECT_TIME: Duration = Duration::from_secs(600);

/// Shortest and longest time between two looks at a tag.
const MIN_POLL: Duration = Duration::from_secs(10);
const MAX_POLL: Duration = Duration::from_secs(7 * 24 * 3600);

/// What one call of this registration may use; the host's defaults where it says nothing.
pub(crate) fn of(limits: &Limits) -> Result<CallLimits, Problem> {
    let mut call = CallLimits::default();
    if let Some(text) = &limits.memory {
        let bytes = text
            .parse::<kybern_statement::Quantity>()
            .ok()
            .and_then(|quantity| usize::try_from(quantity.value()).ok())
            .filter(|bytes| (1..=MAX_MEMORY).contains(bytes))
            .ok_or_else(|| invalid("memory", text, "a quantity up to 1Gi, like 64Mi"))?;
        call.memory = bytes;
    }
    if let Some(text) = &limits.time {
        call.time = duration(text)
            .filter(|time| *time <= MAX_TIME)
            .ok_or_else(|| invalid("time", text, "a duration up to 30s, like 500ms"))?;
    }
    effect_time(limits)?;
    if let Some(0) = limits.concurrency {
        return Err(invalid("concurrency", "0", "a number from 1"));
    }
    if let Some(text) = &limits.max_prune {
        text.strip_suffix('%')
            .and_then(|number| number.parse::<u32>().ok())
            .filter(|percent| *percent <= 100)
            .ok_or_else(|| invalid("maxPrune", text, "a share from 0% to 100%"))?;
    }
    Ok(call)
}

/// How often a tag is resolved anew; none = once.
pub(crate) fn poll_interval(oci: &ImageSource) -> Result<Option<Duration>, Problem> {
    let Some(text) = &oci.poll_interval else {
        return Ok(None);
    };
    let interval = duration(text).filter(|interval| (MIN_POLL..=MAX_POLL).contains(interval));
    interval.map(Some).ok_or_else(|| {
        Problem::new(
            "InvalidSource",
            format!("spec.source.oci.pollInterval: `{text}` is not a duration from 10s to 168h, like 10m"),
        )
    })
}

/// What one effect of this registration may take.
pub(crate) fn effect_time(limits: &Limits) -> Result<Duration, Problem> {
    let Some(text) = &limits.effect_time else {
        return Ok(PassLimits::default().effect_time);
    };
    duration(text)
        .filter(|time| *time <= MAX_EFFECT_TIME)
        .ok_or_else(|| invalid("effectTime", text, "a duration up to 10m, like 30s"))
}

fn invalid(field: &str, text: &str, wanted: &str) -> Problem {
    Problem::new(
        "InvalidLimits",
        format!("spec.limits.{field}: `{text}` is not {wanted}"),
    )
}

/// `500ms`, `30s`, `2m`; never zero or negative.
fn duration(text: &str) -> Option<Duration> {
    let signed: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(signed).ok().filter(|d| !d.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_not_asked_for_all_the_time() {
        let of = |interval: Option<&str>| {
            let oci = serde_json::json!({ "image": "r.example/a:v1", "pollInterval": interval });
            poll_interval(&serde_json::from_value(oci).unwrap())
        };
        assert_eq!(of(None), Ok(None));
        assert_eq!(of(Some("10m")), Ok(Some(Duration::from_secs(600))));
        for wrong in ["9s", "0s", "often", "169h"] {
            let told = of(Some(wrong)).unwrap_err().message;
            assert!(told.starts_with("spec.source.oci.pollInterval"), "{told}");
        }
    }

    #[test]
    fn limits_are_parsed_or_refused_by_name() {
        let limits = Limits {
            memory: Some("32Mi".into()),
            time: Some("250ms".into()),
            ..Limits::default()
        };
        let call = of(&limits).unwrap();
        assert_eq!(
            (call.memory, call.time),
            (32 << 20, Duration::from_millis(250))
        );
        for (limits, field) in [
            (
                Limits {
                    memory: Some("4 Gi".into()),
                    ..Limits::default()
                },
                "spec.limits.memory",
            ),
            (
                Limits {
                    memory: Some("2Gi".into()),
                    ..Limits::default()
                },
                "spec.limits.memory",
            ),
            (
                Limits {
                    time: Some("soon".into()),
                    ..Limits::default()
                },
                "spec.limits.time",
            ),
            (
                Limits {
                    effect_time: Some("11m".into()),
                    ..Limits::default()
                },
                "spec.limits.effectTime",
            ),
            (
                Limits {
                    concurrency: Some(0),
                    ..Limits::default()
                },
                "spec.limits.concurrency",
            ),
            (
                Limits {
                    max_prune: Some("half".into()),
                    ..Limits::default()
                },
                "spec.limits.maxPrune",
            ),
        ] {
            let problem = of(&limits).unwrap_err();
            assert!(problem.message.starts_with(field), "{}", problem.message);
        }
    }
}
