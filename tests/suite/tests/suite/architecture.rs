//! The column "must not know" of the workspace table: what no crate may depend on, however indirectly.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A crate and what it must not know; a name that ends with `*` stands for all that begin so.
struct Rule {
    package: &'static str,
    must_not_know: &'static [&'static str],
}

/// The host's crates, from the store up.
const HOST: [&str; 12] = [
    "kybern",
    "kybern-allocator",
    "kybern-budget",
    "kybern-bundle",
    "kybern-helm",
    "kybern-kube",
    "kybern-plugin",
    "kybern-reconcile",
    "kybern-sense",
    "kybern-sql",
    "kybern-statement",
    "kybern-table",
];

const RULES: [Rule; 18] = [
    Rule {
        package: "kybern-table",
        must_not_know: &[
            "datafusion*",
            "wasmtime*",
            "kube*",
            "k8s-openapi",
            "tokio",
            "kybern-*",
        ],
    },
    Rule {
        package: "kybern-allocator",
        must_not_know: &[
            "datafusion*",
            "arrow*",
            "wasmtime*",
            "kube*",
            "tokio",
            "kybern-*",
        ],
    },
    Rule {
        package: "kybern-budget",
        must_not_know: &[
            "datafusion*",
            "arrow*",
            "wasmtime*",
            "kube*",
            "tokio",
            "kybern-*",
        ],
    },
    Rule {
        package: "kybern-bundle",
        must_not_know: &[
            "datafusion*",
            "arrow*",
            "wasmtime*",
            "kube*",
            "tokio",
            "kybern",
            "kybern-budget",
            "kybern-helm",
            "kybern-kube",
            "kybern-plugin",
            "kybern-reconcile",
            "kybern-sense",
            "kybern-sql",
            "kybern-statement",
            "kybern-table",
        ],
    },
    Rule {
        package: "kybern-statement",
        must_not_know: &[
            "datafusion*",
            "arrow*",
            "wasmtime*",
            "kube*",
            "tokio",
            "kybern-*",
        ],
    },
    Rule {
        package: "kybern-sql",
        must_not_know: &[
            "wasmtime*",
            "kube*",
            "k8s-openapi",
            "hyper*",
            "reqwest",
            "ureq",
            "kybern",
            "kybern-kube",
            "kybern-plugin",
            "kybern-reconcile",
        ],
    },
    Rule {
        package: "kybern-plugin",
        must_not_know: &[
            "kube*",
            "k8s-openapi",
            "datafusion*",
            "sqlparser",
            "kybern",
            "kybern-kube",
            "kybern-reconcile",
            "kybern-sql",
            "kybern-statement",
        ],
    },
    Rule {
        package: "kybern-helm",
        must_not_know: &[
            "kube*",
            "k8s-openapi",
            "datafusion*",
            "sqlparser",
            "tokio",
            "kybern",
            "kybern-kube",
            "kybern-reconcile",
            "kybern-sense",
            "kybern-sql",
            "kybern-statement",
            "kybern-table",
        ],
    },
    Rule {
        package: "kybern-kube",
        must_not_know: &[
            "wasmtime*",
            "datafusion*",
            "sqlparser",
            "kybern",
            "kybern-plugin",
            "kybern-reconcile",
            "kybern-sql",
            "kybern-statement",
        ],
    },
    Rule {
        package: "kybern-reconcile",
        must_not_know: &[
            "axum",
            "clap",
            "datafusion*",
            "hyper*",
            "k8s-openapi",
            "kube*",
            "sqlparser",
            "wasmtime*",
            "kybern",
            "kybern-kube",
            "kybern-plugin",
            "kybern-sql",
            "kybern-statement",
        ],
    },
    Rule {
        package: "kybern-sense",
        must_not_know: &[
            "axum",
            "clap",
            "hyper*",
            "k8s-openapi",
            "kube*",
            "wasmtime*",
            "kybern",
            "kybern-kube",
            "kybern-plugin",
        ],
    },
    Rule {
        package: "kybern-interface",
        must_not_know: &["tokio", "arrow*", "kybern", "kybern-*"],
    },
    Rule {
        package: "kybern-component",
        must_not_know: &[
            "tokio",
            "datafusion*",
            "wasmtime*",
            "kube*",
            "kybern",
            "kybern-*",
        ],
    },
    Rule {
        package: "kybern-sdk",
        must_not_know: &HOST,
    },
    Rule {
        package: "appservice",
        must_not_know: &HOST,
    },
    Rule {
        package: "declarative",
        must_not_know: &HOST,
    },
    Rule {
        package: "runbook",
        must_not_know: &HOST,
    },
    // What developers compile first.
    Rule {
        package: "xtask",
        must_not_know: &["datafusion*", "wasmtime*", "kube*", "tokio"],
    },
];

/// Names of features only; whoever is built depends on it and knows nothing by it.
const IGNORED: &str = "workspace-hack";

