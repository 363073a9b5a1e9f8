//! Reads an Arrow IPC stream of the interface's types.
//!
//! # Why
//! `arrow_ipc`'s own reader knows every type, compression and dictionaries, and
//! makes a plugin 1.4 MB larger than this one. The interface has seven types
//! and none of the rest.
//!
//! # Contract
//! Every length and offset is checked before it is used. What is no such
//! stream is an error, never a panic.

use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::{MessageHeader, Precision, Type, root_as_message};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// What stands before the length of each message.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The record batches of a complete stream.
pub(crate) fn read(mut stream: &[u8]) -> Result<Vec<RecordBatch>, String> {
    let mut schema = None;
    let mut batches = Vec::new();
    loop {
        let marker: [u8; 4] = number(&mut stream)?;
        let length = match marker {
            CONTINUATION => u32::from_le_bytes(number(&mut stream)?),
            _ => return Err("a message has no continuation marker".to_owned()),
        };
        if length == 0 {
            return Ok(batches);
        }
        let metadata = take(&mut stream, length.into())?;
        let message = root_as_message(metadata).map_err(|error| error.to_string())?;
        let body = take(&mut stream, message.bodyLength())?;
        match (message.header_type(), &schema) {
            (MessageHeader::Schema, None) => {
                let header = message.header_as_schema().ok_or("a schema is missing")?;
                schema = Some(columns(header)?);
            }
            (MessageHeader::RecordBatch, Some(schema)) => {
                let header = message
                    .header_as_record_batch()
                    .ok_or("a batch is missing")?;
                batches.push(batch(schema, header, body)?);
            }
            (other, _) => return Err(format!("unexpected message {other:?}")),
        }
    }
}

fn number<const N: usize>(stream: &mut &[u8]) -> Result<[u8; N], String> {
    let (number, rest) = stream.split_first_chunk().ok_or_else(ends)?;
    *stream = rest;
    Ok(*number)
}

fn take<'a>(stream: &mut &'a [u8], length: i64) -> Result<&'a [u8], String> {
    let length = usize::try_from(length).map_err(|_| ends())?;
    let (taken, rest) = stream.split_at_checked(length).ok_or_else(ends)?;
    *stream = rest;
    Ok(taken)
}

fn ends() -> String {
    "the stream ends too early".to_owned()
}

