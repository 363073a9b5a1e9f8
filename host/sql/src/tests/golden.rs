//! Statements and their answers, as one text a person can read.
//!
//! `queries/*.sql` hold statements that end with `;` at the end of a line;
//! `snapshots/` hold what is answered. INSTA_UPDATE=always writes them anew.

use super::fixture::Cluster;
use crate::AccessSet;

async fn answers(sql: &str) -> String {
    let cluster = Cluster::new();
    let mut text = String::new();
    for statement in sql
        .split(";\n")
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
    {
        let answer = cluster.text(statement, &[], &AccessSet::all()).await;
        text.push_str(&format!("{statement};\n{answer}\n\n"));
    }
    text
}

macro_rules! golden {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let text = answers(include_str!(concat!("queries/", stringify!($name), ".sql"))).await;
            insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
                insta::assert_snapshot!(stringify!($name), text);
            });
        }
    )*};
}

golden!(
    paths, joins, aggregates, subqueries, quantities, system, errors, explain
);
