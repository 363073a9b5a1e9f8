//! A sealed chunk: identity and metadata as Arrow columns, bodies compressed.

use std::sync::Arc;

use arrow::array::{
    Array, Int64Array, Int64Builder, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder,
};

use arrow::buffer::Buffer;

use crate::body::{Arena, ArenaBuilder, Codec};
use crate::index::{self, Indexes};
use crate::json;
use crate::num::{narrow, wide};
use crate::path::Path;
use crate::record::Span;
use crate::refer::RowRef;
use crate::uid::Uids;

/// Immutable rows in columns. Rows that were dead when it was made are holes:
/// they keep their place, so that positions stay, and hold nothing.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) len: usize,
    pub(crate) holes: usize,
    /// Null for cluster-scoped objects.
    pub(crate) namespace: StringViewArray,
    pub(crate) name: StringViewArray,
    pub(crate) uid: Uids,
    pub(crate) owner: Uids,
    pub(crate) resource_version: Box<[u64]>,
    pub(crate) generation: Int64Array,
    pub(crate) created: TimestampMicrosecondArray,
    pub(crate) deleted: TimestampMicrosecondArray,
    pub(crate) labels: StringViewArray,
    fields: Fields,
    path_keys: PathKeys,
    pub(crate) bodies: Arena,
}

impl Chunk {
    /// Where the value of a top-level field stands in a row's body. `Err` when
    /// only the body can tell.
    pub(crate) fn field(&self, row: usize, name: &str) -> Result<Option<Span>, Unlisted> {
        self.fields.get(row, name)
    }

    /// The hash of each row's key in a path index, 0 for none; `None` if the
    /// index is younger than the chunk.
    pub(crate) fn path_keys(&self, index: u16) -> Option<&[u32]> {
        let found = self.path_keys.iter().find(|(number, _)| *number == index);
        found.map(|(_, keys)| &**keys)
    }

    /// What the chunk costs in memory, cached columns apart.
    pub(crate) fn bytes(&self) -> usize {
        let columns: [&dyn Array; 6] = [
            &self.namespace,
            &self.name,
            &self.generation,
            &self.created,
            &self.deleted,
            &self.labels,
        ];
        let columns: usize = columns
            .iter()
            .map(|column| column.get_array_memory_size())
            .sum();
        columns
            + self.resource_version.len() * size_of::<u64>()
            + self.uid.bytes()
            + self.owner.bytes()
            + self.fields.bytes()
            + self
                .path_keys
                .iter()
                .map(|(_, keys)| keys.len() * 4)
                .sum::<usize>()
            + self.bodies.bytes()
    }
}

/// Kept, because a dead or moved row's index entries are wanted when its body is
/// compressed. By number of the index.
type PathKeys = Box<[(u16, Box<[u32]>)]>;

/// The table of fields does not say where this one is: look into the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unlisted;

/// Where the top-level fields of each row stand.
#[derive(Debug, Default)]
struct Fields {
    names: Vec<Box<str>>,
    /// Where the entries of each row end.
    ends: Vec<u32>,
    name: Vec<u16>,
    value: Vec<Span>,
    unlisted: bool,
}

impl Fields {
    fn get(&self, row: usize, name: &str) -> Result<Option<Span>, Unlisted> {
        if self.unlisted {
            return Err(Unlisted);
        }
        let Some(number) = self.names.iter().position(|known| **known == *name) else {
            return Ok(None);
        };
        let start = row
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .map_or(0, wide);
        let end = self.ends.get(row).copied().map_or(0, wide);
        let names = self.name.get(start..end).unwrap_or_default();
        let found = names.iter().position(|at| usize::from(*at) == number);
        Ok(found.and_then(|at| self.value.get(start + at).copied()))
    }

    fn push(&mut self, name: &str, value: Span) {
        let known = self.names.iter().position(|known| **known == *name);
        let number = known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        match u16::try_from(number) {
            Ok(number) => {
                self.name.push(number);
                self.value.push(value);
            }
            Err(_) => self.unlisted = true,
        }
    }

    fn end_row(&mut self) {
        self.ends.push(narrow(self.name.len()));
    }

    fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len() + 16).sum();
        names
            + self.ends.capacity() * size_of::<u32>()
            + self.name.capacity() * size_of::<u16>()
            + self.value.capacity() * size_of::<Span>()
    }

    fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.name.shrink_to_fit();
        self.value.shrink_to_fit();
    }
}

/// Makes a chunk row by row.
#[derive(Debug)]
pub(crate) struct ChunkBuilder {
    holes: usize,
    namespace: StringViewBuilder,
    name: StringViewBuilder,
    uid: Uids,
    owner: Uids,
    resource_version: Vec<u64>,
    generation: Int64Builder,
    created: TimestampMicrosecondBuilder,
    deleted: TimestampMicrosecondBuilder,
    labels: StringViewBuilder,
    fields: Fields,
    paths: Vec<(u16, Path, Vec<u32>)>,
    bodies: ArenaBuilder,
}

