//! JSON text while compiling: strings, numbers, lists, and the keys of an object.

/// Text that is being written; past `N` it is only counted.
pub(super) struct Text<const N: usize> {
    pub(super) bytes: [u8; N],
    pub(super) length: usize,
}

impl<const N: usize> Text<N> {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "compared before; and while compiling, out of range is a compile error"
    )]
    pub(super) const fn byte(&mut self, byte: u8) {
        if self.length < N {
            self.bytes[self.length] = byte;
        }
        self.length += 1;
    }

    pub(super) const fn raw(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while let Some((byte, more)) = rest.split_first() {
            self.byte(*byte);
            rest = more;
        }
    }

    pub(super) const fn string(&mut self, text: &str) {
        self.byte(b'"');
        let mut rest = text.as_bytes();
        while let Some((byte, more)) = rest.split_first() {
            match byte {
                b'"' => self.raw(r#"\""#),
                b'\\' => self.raw(r"\\"),
                b'\n' => self.raw(r"\n"),
                0..=31 => self.byte(b' '),
                byte => self.byte(*byte),
            }
            rest = more;
        }
        self.byte(b'"');
    }

    pub(super) const fn number(&mut self, number: i64) {
        if number < 0 {
            self.byte(b'-');
        }
        self.digits(number.unsigned_abs());
    }

    #[expect(clippy::as_conversions, reason = "one digit; `try_from` is not const")]
    pub(super) const fn digits(&mut self, number: u64) {
        if number >= 10 {
            self.digits(number / 10);
        }
        self.byte(b'0' + (number % 10) as u8);
    }

    /// A key of the object being written, and what comes before it.
    pub(super) const fn key(&mut self, first: &mut bool, key: &str) {
        if !*first {
            self.byte(b',');
        }
        *first = false;
        self.byte(b'"');
        self.raw(key);
        self.raw("\":");
    }

    pub(super) const fn limit(&mut self, first: &mut bool, key: &str, limit: Option<i64>) {
        if let Some(limit) = limit {
            self.key(first, key);
            self.number(limit);
        }
    }

    pub(super) const fn list(&mut self, mut texts: &[&str]) {
        self.byte(b'[');
        while let Some((text, rest)) = texts.split_first() {
            self.string(text);
            if !rest.is_empty() {
                self.byte(b',');
            }
            texts = rest;
        }
        self.byte(b']');
    }

    /// A JSON string of pieces; those that hold quotes come alone.
    pub(super) const fn joined(&mut self, pieces: &[&str]) {
        if let [piece] = pieces {
            return self.string(piece);
        }
        self.byte(b'"');
        let mut pieces = pieces;
        while let Some((piece, rest)) = pieces.split_first() {
            self.raw(piece);
            pieces = rest;
        }
        self.byte(b'"');
    }
}
