//! Builds Arrow columns from rows, wherever they lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringViewBuilder,
    TimestampMicrosecondBuilder, UInt64Builder,
};

use crate::column::{Column, PathType};
use crate::ingest::micros;
use crate::json;
use crate::path::{Path, Segment};
use crate::refer::RowRef;

/// Values that were not of the type they were read with, in this process.
static MISMATCHES: AtomicU64 = AtomicU64::new(0);

/// How many values were not of the type they were read with, in this process.
pub(crate) fn mismatches() -> u64 {
    MISMATCHES.load(Ordering::Relaxed)
}

/// A column to build.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    Column(Column),
    /// From the root.
    Path(Path, PathType),
}

impl Want {
    pub(crate) fn path(path: &Path, of: PathType) -> Want {
        Want::Path(path.from_root(), of)
    }

    /// Whether it is small beside the bodies, and so worth keeping.
    pub(crate) fn is_small(&self) -> bool {
        !matches!(
            self,
            Want::Column(Column::Top(_) | Column::Object | Column::Annotations)
        )
    }

    pub(crate) fn needs_body(&self) -> bool {
        match self {
            Want::Path(..) => true,
            Want::Column(column) => matches!(
                column,
                Column::Annotations
                    | Column::Owners
                    | Column::Finalizers
                    | Column::Top(_)
                    | Column::Object
            ),
        }
    }

    fn sink(&self, rows: usize) -> Sink {
        Sink::of(
            match self {
                Want::Path(_, of) => *of,
                Want::Column(Column::ResourceVersion) => {
                    return Sink::UInt(UInt64Builder::with_capacity(rows));
                }
                Want::Column(Column::Generation) => PathType::Int,
                Want::Column(Column::CreationTimestamp | Column::DeletionTimestamp) => {
                    PathType::Timestamp
                }
                Want::Column(_) => PathType::Text,
            },
            rows,
        )
    }
}

/// Rows for whose texts the builder's own first block would be too large.
const FEW_ROWS: usize = 64;
/// What a text of few takes, about.
const TEXT_BYTES: u32 = 64;

/// A builder for texts of about so many rows.
fn texts(rows: usize) -> StringViewBuilder {
    let builder = StringViewBuilder::with_capacity(rows);
    match u32::try_from(rows) {
        Ok(few @ 1..) if rows <= FEW_ROWS => builder.with_fixed_block_size(few * TEXT_BYTES),
        _ => builder,
    }
}

enum Sink {
    View(StringViewBuilder),
    Bool(BooleanBuilder),
    Int(Int64Builder),
    UInt(UInt64Builder),
    Float(Float64Builder),
    Time(TimestampMicrosecondBuilder),
}

