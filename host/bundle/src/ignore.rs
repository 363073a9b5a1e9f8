//! `.helmignore`, as Helm reads it.

/// The rules of one file.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    pattern: Vec<char>,
    /// What it matches stays.
    keeps: bool,
    folders_only: bool,
    /// Matched against the whole path, not against the last part of it.
    whole: bool,
}

impl Rules {
    /// What the file says, and what Helm adds: names in `templates` that begin with a dot.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.trim_start_matches('\u{feff}').lines();
        let lines = lines.chain(["templates/.?*"]);
        let mut rules = Vec::new();
        for (number, line) in lines.enumerate() {
            if line.contains("**") && !line.trim().starts_with('#') {
                let number = number + 1;
                return Err(format!(".helmignore:{number}: Helm knows no `**`"));
            }
            rules.extend(Rule::parse(line));
        }
        Ok(Self(rules))
    }

    /// Whether a file of the chart is left out: itself, or a folder above it.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let mut folders = folders.map(|folder| (folder, true));
        folders.any(|(folder, is)| self.hit(folder, is)) || self.hit(path, false)
    }

    fn hit(&self, path: &str, folder: bool) -> bool {
        let last = path.rsplit('/').next().unwrap_or(path);
        for rule in &self.0 {
            let matched = matches(&rule.pattern, if rule.whole { path } else { last });
            if rule.keeps {
                // As Helm has it: what a negated rule does not match is left out.
                if rule.folders_only && !folder {
                    return true;
                }
                if !matched {
                    return true;
                }
                continue;
            }
            if rule.folders_only && !folder {
                continue;
            }
            if matched {
                return true;
            }
        }
        false
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let mut line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let keeps = line.starts_with('!');
        line = line.strip_prefix('!').unwrap_or(line);
        let folders_only = line.ends_with('/');
        line = line.strip_suffix('/').unwrap_or(line);
        let whole = line.contains('/');
        line = line.strip_prefix('/').unwrap_or(line);
        Some(Self {
            pattern: line.chars().collect(),
            keeps,
            folders_only,
            whole,
        })
    }
}

/// As Go's `filepath.Match`: `*` and `?` stop at a slash, `[a-z]`, `[^a]`, `\` before a character.
fn matches(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last star is, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let here = text.get(t).copied().unwrap_or_default();
        match one(pattern.get(p..).unwrap_or_default(), here) {
            One::Star => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            One::Hit(length) => {
                p += length;
                t += 1;
                continue;
            }
            One::Miss => {}
        }
        match star {
            Some((at, reached)) if text.get(reached).is_some_and(|c| *c != '/') => {
                star = Some((at, reached + 1));
                p = at + 1;
                t = reached + 1;
            }
            _ => return false,
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|c| *c == '*')
}

enum One {
    Star,
    /// Characters of the pattern that stand for the one.
    Hit(usize),
    Miss,
}

fn one(pattern: &[char], here: char) -> One {
    match pattern {
        [] => One::Miss,
        ['*', ..] => One::Star,
        ['?', ..] if here != '/' => One::Hit(1),
        ['?', ..] => One::Miss,
        ['[', class @ ..] => in_class(class, here),
        ['\\', escaped, ..] if *escaped == here => One::Hit(2),
        ['\\', ..] => One::Miss,
        [plain, ..] if *plain == here => One::Hit(1),
        _ => One::Miss,
    }
}

fn in_class(class: &[char], here: char) -> One {
    let (negated, mut rest) = match class {
        ['^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let mut length = 1 + usize::from(negated);
    let mut first = true;
    loop {
        match rest {
            [] => return One::Miss,
            [']', ..] if !first => break,
            [low, '-', high, more @ ..] if *high != ']' => {
                found |= (*low..=*high).contains(&here);
                length += 3;
                rest = more;
            }
            [single, more @ ..] => {
                found |= *single == here;
                length += 1;
                rest = more;
            }
        }
        first = false;
    }
    match found != negated && here != '/' {
        true => One::Hit(length + 1),
        false => One::Miss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_helm_reads_them() {
        for (rules, path, ignored) in [
            ("", "templates/.hidden.yaml", true),
            ("", "templates/a.yaml", false),
            ("*.bak", "deep/er/a.bak", true),
            ("*.bak", "a.bak.yaml", false),
            ("# *.yaml\n\n", "a.yaml", false),
            (".git/", ".git/HEAD", true),
            (".git/", ".git", false),
            ("/root.txt", "root.txt", true),
            ("/root.txt", "sub/root.txt", false),
            ("docs/*.md", "docs/a.md", true),
            ("docs/*.md", "docs/sub/a.md", false),
            ("doc?", "docs/a.md", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*b*", "xaybz", true),
            ("*a*b*", "xbya", false),
        ] {
            assert_eq!(
                Rules::parse(rules).unwrap().ignores(path),
                ignored,
                "{rules} {path}"
            );
        }
        assert!(Rules::parse("a\n**/x").unwrap_err().contains(":2:"));
    }
}
