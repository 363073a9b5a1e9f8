//! Whether the manifest's queries can be answered with what is granted, and what each change of the
//! cluster will cost.

use super::super::situation::Situation;
use super::super::subject::Subject;
use super::super::tables::Tables;
use super::finding::Finding;
use super::manifest::granted;
use kybern_interface::{Gvk, Manifest, ManifestQuery, Query};
use kybern_plugin::Outline;
use kybern_sql::{Prepared, SqlError};
use kybern_table::KindKey;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is wrong with the queries.
pub(super) async fn findings(
    manifest: &Manifest,
    outline: &Outline,
    tables: &Tables,
) -> anyhow::Result<Vec<Finding>> {
    let spec = granted(manifest)?;
    let mut found = Vec::new();
    let mut named: Vec<KindKey> = Vec::new();
    let mut all_planned = true;
    for query in &manifest.queries {
        let place = format!("queries.{}", query.name);
        let prepared = match tables.prepare(query).await {
            Ok(prepared) => prepared,
            Err(why) => {
                found.push(unplanned(manifest, tables, place, &why.to_string()));
                all_planned = false;
                continue;
            }
        };
        named.extend(prepared.tables().iter().cloned());
        if let Err(why) = tables.prepare_as(query, &spec, manifest).await {
            found.push(without_read(&place, &why));
        }
        found.extend(fitness(query, &prepared, &place));
        found.extend(whole(tables, &prepared, &place)?);
    }
    // Queries of the sense hook are not known here.
    if all_planned && !outline.has_hook("sense") {
        found.extend(unread(manifest, &named));
    }
    Ok(found)
}

/// What is wrong with the queries that the sense hook adds in these situations.
pub(super) async fn asked(
    subject: &Subject,
    manifest: &Manifest,
    situations: &[(String, Situation)],
) -> anyhow::Result<Vec<Finding>> {
    let spec = granted(manifest)?;
    let tables = &subject.tables;
    let mut found: Vec<Finding> = Vec::new();
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    for (_, situation) in situations {
        // An end without queries is told where it decides.
        let Ok(asked) = subject.asked(situation)? else {
            continue;
        };
        for Query { name, sql, .. } in asked {
            if !known.insert((name.clone(), sql.clone())) {
                continue;
            }
            let place = format!("sense, {name}");
            let params = Vec::new();
            let query = ManifestQuery { name, sql, params };
            match tables.prepare(&query).await {
                Err(why) => found.push(unplanned(manifest, tables, place, &why.to_string())),
                Ok(prepared) => {
                    let answered = tables.prepare_as(&query, &spec, manifest).await;
                    found.extend(answered.err().map(|why| without_read(&place, &why)));
                    found.extend(unfit(&prepared, &place));
                }
            }
        }
    }
    Ok(found)
}

fn without_read(place: &str, why: &SqlError) -> Finding {
    Finding::error(
        "query-without-read",
        place,
        format!("with what the manifest asks for it cannot be answered: {why}"),
        "add the kind to `reads`",
    )
}

fn unfit(prepared: &Prepared, place: &str) -> Option<Finding> {
    let fault = kybern_sense::unfit(prepared)?;
    Some(Finding::error(
        "query-unfit",
        place,
        format!("the query {fault}"),
        "see docs/sql.md, what queries of passes may not do",
    ))
}

/// A query that has no plan. It may be right where kinds are served that are not known here.
fn unplanned(manifest: &Manifest, tables: &Tables, place: String, why: &str) -> Finding {
    let reads = manifest.reads.iter();
    let resources = manifest.resources.iter();
    let kinds = reads
        .map(|ask| Gvk::new(&*ask.group, &*ask.version, &*ask.kind))
        .chain(resources.map(|ask| Gvk::new(&*ask.group, &*ask.version, &*ask.kind)));
    let unknown: Vec<String> = kinds
        .filter(|gvk| !tables.knows(gvk))
        .map(|gvk| gvk.to_string())
        .collect();
    if unknown.is_empty() {
        return Finding::error(
            "query-refused",
            place,
            format!("it cannot be planned: {why}"),
            "try it: kybern sql -f MANIFESTS \"SELECT ...\"",
        );
    }
    Finding::warning(
        "query-unchecked",
        place,
        format!(
            "it cannot be planned here, where {} is not known: {why}",
            unknown.join(", ")
        ),
        "embed the CRD if the kind is yours; else try the query on a cluster that serves it",
    )
}

fn fitness(query: &ManifestQuery, prepared: &Arc<Prepared>, place: &str) -> Vec<Finding> {
    let mut found: Vec<Finding> = unfit(prepared, place).into_iter().collect();
    let (takes, gives) = (prepared.param_count(), query.params.len());
    if takes > gives {
        found.push(Finding::error(
            "query-params",
            place,
            format!("it has {takes} parameters, but `params` names {gives}"),
            "name a path into the custom resource for each, such as \"metadata.namespace\"",
        ));
    } else if takes < gives {
        found.push(Finding::warning(
            "query-params",
            place,
            format!("`params` names {gives}, but it uses {takes} of them"),
            "remove those that it does not use",
        ));
    }
    found
}

/// Tables that are read without a key: each change of any of their rows starts passes of all
/// custom resources.
fn whole(tables: &Tables, prepared: &Prepared, place: &str) -> anyhow::Result<Vec<Finding>> {
    let whole = tables.read_whole(prepared)?;
    let finding = |table: KindKey| {
        Finding::warning(
            "reads-whole-table",
            place,
            format!(
                "it reads every {} that it may see, so that a change of any one starts a pass of each custom resource",
                table.kind
            ),
            "add a condition on namespace, name, owner_uid or a label, such as WHERE namespace = $1",
        )
    };
    Ok(whole.into_iter().map(finding).collect())
}

/// Kinds that are asked for and in no query.
fn unread(manifest: &Manifest, named: &[KindKey]) -> Vec<Finding> {
    let reads = manifest.reads.iter().enumerate();
    let unread = reads.filter(|(_, ask)| {
        let key = KindKey::new(&*ask.group, &*ask.version, &*ask.kind);
        !named.contains(&key)
    });
    let finding = |(index, ask): (usize, &kybern_interface::ReadAsk)| {
        Finding::warning(
            "unused-read",
            format!("reads[{index}]"),
            format!(
                "no query reads {}, but it would be granted and watched",
                ask.kind
            ),
            "remove it from `reads`",
        )
    };
    unread.map(finding).collect()
}
