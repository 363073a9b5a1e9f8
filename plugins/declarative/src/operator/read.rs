//! From a checked file to an operator.

use super::command::Helm;
use super::{
    Category, Child, Command, FILE, Http, Inline, Operator, Patch, Profile, Rule, Scope, Target,
    Watch, What,
};
use crate::bundle::{Bundle, resolve};
use crate::diagnostic::{Diagnostic, Errors, Place};
use crate::grammar::{self, duration};
use crate::jinja::{Jinja, Source};
use crate::sql::Statement;
use crate::yaml::{self, Data, Duplicates, Limits, Node};
use kybern_sdk::Gvk;
use serde_json::Value;

pub(super) fn load(bundle: Bundle) -> Result<Operator, Errors> {
    let file = operator_file(&bundle)?;
    let alone = |message: String| Errors::from(Diagnostic::new(&file, Place::default(), message));
    let text = bundle.text(&file).map_err(alone)?;
    let documents = yaml::documents(&file, &text, &Limits::WRITTEN, Duplicates::Refused)?;
    let document = match documents.as_slice() {
        [one] => one,
        [] => return Err(alone("the operator file is empty".to_owned())),
        [_, more, ..] => {
            let one = Diagnostic::new(&file, more.place, "an operator file is one document");
            return Err(one.within(&text).into());
        }
    };
    let errors = grammar::check(&file, &text, document);
    if !errors.is_empty() {
        return Err(errors);
    }
    let jinja = Jinja::new(&bundle);
    let mut reader = Reader {
        bundle: &bundle,
        jinja: &jinja,
        file: &file,
        text: &text,
        errors,
    };
    let profiles = document.entries().iter().map(|(name, profile)| {
        (
            name.name.clone(),
            reader.profile(&name.name, name.place, profile),
        )
    });
    let profiles = profiles.collect();
    let errors = reader.errors;
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Operator {
        bundle,
        jinja,
        file,
        profiles,
    })
}

/// `operator.yaml`, or the only file in the root with a profile.
fn operator_file(bundle: &Bundle) -> Result<String, Errors> {
    if bundle.has(FILE) {
        return Ok(FILE.to_owned());
    }
    let root =
        |path: &&str| !path.contains('/') && (path.ends_with(".yaml") || path.ends_with(".yml"));
    let has_profile = |path: &&str| {
        let text = bundle.text(path).unwrap_or_default();
        let read = yaml::documents(path, &text, &Limits::WRITTEN, Duplicates::Refused);
        let read = read.unwrap_or_default();
        let profile = |node: &Node| node.get("deploy").is_some() || node.get("maintain").is_some();
        read.iter()
            .flat_map(Node::entries)
            .any(|(_, node)| profile(node))
    };
    let found: Vec<&str> = bundle.paths().filter(root).filter(has_profile).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => {
            let one = Diagnostic::new(FILE, Place::default(), "the bundle has no operator file");
            Err(one
                .cure("put operator.yaml into its root: default: {deploy: [...]}")
                .into())
        }
        several => {
            let message = format!("several files hold profiles: {}", several.join(", "));
            Err(Diagnostic::new(FILE, Place::default(), message)
                .cure("call one of them operator.yaml")
                .into())
        }
    }
}

struct Reader<'a> {
    bundle: &'a Bundle,
    jinja: &'a Jinja,
    file: &'a str,
    text: &'a str,
    errors: Errors,
}

