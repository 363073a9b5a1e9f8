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
        let column = |name| {
            let found = batch.column_by_name(name);
            found.ok_or_else(|| HookError::Internal(format!("there is no column {name}")))
        };
        let (names, nodes) = (column("name")?.as_string::<i32>(), column("node")?);
        let nodes = nodes.as_string::<i32>();
        let restarts = column("restarts")?.as_primitive::<Int64Type>();
        sums.rows += batch.num_rows();
        sums.letters += names
            .iter()
            .chain(nodes)
            .flatten()
            .map(str::len)
            .sum::<usize>();
        sums.restarts += restarts.iter().flatten().sum::<i64>();
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
