//! A person with a namespace, rights in the cluster and a kubeconfig.

use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use kybern_testcluster::User;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Who runs statements.
pub(super) struct Person {
    pub(super) scene: Scene,
    pub(super) user: User,
    pub(super) kubeconfig: PathBuf,
}

/// What a statement printed: its report, and the last line for people.
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) rows: Value,
    pub(super) said: String,
}

impl Ran {
    /// `name: outcome` of each object.
    pub(super) fn outcomes(&self) -> Vec<String> {
        let rows = self.rows.as_array().into_iter().flatten();
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        rows.map(|row| format!("{}: {}", text(row, "name"), text(row, "outcome")))
            .collect()
    }
}

impl Person {
    /// Somebody who may do everything with the usual kinds.
    pub(super) fn new(name: &str) -> Result<Self> {
        let all = json!([
            { "apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["*"] },
            { "nonResourceURLs": ["*"], "verbs": ["get"] },
        ]);
        Self::with(name, &all)
    }

    /// Somebody with the rights of a ClusterRole with these rules.
    pub(super) fn with(name: &str, rules: &Value) -> Result<Self> {
        let scene = Scene::new(name)?;
        let user = scene.plane.service_account(&scene.namespace, "person")?;
        scene.plane.grant(&user, rules)?;
        let kubeconfig = scene.plane.kubeconfig(&user)?;
        Ok(Self {
            scene,
            user,
            kubeconfig,
        })
    }

    /// `kybern sql` with these arguments, and nobody to ask.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.asked(arguments)?;
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// `kybern sql` with these arguments, for a terminal.
    pub(super) fn asked(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(kybern_testcluster::kybern()?);
        command
            .args(["sql", "-n", &self.scene.namespace, "--kubeconfig"])
            .arg(&self.kubeconfig)
            .args(arguments);
        Ok(command)
    }

    /// Runs statements and reads the report of the last.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let arguments = [&["-o", "json"], arguments].concat();
        read(&self.command(&arguments)?.output()?)
    }

    /// Runs statements that may change objects; all of it has to succeed.
    pub(super) fn yes(&self, statement: &str) -> Result<Ran> {
        let ran = self.run(&["--yes", statement])?;
        ensure!(
            ran.code == Some(0),
            "{statement}: {} {}",
            ran.rows,
            ran.said
        );
        Ok(ran)
    }

    /// Creates ConfigMaps `a0`, `a1`, ... with `data.n` their number.
    pub(super) fn configmaps(&self, count: usize) -> Result<()> {
        for number in 0..count {
            self.scene.client().create(&json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "namespace": self.scene.namespace, "name": format!("a{number}"),
                    "labels": { "parity": if number % 2 == 0 { "even" } else { "odd" } } },
                "data": { "n": number.to_string() },
            }))?;
        }
        Ok(())
    }

    /// One of its ConfigMaps.
    pub(super) fn configmap(&self, name: &str) -> Result<Value> {
        let object = self.scene.object("v1", "ConfigMap", name);
        Ok(self.scene.client().get(&object)?)
    }

    /// How many requests of this person asked for a change since the mark.
    pub(super) fn writes<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, usize)> {
        let audit = self.scene.plane.audit();
        let mark = audit.mark()?;
        let done = work()?;
        Ok((done, audit.writes_of(&self.user, mark)?.len()))
    }
}

/// What a finished `kybern sql -o json` printed.
pub(super) fn read(output: &Output) -> Result<Ran> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut last = Value::Null;
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        last = value.with_context(|| text.clone())?;
    }
    Ok(Ran {
        code: output.status.code(),
        rows: last,
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
