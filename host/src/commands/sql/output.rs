//! An answer as a table, JSON, CSV or YAML.

use crate::args::Output;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kybern_sql::Answer;
use serde_json::{Map, Number, Value};

/// The whole answer as text.
pub(crate) fn render(answer: &Answer, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Table => table(answer)?,
        Output::Csv => csv(answer)?,
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&objects(answer)?)?),
        Output::Yaml => serde_saphyr::to_string(&objects(answer)?)?,
    })
}

/// Every cell as text, by row; `None` is NULL.
fn cells(answer: &Answer) -> anyhow::Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%SZ"));
    let mut rows = Vec::with_capacity(answer.rows);
    for batch in &answer.batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .zip(batch.columns())
                    .map(|(format, column)| {
                        column.is_valid(row).then(|| format.value(row).to_string())
                    })
                    .collect(),
            );
        }
    }
    Ok(rows)
}

fn names(answer: &Answer) -> Vec<String> {
    answer
        .schema
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect()
}

/// Columns for people, as kubectl prints them: no borders.
fn table(answer: &Answer) -> anyhow::Result<String> {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(names(answer).iter().map(|name| name.to_uppercase()));
    for row in cells(answer)? {
        table.add_row(
            row.into_iter()
                .map(|cell| cell.unwrap_or_else(|| "<null>".into())),
        );
    }
    let text: String = table
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end()))
        .collect();
    Ok(text)
}

/// RFC 4180; NULL is an empty field.
fn csv(answer: &Answer) -> anyhow::Result<String> {
    fn field(text: &str) -> String {
        if text.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    }
    let mut text = String::new();
    let header: Vec<String> = names(answer).iter().map(|name| field(name)).collect();
    text.push_str(&header.join(","));
    text.push_str("\r\n");
    for row in cells(answer)? {
        let fields: Vec<String> = row
            .iter()
            .map(|cell| field(cell.as_deref().unwrap_or_default()))
            .collect();
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    Ok(text)
}

/// Rows as objects. Text that holds a JSON object or array is shown as such.
fn objects(answer: &Answer) -> anyhow::Result<Value> {
    let names = names(answer);
    let text = cells(answer)?;
    let mut rows = Vec::with_capacity(text.len());
    let mut position = 0;
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let mut object = Map::new();
            for (index, name) in names.iter().enumerate() {
                let shown = text
                    .get(position)
                    .and_then(|cells| cells.get(index))
                    .cloned()
                    .flatten();
                object.insert(name.clone(), value(batch.column(index), row, shown));
            }
            rows.push(Value::Object(object));
            position += 1;
        }
    }
    Ok(Value::Array(rows))
}

fn value(column: &ArrayRef, row: usize, shown: Option<String>) -> Value {
    let Some(text) = shown else {
        return Value::Null;
    };
    match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => Value::from(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float64 => Number::from_f64(column.as_primitive::<Float64Type>().value(row))
            .map_or(Value::String(text), Value::Number),
        _ if text.starts_with(['{', '[']) => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        _ => Value::String(text),
    }
}