impl Reader<'_> {
    fn tell(&mut self, place: Place, message: impl Into<String>, cure: Option<&str>) {
        let one = Diagnostic::new(self.file, place, message).within(self.text);
        self.errors.push(match cure {
            Some(cure) => one.cure(cure),
            None => one,
        });
    }

    fn profile(&mut self, name: &str, place: Place, node: &Node) -> Profile {
        let mut crds = Vec::new();
        for (path, at) in self.paths(node.get("def")) {
            crds.extend(self.definitions(&path, at));
        }
        let kinds = kinds(&crds);
        if kinds.is_empty() {
            self.tell(
                place,
                format!("profile `{name}` is in charge of no kind"),
                Some("def: crd.yaml names the file with its CustomResourceDefinition"),
            );
        }
        let deploy = self.commands(node.get("deploy"), "deploy", false);
        let rules = node.get("maintain").map(Node::items).unwrap_or_default();
        let rules = rules
            .iter()
            .enumerate()
            .map(|(at, rule)| self.rule(rule, &format!("maintain[{at}]")))
            .collect();
        let status = node.get("status").map(|node| self.inline(node));
        let writes = node.get("writes").map(Node::items).unwrap_or_default();
        let words = |node: Option<&Node>| -> Vec<String> {
            node.map(Node::items)
                .unwrap_or_default()
                .iter()
                .filter_map(Node::text)
                .map(str::to_owned)
                .collect()
        };
        let writes = writes.iter().map(|one| {
            (
                gvk(one),
                words(one.get("verbs")),
                words(one.get("subresources")),
            )
        });
        let writes = writes.collect();
        let reads = node
            .get("reads")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .map(gvk)
            .collect();
        Profile {
            name: name.to_owned(),
            crds,
            kinds,
            deploy,
            rules,
            query: self.queries(node.get("query")),
            remember: self.expressions(node.get("remember")),
            set: self.expressions(node.get("set")),
            status,
            settings: node.get("settings").map(Node::value).unwrap_or_default(),
            reads,
            writes,
        }
    }

    fn definitions(&mut self, path: &str, at: Place) -> Vec<Value> {
        let Ok(text) = self.bundle.text(path) else {
            return Vec::new();
        };
        let nodes = match yaml::documents(path, &text, &Limits::WRITTEN, Duplicates::Refused) {
            Ok(nodes) => nodes,
            Err(errors) => {
                self.errors.extend(errors);
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for node in nodes {
            let kind = node.get("kind").and_then(Node::text).unwrap_or_default();
            if kind != "CustomResourceDefinition" {
                let message = format!(
                    "this is a {}, not a CustomResourceDefinition",
                    if kind.is_empty() {
                        "map without kind"
                    } else {
                        kind
                    }
                );
                self.errors
                    .push(Diagnostic::new(path, node.place, message).within(&text));
                continue;
            }
            let value = node.value();
            if [
                "/spec/group",
                "/spec/names/kind",
                "/spec/names/plural",
                "/spec/versions/0/name",
            ]
            .iter()
            .any(|part| value.pointer(part).is_none())
            {
                self.errors.push(
                    Diagnostic::new(
                        path,
                        node.place,
                        "the definition lacks spec.group, spec.names or spec.versions",
                    )
                    .within(&text),
                );
                continue;
            }
            found.push(value);
        }
        if found.is_empty() && self.errors.is_empty() {
            self.tell(
                at,
                format!("`{path}` holds no CustomResourceDefinition"),
                None,
            );
        }
        found
    }

    fn rule(&mut self, node: &Node, path: &str) -> Rule {
        let watch = node.get("watch");
        let place = watch.map_or(node.place, |watch| watch.place);
        let watch = self.watch(watch.unwrap_or(node));
        let decide = node.get("decide");
        let action = self.commands(node.get("action"), &format!("{path}.action"), true);
        if action.is_empty() && watch.category != Category::ShouldUpdate {
            self.tell(
                node.place,
                "a rule needs `action`",
                Some("action: [{cmd: ...}]"),
            );
        }
        if watch.category == Category::ShouldUpdate && !action.is_empty() {
            self.tell(
                place,
                "ResourceShouldUpdate only decides: it has no `action`",
                Some("put the condition into `decide.when`"),
            );
        }
        if watch.category == Category::ShouldUpdate
            && decide.and_then(|decide| decide.get("when")).is_none()
        {
            self.tell(place, "ResourceShouldUpdate needs `decide.when`", None);
        }
        let old = action.iter().any(|command| self.mentions(command, "old"));
        Rule {
            path: path.to_owned(),
            place,
            query: self.queries(decide.and_then(|decide| decide.get("query"))),
            when: self.expression(decide.and_then(|decide| decide.get("when"))),
            set: self.expressions(decide.and_then(|decide| decide.get("set"))),
            watch,
            action,
            old,
        }
    }

    fn watch(&mut self, node: &Node) -> Watch {
        let word = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let category = word("category")
            .and_then(|name| Category::of(&name))
            .unwrap_or(Category::DidChange);
        let kind = match (word("kind"), word("apiVersion")) {
            (Some(kind), Some(version)) => Some(Gvk::from_api_version(&version, &kind)),
            (None, None) => None,
            (Some(_), None) => {
                self.tell(
                    node.place,
                    "`kind` needs `apiVersion`",
                    Some("like apiVersion: v1"),
                );
                None
            }
            (None, Some(_)) => {
                self.tell(node.place, "`apiVersion` needs `kind`", None);
                None
            }
        };
        if kind.is_none() {
            for key in ["scope", "where", "resource"] {
                if let Some(value) = node.get(key) {
                    self.tell(
                        value.place,
                        format!("`{key}` is about other objects: it needs `kind`"),
                        None,
                    );
                }
            }
        }
        let scope = match node.get("scope") {
            Some(scope) if scope.get("selector").is_some() => {
                let labels = scope.get("selector").map(Node::entries).unwrap_or_default();
                let labels = labels
                    .iter()
                    .map(|(key, value)| (key.name.clone(), self.template(value)))
                    .collect();
                let everywhere = scope.get("in").and_then(Node::text) == Some("cluster");
                Scope::Selector { labels, everywhere }
            }
            Some(scope) => match scope.text() {
                Some("namespace") => Scope::Namespace,
                Some("cluster") => Scope::Cluster,
                _ => Scope::Owned,
            },
            None => Scope::Owned,
        };
        let guessed = kind
            .as_ref()
            .map(|kind| crate::sql::plural(&kind.kind))
            .unwrap_or_default();
        Watch {
            category,
            plural: word("resource").unwrap_or(guessed),
            kind,
            scope,
            filter: node.get("where").and_then(|node| self.statement(node)),
            every: word("every").and_then(|text| duration(&text)),
        }
    }

    fn commands(&mut self, node: Option<&Node>, path: &str, watched: bool) -> Vec<Command> {
        let items = node.map(Node::items).unwrap_or_default();
        items
            .iter()
            .enumerate()
            .map(|(at, node)| self.command(node, format!("{path}[{at}]"), watched))
            .collect()
    }

    fn command(&mut self, node: &Node, path: String, watched: bool) -> Command {
        let word = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let what = match word("cmd").unwrap_or_default().as_str() {
            "helm" => self.helm(node),
            "jinja" => What::Files {
                files: self.templates(node.get("file")),
                templates: true,
                object: None,
                values: self.value_files(node.get("values")),
                child: child(node),
            },
            "kube-apply" => self.apply(node),
            "kube-patch" => self.patch(node, watched),
            "kube-delete" => {
                let target = node.get("target").map(|node| self.target(node));
                if target.is_none() && !watched {
                    self.tell(
                        node.place,
                        "command `kube-delete` needs `target`",
                        Some("only rules have a watched object"),
                    );
                }
                if let (Some(one), false) = (&target, watched)
                    && one.uid.is_none()
                {
                    self.tell(node.place, "an object that is not watched is deleted by its uid", Some("read it in `query`, go through the rows with `foreach`, and set target.uid"));
                }
                What::Delete {
                    target,
                    propagation: word("propagation"),
                }
            }
            "sql" => What::Sql(
                node.get("statement")
                    .and_then(|node| self.statement(node))
                    .unwrap_or(Statement::plain("")),
            ),
            "status" => What::Status(self.inline(node.get("set").unwrap_or(node))),
            "event" => What::Event {
                warning: word("severity").as_deref() == Some("Warning"),
                reason: self.template(node.get("reason").unwrap_or(node)),
                message: self.template(node.get("message").unwrap_or(node)),
            },
            "wait" => What::Wait {
                until: self.expression(node.get("until")),
                message: node.get("message").map(|node| self.template(node)),
            },
            _ => self.http(node),
        };
        Command {
            path,
            place: node.place,
            when: self.expression(node.get("when")),
            foreach: self.expression(node.get("foreach")),
            goes_on: word("onError").as_deref() == Some("continue"),
            what,
        }
    }

    fn helm(&mut self, node: &Node) -> What {
        let flag =
            |key: &str| matches!(node.get(key).map(|node| &node.data), Some(Data::Bool(true)));
        let chart = self.chart(node.get("chart"));
        let values = self.value_files(node.get("values"));
        What::Helm(Box::new(Helm {
            chart,
            values,
            set: node.get("set").map(|node| self.inline(node)),
            release: node.get("release").map(|node| self.template(node)),
            namespace: node.get("namespace").map(|node| self.template(node)),
            notes: node.get("notes").and_then(Node::text).map(str::to_owned),
            strict: flag("strict"),
            skip_schema: flag("skipSchema"),
            skip_crds: flag("skipCrds"),
            child: child(node),
        }))
    }

    fn chart(&mut self, node: Option<&Node>) -> String {
        let Some((node, text)) = node.and_then(|node| Some((node, node.text()?))) else {
            return String::new();
        };
        let path = match resolve(self.file, text) {
            Ok(path) => path,
            Err(why) => {
                self.tell(node.place, why, None);
                return String::new();
            }
        };
        let folder = format!("{path}/Chart.yaml");
        let packed = format!("{path}.tgz");
        if self.bundle.has(&folder) {
            if let Err(errors) = self
                .bundle
                .text(&folder)
                .map_err(|_| Errors::default())
                .and_then(|text| {
                    yaml::documents(&folder, &text, &Limits::WRITTEN, Duplicates::LastCounts)
                        .map(|_| ())
                })
            {
                self.errors.extend(errors);
            }
        } else if self.bundle.has(&packed) {
            // Where the host puts a chart of a repository.
            return packed;
        } else if !(self.bundle.has(&path) && (path.ends_with(".tgz") || path.ends_with(".tar.gz")))
        {
            let below = self.bundle.below(&path).next().is_some();
            let message = if below {
                format!("`{path}` is no chart: it has no Chart.yaml")
            } else {
                format!("there is no chart `{path}` in the bundle")
            };
            let mut charts: Vec<&str> = self
                .bundle
                .paths()
                .filter_map(|path| path.strip_suffix("/Chart.yaml"))
                .filter(|path| !path.contains("/charts/"))
                .collect();
            charts.sort_by_key(|path| path.len());
            let elsewhere = "put it there, or name it in charts.yaml with its repository";
            let cure = charts.first().map_or_else(
                || elsewhere.to_owned(),
                |path| format!("there is a chart in `{path}`"),
            );
            self.tell(node.place, message, Some(&cure));
        }
        path
    }

    fn apply(&mut self, node: &Node) -> What {
        let raw = matches!(
            node.get("raw").map(|node| &node.data),
            Some(Data::Bool(true))
        );
        let object = node.get("object").map(|node| self.inline(node));
        if node.get("file").is_some() == object.is_some() {
            self.tell(
                node.place,
                "command `kube-apply` needs one of `file` and `object`",
                None,
            );
        }
        let files = if raw {
            self.files(node.get("file"))
        } else {
            self.templates(node.get("file"))
        };
        What::Files {
            files,
            templates: !raw,
            object,
            values: Vec::new(),
            child: child(node),
        }
    }

    fn patch(&mut self, node: &Node, watched: bool) -> What {
        let inline = node.get("patch").map(|node| self.inline(node));
        let file = self.templates(node.get("file")).pop();
        if node.get("file").is_some() == inline.is_some() {
            self.tell(
                node.place,
                "command `kube-patch` needs one of `file` and `patch`",
                None,
            );
        }
        let word = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let kind = word("type").unwrap_or_else(|| "apply".to_owned());
        let target = node.get("target").map(|node| self.target(node));
        if kind == "json" && target.is_none() && !watched {
            self.tell(
                node.place,
                "a JSON patch does not say what it patches",
                Some("add `target`"),
            );
        }
        What::Patch(Patch {
            file,
            inline,
            target,
            kind,
            subresource: word("subresource"),
        })
    }

    fn target(&mut self, node: &Node) -> Target {
        let mut get = |key: &str| node.get(key).map(|node| self.template(node));
        let (version, kind, name) = (get("apiVersion"), get("kind"), get("name"));
        let (namespace, uid) = (get("namespace"), get("uid"));
        let none = || Source {
            file: self.file.to_owned(),
            place: node.place,
            text: String::new(),
            plain: false,
        };
        Target {
            api_version: version.unwrap_or_else(none),
            kind: kind.unwrap_or_else(none),
            name: name.unwrap_or_else(none),
            namespace,
            uid,
        }
    }

    fn http(&mut self, node: &Node) -> What {
        let word = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let headers = node.get("headers").map(Node::entries).unwrap_or_default();
        let headers = headers
            .iter()
            .map(|(key, value)| (key.name.clone(), self.template(value)))
            .collect();
        let secrets = node
            .get("secretHeaders")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .map(|one| {
                let text = |key: &str| {
                    one.get(key)
                        .and_then(Node::text)
                        .unwrap_or_default()
                        .to_owned()
                };
                (text("name"), text("secret"), text("prefix"))
            });
        let expect = node.get("expect").map(Node::items).unwrap_or_default();
        What::Http(Http {
            name: word("name"),
            method: word("method").unwrap_or_else(|| "GET".to_owned()),
            url: self.template(node.get("url").unwrap_or(node)),
            headers,
            secrets: secrets.collect(),
            body: node.get("body").map(|node| self.inline(node)),
            expect: expect
                .iter()
                .filter_map(|node| node.value().as_u64())
                .collect(),
            every: word("every").and_then(|text| duration(&text)),
            timeout: word("timeout").and_then(|text| duration(&text)),
        })
    }

    fn mentions(&self, command: &Command, name: &str) -> bool {
        command
            .templates()
            .iter()
            .any(|path| self.jinja.mentions(path, name))
            || self.text.contains(&format!("{name}."))
    }

    fn source(&self, node: &Node) -> Source {
        let text = match &node.data {
            Data::Text(text) => text.clone(),
            Data::Null => "none".to_owned(),
            other => match other {
                Data::Bool(value) => value.to_string(),
                Data::Number(value) => value.to_string(),
                _ => String::new(),
            },
        };
        Source {
            file: self.file.to_owned(),
            place: node.place,
            text,
            plain: node.plain,
        }
    }

    fn template(&mut self, node: &Node) -> Source {
        let source = self.source(node);
        let errors = self.jinja.check_text(&source);
        self.errors.extend(errors);
        source
    }

    fn expression(&mut self, node: Option<&Node>) -> Option<Source> {
        let source = self.source(node?);
        let errors = self.jinja.check_expression(&source);
        self.errors.extend(errors);
        Some(source)
    }

    fn expressions(&mut self, node: Option<&Node>) -> Vec<(String, Source)> {
        let entries = node.map(Node::entries).unwrap_or_default();
        entries
            .iter()
            .filter_map(|(key, value)| Some((key.name.clone(), self.expression(Some(value))?)))
            .collect()
    }

    fn queries(&mut self, node: Option<&Node>) -> Vec<(String, Statement)> {
        let entries = node.map(Node::entries).unwrap_or_default();
        entries
            .iter()
            .filter_map(|(key, value)| Some((key.name.clone(), self.statement(value)?)))
            .collect()
    }

    fn statement(&mut self, node: &Node) -> Option<Statement> {
        let source = self.source(node);
        match Statement::read(&source) {
            Ok(statement) => {
                for param in &statement.params {
                    let errors = self.jinja.check_expression(param);
                    self.errors.extend(errors);
                }
                Some(statement)
            }
            Err(errors) => {
                for one in errors.iter() {
                    self.errors.push(one.clone().within(self.text));
                }
                None
            }
        }
    }

    fn inline(&mut self, node: &Node) -> Inline {
        self.check_inline(node);
        Inline {
            file: self.file.to_owned(),
            node: node.clone(),
        }
    }

    fn check_inline(&mut self, node: &Node) {
        match &node.data {
            Data::Text(text) if text.contains("{{") || text.contains("{%") => {
                self.template(node);
            }
            Data::List(items) => items.iter().for_each(|node| self.check_inline(node)),
            Data::Map(entries) => entries.iter().for_each(|(_, node)| self.check_inline(node)),
            _ => {}
        }
    }

    fn templates(&mut self, node: Option<&Node>) -> Vec<String> {
        let files = self.files(node);
        for path in &files {
            let errors = self.jinja.check(path);
            self.errors.extend(errors);
        }
        files
    }

    fn value_files(&mut self, node: Option<&Node>) -> Vec<String> {
        self.templates(node)
    }

    /// Files, and those in folders.
    fn files(&mut self, node: Option<&Node>) -> Vec<String> {
        let mut files = Vec::new();
        for (path, _) in self.paths(node) {
            if self.bundle.has(&path) {
                files.push(path);
                continue;
            }
            let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            let below = self
                .bundle
                .below(&path)
                .filter(|path| !name(path).starts_with(['_', '.']));
            files.extend(below.map(str::to_owned));
        }
        files
    }

    /// Paths that lead to a file or a folder.
    fn paths(&mut self, node: Option<&Node>) -> Vec<(String, Place)> {
        let Some(node) = node else { return Vec::new() };
        let nodes = if node.text().is_some() {
            std::slice::from_ref(node)
        } else {
            node.items()
        };
        let mut paths = Vec::new();
        for node in nodes {
            let Some(text) = node.text() else { continue };
            match resolve(self.file, text) {
                Ok(path) if self.bundle.has(&path) || self.bundle.below(&path).next().is_some() => {
                    paths.push((path, node.place))
                }
                Ok(path) => {
                    let message = self.bundle.missing(&path);
                    self.tell(node.place, message, None);
                }
                Err(why) => self.tell(node.place, why, None),
            }
        }
        paths
    }
}

fn child(node: &Node) -> Child {
    let word = |key: &str| node.get(key).and_then(Node::text);
    let flag = |key: &str| matches!(node.get(key).map(|node| &node.data), Some(Data::Bool(true)));
    let paths = node.get("ignorePaths").map(Node::items).unwrap_or_default();
    Child {
        create_once: word("mode") == Some("createOnce"),
        ready: flag("ready"),
        recreate: word("onImmutable") == Some("recreate"),
        adopt: flag("adopt"),
        prune: word("prune").map(str::to_owned),
        ignore_paths: paths
            .iter()
            .filter_map(Node::text)
            .map(str::to_owned)
            .collect(),
        during_deletion: flag("duringDeletion"),
    }
}

fn gvk(node: &Node) -> Gvk {
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    Gvk::from_api_version(text("apiVersion"), text("kind"))
}

/// The kinds of the first definition: its stored version first.
fn kinds(crds: &[Value]) -> Vec<Gvk> {
    let text = |value: &Value, path: &str| {
        value
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let of = |crd: &Value| {
        let versions = crd
            .pointer("/spec/versions")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let flag =
            |version: &Value, key: &str| version.get(key).and_then(Value::as_bool).unwrap_or(false);
        let mut served: Vec<Value> = versions
            .into_iter()
            .filter(|version| flag(version, "served"))
            .collect();
        served.sort_by_key(|version| !flag(version, "storage"));
        let version = served
            .first()
            .map(|version| text(version, "/name"))
            .unwrap_or_default();
        Gvk::new(
            text(crd, "/spec/group"),
            version,
            text(crd, "/spec/names/kind"),
        )
    };
    crds.first().map(of).into_iter().collect()
}
