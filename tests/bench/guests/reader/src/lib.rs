//! Reads all rows of an answer, as Arrow record batches or as JSON, and says what they come to:
//! every value is looked at, and little is written.

use kybern_sdk::arrow_array::cast::AsArray;
use kybern_sdk::arrow_array::types::Int64Type;
use kybern_sdk::{Cr, HookError, Plan, Plugin, Situation, json};
use serde::Deserialize;

/// How to read.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Arrow,
    Json,
}

/// What to do.
#[derive(Deserialize)]
pub struct Spec {
    form: Form,
}

/// A pod.
#[derive(Deserialize)]
struct Row {
    name: String,
    node: String,
    restarts: i64,
}

/// Sums over all rows.
#[derive(Default)]
struct Sums {
    rows: usize,
    letters: usize,
    restarts: i64,
}

/// The plugin.
pub struct Reader;

#[kybern_sdk::plugin(
    name = "bench-reader",
    resource = "bench.example.com/v1/Reader",
    query(name = "rows", sql = "SELECT name FROM pods"),
    reads = ["v1/Pod"],
)]
impl Plugin for Reader {
    type Spec = Spec;

    fn decide(cr: &Cr<Spec>, situation: &Situation<'_>) -> Result<Plan, HookError> {
        let sums = match cr.spec.form {
            Form::Arrow => of_batches(situation)?,
            Form::Json => of_rows(situation)?,
        };
        Ok(Plan::new().status(json!({
            "rows": sums.rows, "letters": sums.letters, "restarts": sums.restarts,
        })))
    }
}

fn of_batches(situation: &Situation<'_>) -> Result<Sums, HookError> {
    let mut sums = Sums::default();
    for batch in situation.batches("rows")? {
        let batch = batch?;
        sums.rows += batch.num_rows();
        for column in batch.columns() {
            if let Some(texts) = column.as_string_opt::<i32>() {
                sums.letters += texts.iter().flatten().map(str::len).sum::<usize>();
            }
            if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
                sums.restarts += numbers.iter().flatten().sum::<i64>();
            }
        }
    }
    Ok(sums)
}

fn of_rows(situation: &Situation<'_>) -> Result<Sums, HookError> {
    let mut sums = Sums::default();
    for row in situation.stream::<Row>("rows")? {
        let row = row?;
        sums.rows += 1;
        sums.letters += row.name.len() + row.node.len();
        sums.restarts += row.restarts;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests;
