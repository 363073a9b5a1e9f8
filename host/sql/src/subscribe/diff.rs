//! What became of rows: two sets of them, compared by a key.
//!
//! # Contract
//!
//! The old rows without those that are deleted or updated, with those that are inserted or took
//! their place, are the new rows. Each row counts as often as it is there. A row is updated where its
//! key has one row before and one after; without a key rows come and go only.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::Result;

/// What became of a row; rows by their number before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Insert { new: usize },
    Update { old: usize, new: usize },
    Delete { old: usize },
}

/// Rows in a form in which they are compared, without anything of a snapshot.
#[derive(Debug)]
pub(super) struct Set {
    rows: Rows,
    /// None: the whole row is the key.
    keys: Option<Rows>,
}

impl Set {
    pub(super) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.size() + self.keys.as_ref().map_or(0, Rows::size)
    }

    fn key(&self, at: usize) -> Row<'_> {
        self.keys.as_ref().unwrap_or(&self.rows).row(at)
    }
}

/// Makes sets of rows with the same columns.
#[derive(Debug)]
pub(super) struct Form {
    rows: RowConverter,
    keys: Option<(Vec<usize>, RowConverter)>,
}

impl Form {
    pub(super) fn new(schema: &Schema, key: Option<&[usize]>) -> Result<Self> {
        let types = schema.fields().iter();
        let types: Vec<DataType> = types.map(|field| field.data_type().clone()).collect();
        let keys = match key {
            Some([]) => Some((Vec::new(), converter([DataType::Boolean])?)),
            Some(key) => {
                let of = key.iter().filter_map(|at| types.get(*at).cloned());
                Some((key.to_vec(), converter(of)?))
            }
            None => None,
        };
        Ok(Self {
            rows: converter(types)?,
            keys,
        })
    }

    pub(super) fn set(&self, batches: &[RecordBatch]) -> Result<Set> {
        let mut rows = self.rows.empty_rows(0, 0);
        let empty = |(_, converter): &(_, RowConverter)| converter.empty_rows(0, 0);
        let mut keys = self.keys.as_ref().map(empty);
        for batch in batches {
            self.rows.append(&mut rows, batch.columns())?;
            if let (Some((at, converter)), Some(keys)) = (&self.keys, &mut keys) {
                let columns = at.iter().filter_map(|at| batch.columns().get(*at).cloned());
                let mut columns: Vec<ArrayRef> = columns.collect();
                if columns.is_empty() {
                    // Rows of no columns cannot be counted.
                    columns.push(Arc::new(BooleanArray::from(vec![true; batch.num_rows()])));
                }
                converter.append(keys, &columns)?;
            }
        }
        Ok(Set { rows, keys })
    }

    /// These rows of a set as a batch.
    pub(super) fn batch(
        &self,
        schema: &SchemaRef,
        set: &Set,
        rows: impl Iterator<Item = usize>,
    ) -> Result<RecordBatch> {
        let columns = self.rows.convert_rows(rows.map(|at| set.rows.row(at)))?;
        Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
    }
}

fn converter(types: impl IntoIterator<Item = DataType>) -> Result<RowConverter> {
    let fields = types.into_iter().map(SortField::new);
    Ok(RowConverter::new(fields.collect())?)
}

/// What became of the old rows, in the order of their keys.
pub(super) fn diff(old: &Set, new: &Set) -> Vec<Change> {
    let sides = (0..old.len()).map(|at| (Side::Old, at));
    let sides = sides.chain((0..new.len()).map(|at| (Side::New, at)));
    let mut all: Vec<(Row<'_>, Row<'_>, Side, usize)> = sides
        .map(|(side, at)| {
            let set = match side {
                Side::Old => old,
                Side::New => new,
            };
            (set.key(at), set.rows.row(at), side, at)
        })
        .collect();
    all.sort_unstable();
    let mut changes = Vec::new();
    for group in all.chunk_by(|one, other| one.0 == other.0) {
        // Of equal rows as many stay as there are on both sides.
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for equal in group.chunk_by(|one, other| one.1 == other.1) {
            let (before, after) = equal.split_at(equal.partition_point(|row| row.2 == Side::Old));
            let stay = before.len().min(after.len());
            gone.extend(before.iter().skip(stay).map(|row| row.3));
            come.extend(after.iter().skip(stay).map(|row| row.3));
        }
        if let ([old], [new], 2) = (&*gone, &*come, group.len()) {
            changes.push(Change::Update {
                old: *old,
                new: *new,
            });
            continue;
        }
        changes.extend(gone.into_iter().map(|old| Change::Delete { old }));
        changes.extend(come.into_iter().map(|new| Change::Insert { new }));
    }
    changes
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Old,
    New,
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn changes(
        key: Option<&[usize]>,
        old: &[(i64, Option<&str>)],
        new: &[(i64, Option<&str>)],
    ) -> Vec<Change> {
        let fields = [("k", DataType::Int64), ("v", DataType::Utf8)];
        let fields = fields.map(|(name, of)| Field::new(name, of, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let form = Form::new(&schema, key).unwrap();
        let set = |rows: &[(i64, Option<&str>)]| {
            let keys: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
            let values: StringArray = rows.iter().map(|row| row.1).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values)];
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
            form.set(&[batch]).unwrap()
        };
        diff(&set(old), &set(new))
    }

    #[test]
    fn a_key_with_another_row_is_an_update() {
        let old = [(1, Some("a")), (2, Some("b")), (3, None)];
        let new = [(4, Some("d")), (3, Some("c")), (1, Some("a"))];
        let wanted = [
            Change::Delete { old: 1 },
            Change::Update { old: 2, new: 1 },
            Change::Insert { new: 0 },
        ];
        assert_eq!(changes(Some(&[0]), &old, &new), wanted);
        // Without a key it is another row.
        let wanted = [
            Change::Delete { old: 1 },
            Change::Delete { old: 2 },
            Change::Insert { new: 1 },
            Change::Insert { new: 0 },
        ];
        assert_eq!(changes(None, &old, &new), wanted);
    }

    #[test]
    fn equal_rows_count() {
        let [a, b] = [(1, Some("a")), (1, Some("b"))];
        assert_eq!(
            changes(None, &[a, a, a], &[a]),
            [Change::Delete { old: 1 }, Change::Delete { old: 2 }]
        );
        assert_eq!(changes(None, &[a], &[a, a]), [Change::Insert { new: 1 }]);
        // A key that is none is no reason for a wrong answer.
        assert_eq!(
            changes(Some(&[0]), &[a, b], &[b, b, a]),
            [Change::Insert { new: 1 }]
        );
        assert_eq!(
            changes(Some(&[0]), &[a, a], &[b]),
            [
                Change::Delete { old: 0 },
                Change::Delete { old: 1 },
                Change::Insert { new: 0 }
            ]
        );
    }

    #[test]
    fn one_row_has_the_empty_key() {
        assert_eq!(
            changes(Some(&[]), &[(1, None)], &[(2, None)]),
            [Change::Update { old: 0, new: 0 }]
        );
    }
}
