//! Does what subscriptions tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::UInt64Type;
use arrow::util::display::array_value_to_string;

use super::fixture::Cluster;
use crate::{AccessSet, Answer, SqlError, Subscription, parse_subscribe};

/// The run of the host that tells.
pub(crate) const RUN: u64 = 0xc0ffee;

pub(crate) async fn subscribe(cluster: &Cluster, sql: &str) -> Result<Subscription, SqlError> {
    let asked = parse_subscribe(sql)?.unwrap_or_else(|| panic!("{sql}"));
    let all = AccessSet::all();
    cluster.engine.subscribe(&asked, &all, RUN).await
}

/// The rows that somebody has who was told of them, each with how often it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded(BTreeMap<String, usize>);

impl Folded {
    pub(crate) fn of(answer: &Answer) -> Self {
        let mut folded = Self::default();
        for batch in &answer.batches {
            let rows: ArrayRef = Arc::new(StructArray::from(batch.clone()));
            for row in (0..batch.num_rows()).filter_map(|row| cells(&rows, row)) {
                folded.insert(row.join(" | "));
            }
        }
        folded
    }

    fn insert(&mut self, row: String) {
        *self.0.entry(row).or_default() += 1;
    }

    /// Does what was told; what is not exact against what was told before is an error.
    pub(crate) fn fold(&mut self, told: &RecordBatch, key: Option<&[usize]>) -> Result<(), String> {
        for (row, line) in lines(told).into_iter().enumerate() {
            let [old, new] = ["old", "new"].map(|name| cells(&told[name], row));
            let op = told["op"].as_string::<i32>().value(row);
            let fits = match op {
                "insert" => old.is_none() && new.is_some(),
                "delete" => old.is_some() && new.is_none(),
                "update" => {
                    let of = |cells: &Option<Vec<String>>| {
                        let cells = cells.clone()?;
                        Some(key?.iter().map(|at| cells[*at].clone()).collect::<Vec<_>>())
                    };
                    of(&old).is_some() && of(&old) == of(&new) && old != new
                }
                _ => false,
            };
            if !fits {
                return Err(format!("{line} is no {op} by {key:?}"));
            }
            if let Some(old) = old {
                let old = old.join(" | ");
                match self.0.get_mut(&old) {
                    Some(1) => drop(self.0.remove(&old)),
                    Some(count) => *count -= 1,
                    None => return Err(format!("{line}: {old} was never told")),
                }
            }
            if let Some(new) = new {
                self.insert(new.join(" | "));
            }
        }
        Ok(())
    }
}

fn cells(rows: &ArrayRef, row: usize) -> Option<Vec<String>> {
    let rows: &StructArray = rows.as_struct();
    let cell = |column: &ArrayRef| match column.is_valid(row) {
        true => array_value_to_string(column, row).unwrap(),
        false => "NULL".to_owned(),
    };
    let cells = rows.columns().iter().map(cell);
    rows.is_valid(row).then(|| cells.collect())
}

/// A line for each row that was told, without its sequence.
pub(crate) fn lines(told: &RecordBatch) -> Vec<String> {
    let ops = told["op"].as_string::<i32>();
    let line = |row: usize| {
        let [old, new] = ["old", "new"].map(|name| cells(&told[name], row));
        let text = |cells: Option<Vec<String>>| cells.map(|cells| cells.join(" | "));
        let rows: Vec<String> = [text(old), text(new)].into_iter().flatten().collect();
        format!("{} {}", ops.value(row), rows.join(" -> "))
    };
    (0..told.num_rows()).map(line).collect()
}

/// The one sequence of all rows.
pub(crate) fn sequence(told: &RecordBatch) -> u64 {
    let sequences = told["sequence"].as_primitive::<UInt64Type>().values();
    assert!(sequences.iter().all(|at| *at == sequences[0]));
    sequences[0]
}
