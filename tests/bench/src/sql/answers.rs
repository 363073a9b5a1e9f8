//! What a system answered: how fast, and a digest that all must share.

use crate::clock::now;
use anyhow::{Context, Result, ensure};
use arrow::array::{Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Answers below which there is no p99.
const FOR_P99: usize = 1_000;

/// One case of one system in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// `q1_prepared`, `q2`, `q2_loaded` ...
    pub(crate) name: String,
    pub(crate) p50_ms: f64,
    /// With a thousand answers or more.
    pub(crate) p99_ms: Option<f64>,
    /// How many answers were timed.
    pub(crate) answers: usize,
    /// Rows of the first answer; none where the data changes meanwhile.
    pub(crate) rows: Option<usize>,
    /// Of the same rows.
    pub(crate) digest: Option<String>,
}

/// What a system says in one round, on one line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) cases: Vec<Case>,
    /// Remarks for people.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

/// How long a case is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// So many answers are enough, once a twentieth of the time has passed.
    pub(crate) answers: usize,
    /// No answer begins later.
    pub(crate) time: Duration,
}

/// Times answers; `ask` is given their number and starts the clock itself.
pub(crate) async fn timed(
    name: &str,
    budget: Budget,
    mut ask: impl AsyncFnMut(usize) -> Result<Duration>,
) -> Result<Case> {
    let mut times = Vec::new();
    let began = now()?;
    loop {
        let passed = now()? - began;
        let enough = times.len() >= budget.answers && passed >= budget.time / 20;
        if enough || (passed >= budget.time && !times.is_empty()) {
            break;
        }
        times.push(ask(times.len()).await?.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied();
    Ok(Case {
        name: name.to_owned(),
        p50_ms: at(50).context("nothing was timed")?,
        p99_ms: at(99).filter(|_| times.len() >= FOR_P99),
        answers: times.len(),
        rows: None,
        digest: None,
    })
}

/// A digest of the rows in the order of their texts: columns between unit separators, NULL a zero
/// character, rows on lines. The peers in Python do the same.
pub(crate) fn digest(batches: &[RecordBatch]) -> Result<(usize, String)> {
    let mut lines = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| cast(column, &DataType::Utf8))
            .collect::<Result<Vec<_>, _>>()?;
        let columns = columns
            .iter()
            .map(|column| column.as_any().downcast_ref().context("a cast to text"))
            .collect::<Result<Vec<&StringArray>>>()?;
        for row in 0..batch.num_rows() {
            let cell = |column: &&StringArray| match column.is_valid(row) {
                true => column.value(row).to_owned(),
                false => "\0".to_owned(),
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            lines.push(cells.join("\u{1f}"));
        }
    }
    lines.sort();
    let hash = Sha256::digest(lines.join("\n"));
    let hex = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((lines.len(), hex))
}

/// Fails unless both gave the same rows in every case that both have.
pub(crate) fn agree(first: (&str, &[Case]), other: (&str, &[Case])) -> Result<()> {
    let mut compared = 0;
    for case in first.1.iter().filter(|case| case.digest.is_some()) {
        let Some(theirs) = other.1.iter().find(|theirs| theirs.name == case.name) else {
            continue;
        };
        ensure!(
            (theirs.rows, &theirs.digest) == (case.rows, &case.digest),
            "{}: {} and {} give different answers: {:?} and {:?} rows",
            case.name,
            first.0,
            other.0,
            case.rows.unwrap_or_default(),
            theirs.rows.unwrap_or_default(),
        );
        compared += 1;
    }
    ensure!(
        compared > 0,
        "{} and {} have no case in common",
        first.0,
        other.0
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn rows(names: &[Option<&str>], counts: &[i64]) -> RecordBatch {
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        let counts: ArrayRef = Arc::new(Int64Array::from(counts.to_vec()));
        RecordBatch::try_from_iter([("name", names), ("count", counts)]).unwrap()
    }

    fn case(digest: &str) -> Case {
        Case {
            name: "q2".to_owned(),
            p50_ms: 1.0,
            p99_ms: None,
            answers: 1,
            rows: Some(1),
            digest: Some(digest.to_owned()),
        }
    }

    #[test]
    fn digests_tell_rows_apart_and_not_their_order() {
        let of = |batches: &[RecordBatch]| digest(batches).unwrap();
        let whole = of(&[rows(&[Some("a"), None], &[1, 2])]);
        let parts = of(&[rows(&[None], &[2]), rows(&[Some("a")], &[1])]);
        assert_eq!(whole, parts);
        assert_eq!(whole.0, 2);
        assert_ne!(whole, of(&[rows(&[Some("a"), Some("")], &[1, 2])]));
        assert_ne!(whole, of(&[rows(&[Some("a"), None], &[1, 3])]));
    }

    #[test]
    fn systems_that_answer_otherwise_are_refused() {
        let (ours, same, other) = ([case("x")], [case("x")], [case("y")]);
        assert!(agree(("a", &ours), ("b", &same)).is_ok());
        let error = agree(("a", &ours), ("b", &other)).unwrap_err().to_string();
        assert!(error.contains("q2: a and b"), "{error}");
        assert!(agree(("a", &ours), ("b", &[])).is_err());
    }
}
