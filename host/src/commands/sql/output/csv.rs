//! RFC 4180, with PostgreSQL's reading of it: NULL is an empty field, an empty text is `""`.

/// A header and the rows.
pub(super) fn render(names: &[String], rows: &[Vec<Option<String>>]) -> String {
    let mut text = String::new();
    line(&mut text, names.iter().map(|name| field(Some(name))));
    for row in rows {
        line(&mut text, row.iter().map(|cell| field(cell.as_deref())));
    }
    text
}

pub(super) fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    let fields: Vec<String> = fields.collect();
    text.push_str(&fields.join(","));
    text.push_str("\r\n");
}

pub(super) fn field(cell: Option<&str>) -> String {
    let Some(text) = cell else {
        return String::new();
    };
    let edge = |c: Option<char>| c.is_some_and(char::is_whitespace);
    let quoted = text.is_empty()
        || text.contains([',', '"', '\n', '\r'])
        || edge(text.chars().next())
        || edge(text.chars().next_back());
    if quoted {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