/// Who depends on whom, tests and build scripts aside. Packages by name: two versions are one.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn graph(metadata: &Metadata) -> Graph {
    let names: BTreeMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let mut graph = Graph::new();
    for node in &metadata.resolve.as_ref().unwrap().nodes {
        let edges = graph.entry(names[&node.id].to_owned()).or_default();
        for dependency in &node.deps {
            let kinds = &dependency.dep_kinds;
            if kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                edges.insert(names[&dependency.pkg].to_owned());
            }
        }
    }
    graph
}

/// For each rule that is broken, the shortest way from the crate to what it must not know.
fn violations(graph: &Graph, rules: &[Rule]) -> Vec<String> {
    let mut found = Vec::new();
    for rule in rules {
        assert!(
            graph.contains_key(rule.package),
            "no crate {}: a rule is stale",
            rule.package
        );
        let mut from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open = VecDeque::from([rule.package]);
        while let Some(package) = open.pop_front() {
            for next in &graph[package] {
                if next == IGNORED || next == rule.package || from.contains_key(next.as_str()) {
                    continue;
                }
                from.insert(next, package);
                if rule
                    .must_not_know
                    .iter()
                    .any(|pattern| matches(pattern, next))
                {
                    found.push(way(&from, next));
                } else {
                    open.push_back(next);
                }
            }
        }
    }
    found
}

fn matches(pattern: &str, name: &str) -> bool {
    // What is published to be shared, by all of the workspace.
    if name == "kybern-interface" {
        return false;
    }
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn way<'a>(from: &BTreeMap<&'a str, &'a str>, to: &'a str) -> String {
    let mut way = vec![to];
    let mut at = to;
    while let Some(&before) = from.get(at) {
        way.push(before);
        at = before;
    }
    way.reverse();
    way.join(" -> ")
}

fn workspace() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .exec()
        .unwrap()
}

#[test]
fn no_crate_knows_what_it_must_not() {
    let broken = violations(&graph(&workspace()), &RULES);
    assert!(broken.is_empty(), "not allowed:\n{}", broken.join("\n"));
}

#[test]
fn every_crate_of_the_host_and_its_guests_has_a_rule() {
    // The binary may know everything; the others are tests or the macros of the SDK.
    let free = [
        "kybern",
        "kybern-arrow-guest",
        "kybern-bench",
        "kybern-bench-appservice",
        "kybern-bench-floor",
        "kybern-bench-reader",
        "kybern-bench-relay",
        "kybern-caller",
        "kybern-chart-tests",
        "kybern-curious",
        "kybern-describer",
        "kybern-evil",
        "kybern-faults",
        "kybern-frozen",
        "kybern-keeper",
        "kybern-node-tests",
        "kybern-planner",
        "kybern-quantity-tests",
        "kybern-sdk-macros",
        "kybern-seed",
        "kybern-sql-tests",
        "kybern-suite",
        "kybern-testcluster",
        IGNORED,
    ];
    let metadata = workspace();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let ruled = RULES.iter().any(|rule| rule.package == name);
        assert!(ruled || free.contains(&name), "{name} needs a rule here");
    }
}

/// The real workspace with one wrong edge: the checker must see it.
#[test]
fn a_wrong_edge_is_seen() {
    let real = graph(&workspace());
    let wrong = [
        ("kybern-table", "datafusion"),
        ("kybern-statement", "kybern-table"),
        ("kybern-sql", "wasmtime"),
        ("kybern-plugin", "kube"),
        ("kybern-kube", "datafusion"),
        ("kybern-reconcile", "kybern-sql"),
        ("kybern-sdk", "kybern-table"),
    ];
    for (package, known) in wrong {
        let mut graph = real.clone();
        graph.get_mut(package).unwrap().insert(known.to_owned());
        let broken = violations(&graph, &RULES);
        let seen = format!("{package} -> {known}");
        assert!(broken.contains(&seen), "not seen: {seen}; only {broken:?}");
    }
}

#[test]
fn a_wrong_edge_behind_another_crate_is_seen_with_its_way() {
    let edge = |to: &[&str]| to.iter().map(|&name| name.to_owned()).collect();
    let graph = Graph::from([
        (
            "kybern-table".to_owned(),
            edge(&["bytes", "innocent", IGNORED]),
        ),
        ("innocent".to_owned(), edge(&["middle"])),
        (
            "middle".to_owned(),
            edge(&["datafusion-common", "innocent"]),
        ),
        ("bytes".to_owned(), edge(&[])),
        ("datafusion-common".to_owned(), edge(&["tokio"])),
        ("tokio".to_owned(), edge(&[])),
        (IGNORED.to_owned(), edge(&["tokio"])),
    ]);
    let rules = &RULES[..1];
    assert_eq!(
        violations(&graph, rules),
        ["kybern-table -> innocent -> middle -> datafusion-common"]
    );
}
