//! What people are told: which table or statement, what is held by whom, what to do.

use crate::account::Account;
use crate::reading::Reading;
use crate::size::mebibytes;
use std::fmt::Write as _;

/// Tables that are named: those that matter, in a message of one line.
const NAMED: usize = 5;

/// A table and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The table.
    pub table: String,
    /// Its live rows.
    pub rows: u64,
    /// Its bytes, indexes and dictionaries included.
    pub bytes: u64,
}

/// Why a kind is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There was no room when it was asked for.
    Full,
    /// Its first list was stopped.
    Stopped,
    /// Its first list was stopped when it had come so far: for those who may know.
    StoppedAt(Reached),
}

/// How far a first list had come when it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Objects.
    pub rows: u64,
    /// Bytes of the table.
    pub bytes: u64,
}

const CURE: &str = "Raise --memory-budget (unless told, it is three fifths of resources.limits.memory), or watch less: \
                    one namespace with --namespaces, or fewer kinds in the grants of the registrations.";

/// Why a kind is not watched. Other tables are not named: who reads this one may not know of them.
pub fn refused(table: &str, cause: Cause, reading: &Reading) -> String {
    let why = match cause {
        Cause::Full => "the memory budget is used up".to_owned(),
        Cause::Stopped => {
            "the memory budget was used up before its first list was complete".to_owned()
        }
        Cause::StoppedAt(Reached { rows, bytes }) => format!(
            "its first list had come to {rows} objects in {} when the memory budget was used up",
            mebibytes(bytes)
        ),
    };
    format!(
        "{table} is not watched: {why}. {} {CURE} It is watched as soon as there is room",
        held(reading, &[])
    )
}

/// Why a statement was cancelled that held `bytes`.
pub fn cancelled(bytes: u64, reading: &Reading) -> String {
    format!(
        "the statement was cancelled: it held {}, more than any other, when the memory budget was used up. {} \
         Read fewer rows or columns, or raise --memory-budget",
        mebibytes(bytes),
        held(reading, &[])
    )
}

/// That the budget is exceeded, for the log.
pub fn over(reading: &Reading, holders: &[Holder]) -> String {
    format!(
        "the memory budget is used up: new kinds are refused, caches are dropped. {} {CURE}",
        held(reading, holders)
    )
}

/// What is held of how much, by which account and by which tables.
fn held(reading: &Reading, holders: &[Holder]) -> String {
    let mut text = format!(
        "{} of {} are held:",
        mebibytes(reading.used()),
        mebibytes(reading.budget)
    );
    for (at, account) in Account::ALL.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma} {account} {}", mebibytes(reading.of(account)));
    }
    let mut largest: Vec<&Holder> = holders.iter().filter(|holder| holder.rows > 0).collect();
    largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.table.cmp(&b.table)));
    for (at, holder) in largest.iter().take(NAMED).enumerate() {
        let before = if at == 0 { "; largest tables:" } else { "," };
        let size = mebibytes(holder.bytes);
        let _ = write!(
            text,
            "{before} {} {} rows {size}",
            holder.table, holder.rows
        );
    }
    let more = largest.len().saturating_sub(NAMED);
    if more > 0 {
        let _ = write!(text, ", {more} more");
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn reading() -> Reading {
        Reading {
            budget: 64 * MIB,
            store: 60 * MIB,
            queries: 8 * MIB,
            guests: MIB,
            caches: MIB / 2,
            ..Reading::default()
        }
    }

    fn holders() -> Vec<Holder> {
        let tables = [
            ("v1/Secret", 1200, 30),
            ("v1/Pod", 9, 20),
            ("v1/Node", 0, 9),
        ];
        let more = [("a", 1, 3), ("b", 1, 3), ("c", 1, 2), ("d", 1, 1)];
        let all = tables.into_iter().chain(more);
        all.map(|(table, rows, mib)| Holder {
            table: table.to_owned(),
            rows,
            bytes: mib * MIB,
        })
        .collect()
    }

    #[test]
    fn the_messages_say_what_how_much_by_whom_and_what_to_do() {
        let reached = Reached {
            rows: 12_000,
            bytes: 9 * MIB,
        };
        let none = Reading {
            budget: 64 * MIB,
            store: 65 * MIB,
            ..Reading::default()
        };
        let all = [
            refused("v1/Pod", Cause::Full, &reading()),
            refused("v1/Pod", Cause::Stopped, &reading()),
            refused("v1/Pod", Cause::StoppedAt(reached), &reading()),
            cancelled(7 * MIB, &reading()),
            over(&reading(), &holders()),
            over(&none, &[]),
        ];
        insta::assert_snapshot!(all.join("\n\n"));
    }
}
