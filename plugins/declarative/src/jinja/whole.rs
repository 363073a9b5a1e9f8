//! Expressions that are the whole value of a key or of a list's item.
//!
//! # Why
//! In `image: {{ cr.spec.image }}` the author means a value, not letters: the text `1.10` must stay
//! text, `null` must be nothing, a list a list. So such an expression is written as the YAML of its
//! value. What stands between other text (`name: {{ a }}-{{ b }}`), in quotes, or in a block of text
//! (`|`) is put there as it is.

/// The filter that an expression gets.
pub(super) const FILTER: &str = "yaml_scalar";

const OPEN: &str = "(";

/// The template with each such expression put through [`FILTER`], and where the text was changed.
pub(super) fn rewrite(source: &str) -> (String, Edits) {
    let pieces = pieces(source);
    let lines = lines(source, &pieces);
    let mut block: Option<usize> = None;
    let mut edits = Edits(Vec::new());
    let mut out = String::with_capacity(source.len() + 64);
    let mut copied = 0;
    for line in lines {
        let shown = line.shown();
        if shown.trim().is_empty() {
            continue;
        }
        let indent = shown.chars().take_while(|c| *c == ' ').count();
        match block {
            Some(above) if indent > above => continue,
            _ => block = None,
        }
        for (at, part) in line.parts.iter().enumerate() {
            let Part::Expression { from, to } = part else {
                continue;
            };
            if !line.whole(at) {
                continue;
            }
            for (position, text) in [(*from, OPEN.to_owned()), (*to, format!(")|{FILTER}"))] {
                out.push_str(source.get(copied..position).unwrap_or_default());
                out.push_str(&text);
                copied = position;
                edits.0.push((position, text.len()));
            }
        }
        if opens_block(&shown) {
            block = Some(dashes(&shown).map_or(indent, |_| indent));
        }
    }
    out.push_str(source.get(copied..).unwrap_or_default());
    (out, edits)
}

/// Where text was put in: the position in the original, and how many bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Edits(Vec<(usize, usize)>);

impl Edits {
    /// The position in the original of one in what was made of it.
    pub(super) fn original(&self, position: usize) -> usize {
        let mut added = 0;
        for (at, bytes) in &self.0 {
            if at + added >= position {
                break;
            }
            if at + added + bytes > position {
                return *at;
            }
            added += bytes;
        }
        position - added
    }
}

/// A stretch of a template.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    /// As it stands.
    Text { from: usize, to: usize },
    /// `{{ }}`: where what is within begins and ends.
    Expression { from: usize, to: usize },
    /// `{% %}` or `{# #}`.
    Tag,
}

fn pieces(source: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(open) = source.get(at..).and_then(next_open).map(|found| found + at) {
        pieces.push(Piece::Text { from: at, to: open });
        let kind = source.get(open..open + 2).unwrap_or_default();
        let close = match kind {
            "{{" => end(source, open + 2, "}}"),
            "{%" => end(source, open + 2, "%}"),
            _ => source
                .get(open + 2..)
                .and_then(|rest| rest.find("#}"))
                .map(|found| open + 2 + found),
        };
        let Some(close) = close else {
            // Never closed: the parser says so.
            return pieces;
        };
        at = close + 2;
        if kind == "{{" {
            let inner = source.get(open + 2..close).unwrap_or_default();
            let lead = usize::from(inner.starts_with(['-', '+']));
            let trail = usize::from(inner.len() > lead && inner.ends_with(['-', '+']));
            let (from, to) = (open + 2 + lead, close - trail);
            pieces.push(Piece::Expression { from, to });
            continue;
        }
        pieces.push(Piece::Tag);
        let inner = source.get(open + 2..close).unwrap_or_default();
        let word = inner.trim_matches(['-', '+', ' ']);
        if kind == "{%" && word == "raw" {
            let rest = source.get(at..).unwrap_or_default();
            // What is raw is text up to the tag that ends it.
            let ends = regex_lite::Regex::new(r"\{%[-+]?\s*endraw\s*[-+]?%\}").ok();
            let Some(found) = ends.and_then(|ends| ends.find(rest)) else {
                return pieces;
            };
            pieces.push(Piece::Text {
                from: at,
                to: at + found.start(),
            });
            pieces.push(Piece::Tag);
            at += found.end();
        }
    }
    pieces.push(Piece::Text {
        from: at,
        to: source.len(),
    });
    pieces
}

