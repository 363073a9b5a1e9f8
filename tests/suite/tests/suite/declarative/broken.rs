//! Bundles with a mistake: told where it is to be mended, by the host and by the command line; nothing
//! is written for who meets it, and everybody else goes on.

use super::write_files;
use crate::scale::crowd::at_once;
use crate::scene::{SOON, Scene, crd_text, failed};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

const GROUP: &str = "broken.example.com";

const CRD: &str = crd_text!("broken.example.com", "Broken", "brokens");

/// What every bundle deploys, in front of its mistake.
const CHILD: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ cr.metadata.name }}
data:
  size: {{ cr.spec.size | string }}
";

type Files = Vec<(&'static str, String)>;

/// A mistake.
struct Mistake {
    name: &'static str,
    /// Lines of the profile.
    lines: &'static str,
    files: Files,
    /// Why a condition says that nothing goes, and words that are there and in what is printed.
    reason: &'static str,
    told: &'static [&'static str],
    /// The same of its resources' conditions, where the registration's says only what is not granted.
    resource: Option<(&'static str, &'static [&'static str])>,
}

/// Values that repeat others, ten times on each level.
fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..8 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        let _ = writeln!(text, "a{level}: &a{level} [{below}]");
    }
    text
}

/// Found when the bundle is read: no resource of it has anything.
fn of_files() -> Vec<Mistake> {
    let one = |name, lines, files, told| Mistake {
        name,
        lines,
        files,
        reason: "InvalidBundle",
        told,
        resource: None,
    };
    vec![
        one(
            "key",
            "deploy:\n  - cmd: jinja\n    flie: child.yaml",
            vec![],
            &[
                "operator.yaml:5:7: unknown key `flie`",
                "cure: did you mean `file`?",
            ],
        ),
        one(
            "type",
            "deploy:\n  cmd: jinja\n  file: child.yaml",
            vec![],
            &[
                "operator.yaml:4:5: `deploy` is a list, not a map",
                "cure: begin each item with `- `",
            ],
        ),
        one(
            "missing",
            "deploy:\n  - cmd: jinja\n    file: chidl.yaml",
            vec![],
            &[
                "operator.yaml:5:13: there is no file `chidl.yaml` in the bundle: did you mean `child.yaml`?",
            ],
        ),
        one(
            "outside",
            "deploy:\n  - cmd: jinja\n    file: ../../etc/passwd",
            vec![],
            &[
                "operator.yaml:5:13: `../../etc/passwd` leads out of the bundle: a path names one of its own files",
            ],
        ),
        one(
            "circle",
            "deploy:\n  - cmd: jinja\n    file: a.yaml",
            vec![
                ("a.yaml", "{% include 'b.yaml' %}\n".into()),
                ("b.yaml", "{% include 'a.yaml' %}\n".into()),
            ],
            &[
                "b.yaml:1:13: templates include each other: a.yaml -> b.yaml -> a.yaml",
                "cure: ",
            ],
        ),
        one(
            "bomb",
            "deploy:\n  - cmd: jinja\n    file: child.yaml",
            vec![("operator.yaml", bomb())],
            &[
                "operator.yaml:10:",
                "more than 50000 values",
                "cure: aliases repeat",
            ],
        ),
        one(
            "chart",
            "deploy:\n  - cmd: helm\n    chart: chart",
            vec![("chart/values.yaml", "size: 1\n".into())],
            &["operator.yaml:5:14: `chart` is no chart: it has no Chart.yaml"],
        ),
    ]
}

/// Found when it is held against what is granted, or asked: no resource of it has anything.
fn of_asking() -> Vec<Mistake> {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ cr.metadata.name }}\n";
    let one = |name, lines, reason, told, resource| Mistake {
        name,
        lines,
        files: Vec::new(),
        reason,
        told,
        resource: Some(resource),
    };
    vec![
        Mistake {
            files: vec![("secret.yaml", secret.into())],
            ..one(
                "kind",
                "deploy:\n  - {cmd: jinja, file: [child.yaml, secret.yaml]}",
                "GrantsMissing",
                &["apply v1, Kind=Secret", "add it there"],
                ("NotGranted", &["Secret"]),
            )
        },
        one(
            "table",
            "query:\n  s: SELECT name FROM secrets\ndeploy:\n  - {cmd: jinja, file: child.yaml}",
            "GrantsMissing",
            &["read v1, Kind=Secret", "add it there"],
            ("QueryFailed", &["query s", "secrets"]),
        ),
        one(
            "sql",
            "query:\n  s: SELEC name FROM configmaps\ndeploy:\n  - {cmd: jinja, file: child.yaml}",
            "GrantsMissing",
            &["read v1, Kind=ConfigMap", "add it there"],
            (
                "QueryFailed",
                &["query s", "line 1, column 1: SELEC is not supported"],
            ),
        ),
    ]
}

