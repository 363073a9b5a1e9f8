//! The conditions of a registration.

use kybern_interface::PluginCondition;

/// A condition before it has a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Says {
    /// Like `Ready`.
    pub(crate) kind: &'static str,
    /// `True`, `False` or `Unknown`.
    pub(crate) status: &'static str,
    /// CamelCase.
    pub(crate) reason: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Says {
    /// `True` or `False`.
    pub(crate) fn new(
        kind: &'static str,
        status: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status: if status { "True" } else { "False" },
            reason: reason.into(),
            message: shortened(message.into()),
        }
    }
}

/// Characters of a message: what a server or a plugin says may be as long as it likes.
const LONGEST: usize = 2_048;

/// At most [`LONGEST`] characters.
pub(crate) fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// The conditions as they are written: the transition time of an unchanged status is kept.
pub(crate) fn merge(
    says: &[Says],
    before: &[PluginCondition],
    now: jiff::Timestamp,
    generation: i64,
) -> Vec<PluginCondition> {
    says.iter()
        .map(|says| {
            let since = before
                .iter()
                .find(|old| old.kind == says.kind && old.status == says.status)
                .map_or_else(
                    || now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    |old| old.last_transition_time.clone(),
                );
            PluginCondition {
                kind: says.kind.to_owned(),
                status: says.status.to_owned(),
                reason: says.reason.clone(),
                message: says.message.clone(),
                last_transition_time: since,
                observed_generation: Some(generation),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = merge(
            &[Says::new("Ready", false, "A", "a")],
            &[],
            "2026-01-01T00:00:00Z".parse().unwrap(),
            1,
        );
        let later = "2026-01-02T00:00:00Z".parse().unwrap();
        let same = merge(&[Says::new("Ready", false, "B", "b")], &first, later, 2);
        assert_eq!(same[0].last_transition_time, "2026-01-01T00:00:00Z");
        let other = merge(&[Says::new("Ready", true, "B", "b")], &first, later, 2);
        assert_eq!(other[0].last_transition_time, "2026-01-02T00:00:00Z");
    }
}