/// The expression, if a text is `{{ }}` and nothing else.
pub(super) fn single(text: &str) -> Option<&str> {
    let empty = |piece: &Piece| matches!(piece, Piece::Text { from, to } if from == to);
    let all = pieces(text);
    let mut found = all.iter().filter(|piece| !empty(piece));
    match (found.next(), found.next()) {
        (Some(Piece::Expression { from, to }), None) => text.get(*from..*to).map(str::trim),
        _ => None,
    }
}

fn next_open(text: &str) -> Option<usize> {
    ["{{", "{%", "{#"]
        .iter()
        .filter_map(|open| text.find(open))
        .min()
}

/// Where a tag or an expression ends, strings in it left out.
fn end(source: &str, from: usize, close: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    // `{{ {"a": {}} }}`: braces within are pairs.
    let mut braces = 0_usize;
    for (at, c) in source.get(from..)?.char_indices() {
        if let Some(open) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == open => quote = None,
                _ => {}
            }
            continue;
        }
        let closes = source
            .get(from + at..)
            .is_some_and(|rest| rest.starts_with(close));
        if closes && braces == 0 {
            return Some(from + at);
        }
        match c {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
        if matches!(c, '"' | '\'') {
            quote = Some(c);
        }
    }
    None
}

/// What a line is made of.
#[derive(Debug)]
enum Part<'a> {
    Text(&'a str),
    Expression { from: usize, to: usize },
}

#[derive(Debug, Default)]
struct Line<'a> {
    parts: Vec<Part<'a>>,
}

fn lines<'a>(source: &'a str, pieces: &[Piece]) -> Vec<Line<'a>> {
    let mut lines = vec![Line::default()];
    for piece in pieces {
        match *piece {
            Piece::Tag => {}
            Piece::Expression { from, to } => {
                if let Some(line) = lines.last_mut() {
                    line.parts.push(Part::Expression { from, to });
                }
            }
            Piece::Text { from, to } => {
                for (at, text) in source
                    .get(from..to)
                    .unwrap_or_default()
                    .split('\n')
                    .enumerate()
                {
                    if at > 0 {
                        lines.push(Line::default());
                    }
                    if let Some(line) = lines.last_mut() {
                        line.parts.push(Part::Text(text));
                    }
                }
            }
        }
    }
    lines
}

impl Line<'_> {
    /// The line with a letter for each expression.
    fn shown(&self) -> String {
        self.text(0, self.parts.len())
    }

    fn text(&self, from: usize, to: usize) -> String {
        let parts = self.parts.get(from..to).unwrap_or_default().iter();
        let parts = parts.map(|part| match part {
            Part::Text(text) => text,
            Part::Expression { .. } => "x",
        });
        parts.collect()
    }

    /// Whether the expression at this place is all of a value.
    fn whole(&self, at: usize) -> bool {
        let before = self.text(0, at);
        let after = self.text(at + 1, self.parts.len());
        let comment = after.starts_with([' ', '\t']) && after.trim_start().starts_with('#');
        let ended = after.trim().is_empty() || comment;
        if ended && value_begins(&before) {
            return true;
        }
        // In a flow: `[{{ a }}, {{ b }}]`, `{k: {{ v }}}`.
        let opened = value_of(&before).is_some_and(|value| value.starts_with(['[', '{']));
        let before = before.trim_end();
        let colon = before.ends_with(':') && self.text(0, at).ends_with(' ');
        opened
            && (colon || before.ends_with(['[', ',']))
            && after.trim_start().starts_with([',', ']', '}'])
    }
}

/// `  - key: ` and `  - `, but nothing after them.
fn value_begins(before: &str) -> bool {
    value_of(before).is_some_and(str::is_empty)
}

