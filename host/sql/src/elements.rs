//! Puts the elements of lists beside the rows of a scan.
//!
//! # Contract
//!
//! Rows come in with the columns that the lists and the statement need, after
//! the grant's and the statement's conditions on the object; rows go out with
//! one element of each list, after the conditions that name elements.
//!
//! # Limits
//!
//! Rows are made in batches of about [`ROWS_AT_ONCE`]; a batch grows beyond it
//! by the elements of one list of one object at most.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::array::{RecordBatchOptions, StringViewArray};
use arrow::compute::{filter, take};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use kybern_table::{PathType, Segment, elements, inside};

use crate::source::{KindSource, Read};

/// Rows that are made together.
const ROWS_AT_ONCE: usize = 2048;

/// How the rows of a source with lists are made.
#[derive(Debug)]
pub(crate) struct Elements {
    stages: Vec<Stage>,
    /// Columns of the rows that come in, by position in the source.
    pub base: Vec<usize>,
    condition: Option<Condition>,
    projection: Vec<usize>,
    pub schema: SchemaRef,
}

/// One list.
#[derive(Debug)]
struct Stage {
    /// Where the list's text is.
    from: usize,
    outer: bool,
    on: Option<(usize, usize)>,
    /// Columns that the elements give.
    columns: Vec<(usize, Given)>,
}

#[derive(Debug)]
enum Given {
    At(Vec<Segment>, PathType),
    Ordinality,
}

/// A condition on rows with elements.
#[derive(Debug)]
pub(crate) struct Condition {
    pub expr: Arc<dyn PhysicalExpr>,
    /// Its columns, by position in the source.
    pub columns: Vec<usize>,
    pub schema: SchemaRef,
}

/// Rows that are being made: columns by position in the source.
#[derive(Clone)]
struct Frame {
    rows: usize,
    columns: BTreeMap<usize, ArrayRef>,
}

/// An element beside the row that it is of.
struct Fit<'a> {
    row: u64,
    text: Option<&'a str>,
    number: Option<i64>,
}

impl Elements {
    /// For a source with lists: what to make of them.
    pub(crate) fn new(
        source: &KindSource,
        condition: Option<Condition>,
        projection: &[usize],
    ) -> Self {
        let tested = condition.iter().flat_map(|condition| &condition.columns);
        let lists = source.lists.iter().flat_map(|list| {
            let on = list.on.into_iter().flat_map(|(one, other)| [one, other]);
            on.chain([list.from])
        });
        let needed: HashSet<usize> = projection
            .iter()
            .chain(tested)
            .copied()
            .chain(lists)
            .collect();
        let mut needed: Vec<usize> = needed.into_iter().collect();
        needed.sort_unstable();
        let mut stages: Vec<Stage> = source
            .lists
            .iter()
            .map(|list| Stage {
                from: list.from,
                outer: list.outer,
                on: list.on,
                columns: Vec::new(),
            })
            .collect();
        let mut base = Vec::new();
        for at in needed {
            let Some(column) = source.columns.get(at) else {
                continue;
            };
            let (list, given) = match &column.read {
                Read::Element { list, steps, of } => (*list, Given::At(steps.clone(), *of)),
                Read::Ordinality { list } => (*list, Given::Ordinality),
                Read::Fixed(_) | Read::Path(..) => {
                    base.push(at);
                    continue;
                }
            };
            if let Some(stage) = stages.get_mut(list) {
                stage.columns.push((at, given));
            }
        }
        let schema = Arc::new(fields(source, projection));
        Self {
            stages,
            base,
            condition,
            projection: projection.to_vec(),
            schema,
        }
    }

    /// The rows that a batch of objects gives.
    pub(crate) fn of(self: &Arc<Self>, batch: &RecordBatch) -> Expanding {
        let columns = self.base.iter().copied();
        let columns = columns.zip(batch.columns().iter().cloned()).collect();
        let frame = Frame {
            rows: batch.num_rows(),
            columns,
        };
        Expanding {
            elements: Arc::clone(self),
            pending: vec![Pending {
                stage: 0,
                frame,
                next: 0,
            }],
        }
    }

