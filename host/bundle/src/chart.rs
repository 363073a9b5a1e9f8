//! A Helm chart among a bundle's files, as the engine is given it.

use crate::Bundle;
use crate::ignore::Rules;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The chart at a path: a folder, without what its `.helmignore` leaves out, or an archive. An error
/// says what is there instead.
///
/// # Errors
/// There is no chart.
pub fn chart(bundle: &Bundle, path: &str) -> Result<Value, String> {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    if let Some(archive) = bundle.read(path) {
        return Ok(json!({ "archive": STANDARD.encode(archive) }));
    }
    let below = format!("{path}/");
    let rules = bundle.read(&format!("{below}.helmignore"));
    let rules = Rules::parse(&String::from_utf8_lossy(rules.unwrap_or_default()));
    let rules = rules.map_err(|why| format!("the chart {path}: {why}"))?;
    let files: Vec<(&str, &[u8])> = bundle
        .files()
        .filter_map(|(path, content)| Some((path.strip_prefix(&below)?, content)))
        .collect();
    if !files.iter().any(|(path, _)| *path == "Chart.yaml") {
        let charts: Vec<&str> = bundle
            .paths()
            .filter_map(|path| {
                path.strip_suffix("/Chart.yaml")
                    .or(path.strip_suffix(".tgz"))
            })
            .take(16)
            .collect();
        let instead = match (files.is_empty(), charts.as_slice()) {
            (false, _) => "it has no Chart.yaml".to_owned(),
            (true, []) => "the bundle has no charts".to_owned(),
            (true, charts) => format!("there are: {}", charts.join(", ")),
        };
        return Err(format!("no chart at `{path}` of the bundle; {instead}"));
    }
    let files = files.into_iter().filter(|(path, _)| !rules.ignores(path));
    let files = files.map(|(path, content)| match std::str::from_utf8(content) {
        Ok(text) => json!({ "path": path, "text": text }),
        Err(_) => json!({ "path": path, "data": STANDARD.encode(content) }),
    });
    Ok(json!({ "files": files.collect::<Vec<_>>() }))
}

/// Whether there is anything to render.
pub fn has_charts(bundle: &Bundle) -> bool {
    let is = |path: &str| path.ends_with("Chart.yaml") || path.ends_with(".tgz");
    bundle.paths().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_a_folder_or_an_archive() {
        let mut bundle = Bundle::default();
        for (path, content) in [
            ("vvp/vvp/Chart.yaml", &b"name: vvp"[..]),
            ("vvp/vvp/.helmignore", b"*.bak\n"),
            ("vvp/vvp/a.bak", b""),
            ("vvp/vvp/files/logo", b"\xff\xfe"),
            ("packed.tgz", b"packed"),
            ("none/values.yaml", b""),
        ] {
            bundle.insert(path, content.to_vec()).unwrap();
        }
        assert_eq!(
            chart(&bundle, "./vvp/vvp/").unwrap(),
            json!({ "files": [
                { "path": ".helmignore", "text": "*.bak\n" },
                { "path": "Chart.yaml", "text": "name: vvp" },
                { "path": "files/logo", "data": "//4=" },
            ] })
        );
        assert_eq!(
            chart(&bundle, "packed.tgz").unwrap(),
            json!({ "archive": "cGFja2Vk" })
        );
        assert!(
            chart(&bundle, "none")
                .unwrap_err()
                .contains("no Chart.yaml")
        );
        assert!(chart(&bundle, "vvp").unwrap_err().contains("no Chart.yaml"));
        assert!(has_charts(&bundle) && !has_charts(&Bundle::default()));
        let error = chart(&bundle, "gone").unwrap_err();
        assert!(error.ends_with("there are: packed, vvp/vvp"), "{error}");
    }
}