/// What comes after dashes and the key; none where there is neither.
fn value_of(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let dashed = dashes(line);
    let rest = dashed.unwrap_or(rest);
    match key_end(rest) {
        Some(end) => rest.get(end..).map(str::trim_start),
        None if dashed.is_some() => Some(rest),
        None => None,
    }
}

/// What comes after `- `, once or more.
fn dashes(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    let mut some = None;
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start();
        some = Some(rest);
    }
    some
}

/// The position after `key: `.
fn key_end(text: &str) -> Option<usize> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let close = text.get(1..)?.find(quote)? + 2;
        let rest = text.get(close..)?;
        return rest.starts_with(": ").then_some(close + 2);
    }
    if text.starts_with(['[', '{', '#', '&', '*', '!', '|', '>', '%', '@', '`']) {
        return None;
    }
    let colon = text.find(": ")?;
    let key = text.get(..colon)?;
    (!key.is_empty() && !key.contains(" #")).then_some(colon + 2)
}

/// `key: |`, `- >-`, `key: |2+ # why`
fn opens_block(line: &str) -> bool {
    let value = value_of(line).unwrap_or_default();
    let value = value.split(" #").next().unwrap_or_default().trim_end();
    let mut chars = value.chars();
    matches!(chars.next(), Some('|' | '>')) && chars.all(|c| matches!(c, '+' | '-' | '1'..='9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_values_are_marked_and_nothing_else() {
        for (source, expected) in [
            ("a: {{ b }}\n", "a: {{( b )|yaml_scalar}}\n"),
            ("- {{ b }}", "- {{( b )|yaml_scalar}}"),
            ("- - {{ b }}", "- - {{( b )|yaml_scalar}}"),
            (
                "  - a: {{- b -}}  # why",
                "  - a: {{-( b )|yaml_scalar-}}  # why",
            ),
            (
                "{% if x %}a: {{ b }}{% endif %}",
                "{% if x %}a: {{( b )|yaml_scalar}}{% endif %}",
            ),
            ("{{ k }}: {{ v }}", "{{ k }}: {{( v )|yaml_scalar}}"),
            ("\"a b\": {{ v }}", "\"a b\": {{( v )|yaml_scalar}}"),
            ("a: {{ {\"x\": {}} }}", "a: {{( {\"x\": {}} )|yaml_scalar}}"),
            ("a: {{ '}}' }}", "a: {{( '}}' )|yaml_scalar}}"),
            (
                "a: [{{ b }}, 1, {{ c }}]",
                "a: [{{( b )|yaml_scalar}}, 1, {{( c )|yaml_scalar}}]",
            ),
            ("a: {x: {{ b }}}", "a: {x: {{( b )|yaml_scalar}}}"),
        ] {
            assert_eq!(rewrite(source).0, expected, "{source}");
        }
        for same in [
            "a: {{ b }}-{{ c }}",
            "a: x{{ b }}",
            "a: \"{{ b }}\"",
            "{{ b }}",
            "  {{ b | to_yaml }}",
            "a: |\n  key: {{ b }}\n\n  - {{ c }}\n",
            "- >-\n  k: {{ b }}",
            "a: {{ b }}:{{ c }}",
            "# a: {{ b }} c",
            "{# a: {{ b }} #}",
            "{% raw %}a: {{ b }}{% endraw %}",
            "a: echo a, {{ b }}, c",
            "a: {{ b ",
            "url: http://{{ host }}",
        ] {
            assert_eq!(rewrite(same).0, same);
        }
        let after = "a: |\n  k: {{ b }}\nc: {{ d }}";
        assert_eq!(
            rewrite(after).0,
            "a: |\n  k: {{ b }}\nc: {{( d )|yaml_scalar}}"
        );
    }

    #[test]
    fn places_lead_back() {
        let source = "a: {{ b }}\nc: {{ d }}\n";
        let (made, edits) = rewrite(source);
        for word in ["b", "d", "c:"] {
            let original = edits.original(made.find(word).unwrap());
            assert!(source[original..].starts_with(word), "{word}");
        }
        assert_eq!(edits.original(made.len()), source.len());
    }
}
