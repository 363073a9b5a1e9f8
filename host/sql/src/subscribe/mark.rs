//! Where a subscription has come to, as a text that another one can go on from.
//!
//! # Why
//!
//! Sequences begin anew with each host. A sequence alone would be read by the next host, or by
//! another replica, as one of its own, and changes would be missed without a word.

use std::fmt;
use std::str::FromStr;

use kybern_table::Sequence;

/// A sequence of one run of one host: `1234@5f3a9c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything up to this commit was told.
    pub sequence: Sequence,
    /// The run of a host that counted it.
    pub run: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:x}", self.sequence, self.run)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sequence, run) = text.split_once('@').ok_or(())?;
        Ok(Self {
            sequence: Sequence(sequence.parse().map_err(|_| ())?),
            run: u64::from_str_radix(run, 16).map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark {
            sequence: Sequence(1234),
            run: 0x5f3a_9c00_1234,
        };
        assert_eq!(mark.to_string(), "1234@5f3a9c001234");
        assert_eq!(mark.to_string().parse(), Ok(mark));
        for text in ["1234", "", "@", "1234@", "x@1", "1@x", "-1@1"] {
            assert_eq!(text.parse::<Mark>(), Err(()), "{text}");
        }
    }
}