/// Found in a pass: of one operator, each for the resources whose `spec.case` it is.
fn of_passes() -> Vec<Mistake> {
    let one = |name, file: String, reason, told| Mistake {
        name,
        lines: "",
        files: vec![(name, file)],
        reason,
        told,
        resource: None,
    };
    let data = |line: &str| CHILD.replace("data:\n", &format!("data:\n  x: {line}\n"));
    vec![
        one(
            "undefined",
            CHILD.replace("cr.spec.size", "cr.spec.sise"),
            "InvalidSpec",
            &[
                "undefined.yaml:6:12: `cr.spec.sise` is undefined",
                "cure: did you mean `size`?",
            ],
        ),
        one(
            "endless",
            format!(
                "{{% for a in range(9999) %}}{{% for b in range(9999) %}}{{% endfor %}}{{% endfor %}}\n{CHILD}"
            ),
            "InvalidSpec",
            &[
                "endless.yaml:1:",
                "the template does too much",
                "cure: a loop is too long",
            ],
        ),
        one(
            "circular",
            format!(
                "{{% macro m() %}}{{{{ m() }}}}{{% endmacro %}}\n{}",
                data("{{ m() }}")
            ),
            "InvalidSpec",
            &[
                "circular.yaml:1:19: ",
                "levels deep",
                "cure: one that calls itself has to end",
            ],
        ),
        one(
            "huge",
            format!(
                "{CHILD}{{% for i in range(300) %}}  k{{{{ i }}}}: {{{{ 'x' * 10000 }}}}\n{{% endfor %}}"
            ),
            "InvalidSpec",
            &[
                "huge.yaml: it renders to ",
                "at most 2097152 are taken",
                "cure: render less",
            ],
        ),
        one(
            "aliases",
            bomb() + CHILD,
            "InvalidSpec",
            &[
                "aliases.yaml (rendered):6:",
                "more than 400000 values",
                "cure: aliases repeat",
            ],
        ),
        one(
            "unclosed",
            data("[1"),
            "InvalidSpec",
            &["unclosed.yaml (rendered):", "this is no YAML"],
        ),
        one(
            "leaving",
            "{% include cr.spec.file %}\n".into(),
            "InvalidSpec",
            &["leaving.yaml:1:4: `/etc/passwd` leads out of the bundle"],
        ),
        one(
            "secret",
            CHILD.replace("ConfigMap", "{{ 'Sec' ~ 'ret' }}"),
            "NotGranted",
            &["Secret"],
        ),
        Mistake {
            name: "schema",
            lines: "cmd: helm, chart: chart, values: values.yaml",
            files: vec![
                ("values.yaml", "size: {{ cr.spec.case }}\n".into()),
                (
                    "chart/Chart.yaml",
                    "{apiVersion: v2, name: chart, version: 1.0.0}\n".into(),
                ),
                (
                    "chart/values.schema.json",
                    r#"{"properties": {"size": {"type": "integer"}}}"#.into(),
                ),
                ("chart/templates/a.yaml", "{{ .Values.size }}\n".into()),
            ],
            reason: "InvalidSpec",
            told: &[
                "operator.yaml:",
                "chart `chart`, values: ",
                "'/size': got string, want integer",
                "cure: change what values.yaml gives, or chart/values.schema.json",
            ],
            resource: None,
        },
    ]
}

fn write(folder: &Path, lines: &str, files: &Files) -> Result<()> {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    let mut operator = format!("default:\n  def: crd.yaml\n{lines}");
    for (path, text) in files {
        match *path {
            "operator.yaml" => operator += text,
            path => write_files(folder, &[(path, text)])?,
        }
    }
    let all = [
        ("operator.yaml", &*operator),
        ("crd.yaml", CRD),
        ("child.yaml", CHILD),
    ];
    write_files(folder, &all)
}