impl Sink {
    fn of(of: PathType, rows: usize) -> Self {
        match of {
            PathType::Text | PathType::Json => Sink::View(texts(rows)),
            PathType::Bool => Sink::Bool(BooleanBuilder::with_capacity(rows)),
            PathType::Int => Sink::Int(Int64Builder::with_capacity(rows)),
            PathType::Float => Sink::Float(Float64Builder::with_capacity(rows)),
            PathType::Timestamp => {
                Sink::Time(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"))
            }
        }
    }

    fn text(&mut self, value: Option<impl AsRef<str>>) {
        if let Sink::View(view) = self {
            view.append_option(value);
        }
    }

    fn number(&mut self, value: Option<i64>) {
        match self {
            Sink::Int(column) => column.append_option(value),
            Sink::Time(column) => column.append_option(value),
            _ => {}
        }
    }

    fn null(&mut self) {
        match self {
            Sink::View(column) => column.append_null(),
            Sink::Bool(column) => column.append_null(),
            Sink::Int(column) => column.append_null(),
            Sink::UInt(column) => column.append_null(),
            Sink::Float(column) => column.append_null(),
            Sink::Time(column) => column.append_null(),
        }
    }

    /// The value of a path; null, and counted, when it is of another type.
    fn value(&mut self, raw: Option<&str>, of: PathType) {
        let Some(raw) = raw.filter(|raw| *raw != "null") else {
            return self.null();
        };
        let fits = match self {
            Sink::View(column) if of == PathType::Json => {
                column.append_value(raw);
                return;
            }
            Sink::View(column) => {
                let value = json::text(raw);
                column.append_option(value.as_deref());
                value.is_some()
            }
            Sink::Bool(column) => {
                let value = raw.parse().ok();
                column.append_option(value);
                value.is_some()
            }
            Sink::Int(column) => {
                let value = raw.parse().ok();
                column.append_option(value);
                value.is_some()
            }
            Sink::UInt(column) => {
                let value = raw.parse().ok();
                column.append_option(value);
                value.is_some()
            }
            Sink::Float(column) => {
                let value = number(raw);
                column.append_option(value);
                value.is_some()
            }
            Sink::Time(column) => {
                let value = Some(raw)
                    .filter(|raw| raw.starts_with('"'))
                    .and_then(json::text)
                    .and_then(|text| micros(&text));
                column.append_option(value);
                value.is_some()
            }
        };
        if !fits {
            MISMATCHES.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Sink::View(mut column) => Arc::new(column.finish()),
            Sink::Bool(mut column) => Arc::new(column.finish()),
            Sink::Int(mut column) => Arc::new(column.finish()),
            Sink::UInt(mut column) => Arc::new(column.finish()),
            Sink::Float(mut column) => Arc::new(column.finish()),
            Sink::Time(mut column) => Arc::new(column.finish()),
        }
    }
}

/// A JSON number that a double can hold; Rust's other spellings are none.
fn number(raw: &str) -> Option<f64> {
    let starts = raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let value: f64 = raw.parse().ok().filter(|_| starts)?;
    value.is_finite().then_some(value)
}

/// The wanted columns of these rows, in this order; an absent row is null.
pub(crate) fn extract<'a>(
    rows: impl Iterator<Item = Option<RowRef<'a>>>,
    wants: &[Want],
) -> Vec<ArrayRef> {
    let needs_body = wants.iter().any(Want::needs_body);
    let (expected, _) = rows.size_hint();
    let mut sinks: Vec<Sink> = wants.iter().map(|want| want.sink(expected)).collect();
    let mut scratch = Vec::new();
    for row in rows {
        let Some(row) = row else {
            sinks.iter_mut().for_each(Sink::null);
            continue;
        };
        let body = if needs_body {
            row.body(&mut scratch)
        } else {
            ""
        };
        for (want, sink) in wants.iter().zip(&mut sinks) {
            match want {
                Want::Path(path, of) => sink.value(row.at(body, path), *of),
                Want::Column(column) => fill(sink, row, body, column),
            }
        }
    }
    sinks.into_iter().map(Sink::finish).collect()
}

/// The values at these places inside of JSON texts, a column for each place, with the same rules as
/// for paths of a table. An absent text is null.
pub fn inside<'a>(
    texts: impl Iterator<Item = Option<&'a str>>,
    places: &[(&[Segment], PathType)],
) -> Vec<ArrayRef> {
    let (expected, _) = texts.size_hint();
    let mut sinks: Vec<Sink> = places
        .iter()
        .map(|(_, of)| Sink::of(*of, expected))
        .collect();
    for text in texts {
        for ((steps, of), sink) in places.iter().zip(&mut sinks) {
            sink.value(text.and_then(|text| json::get(text, steps)), *of);
        }
    }
    sinks.into_iter().map(Sink::finish).collect()
}

fn fill(sink: &mut Sink, row: RowRef<'_>, body: &str, column: &Column) {
    let inside = |name: &str| {
        let found = json::member(row.field(body, "metadata")?, name);
        found.filter(|raw| *raw != "null")
    };
    match column {
        Column::Namespace => sink.text(row.namespace()),
        Column::Name => sink.text(Some(row.name())),
        Column::Uid => sink.text(Some(row.uid()).filter(|uid| !uid.is_empty())),
        Column::ResourceVersion => {
            if let Sink::UInt(column) = sink {
                column.append_option(Some(row.resource_version()).filter(|known| *known > 0));
            }
        }
        Column::Generation => sink.number(row.generation()),
        Column::CreationTimestamp => sink.number(row.created()),
        Column::DeletionTimestamp => sink.number(row.deleted()),
        Column::Labels => sink.text(row.labels()),
        Column::OwnerUid => sink.text(row.owner()),
        Column::Annotations => sink.text(inside("annotations")),
        Column::Owners => sink.text(inside("ownerReferences")),
        Column::Finalizers => sink.text(inside("finalizers")),
        Column::Top(name) => sink.text(row.field(body, name).filter(|raw| *raw != "null")),
        Column::Object => sink.text(Some(body)),
    }
}
