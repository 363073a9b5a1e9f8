//! The grammar of operator files: one table of keys, from which files are checked, the JSON Schema
//! is written, and the documentation is tested.

mod check;
mod schema;

pub use check::check;
pub use schema::schema;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Text as it stands.
    Text,
    /// Text that may hold `{{ }}`.
    Template,
    /// An expression, without braces.
    Expression,
    /// A statement; each `{{ }}` in it is a parameter.
    Sql,
    /// A path in the bundle.
    Path,
    /// True or false.
    Bool,
    /// A number without fraction.
    Integer,
    /// Like `90s`, `5m`, `1h30m`.
    Duration,
    /// Anything; text in it may hold `{{ }}`.
    Templated,
    /// Anything, as it stands.
    Any,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list.
    List(&'static Type),
    /// One, or a list of them.
    Many(&'static Type),
    /// A map with any keys.
    Map(&'static Type),
    /// A map with these keys.
    Keys(&'static [Key]),
    /// A word of these, or a map with these keys.
    WordOr(&'static [&'static str], &'static [Key]),
    /// One of the commands.
    Command,
}

/// A key of a map.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Type,
    /// Whether it must be there.
    pub required: bool,
    /// What it is for.
    pub doc: &'static str,
}

const fn key(name: &'static str, takes: Type, doc: &'static str) -> Key {
    Key {
        name,
        takes,
        required: false,
        doc,
    }
}

const fn must(name: &'static str, takes: Type, doc: &'static str) -> Key {
    Key {
        name,
        takes,
        required: true,
        doc,
    }
}

/// The names of the lifecycle.
pub const CATEGORIES: &[&str] = &[
    "ResourceDidMount",
    "ResourceDidChange",
    "ResourceShouldUpdate",
    "ResourceDidUpdate",
    "ResourceWillUnmount",
    "ResourceDidUnmount",
    "ResourceDidCatch",
];

const SCOPES: &[&str] = &["owned", "namespace", "cluster"];

const SELECTOR: &[Key] = &[
    must(
        "selector",
        Type::Map(&Type::Template),
        "Labels that the objects have.",
    ),
    key(
        "in",
        Type::Word(&["namespace", "cluster"]),
        "Where they are looked for: the CR's namespace (default), or everywhere.",
    ),
];

const KIND: &[Key] = &[
    must("apiVersion", Type::Text, "Like `apps/v1`."),
    must("kind", Type::Text, "Like `Deployment`."),
];

const WRITE: &[Key] = &[
    must("apiVersion", Type::Text, "Like `apps/v1`."),
    must("kind", Type::Text, "Like `Deployment`."),
    key(
        "verbs",
        Type::List(&Type::Word(&["apply", "patch", "delete"])),
        "What is done to them; `apply` if it is left out.",
    ),
    key(
        "subresources",
        Type::List(&Type::Text),
        "Subresources that are written, like `status`.",
    ),
];

const TARGET: &[Key] = &[
    must("apiVersion", Type::Template, "Like `apps/v1`."),
    must("kind", Type::Template, "Like `Deployment`."),
    must("name", Type::Template, "The object's name."),
    key(
        "namespace",
        Type::Template,
        "Its namespace; the CR's if it is left out, `\"\"` for a cluster-scoped object.",
    ),
    key(
        "uid",
        Type::Template,
        "Only the object with this uid. Needed where it is deleted and is not the watched object.",
    ),
];

const SECRET_HEADER: &[Key] = &[
    must("name", Type::Text, "The header's name."),
    must(
        "secret",
        Type::Text,
        "A secret that the registration grants (`spec.grants.secrets`); no template sees it.",
    ),
    key(
        "prefix",
        Type::Text,
        "What stands before it, like `Bearer `.",
    ),
];

/// A profile.
pub const PROFILE: &[Key] = &[
    key(
        "def",
        Type::Many(&Type::Path),
        "Files with the CustomResourceDefinitions; the first kind of the first is what this operator is in charge of.",
    ),
    key(
        "deploy",
        Type::List(&Type::Command),
        "Commands in order: the children that each CR has while it lives.",
    ),
    key(
        "maintain",
        Type::List(&Type::Keys(RULE)),
        "Rules: what is watched, what is decided, what is done.",
    ),
    key(
        "query",
        Type::Map(&Type::Sql),
        "Rows for all templates and expressions, as `rows.NAME`.",
    ),
    key(
        "remember",
        Type::Map(&Type::Expression),
        "Values that the next pass finds as `memory.NAME`.",
    ),
    key(
        "set",
        Type::Map(&Type::Expression),
        "Names for all templates and expressions, in order.",
    ),
    key(
        "status",
        Type::Map(&Type::Templated),
        "Fields of the CR's status.",
    ),
    key(
        "settings",
        Type::Any,
        "JSON Schema of the registration's `settings`, seen as `settings.NAME`.",
    ),
    key(
        "reads",
        Type::List(&Type::Keys(KIND)),
        "Kinds that are read beside those that are watched and queried by name, like those that a chart looks up.",
    ),
    key(
        "writes",
        Type::List(&Type::Keys(WRITE)),
        "Kinds that are written and cannot be told from the templates.",
    ),
];

/// A rule.
pub const RULE: &[Key] = &[
    must(
        "watch",
        Type::Keys(WATCH),
        "Sense: which objects, and what about them.",
    ),
    key(
        "decide",
        Type::Keys(DECIDE),
        "Whether something is to be done. Left out: for each object.",
    ),
    key(
        "action",
        Type::List(&Type::Command),
        "What is done, in order. Only ResourceShouldUpdate has none.",
    ),
];

const WATCH: &[Key] = &[
    must(
        "category",
        Type::Word(CATEGORIES),
        "The point in the lifecycle.",
    ),
    key(
        "kind",
        Type::Text,
        "The kind of the objects; left out: the CR itself.",
    ),
    key(
        "apiVersion",
        Type::Text,
        "Their apiVersion; needed with `kind`.",
    ),
    key(
        "resource",
        Type::Text,
        "The kind's plural, where it is not the usual one.",
    ),
    key(
        "scope",
        Type::WordOr(SCOPES, SELECTOR),
        "Which objects: `owned` (default) by this CR, all in its `namespace`, all in the `cluster`, or those with labels.",
    ),
    key("where", Type::Sql, "An SQL condition on the objects."),
    key(
        "every",
        Type::Duration,
        "Also when this much time has passed; `now` is then known.",
    ),
];

const DECIDE: &[Key] = &[
    key(
        "query",
        Type::Map(&Type::Sql),
        "Rows for this rule, as `rows.NAME`.",
    ),
    key("when", Type::Expression, "Only if this holds."),
    key(
        "set",
        Type::Map(&Type::Expression),
        "Names for templates and commands of this rule, in order.",
    ),
];

const COMMON: &[Key] = &[
    must(
        "cmd",
        Type::Word(&[
            "helm",
            "jinja",
            "kube-apply",
            "kube-patch",
            "kube-delete",
            "sql",
            "status",
            "event",
            "wait",
            "http",
        ]),
        "Which command.",
    ),
    key("when", Type::Expression, "Only if this holds."),
    key(
        "foreach",
        Type::Expression,
        "Once for each item of a list, seen as `item`.",
    ),
    key(
        "onError",
        Type::Word(&["fail", "continue"]),
        "`fail` (default): nothing is written. `continue`: the other commands go on, nothing is pruned, a condition says why.",
    ),
];

/// How children are kept.
const CHILD: &[Key] = &[
    key(
        "mode",
        Type::Word(&["managed", "createOnce"]),
        "`createOnce`: made if absent, then left alone.",
    ),
    key(
        "ready",
        Type::Bool,
        "Later commands wait until the objects are ready.",
    ),
    key(
        "onImmutable",
        Type::Word(&["fail", "recreate"]),
        "When a field cannot change: explain it (default), or delete and create again.",
    ),
    key(
        "adopt",
        Type::Bool,
        "Objects that are there and have no controller are taken over.",
    ),
    key(
        "prune",
        Type::Word(&["delete", "orphan", "keep"]),
        "What becomes of an object that is no longer wanted.",
    ),
    key(
        "ignorePaths",
        Type::List(&Type::Text),
        "Fields that others own, like `spec.replicas`.",
    ),
    key(
        "duringDeletion",
        Type::Bool,
        "Also while the CR is being deleted.",
    ),
];

const HELM: &[Key] = &[
    must(
        "chart",
        Type::Path,
        "The chart's folder or .tgz in the bundle, or ALIAS/CHART of charts.yaml.",
    ),
    key(
        "values",
        Type::Many(&Type::Path),
        "Files of values, templates over the CR; later ones win.",
    ),
    key(
        "set",
        Type::Map(&Type::Templated),
        "Values over those of the files.",
    ),
    key(
        "release",
        Type::Template,
        "The release's name; the CR's if it is left out.",
    ),
    key(
        "namespace",
        Type::Template,
        "The release's namespace; the CR's if it is left out.",
    ),
    key(
        "notes",
        Type::Text,
        "The field of the status that NOTES.txt is put into.",
    ),
    key("strict", Type::Bool, "A value that is missing is an error."),
    key(
        "skipSchema",
        Type::Bool,
        "Values are not checked against the chart's schema.",
    ),
    key(
        "skipCrds",
        Type::Bool,
        "The chart's folder crds is left out.",
    ),
];

const JINJA: &[Key] = &[
    must(
        "file",
        Type::Many(&Type::Path),
        "Templates, or folders of them; names that begin with `_` are only for others to include.",
    ),
    key(
        "values",
        Type::Many(&Type::Path),
        "Files of values, templates over the CR, seen as `values`; later ones win.",
    ),
];

const APPLY: &[Key] = &[
    key(
        "file",
        Type::Many(&Type::Path),
        "YAML files or folders of them; templates, unless `raw`.",
    ),
    key("object", Type::Templated, "An object, here."),
    key("raw", Type::Bool, "Files are taken as they stand."),
];

const PATCH: &[Key] = &[
    key(
        "file",
        Type::Path,
        "The patch, a template. What it names with apiVersion, kind and metadata.name is patched, or what `target` says.",
    ),
    key("patch", Type::Templated, "The patch, here."),
    key(
        "target",
        Type::Keys(TARGET),
        "Which object, if the patch does not say; the watched object if nobody does.",
    ),
    key(
        "type",
        Type::Word(&["apply", "merge", "json", "strategic"]),
        "How the patch reads: server-side apply (default), or for what this operator deploys also the others.",
    ),
    key(
        "subresource",
        Type::Word(&["status"]),
        "The subresource that is patched, of an object that is not deployed here.",
    ),
];

const DELETE: &[Key] = &[
    key(
        "target",
        Type::Keys(TARGET),
        "Which object; the watched one if it is left out.",
    ),
    key(
        "propagation",
        Type::Word(&["Background", "Foreground", "Orphan"]),
        "What happens to what it owns.",
    ),
];

const SQL: &[Key] = &[must(
    "statement",
    Type::Sql,
    "INSERT, UPDATE, DELETE or APPLY; each `{{ }}` is a parameter.",
)];

const STATUS: &[Key] = &[must(
    "set",
    Type::Map(&Type::Templated),
    "Fields of the CR's status.",
)];

const EVENT: &[Key] = &[
    must("reason", Type::Template, "CamelCase, for machines."),
    must(
        "message",
        Type::Template,
        "For people. Another message is another event.",
    ),
    key(
        "severity",
        Type::Word(&["Normal", "Warning"]),
        "`Normal` if it is left out.",
    ),
];

const WAIT: &[Key] = &[
    key(
        "until",
        Type::Expression,
        "Later commands wait until this holds; left out: until all objects before are ready.",
    ),
    key(
        "message",
        Type::Template,
        "What is waited for, for the condition.",
    ),
];

const HTTP: &[Key] = &[
    must(
        "url",
        Type::Template,
        "Where; the registration must grant the host.",
    ),
    key(
        "method",
        Type::Word(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        "`GET` if it is left out.",
    ),
    key(
        "name",
        Type::Text,
        "The outcome is seen as `outcomes.NAME`.",
    ),
    key("headers", Type::Map(&Type::Template), "Headers."),
    key(
        "secretHeaders",
        Type::List(&Type::Keys(SECRET_HEADER)),
        "Headers whose value the host puts in.",
    ),
    key("body", Type::Templated, "Text, or what becomes JSON."),
    key(
        "expect",
        Type::List(&Type::Integer),
        "Status codes that are a success; 200 to 299 if it is left out.",
    ),
    key(
        "every",
        Type::Duration,
        "Asked again when the last success is older.",
    ),
    key("timeout", Type::Duration, "Time for one attempt."),
];

/// A command.
#[derive(Debug, Clone, Copy)]
pub struct CommandKeys {
    /// What `cmd` says.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Keys of its own.
    pub own: &'static [Key],
    /// Whether it makes children.
    pub children: bool,
}

/// All commands.
pub const COMMANDS: &[CommandKeys] = &[
    CommandKeys {
        name: "helm",
        doc: "Children from a chart.",
        own: HELM,
        children: true,
    },
    CommandKeys {
        name: "jinja",
        doc: "Children from templates.",
        own: JINJA,
        children: true,
    },
    CommandKeys {
        name: "kube-apply",
        doc: "Children from files or from here.",
        own: APPLY,
        children: true,
    },
    CommandKeys {
        name: "kube-patch",
        doc: "A change of an object.",
        own: PATCH,
        children: false,
    },
    CommandKeys {
        name: "kube-delete",
        doc: "An object that goes.",
        own: DELETE,
        children: false,
    },
    CommandKeys {
        name: "sql",
        doc: "Changes by a statement.",
        own: SQL,
        children: false,
    },
    CommandKeys {
        name: "status",
        doc: "Fields of the CR's status.",
        own: STATUS,
        children: false,
    },
    CommandKeys {
        name: "event",
        doc: "A Kubernetes Event on the CR.",
        own: EVENT,
        children: false,
    },
    CommandKeys {
        name: "wait",
        doc: "A barrier.",
        own: WAIT,
        children: false,
    },
    CommandKeys {
        name: "http",
        doc: "A request to a server.",
        own: HTTP,
        children: false,
    },
];

impl CommandKeys {
    /// All keys that it takes.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        let children = if self.children { CHILD } else { &[] };
        COMMON.iter().chain(self.own).chain(children)
    }
}

/// Milliseconds of `1h30m`.
pub fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after;
    }
    (millis > 0).then_some(millis)
}
