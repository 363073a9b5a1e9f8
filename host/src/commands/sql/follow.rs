//! Follows a cluster for one subscription, where no host does: the tables that its query names are
//! watched for as long as it is told.

use super::failure::Failure;
use crate::asking::{Feed, tell_here};
use crate::bounds::Settings;
use crate::budget::{Budget, Sources};
use crate::kinds::Kinds;
use crate::memory::Meter;
use crate::wiring::ingest::Ingest;
use crate::wiring::watches::{Wanted, Watches};
use kybern_kube::Cluster;
use kybern_sql::{Engine, SqlError, Subscribe};
use kybern_table::{Reader, Sequence, TableState};
use std::path::Path;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Begins to tell. The watches end with what is returned.
pub(super) async fn follow(
    cluster: &Cluster,
    kinds: &Kinds,
    wanted: Vec<Wanted>,
    asked: Subscribe,
    statement: &str,
) -> Result<Feed, Failure> {
    let settings = Settings::default();
    let (writer, reader) = kybern_table::store(settings.store);
    let start = Ingest::start(writer, reader.snapshot().sequence());
    let (ingest, _thread) = start.map_err(anyhow::Error::from)?;
    let sql = Engine::new(reader.clone(), settings.sql);
    sql.set_catalog(kinds.catalog());
    let sources = Sources {
        reader: reader.clone(),
        sql: sql.clone(),
        guests: None,
    };
    let stop = CancellationToken::new();
    let watches = Watches::new(
        cluster.clone(),
        ingest.clone(),
        settings.watch,
        None,
        Budget::new(sources, None, Meter::new(Path::new("/"), None)),
        stop.clone(),
    );
    let guard = stop.drop_guard();
    watches.set(wanted.clone()).await;
    all_ready(&reader, ingest.commits(), &wanted).await?;
    let feed = tell_here(sql, ingest.commits(), asked, statement).await?;
    Ok(feed.with(Box::new((guard, watches))))
}

/// Waits until every table is complete.
///
/// # Errors
/// One cannot be listed or watched.
async fn all_ready(
    reader: &Reader,
    mut commits: watch::Receiver<Sequence>,
    wanted: &[Wanted],
) -> Result<(), Failure> {
    loop {
        commits.mark_unchanged();
        let snapshot = reader.snapshot();
        let mut loading = false;
        for Wanted { def, .. } in wanted {
            match snapshot.table(&def.key).map(|table| table.state()) {
                Some(TableState::Ready { .. }) => {}
                Some(TableState::Loading) | None => loading = true,
                Some(TableState::Failed(reason)) => {
                    return Err(Failure::Sql(SqlError::NotReady {
                        table: def.key.clone(),
                        name: format!("{}.{}", def.schema, def.plural),
                        reason: reason.to_string(),
                    }));
                }
            }
        }
        if !loading {
            return Ok(());
        }
        let news = commits.changed().await;
        news.map_err(|_| anyhow::anyhow!("the tables are followed no longer"))?;
    }
}
