//! Names that someone may have meant.

/// The names nearest to `wanted`, nearest first, at most three, none that is far.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    // Long names are cut: the answer only has to be helpful.
    let allowed = (wanted.chars().count().min(64) / 3).clamp(1, 4);
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_ascii_lowercase();
            let distance = distance(&wanted, &lower);
            // The singular of a plural is always near.
            let same_stem = lower.trim_end_matches('s') == wanted.trim_end_matches('s');
            (distance <= allowed || same_stem).then_some((distance, name))
        })
        .collect();
    found.sort();
    found.dedup();
    found
        .into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Edits between the first 64 characters of both, a swap of neighbours being one.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (j, cb) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&row, j) + usize::from(ca != *cb);
            let mut best = replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let left = j.checked_sub(1).and_then(|left| b.get(left));
            if left == Some(&ca) && last == Some(*cb) {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(ca);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let tables = ["pods", "nodes", "deployments", "endpoints"];
        assert_eq!(nearest("pod", tables), ["pods"]);
        assert_eq!(nearest("Deploymnets", tables), ["deployments"]);
        assert!(nearest("widgets", tables).is_empty());
    }

    #[test]
    fn counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("nmae", "name"), 1);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