impl ChunkBuilder {
    /// A builder for about so many rows.
    pub(crate) fn new(codec: Arc<Codec>, rows: usize, indexes: &Indexes) -> ChunkBuilder {
        let paths = indexes.paths();
        ChunkBuilder {
            paths: paths
                .map(|(number, path)| (number, path.clone(), Vec::with_capacity(rows)))
                .collect(),
            holes: 0,
            namespace: StringViewBuilder::with_capacity(rows).with_deduplicate_strings(),
            name: StringViewBuilder::with_capacity(rows),
            uid: Uids::default(),
            owner: Uids::default(),
            resource_version: Vec::new(),
            generation: Int64Builder::with_capacity(rows),
            created: TimestampMicrosecondBuilder::with_capacity(rows),
            deleted: TimestampMicrosecondBuilder::with_capacity(rows),
            labels: StringViewBuilder::with_capacity(rows).with_deduplicate_strings(),
            fields: Fields::default(),
            bodies: ArenaBuilder::new(codec),
        }
    }

    pub(crate) fn push(&mut self, row: RowRef<'_>) {
        self.namespace.append_option(row.namespace());
        self.name.append_value(row.name());
        self.uid.push(&row.uid());
        self.owner.push(row.owner().as_deref().unwrap_or(""));
        self.resource_version.push(row.resource_version());
        self.generation.append_option(row.generation());
        self.created.append_option(row.created());
        self.deleted.append_option(row.deleted());
        self.labels.append_option(row.labels());
        for (number, path, keys) in &mut self.paths {
            keys.push(match row {
                RowRef::Chunk(chunk, at) if let Some(known) = chunk.path_keys(*number) => {
                    known.get(at).copied().unwrap_or(0)
                }
                RowRef::Record(record)
                    if let Some(known) = record.entries.get(usize::from(*number)) =>
                {
                    *known
                }
                _ => path_key(row, path),
            });
        }
        match row {
            RowRef::Record(record) => {
                for field in &record.fields {
                    let name = field.key.of(&record.body);
                    self.fields.push(name, field.value);
                }
                self.fields.unlisted |= !record.listed;
                self.bodies.push(&record.body);
            }
            RowRef::Chunk(chunk, at) => {
                for name in &chunk.fields.names {
                    if let Ok(Some(value)) = chunk.fields.get(at, name) {
                        self.fields.push(name, value);
                    }
                }
                self.fields.unlisted |= chunk.fields.unlisted;
                self.bodies.copy(&chunk.bodies, at);
            }
        }
        self.fields.end_row();
    }

    /// A row that was dead already.
    pub(crate) fn push_hole(&mut self) {
        self.holes += 1;
        self.namespace.append_null();
        self.name.append_value("");
        self.uid.push("");
        self.owner.push("");
        self.resource_version.push(0);
        self.generation.append_null();
        self.created.append_null();
        self.deleted.append_null();
        self.labels.append_null();
        self.fields.end_row();
        self.paths.iter_mut().for_each(|(.., keys)| keys.push(0));
        self.bodies.skip();
    }

    pub(crate) fn finish(mut self) -> Chunk {
        self.uid.shrink();
        self.owner.shrink();
        self.fields.shrink();
        Chunk {
            len: self.resource_version.len(),
            holes: self.holes,
            namespace: tight(self.namespace.finish()),
            name: self.name.finish().gc(),
            uid: self.uid,
            owner: self.owner,
            resource_version: self.resource_version.into(),
            generation: self.generation.finish(),
            created: self.created.finish().with_timezone("UTC"),
            deleted: self.deleted.finish().with_timezone("UTC"),
            labels: tight(self.labels.finish()),
            fields: self.fields,
            path_keys: self
                .paths
                .into_iter()
                .map(|(number, _, keys)| (number, keys.into()))
                .collect(),
            bodies: self.bodies.finish(),
        }
    }
}

fn path_key(row: RowRef<'_>, path: &Path) -> u32 {
    let mut scratch = Vec::new();
    let body = row.body(&mut scratch);
    let value = row.at(body, path).and_then(json::text);
    value.map_or(0, |value| index::hash(&value))
}

/// The array without spare room behind its buffers; what views share stays shared.
fn tight(array: StringViewArray) -> StringViewArray {
    // Copied, because the buffer of a shared array cannot shrink.
    let buffers: Vec<Buffer> = array
        .data_buffers()
        .iter()
        .map(|buffer| Buffer::from(buffer.as_slice()))
        .collect();
    let (views, nulls) = (array.views().clone(), array.nulls().cloned());
    StringViewArray::try_new(views, buffers, nulls).unwrap_or(array)
}