    fn finish(&self, frame: &Frame) -> Result<RecordBatch> {
        let mut columns = frame.pick(&self.projection)?;
        let mut rows = frame.rows;
        if let Some(condition) = &self.condition
            && rows > 0
        {
            let keep = condition.test(frame)?;
            rows = keep.true_count();
            for column in &mut columns {
                *column = filter(column, &keep)?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

/// The schema of these columns of a source.
pub(crate) fn fields(source: &KindSource, columns: &[usize]) -> Schema {
    let schema = source.schema();
    let fields = columns
        .iter()
        .filter_map(|at| schema.fields().get(*at).cloned());
    Schema::new(fields.collect::<Vec<_>>())
}

impl Condition {
    fn test(&self, frame: &Frame) -> Result<BooleanArray> {
        let columns = frame.pick(&self.columns)?;
        let options = RecordBatchOptions::new().with_row_count(Some(frame.rows));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let result = self.expr.evaluate(&batch)?.into_array(frame.rows)?;
        result
            .as_boolean_opt()
            .cloned()
            .ok_or_else(|| internal_datafusion_err!("a condition is no boolean"))
    }
}

impl Frame {
    fn column(&self, at: usize) -> Result<&ArrayRef> {
        self.columns
            .get(&at)
            .ok_or_else(|| internal_datafusion_err!("column {at} was not read"))
    }

    fn texts(&self, at: usize) -> Result<&StringViewArray> {
        self.column(at)?
            .as_string_view_opt()
            .ok_or_else(|| internal_datafusion_err!("column {at} is no text"))
    }

    fn pick(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        columns.iter().map(|at| self.column(*at).cloned()).collect()
    }
}

impl Stage {
    /// The rows from `next` on with their elements, so many as are made together, and where the
    /// rest begins.
    fn expand(&self, frame: &Frame, next: usize) -> Result<(Frame, usize)> {
        let mut fits: Vec<Fit<'_>> = Vec::new();
        let mut end = next;
        let lists = (0u64..).zip(frame.texts(self.from)?.iter()).skip(next);
        for (row, list) in lists {
            let before = fits.len();
            let found = list.into_iter().flat_map(elements);
            fits.extend((1i64..).zip(found).map(|(number, text)| Fit {
                row,
                text: Some(text),
                number: Some(number),
            }));
            if self.outer && self.on.is_none() && fits.len() == before {
                fits.push(Fit::none(row));
            }
            end += 1;
            if fits.len() >= ROWS_AT_ONCE {
                break;
            }
        }
        if let Some(on) = self.on {
            fits = self.matching(frame, fits, on, next..end)?;
        }
        Ok((self.frame(frame, &fits)?, end))
    }

    /// Those that the condition keeps, and for rows without one no element.
    fn matching<'a>(
        &self,
        frame: &Frame,
        fits: Vec<Fit<'a>>,
        (one, other): (usize, usize),
        rows: std::ops::Range<usize>,
    ) -> Result<Vec<Fit<'a>>> {
        let all = self.frame(frame, &fits)?;
        let equal: Vec<bool> = all
            .texts(one)?
            .iter()
            .zip(all.texts(other)?)
            .map(|(one, other)| one.is_some() && one == other)
            .collect();
        let mut kept: Vec<Fit<'a>> = fits
            .into_iter()
            .zip(equal)
            .filter_map(|(fit, equal)| equal.then_some(fit))
            .collect();
        if self.outer {
            let known: HashSet<u64> = kept.iter().map(|fit| fit.row).collect();
            let rows = (0u64..).zip(0..rows.end).skip(rows.start);
            let alone = rows.map(|(row, _)| row).filter(|row| !known.contains(row));
            kept.extend(alone.map(Fit::none));
        }
        Ok(kept)
    }

    fn frame(&self, frame: &Frame, fits: &[Fit<'_>]) -> Result<Frame> {
        let rows: UInt64Array = fits.iter().map(|fit| Some(fit.row)).collect();
        let mut columns = BTreeMap::new();
        for (at, column) in &frame.columns {
            columns.insert(*at, take(column, &rows, None)?);
        }
        let mut places = Vec::new();
        let mut wanted = Vec::new();
        for (at, given) in &self.columns {
            match given {
                Given::At(steps, of) => {
                    places.push(*at);
                    wanted.push((steps.as_slice(), *of));
                }
                Given::Ordinality => {
                    let numbers: Int64Array = fits.iter().map(|fit| fit.number).collect();
                    columns.insert(*at, Arc::new(numbers));
                }
            }
        }
        let found = inside(fits.iter().map(|fit| fit.text), &wanted);
        columns.extend(places.into_iter().zip(found));
        Ok(Frame {
            rows: fits.len(),
            columns,
        })
    }
}

impl Fit<'_> {
    fn none(row: u64) -> Self {
        Self {
            row,
            text: None,
            number: None,
        }
    }
}

/// The rows of one batch of objects, in batches that are made as they are asked for.
pub(crate) struct Expanding {
    elements: Arc<Elements>,
    /// The last is the furthest: no stage runs ahead of those behind it.
    pending: Vec<Pending>,
}

struct Pending {
    stage: usize,
    frame: Frame,
    next: usize,
}

impl Expanding {
    fn step(&mut self, pending: Pending, stage: &Stage) -> Result<()> {
        let (frame, next) = stage.expand(&pending.frame, pending.next)?;
        let behind = Pending {
            stage: pending.stage + 1,
            frame,
            next: 0,
        };
        if next < pending.frame.rows {
            self.pending.push(Pending { next, ..pending });
        }
        self.pending.push(behind);
        Ok(())
    }
}

impl Iterator for Expanding {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let elements = Arc::clone(&self.elements);
        while let Some(pending) = self.pending.pop() {
            let Some(stage) = elements.stages.get(pending.stage) else {
                return Some(elements.finish(&pending.frame));
            };
            if let Err(error) = self.step(pending, stage) {
                self.pending.clear();
                return Some(Err(error));
            }
        }
        None
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", elements of {} lists", self.stages.len())?;
        match &self.condition {
            Some(condition) => write!(f, ", filter {}", condition.expr),
            None => Ok(()),
        }
    }
}
