//! Cuts a stream of chunks into lines, with a bound on their length.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// A line longer than the bound arrived. The rest of the stream cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a watch event is longer than {limit} bytes")]
pub(crate) struct LineTooLong {
    pub(crate) limit: usize,
}

/// Lines of a stream. A line that the end of the stream cut off is never returned.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    limit: usize,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Lines {
        Lines {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
        }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line without its end, empty lines left out; `None` when more must be pushed.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(offset) = memchr(b'\n', unsearched) else {
                self.searched = self.buffer.len();
                return if self.searched > self.limit {
                    Err(self.too_long())
                } else {
                    Ok(None)
                };
            };
            let end = self.searched.saturating_add(offset);
            let mut line = self.buffer.split_to(end.saturating_add(1)).freeze();
            self.searched = 0;
            line.truncate(end);
            if line.last() == Some(&b'\r') {
                line.truncate(end.saturating_sub(1));
            }
            if line.len() > self.limit {
                return Err(self.too_long());
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Whether [`Lines::next`] would answer without more being pushed.
    pub(crate) fn has_line(&mut self) -> bool {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        match memchr(b'\n', unsearched) {
            Some(offset) => {
                self.searched = self.searched.saturating_add(offset);
                true
            }
            None => {
                self.searched = self.buffer.len();
                self.searched > self.limit
            }
        }
    }

    fn too_long(&self) -> LineTooLong {
        LineTooLong { limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(lines: &mut Lines) -> Vec<Bytes> {
        std::iter::from_fn(|| lines.next().expect("within the bound")).collect()
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_is_complete() {
        let mut lines = Lines::new(8);
        lines.push(b"12345678");
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"9");
        assert_eq!(lines.next(), Err(LineTooLong { limit: 8 }));
    }

    #[test]
    fn a_complete_line_beyond_the_bound_is_refused() {
        let mut lines = Lines::new(3);
        lines.push(b"abc\nabcd\n");
        assert_eq!(lines.next(), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(lines.next(), Err(LineTooLong { limit: 3 }));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_stream_was_cut(
            texts in prop::collection::vec("[a-z]{1,12}", 0..20),
            cuts in prop::collection::vec(1_usize..9, 1..40),
            windows: bool,
        ) {
            let end = if windows { "\r\n" } else { "\n" };
            let mut stream: String = texts.iter().map(|text| format!("{text}{end}")).collect();
            stream.push_str("cut off");
            let mut lines = Lines::new(64);
            let mut found = Vec::new();
            let mut rest = stream.as_bytes();
            let mut cut = cuts.iter().cycle();
            while !rest.is_empty() {
                let size = (*cut.next().expect("endless")).min(rest.len());
                let (chunk, after) = rest.split_at(size);
                lines.push(chunk);
                let promised = lines.has_line();
                let before = found.len();
                found.extend(all(&mut lines));
                prop_assert_eq!(promised, found.len() > before);
                rest = after;
            }
            let found: Vec<String> =
                found.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
            prop_assert_eq!(found, texts);
        }
    }
}