/// The operator whose mistakes are met in passes.
fn write_passes(folder: &Path, mistakes: &[Mistake]) -> Result<()> {
    let mut lines = "deploy:\n  - {cmd: jinja, file: child.yaml}\n".to_owned();
    let mut files = Vec::new();
    for mistake in mistakes {
        let name = mistake.name;
        let command = match mistake.lines {
            "" => format!("cmd: jinja, file: {name}.yaml"),
            given => given.to_owned(),
        };
        let _ = writeln!(lines, "  - {{{command}, when: cr.spec.case == '{name}'}}");
        for (path, text) in &mistake.files {
            match *path == name {
                true => write_files(folder, &[(&format!("{name}.yaml"), text)])?,
                false => files.push((*path, text.clone())),
            }
        }
    }
    write(folder, &lines, &files)
}

/// A registration of the bundle of this name, for the resources with that label.
fn registration(scene: &Scene, folder: &Path, name: &str) -> Result<Value> {
    Ok(json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
        "metadata": { "name": format!("{}-{name}", scene.namespace) },
        "spec": {
            "class": scene.class,
            "resources": [{
                "group": GROUP, "version": "v1", "kind": "Broken",
                "selector": { "matchLabels": { "bundle": name } },
            }],
            "source": { "file": guest("declarative")? },
            "settings": { "bundle": { "file": folder.join(name) } },
            "grants": {
                "write": [{ "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"] }],
            },
        },
    }))
}

fn resource(scene: &Scene, name: &str, bundle: &str, case: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Broken",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": { "bundle": bundle } },
        "spec": { "size": 1, "case": case, "file": "/etc/passwd" },
    })
}

/// Waits until a condition has this reason and says all of these words.
fn told(scene: &Scene, object: &Object, reason: &str, words: &[&str]) -> Result<()> {
    let what = format!("a condition {reason} with {words:?}");
    let says = |condition: &Value| {
        let message = condition["message"].as_str().unwrap_or_default();
        condition["reason"] == reason && words.iter().all(|word| message.contains(word))
    };
    scene.client().wait_for(object, &what, SOON, |object| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(says))
    })?;
    Ok(())
}

