//! The host interface `rows`: cursors over the answers of one call.

use crate::answer::{Answer, Chunk, ChunkError, Position};
use crate::state::CallState;
use crate::{ipc, row_json};
use std::sync::Arc;
use wasmtime::component::{
    ComponentType, Lift, Linker, Lower, Resource, ResourceTableError, ResourceType, WasmStr,
};
use wasmtime::{Result, StoreContextMut};

/// Longest query name that is looked up.
const MAX_NAME: usize = 1_024;

/// Why rows could not be read, as the interface has it.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum ReadError {
    #[component(name = "unknown-query")]
    UnknownQuery,
    #[component(name = "closed")]
    Closed,
    #[component(name = "row-too-large")]
    RowTooLarge(u64),
    #[component(name = "failed")]
    Failed(String),
}

/// A position in one answer.
pub(crate) struct Cursor {
    answer: Arc<Answer>,
    /// None = the guest was told that it is at the end.
    at: Option<Position>,
}

/// Gives guests `kybern:operator/rows`.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut rows = linker.instance("kybern:operator/rows@0.1.0")?;
    rows.resource(
        "cursor",
        ResourceType::host::<Cursor>(),
        |mut store, rep| {
            store.data().check()?;
            let cursor = Resource::<Cursor>::new_own(rep);
            store.data_mut().cursors.delete(cursor)?;
            Ok(())
        },
    )?;
    rows.func_wrap("open", open)?;
    rows.func_wrap("[method]cursor.row-count", row_count)?;
    rows.func_wrap("[method]cursor.ipc", read_ipc)?;
    rows.func_wrap("[method]cursor.json", read_json)?;
    Ok(())
}

type Opened = std::result::Result<Resource<Cursor>, ReadError>;
type Read<T> = std::result::Result<Option<T>, ReadError>;

fn open(mut store: StoreContextMut<'_, CallState>, (query,): (WasmStr,)) -> Result<(Opened,)> {
    store.data().check()?;
    let query = query.to_str(&store)?;
    if query.len() > MAX_NAME {
        return Ok((Err(ReadError::UnknownQuery),));
    }
    let query = query.into_owned();
    let state = store.data_mut();
    let answer = match state.answers.open(&query) {
        None => return Ok((Err(ReadError::UnknownQuery),)),
        Some(Err(reason)) => return Ok((Err(ReadError::Failed(reason)),)),
        Some(Ok(answer)) => answer,
    };
    let cursor = Cursor {
        answer,
        at: Some(Position::default()),
    };
    match state.cursors.push(cursor) {
        Ok(cursor) => Ok((Ok(cursor),)),
        Err(ResourceTableError::Full) => {
            let reason = format!(
                "{} cursors are open, which is the limit: drop some",
                state.cursors.max_capacity()
            );
            Ok((Err(ReadError::Failed(reason)),))
        }
        Err(error) => Err(error.into()),
    }
}

fn row_count(
    store: StoreContextMut<'_, CallState>,
    (cursor,): (Resource<Cursor>,),
) -> Result<(u64,)> {
    store.data().check()?;
    Ok((store.data().cursors.get(&cursor)?.answer.rows,))
}

fn read_ipc(
    mut store: StoreContextMut<'_, CallState>,
    (cursor, max_bytes): (Resource<Cursor>, u32),
) -> Result<(Read<Vec<u8>>,)> {
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let read = read(store.data_mut(), &cursor, |answer, at, most| {
        ipc::chunk(answer, at, max_bytes.min(most))
    })?;
    Ok((read,))
}

fn read_json(
    mut store: StoreContextMut<'_, CallState>,
    (cursor, max_rows): (Resource<Cursor>, u32),
) -> Result<(Read<String>,)> {
    // Nobody asks for no rows; a loop until the end must not run for ever.
    let max_rows = usize::try_from(max_rows.max(1)).unwrap_or(usize::MAX);
    let read = read(store.data_mut(), &cursor, |answer, at, most| {
        row_json::chunk(answer, at, max_rows, most)
    })?;
    Ok((read,))
}

/// Reads on from the cursor's position, moves it, and counts what is handed out.
fn read<T: AsRef<[u8]>>(
    state: &mut CallState,
    cursor: &Resource<Cursor>,
    chunk: impl FnOnce(&Answer, Position, usize) -> std::result::Result<Option<Chunk<T>>, ChunkError>,
) -> Result<Read<T>> {
    state.check()?;
    let most = state.host_call_bytes;
    let cursor = state.cursors.get_mut(cursor)?;
    let Some(at) = cursor.at else {
        return Ok(Err(ReadError::Closed));
    };
    Ok(match chunk(&cursor.answer, at, most) {
        Ok(Some(chunk)) => {
            cursor.at = Some(chunk.next);
            let bytes = u64::try_from(chunk.data.as_ref().len()).unwrap_or(u64::MAX);
            state.bytes_in = state.bytes_in.saturating_add(bytes);
            state.rows = state.rows.saturating_add(chunk.rows);
            Ok(Some(chunk.data))
        }
        Ok(None) => {
            cursor.at = None;
            Ok(None)
        }
        Err(ChunkError::RowTooLarge(size)) if size > most => Err(ReadError::Failed(format!(
            "one row has {size} bytes, more than the limit of {most} for one call: select fewer columns"
        ))),
        Err(ChunkError::RowTooLarge(size)) => Err(ReadError::RowTooLarge(
            u64::try_from(size).unwrap_or(u64::MAX),
        )),
        Err(ChunkError::Failed(reason)) => Err(ReadError::Failed(reason)),
    })
}
