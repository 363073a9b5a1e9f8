//! Kybern as the one that is measured: the product's store and engine.

use super::answers::{Budget, Case, Said, digest, timed};
use super::load::Load;
use super::objects::{Objects, TABLES};
use super::queries::{POINT, point, queries};
use crate::args::Sql;
use crate::clock::now;
use crate::subject::{hosted, pods};
use anyhow::{Result, bail, ensure};
use kybern_sql::{
    AccessSet, Answer, Catalog, CatalogTable, Engine, Param, PathStep, PathTypes, Prepared,
    SqlError, SqlLimits,
};
use kybern_table::{Batch, Change, KindKey, Origin, PathType, TableDef, Writer, store};

/// Changes of one commit while the lists are loaded.
const COMMIT: usize = 512;
/// Behind the names of cases that are measured while pods are updated.
const LOADED: &str = "_loaded";

/// Measures: quiet, then while pods are updated; or one case only.
pub(crate) async fn measure(asked: &Sql, objects: Objects, budget: Budget) -> Result<Said> {
    let (mut writer, reader) = store(hosted());
    for table in TABLES {
        load(&mut writer, table, objects)?;
    }
    let engine = Engine::new(reader, SqlLimits::default());
    engine.set_catalog(Catalog::new(
        TABLES.iter().map(|table| described(table)).collect(),
    ));
    let asker = Asker {
        engine,
        objects,
        budget,
        only: asked.only.clone(),
    };
    let mut said = Said::default();
    for (name, sql) in asker.texts("")? {
        let answer = asker.text(&sql).await?;
        let (rows, digest) = digest(&answer.batches)?;
        let mut case = asker.repeated(&name, &sql).await?;
        (case.rows, case.digest) = (Some(rows), Some(digest));
        said.cases.push(case);
        if asked.explain {
            let text = asker.explained(&sql).await?;
            said.notes.push(format!("{name}: {text}"));
        }
    }
    said.cases.extend(asker.points("").await?);
    let load = Load::start(writer, objects)?;
    for (name, sql) in asker.texts(LOADED)? {
        match asker.repeated(&name, &sql).await {
            Ok(case) => said.cases.push(case),
            // The other figures stand, and this one is missing.
            Err(error) => said.notes.push(format!("{name} FAILED: {error:#}")),
        }
    }
    said.cases.extend(asker.points(LOADED).await?);
    said.notes.push(load.end()?);
    Ok(said)
}

/// Asks the engine as a plugin's pass or the prompt does.
struct Asker {
    engine: Engine,
    objects: Objects,
    budget: Budget,
    only: Option<String>,
}

impl Asker {
    fn wants(&self, case: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == case)
    }

    /// The cases whose text stays the same.
    fn texts(&self, suffix: &str) -> Result<Vec<(String, String)>> {
        let (namespace, name) = self.objects.key(0);
        let first = ("q1".to_owned(), point(POINT[0], &namespace, &name));
        let rest = queries(&self.objects.image()?).into_iter();
        let rest = rest.map(|query| (query.name, query.natural));
        Ok(std::iter::once(first)
            .chain(rest)
            .map(|(name, sql)| (name + suffix, sql))
            .filter(|(name, _)| self.wants(name))
            .collect())
    }

    /// An answer at the newest snapshot; another one if that has expired meanwhile.
    async fn answer(&self, prepared: &Prepared, params: &[Param]) -> Result<Answer> {
        loop {
            let snapshot = self.engine.snapshot();
            match self.engine.execute(prepared, params, &snapshot).await {
                Err(SqlError::Expired(_)) => {}
                answer => return Ok(answer?),
            }
        }
    }

    async fn text(&self, sql: &str) -> Result<Answer> {
        let prepared = self.engine.prepare(sql, &AccessSet::all()).await;
        let prepared = prepared.map_err(|error| anyhow::anyhow!("{}", error.render(sql)))?;
        self.answer(&prepared, &[]).await
    }

    async fn explained(&self, sql: &str) -> Result<String> {
        let answer = self.text(&format!("EXPLAIN ANALYZE {sql}")).await?;
        let lines = answer.batches.iter().flat_map(|batch| batch.columns());
        let lines: Vec<String> = lines
            .filter_map(|column| column.as_any().downcast_ref())
            .flat_map(|column: &arrow::array::StringArray| column.iter().flatten())
            .map(str::to_owned)
            .collect();
        Ok(lines.join("\n"))
    }

    /// The same text again and again.
    async fn repeated(&self, name: &str, sql: &str) -> Result<Case> {
        timed(name, self.budget, async |_| {
            let began = now()?;
            self.text(sql).await?;
            Ok(now()? - began)
        })
        .await
    }

    /// `q1` prepared, and as a text that was never seen before.
    async fn points(&self, suffix: &str) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        let ready = format!("q1_prepared{suffix}");
        if self.wants(&ready) {
            cases.push(self.ready(&ready).await?);
        }
        let new = format!("q1_new{suffix}");
        if self.wants(&new) {
            // Other pods than before: texts of before are kept with their plans.
            let from = match suffix {
                "" => 1,
                _ => usize::try_from(self.objects.pods / 2)?,
            };
            cases.push(self.new_texts(&new, from).await?);
        }
        Ok(cases)
    }

    async fn ready(&self, case: &str) -> Result<Case> {
        let prepared = self.engine.prepare(POINT[0], &AccessSet::all()).await?;
        timed(case, self.budget, async |turn| {
            let (namespace, name) = self.objects.key(turn);
            let params = [Param::Text(namespace), Param::Text(name)];
            let began = now()?;
            let answer = self.answer(&prepared, &params).await?;
            let took = now()? - began;
            ensure!(answer.rows == 1, "{} rows of one pod", answer.rows);
            Ok(took)
        })
        .await
    }

    async fn new_texts(&self, case: &str, from: usize) -> Result<Case> {
        timed(case, self.budget, async |turn| {
            let (namespace, name) = self.objects.key(from + turn);
            let sql = point(POINT[0], &namespace, &name);
            let began = now()?;
            let answer = self.text(&sql).await?;
            let took = now()? - began;
            ensure!(answer.rows == 1, "{} rows of one pod", answer.rows);
            Ok(took)
        })
        .await
    }
}