#[test]
fn each_mistake_of_a_bundle_is_told_where_it_is_and_concerns_nobody_else() -> Result<()> {
    let mut scene = Scene::new("broken")?;
    let folder = scene.plane.folder().join(&scene.namespace);
    let refused: Vec<Mistake> = of_files().into_iter().chain(of_asking()).collect();
    let passes = of_passes();
    for mistake in &refused {
        write(&folder.join(mistake.name), mistake.lines, &mistake.files)?;
    }
    write_passes(&folder.join("passes"), &passes)?;
    let names = refused.iter().map(|mistake| mistake.name).chain(["passes"]);
    let registrations: Result<Vec<Value>> = names
        .map(|name| registration(&scene, &folder, name))
        .collect();
    let registrations = registrations?;
    scene.grant(&registrations)?;
    scene.start_host()?;
    let client = scene.client();
    let mark = scene.plane.audit().mark()?;
    for registration in &registrations {
        client.create(registration)?;
    }
    let good = Object::of(registrations.last().context("passes")?)?;
    super::until_ready(&scene, &good)?;
    for mistake in &refused {
        client.create(&resource(&scene, mistake.name, mistake.name, ""))?;
    }
    for mistake in &passes {
        client.create(&resource(&scene, mistake.name, "passes", mistake.name))?;
    }
    let well = resource(&scene, "well", "passes", "");
    client.create(&well)?;
    let child = scene.object("v1", "ConfigMap", "well");
    scene.wait(&child, |map| map["data"]["size"] == "1")?;
    for (mistake, registration) in refused.iter().zip(&registrations) {
        told(
            &scene,
            &Object::of(registration)?,
            mistake.reason,
            mistake.told,
        )
        .with_context(|| mistake.name)?;
        if let Some((reason, words)) = mistake.resource {
            let object = scene.object(&format!("{GROUP}/v1"), "Broken", mistake.name);
            told(&scene, &object, reason, words).with_context(|| mistake.name)?;
        }
    }
    for mistake in &passes {
        let object = scene.object(&format!("{GROUP}/v1"), "Broken", mistake.name);
        told(&scene, &object, mistake.reason, mistake.told).with_context(|| mistake.name)?;
    }
    // Whoever made none goes on, and one that is mended too.
    client.merge_patch(&Object::of(&well)?, &json!({ "spec": { "size": 2 } }))?;
    scene.wait(&child, |map| map["data"]["size"] == "2")?;
    let mended = scene.object(&format!("{GROUP}/v1"), "Broken", "undefined");
    client.merge_patch(&mended, &json!({ "spec": { "case": "" } }))?;
    scene.wait(&scene.object("v1", "ConfigMap", "undefined"), |map| {
        map["data"]["size"] == "1"
    })?;
    // Nothing else was written, not even what stands in front of a mistake.
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    let children = writes
        .iter()
        .filter(|write| matches!(&*write.resource, "configmaps" | "secrets"));
    // The seed of charts' passwords is the host's own.
    let seed = scene.seed().name;
    let children = children.filter(|write| write.name.as_ref() != Some(&seed));
    for write in children {
        let path = write.uri.split('?').next().unwrap_or_default();
        let ours = path.ends_with("/well")
            || path.ends_with("/undefined")
            || path.ends_with("/configmaps");
        ensure!(ours, "{write:?}");
    }
    let maps = client.list("v1", "ConfigMap", Some(&scene.namespace))?;
    let mut names: Vec<&str> = maps
        .iter()
        .filter(|map| map["metadata"]["ownerReferences"][0]["kind"] == "Broken")
        .filter_map(|map| map["metadata"]["name"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["undefined", "well"]);
    Ok(())
}

#[test]
fn the_command_line_tells_the_same_mistakes() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let engine = guest("declarative")?;
    let mut runs: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    let mut run = |verb: &str, bundle: &str, more: &[&str], words: Vec<&'static str>| {
        let bundle = folder.join(bundle).to_string_lossy().into_owned();
        let engine = engine.to_string_lossy().into_owned();
        let mut arguments = vec![
            "plugin".into(),
            verb.into(),
            bundle,
            "--engine".into(),
            engine,
        ];
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        runs.push((arguments, words));
    };
    // All that is wrong with the files is told at once.
    let (mut lines, mut files, mut words) = (String::new(), Files::new(), Vec::new());
    for mistake in of_files() {
        let mine = mistake.told.iter().copied();
        // What is no operator file is told before what its files are.
        let alone = ["bomb", "type", "key"].contains(&mistake.name);
        if alone {
            write(&folder.join(mistake.name), mistake.lines, &mistake.files)?;
            run("lint", mistake.name, &[], mine.collect());
            continue;
        }
        let items = mistake.lines.strip_prefix("deploy:\n").context("deploy")?;
        lines = format!("{lines}{items}\n");
        // Their lines are others here.
        words.extend(mine.map(|word| word.rsplit(": ").next().unwrap_or(word)));
        files.extend(mistake.files);
    }
    write(&folder.join("files"), &format!("deploy:\n{lines}"), &files)?;
    run("lint", "files", &[], words);
    let asked = "query:\n  bad: SELEC name FROM configmaps\n  none: SELECT nam FROM configmaps WHERE name = 'a'\ndeploy:\n  - {cmd: jinja, file: child.yaml}";
    write(&folder.join("asked"), asked, &Files::new())?;
    let words = vec!["error[query-refused]", "query bad", "query none", "cure: "];
    run("lint", "asked", &[], words);
    // What passes meet, on the same situations.
    let passes = of_passes();
    write_passes(&folder.join("passes"), &passes)?;
    for mistake in &passes {
        let case = mistake.name;
        let object = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "Broken",
            "metadata": { "name": "a", "namespace": "default" },
            "spec": { "size": 1, "case": case, "file": "/etc/passwd" },
        });
        let situation = json!({ "object": object }).to_string();
        // Expected is another end: what is found is printed.
        let other = json!({ "kind": "invalid", "message": "another" }).to_string();
        let at = folder.join("cases").join(case);
        let all = [("situation.yaml", &*situation), ("error.yaml", &*other)];
        write_files(&at, &all)?;
    }
    let situation = folder.join("cases/undefined/situation.yaml");
    let situation = situation.to_string_lossy().into_owned();
    let undefined = passes.iter().find(|mistake| mistake.name == "undefined");
    let words = undefined.context("it is there")?.told.to_vec();
    run("render", "passes", &["--situation", &situation], words);
    let cases = folder.join("cases").to_string_lossy().into_owned();
    let words = passes.iter().flat_map(|mistake| mistake.told).copied();
    run("test", "passes", &["--cases", &cases], words.collect());
    at_once(2, runs.len(), |number| {
        let (arguments, words) = &runs[number];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (_, printed) = failed(&arguments)?;
        for word in words {
            ensure!(
                printed.contains(word),
                "{arguments:?}: no {word:?} in\n{printed}"
            );
        }
        Ok(true)
    })
}
