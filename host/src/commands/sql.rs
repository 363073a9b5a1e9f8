//! `kybern sql`: one statement over a cluster or over manifests.

use super::manifests;
use crate::args::{Output, SqlArgs};
use crate::budget::{Budget, Facts, Sources};
use crate::kinds::Kinds;
use crate::memory::Meter;
use crate::offline::Offline;
use crate::terminal;
use kybern_kube::Cluster;
use kybern_sql::{AccessSet, Engine, Prepared, SqlError, SqlLimits};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

mod output;

/// Answers, prints, exits. A statement that is refused exits with 2.
pub(crate) async fn run(args: SqlArgs) -> anyhow::Result<ExitCode> {
    let kinds = Kinds::default();
    let mut tables = Offline::new();
    let engine = Engine::new(tables.reader.clone(), SqlLimits::default());
    let sources = Sources {
        reader: tables.reader.clone(),
        sql: engine.clone(),
        guests: None,
    };
    let facts = Facts {
        budget: Budget::new(sources, None, Meter::new(Path::new("/"), None)),
        watches: None,
    };
    let engine = engine
        .with_clock(|| crate::clock::wall().as_microsecond())
        .with_host(Arc::new(facts));
    let access = AccessSet::all();
    let prepared = if args.filename.is_empty() {
        let cluster = crate::cluster::connect(&args.cluster).await?;
        kinds.discover(&cluster).await?;
        let prepared = match plan(&engine, &kinds, &cluster, &args.statement, &access).await {
            Ok(prepared) => prepared,
            Err(error) => return Ok(refuse(&args.statement, &error)),
        };
        let wanted: Vec<_> = prepared
            .tables()
            .iter()
            .filter_map(|key| {
                let gvk = kybern_interface::Gvk::new(&*key.group, &*key.version, &*key.kind);
                kinds.served().get(&gvk).map(crate::kinds::table)
            })
            .collect();
        tables
            .list(&cluster, &wanted, args.namespace.as_deref())
            .await?;
        prepared
    } else {
        let objects = manifests::load(&args.filename)?;
        crate::kinds::builtin::fill(&kinds, &objects)?;
        tables.take(objects, &kinds)?;
        engine.set_catalog(kinds.catalog());
        match engine.prepare(&args.statement, &access).await {
            Ok(prepared) => prepared,
            Err(error) => return Ok(refuse(&args.statement, &error)),
        }
    };
    let snapshot = tables.reader.snapshot();
    if prepared.is_explain() {
        terminal::write(&engine.explain(&prepared, &[], &snapshot).await?);
        return Ok(ExitCode::SUCCESS);
    }
    match engine.execute(&prepared, &[], &snapshot).await {
        Ok(answer) => {
            terminal::write(&output::render(&answer, args.output)?);
            if args.output == Output::Table {
                eprintln!(
                    "({} row{})",
                    answer.rows,
                    if answer.rows == 1 { "" } else { "s" }
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(refuse(&args.statement, &error)),
    }
}

/// Plans the statement, then again with the schemas of the kinds that it names: types decide how
/// values compare.
async fn plan(
    engine: &Engine,
    kinds: &Kinds,
    cluster: &Cluster,
    statement: &str,
    access: &AccessSet,
) -> Result<Arc<Prepared>, SqlError> {
    engine.set_catalog(kinds.catalog());
    let named = engine.tables_of(statement, access)?;
    for key in &named {
        if !kinds.has_types(&key.group, &key.version) {
            kinds.learn_types(cluster, &key.group, &key.version).await;
        }
    }
    engine.set_catalog(kinds.catalog());
    engine.prepare(statement, access).await
}

/// Shows where the statement is wrong.
fn refuse(statement: &str, error: &SqlError) -> ExitCode {
    eprintln!("{}", error.render(statement));
    ExitCode::from(2)
}