fn columns(header: arrow_ipc::Schema<'_>) -> Result<SchemaRef, String> {
    let mut fields = Vec::new();
    for field in header.fields().into_iter().flatten() {
        let name = field.name().unwrap_or_default();
        let kind = data_type(&field).ok_or_else(|| {
            format!(
                "column `{name}` is {:?}, no type of the interface",
                field.type_type()
            )
        })?;
        fields.push(Field::new(name, kind, field.nullable()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn data_type(field: &arrow_ipc::Field<'_>) -> Option<DataType> {
    if field.dictionary().is_some() {
        return None;
    }
    Some(match field.type_type() {
        Type::Bool => DataType::Boolean,
        Type::Utf8 => DataType::Utf8,
        Type::Binary => DataType::Binary,
        Type::Int => match field.type_as_int()? {
            int if int.bitWidth() != 64 => return None,
            int if int.is_signed() => DataType::Int64,
            _ => DataType::UInt64,
        },
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::DOUBLE => DataType::Float64,
            _ => return None,
        },
        Type::Timestamp => {
            let time = field.type_as_timestamp()?;
            if time.unit() != arrow_ipc::TimeUnit::MICROSECOND {
                return None;
            }
            DataType::Timestamp(TimeUnit::Microsecond, time.timezone().map(Into::into))
        }
        _ => return None,
    })
}

fn batch(
    schema: &SchemaRef,
    header: arrow_ipc::RecordBatch<'_>,
    body: &[u8],
) -> Result<RecordBatch, String> {
    if header.compression().is_some() {
        return Err("a batch is compressed".to_owned());
    }
    let mut rest = Columns {
        nodes: header.nodes().into_iter().flatten(),
        buffers: header.buffers().into_iter().flatten(),
        body,
    };
    let fields = schema.fields().iter();
    let columns = fields
        .map(|field| {
            let column = rest.column(field.data_type());
            column.map_err(|reason| format!("column `{}`: {reason}", field.name()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| error.to_string())
}

/// What is left of a batch: lengths and places of its columns, in order.
struct Columns<'a, N, B> {
    nodes: N,
    buffers: B,
    body: &'a [u8],
}

impl<'a, N, B> Columns<'a, N, B>
where
    N: Iterator<Item = &'a arrow_ipc::FieldNode>,
    B: Iterator<Item = &'a arrow_ipc::Buffer>,
{
    fn column(&mut self, kind: &DataType) -> Result<ArrayRef, String> {
        let node = self.nodes.next().ok_or("its length is missing")?;
        let rows = usize::try_from(node.length()).map_err(|error| error.to_string())?;
        let validity = self.buffer()?;
        let nulls = match node.null_count() {
            0 => None,
            _ => Some(NullBuffer::new(bits(validity, rows)?)),
        };
        Ok(match kind {
            DataType::Boolean => Arc::new(BooleanArray::new(bits(self.buffer()?, rows)?, nulls)),
            DataType::Int64 => {
                Arc::new(self.primitive::<Int64Type>(rows, nulls, i64::from_le_bytes)?)
            }
            DataType::UInt64 => {
                Arc::new(self.primitive::<UInt64Type>(rows, nulls, u64::from_le_bytes)?)
            }
            DataType::Float64 => {
                Arc::new(self.primitive::<Float64Type>(rows, nulls, f64::from_le_bytes)?)
            }
            DataType::Timestamp(_, zone) => {
                let times =
                    self.primitive::<TimestampMicrosecondType>(rows, nulls, i64::from_le_bytes)?;
                Arc::new(times.with_timezone_opt(zone.clone()))
            }
            DataType::Utf8 => {
                let (offsets, text) = self.variable(rows)?;
                Arc::new(StringArray::try_new(offsets, text, nulls).map_err(|e| e.to_string())?)
            }
            _ => {
                let (offsets, bytes) = self.variable(rows)?;
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(|e| e.to_string())?)
            }
        })
    }

    fn buffer(&mut self) -> Result<&'a [u8], String> {
        let place = self.buffers.next().ok_or("a buffer is missing")?;
        let mut body = self.body;
        take(&mut body, place.offset())?;
        take(&mut body, place.length())
    }

    fn primitive<T: ArrowPrimitiveType>(
        &mut self,
        rows: usize,
        nulls: Option<NullBuffer>,
        value: fn([u8; 8]) -> T::Native,
    ) -> Result<PrimitiveArray<T>, String> {
        let values: ScalarBuffer<T::Native> = values(self.buffer()?, rows, value)?.into();
        PrimitiveArray::try_new(values, nulls).map_err(|error| error.to_string())
    }

    fn variable(&mut self, rows: usize) -> Result<(OffsetBuffer<i32>, Buffer), String> {
        let offsets = self.buffer()?;
        let offsets = match rows {
            // An array without rows may leave its only offset out.
            0 => vec![0],
            _ => values(offsets, rows.saturating_add(1), i32::from_le_bytes)?,
        };
        let rising = offsets.windows(2).all(|pair| pair.first() <= pair.last());
        if !rising || offsets.first().is_some_and(|first| *first < 0) {
            return Err("its offsets do not rise".to_owned());
        }
        Ok((
            OffsetBuffer::new(offsets.into()),
            Buffer::from(self.buffer()?),
        ))
    }
}

/// `count` little-endian numbers.
fn values<T, const N: usize>(
    bytes: &[u8],
    count: usize,
    value: fn([u8; N]) -> T,
) -> Result<Vec<T>, String> {
    let (values, _) = bytes.as_chunks::<N>();
    let values = values.get(..count).ok_or_else(ends)?;
    Ok(values.iter().map(|bytes| value(*bytes)).collect())
}

fn bits(bytes: &[u8], count: usize) -> Result<BooleanBuffer, String> {
    let bytes = bytes.get(..count.div_ceil(8)).ok_or_else(ends)?;
    Ok(BooleanBuffer::new(Buffer::from(bytes), 0, count))
}

#[cfg(test)]
mod tests;
