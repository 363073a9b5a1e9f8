//! Percent-encoding of path segments and query strings.

/// Appends `text` with everything but RFC 3986 "unreserved" characters encoded.
pub(crate) fn push(out: &mut String, text: &str) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 0x0f] {
                out.push(HEX.get(usize::from(nibble)).copied().unwrap_or('0'));
            }
        }
    }
}

/// Builds `path?key=value&...`, leaving out the question mark when there are no parameters.
pub(crate) fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (position, (key, value)) in parameters.iter().enumerate() {
        out.push(if position == 0 { '?' } else { '&' });
        push(&mut out, key);
        out.push('=');
        push(&mut out, value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_encoded() {
        assert_eq!(
            with_query(
                "/api/v1/pods",
                &[("labelSelector", "app in (a,b)"), ("limit", "500")]
            ),
            "/api/v1/pods?labelSelector=app%20in%20%28a%2Cb%29&limit=500"
        );
        assert_eq!(with_query("/api/v1/pods", &[]), "/api/v1/pods");
        assert_eq!(with_query("/x", &[("k", "é/")]), "/x?k=%C3%A9%2F");
    }
}
