//! Generated tables and generated statements: what must hold for all of them.

mod logic;
mod many;
mod queries;
mod reads;
mod rows;
mod tellings;
mod world;

use crate::Answer;
use crate::tests::fixture::text;

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// The rows of an answer, in the order of their texts.
fn sorted(answer: &Answer) -> Vec<String> {
    let mut rows: Vec<String> = text(answer).lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    rows
}
