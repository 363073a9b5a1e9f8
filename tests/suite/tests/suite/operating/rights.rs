//! Who may do what: the API server says so for each object.

use super::person::Person;
use anyhow::Result;
use serde_json::json;

#[test]
fn what_the_kubeconfigs_user_may_not_do_is_told_for_each_object() -> Result<()> {
    let rules = json!([
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"] },
        { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a1"], "verbs": ["patch", "delete"] },
    ]);
    let person = Person::with("operate-rights", &rules)?;
    person.configmaps(3)?;
    let cases = [
        (
            "UPDATE configmaps SET data['n'] = 'x' WHERE name LIKE 'a_'",
            vec!["a0: forbidden", "a1: updated", "a2: forbidden"],
        ),
        (
            "DRY RUN UPDATE configmaps SET data['n'] = 'y' WHERE name LIKE 'a_'",
            vec!["a0: forbidden", "a1: updated", "a2: forbidden"],
        ),
        (
            "INSERT INTO configmaps (name) VALUES ('new')",
            vec!["new: forbidden"],
        ),
        (
            r#"APPLY '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a0"}}'"#,
            vec!["a0: forbidden"],
        ),
        (
            "DELETE FROM configmaps WHERE name LIKE 'a_'",
            vec!["a0: forbidden", "a1: deleted", "a2: forbidden"],
        ),
    ];
    for (statement, wanted) in cases {
        let ran = person.run(&["--yes", statement])?;
        assert_eq!(
            (ran.code, ran.outcomes()),
            (Some(1), wanted.iter().map(ToString::to_string).collect()),
            "{}",
            ran.said
        );
        assert!(
            ran.said.contains("not changed as the statement says"),
            "{}",
            ran.said
        );
    }
    // What may not be read cannot be changed, nor read on the way.
    for statement in [
        "DELETE FROM secrets ALL ROWS",
        "DELETE FROM configmaps WHERE name IN (SELECT name FROM secrets)",
        "UPDATE configmaps c SET data['n'] = s.name FROM secrets s WHERE true",
        "INSERT INTO configmaps (name) SELECT name FROM secrets",
        "APPLY SELECT object FROM secrets",
    ] {
        let (ran, writes) = person.writes(|| person.run(&["--yes", statement]))?;
        assert_eq!(
            (ran.code, writes),
            (Some(1), 0),
            "{statement}: {}",
            ran.said
        );
        assert!(ran.said.contains("secrets"), "{statement}: {}", ran.said);
    }
    Ok(())
}

#[test]
fn what_a_policy_denies_is_told_and_the_rest_is_done() -> Result<()> {
    let person = Person::new("operate-policy")?;
    person.configmaps(3)?;
    let namespace = person.scene.namespace.clone();
    let client = person.scene.client();
    let name = format!("{namespace}.kybern.test");
    client.create(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]}],
            },
            "validations": [{"expression": "object.metadata.name != 'a1' || object.data.n == oldObject.data.n", "message": "a1 stays as it is"}],
        },
    }))?;
    client.create(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }))?;
    // A policy is enforced a moment after it was made; a dry run finds out without a change.
    let denied = kybern_testcluster::until("the policy denies", crate::scene::SOON, || {
        let ran =
            person.run(&["DRY RUN UPDATE configmaps SET data['n'] = 'x' WHERE name LIKE 'a_'"])?;
        Ok(match ran.code {
            Some(1) => kybern_testcluster::Progress::Done(ran),
            _ => kybern_testcluster::Progress::Waiting(format!("{:?}", ran.outcomes())),
        })
    })?;
    assert_eq!(
        denied.outcomes(),
        ["a0: updated", "a1: denied", "a2: updated"]
    );
    let ran = person.run(&[
        "--yes",
        "UPDATE configmaps SET data['n'] = 'x' WHERE name LIKE 'a_'",
    ])?;
    assert_eq!(
        (ran.code, ran.outcomes()),
        (
            Some(1),
            vec![
                "a0: updated".into(),
                "a1: denied".into(),
                "a2: updated".into()
            ]
        )
    );
    assert!(
        ran.rows[1]["message"]
            .to_string()
            .contains("a1 stays as it is"),
        "{}",
        ran.rows
    );
    assert_eq!(person.configmap("a1")?["data"]["n"], "1");
    Ok(())
}
