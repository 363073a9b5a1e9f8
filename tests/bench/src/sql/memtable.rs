//! DataFusion's own table in memory, over columns.

use super::answers::{Budget, Case, Said, digest, timed};
use super::objects::{Objects, TABLES, read};
use super::queries::{POINT, point, queries};
use crate::clock::now;
use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, Volatility, create_udf};
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// As many as there are processors on the machine that the goals were set on.
const PARTITIONS: usize = 2;
/// DataFusion's own default.
const BATCH_ROWS: usize = 8_192;

/// Measures.
pub(crate) async fn measure(folder: &Path, objects: Objects, budget: Budget) -> Result<Said> {
    let asker = Asker {
        context: context(folder)?,
    };
    let mut said = Said::default();
    let (namespace, name) = objects.key(0);
    said.cases.push(
        asker
            .repeated("q1", &point(POINT[1], &namespace, &name), budget)
            .await?,
    );
    for query in queries(&objects.image()?) {
        let image = "json_text(spec, 'containers.0.image')";
        let sql = query.columns.replace("{image}", image);
        said.cases
            .push(asker.repeated(&query.name, &sql, budget).await?);
    }
    said.cases.extend(asker.points(objects, budget).await?);
    Ok(said)
}

struct Asker {
    context: SessionContext,
}

impl Asker {
    async fn text(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        Ok(self.context.sql(sql).await?.collect().await?)
    }

    async fn repeated(&self, name: &str, sql: &str, budget: Budget) -> Result<Case> {
        let (rows, digest) = digest(&self.text(sql).await?)?;
        let mut case = timed(name, budget, async |_| {
            let began = now()?;
            self.text(sql).await?;
            Ok(now()? - began)
        })
        .await?;
        (case.rows, case.digest) = (Some(rows), Some(digest));
        Ok(case)
    }

    /// A plan that is parsed and optimised, with values.
    async fn planned(&self, plan: &LogicalPlan, values: [String; 2]) -> Result<Vec<RecordBatch>> {
        let state = self.context.state();
        let values = values.map(|value| ScalarValue::Utf8View(Some(value)));
        let plan = plan.clone().with_param_values(values.to_vec())?;
        let plan = state
            .query_planner()
            .create_physical_plan(&plan, &state)
            .await?;
        Ok(collect(plan, self.context.task_ctx()).await?)
    }

    async fn points(&self, objects: Objects, budget: Budget) -> Result<[Case; 2]> {
        let state = self.context.state();
        let plan = state.optimize(&state.create_logical_plan(POINT[1]).await?)?;
        let one = |batches: Vec<RecordBatch>| {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            ensure!(rows == 1, "{rows} rows of one pod");
            Ok(())
        };
        let ready = timed("q1_prepared", budget, async |turn| {
            let key = objects.key(turn);
            let began = now()?;
            let answer = self.planned(&plan, key.into()).await?;
            let took = now()? - began;
            one(answer)?;
            Ok(took)
        })
        .await?;
        let new = timed("q1_new", budget, async |turn| {
            let (namespace, name) = objects.key(turn + 1);
            let sql = point(POINT[1], &namespace, &name);
            let began = now()?;
            let answer = self.text(&sql).await?;
            let took = now()? - began;
            one(answer)?;
            Ok(took)
        })
        .await?;
        Ok([ready, new])
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "it is what Kybern is measured against"
)]
fn context(folder: &Path) -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(PARTITIONS);
    let context = SessionContext::new_with_config(config);
    context.register_udf(create_udf(
        "json_text",
        vec![DataType::Utf8View, DataType::Utf8],
        DataType::Utf8View,
        Volatility::Immutable,
        Arc::new(json_text),
    ));
    for table in TABLES {
        let rows = read(folder, table)?;
        let rows = rows.first().context("one batch")?;
        let rows = viewed(rows)?;
        let half = rows.num_rows().div_ceil(PARTITIONS);
        let parts = (0..PARTITIONS)
            .map(|part| sliced(&rows, part * half, half))
            .collect();
        let provider = datafusion::datasource::MemTable::try_new(rows.schema(), parts)?;
        context.register_table(table, Arc::new(provider))?;
    }
    Ok(context)
}

fn sliced(rows: &RecordBatch, from: usize, len: usize) -> Vec<RecordBatch> {
    let end = (from + len).min(rows.num_rows());
    (from..end)
        .step_by(BATCH_ROWS)
        .map(|at| rows.slice(at, BATCH_ROWS.min(end - at)))
        .collect()
}

/// Texts as views, which DataFusion is faster with.
fn viewed(rows: &RecordBatch) -> Result<RecordBatch> {
    let of = |data_type: &DataType| match data_type {
        DataType::Utf8 => DataType::Utf8View,
        other => other.clone(),
    };
    let schema = rows.schema();
    let fields = schema.fields().iter();
    let fields: Vec<Field> = fields
        .map(|field| Field::new(field.name(), of(field.data_type()), true))
        .collect();
    let columns = rows.columns().iter();
    let columns = columns
        .map(|column| cast(column, &of(column.data_type())))
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn json_text(arguments: &[ColumnarValue]) -> datafusion::common::Result<ColumnarValue> {
    let [
        ColumnarValue::Array(texts),
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(path))),
    ] = arguments
    else {
        return exec_err!("json_text needs a column and a path");
    };
    let Some(texts) = texts.as_any().downcast_ref::<StringViewArray>() else {
        return exec_err!("json_text needs text");
    };
    let steps: Vec<&str> = path.split('.').collect();
    let found: StringViewArray = texts.iter().map(|text| found(text?, &steps)).collect();
    Ok(ColumnarValue::Array(Arc::new(found)))
}

/// The text at a path. Nothing behind it is read.
fn found(text: &str, steps: &[&str]) -> Option<String> {
    let mut found = None;
    let seek = Seek {
        steps,
        found: &mut found,
    };
    // It ends with an error as soon as there is something.
    let _ = seek.deserialize(&mut serde_json::Deserializer::from_str(text));
    found
}

struct Seek<'a> {
    steps: &'a [&'a str],
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text at the path's end")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.steps.is_empty() {
            *self.found = Some(text.to_owned());
        }
        Err(E::custom("found"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            return Err(A::Error::custom("an object"));
        };
        while let Some(same) = map.next_key_seed(Same(step))? {
            if same {
                let found = self.found;
                map.next_value_seed(Seek { steps: rest, found })?;
                return Err(A::Error::custom("nothing there"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            return Err(A::Error::custom("an array"));
        };
        for _ in 0..step.parse().unwrap_or(usize::MAX) {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        let found = self.found;
        items.next_element_seed(Seek { steps: rest, found })?;
        Err(A::Error::custom("nothing there"))
    }
}

/// Whether a key is this one; nothing is allocated for it.
struct Same<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Same<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Same<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn paths_end_at_texts() {
        let text = r#"{"a":[{"b":{"x":[1]}},{"b":"two","c":"\u0041"}],"n":1,"t":"last"}"#;
        let at = |path: &str| found(text, &path.split('.').collect::<Vec<_>>());
        assert_eq!(at("a.1.b").as_deref(), Some("two"));
        assert_eq!(at("a.1.c").as_deref(), Some("A"));
        assert_eq!(at("t").as_deref(), Some("last"));
        for path in ["a.0.b", "a.2.b", "n", "a", "z", "t.x", "a.1.b.c"] {
            assert_eq!(at(path), None, "{path}");
        }
    }
}
