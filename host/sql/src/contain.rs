//! Keeps a panic inside the engine from ending more than its statement.
//!
//! DataFusion asserts what its planner promises its operators; a statement
//! that finds a hole in that must not take the host with it.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::SqlError;

/// Runs the future; a panic in it is [`SqlError::Internal`]. What it shares
/// with others (cache, catalog, pool) is changed by single calls only, so none
/// of it can be left half changed.
pub(crate) async fn contained<T>(
    future: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(SqlError::Internal {
            message: format!(
                "the engine failed on this statement: {}",
                said(panic.as_ref())
            ),
        }),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.and_then(|text| text.lines().next())
        .unwrap_or("it gave no reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_only_the_statement() {
        let error = contained::<()>(async { panic!("broken {}\nmore", 1) }).await;
        let message = "the engine failed on this statement: broken 1".to_owned();
        assert_eq!(error, Err(SqlError::Internal { message }));
        assert_eq!(contained(async { Ok(1) }).await, Ok(1));
    }
}