/// Loads a table as one list would, and compresses it.
fn load(writer: &mut Writer, table: &str, objects: Objects) -> Result<()> {
    let def = definition(table);
    let key = def.key.clone();
    let begin = [
        Change::Define(def),
        Change::ListBegin { table: key.clone() },
    ];
    apply(writer, begin.into())?;
    let mut objects = objects.of(table).peekable();
    while objects.peek().is_some() {
        let changes = objects.by_ref().take(COMMIT).map(|text| Change::Upsert {
            table: key.clone(),
            raw: text.into(),
            origin: Origin::List,
        });
        apply(writer, changes.collect())?;
    }
    let end = Change::ListEnd {
        table: key,
        resource_version: 1 << 32,
    };
    apply(writer, vec![end])?;
    while let Some(job) = writer.job() {
        writer.put_in(job.run());
    }
    Ok(())
}

pub(super) fn apply(writer: &mut Writer, changes: Vec<Change>) -> Result<()> {
    match writer.apply(Batch { changes }).errors.first() {
        Some(error) => bail!("{error}"),
        None => Ok(()),
    }
}

/// With the indexes that the product gives every kind, and no other.
fn definition(table: &str) -> TableDef {
    let (key, schema, namespaced) = match table {
        "deployments" => (KindKey::new("apps", "v1", "Deployment"), "apps", true),
        "nodes" => (KindKey::new("", "v1", "Node"), "core", false),
        _ => return pods(),
    };
    TableDef {
        key,
        schema: schema.to_owned(),
        plural: table.to_owned(),
        namespaced,
        ..pods()
    }
}

/// The types of the paths that the queries read, as the API server's schema says them.
fn types(table: &str) -> PathTypes {
    let paths: &[(&str, PathType)] = match table {
        "deployments" => &[("spec.replicas", PathType::Int)],
        "nodes" => &[
            ("status.allocatable.*", PathType::Text),
            ("status.conditions.[].status", PathType::Text),
        ],
        _ => &[
            ("spec.nodeName", PathType::Text),
            ("spec.containers.[].image", PathType::Text),
            ("spec.containers.[].resources.requests.*", PathType::Text),
            ("status.phase", PathType::Text),
            ("status.containerStatuses.[].restartCount", PathType::Int),
        ],
    };
    let mut types = PathTypes::default();
    for (path, of) in paths {
        let steps = path.split('.').map(|step| match step {
            "*" => PathStep::AnyKey,
            "[]" => PathStep::AnyItem,
            key => PathStep::Key(key.to_owned()),
        });
        types.insert(steps.collect(), *of);
    }
    types
}

fn described(table: &str) -> CatalogTable {
    CatalogTable {
        def: definition(table),
        preferred: true,
        singular: table.trim_end_matches('s').to_owned(),
        short_names: Vec::new(),
        top_level: vec!["spec".to_owned(), "status".to_owned()],
        types: types(table),
        listable: true,
        watchable: true,
    }
}
