//! Runbook, ops.example.com/v1: operations written in SQL. What its statements ask for holds while
//! the Runbook is there and their rows match, and is taken back when either ends.

use kybern_sdk::{HookError, Plan, Plugin, Schema, Situation, json};
use serde::Deserialize;

/// Statements that hold while this is there.
#[derive(Debug, Deserialize, Schema)]
pub struct RunbookSpec {
    /// In their order; together they say what is to be.
    #[schema(max_items = 32)]
    statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Deserialize, Schema)]
struct Statement {
    /// UPDATE, DELETE, INSERT or APPLY, with $1, $2, ... for values.
    #[schema(trimmed)]
    sql: String,
    /// The values, in order.
    #[serde(default)]
    #[schema(max_items = 16)]
    params: Vec<String>,
}

/// The plugin.
pub struct Runbook;

type Cr = kybern_sdk::Cr<RunbookSpec>;

#[kybern_sdk::plugin(
    crd(kind = "ops.example.com/v1/Runbook"),
    reads = [
        "v1/Node",
        "v1/Pod",
        "v1/ConfigMap",
        "apps/v1/Deployment",
        "apps/v1/ReplicaSet",
    ],
    write(kind = "v1/Node", verbs = ["patch"]),
    write(kind = "apps/v1/Deployment", verbs = ["patch"]),
    write(kind = "v1/ConfigMap", verbs = ["apply", "patch", "delete"]),
)]
impl Plugin for Runbook {
    type Spec = RunbookSpec;
    type Status = kybern_sdk::Value;

    fn decide(cr: &Cr, _: &Situation<'_>) -> Result<Plan, HookError> {
        let statements = cr.spec.statements.iter();
        let plan = statements.fold(Plan::new(), |plan, statement| {
            plan.sql(statement.sql.clone(), statement.params.clone())
        });
        Ok(plan.status(json!({ "statements": cr.spec.statements.len() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kybern_sdk::testing::Situation;

    #[test]
    fn each_statement_is_an_action_with_its_values_apart() {
        let cr = json!({
            "apiVersion": "ops.example.com/v1", "kind": "Runbook",
            "metadata": { "name": "a", "namespace": "b" },
            "spec": { "statements": [
                { "sql": "DELETE FROM configmaps WHERE name = $1", "params": ["'; x"] },
                { "sql": "DELETE FROM configmaps WHERE name = 'y'" },
            ] },
        });
        let plan = Situation::new(cr).decide::<Runbook>().unwrap();
        assert_eq!(
            plan.statements(),
            [
                (
                    "DELETE FROM configmaps WHERE name = $1",
                    [json!("'; x")].as_slice()
                ),
                ("DELETE FROM configmaps WHERE name = 'y'", [].as_slice()),
            ]
        );
        assert_eq!(plan.status(), Some(&json!({ "statements": 2 })));
    }
}
