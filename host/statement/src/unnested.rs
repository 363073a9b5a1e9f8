//! Lists of a table whose elements stand beside its rows: what UNNEST becomes.
//!
//! # Contract
//!
//! A table with such lists has a row for each combination of one element of each
//! list, in the order of the lists: a later list may be inside of the elements
//! of an earlier one. Elements are columns of the table, named by
//! [`Unnested::name`] and the path below it.

use crate::{Path, TableShape};

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnested {
    /// The earlier list whose elements hold this one; without it the object does.
    pub of: Option<usize>,
    /// Where the list is in there.
    pub list: Path,
    /// Where an element is in the object, the first one standing for all.
    pub element: Path,
    /// `spec.containers[*]`: what columns of its elements begin with.
    pub name: String,
    /// Whether a row without a fitting element stays, with an element that is NULL.
    pub outer: bool,
    /// Two text columns of the table that must be equal for an element to fit.
    pub on: Option<(String, String)>,
}

/// What a column about the elements of a list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// The value at a path inside of the element; without steps the element.
    At {
        /// Which list.
        list: usize,
        /// The path.
        path: Path,
    },
    /// The number of the element, from 1.
    Ordinality {
        /// Which list.
        list: usize,
    },
}

impl Unnested {
    /// The column for a path inside of the elements.
    pub(crate) fn column(&self, path: &Path) -> String {
        let mut name = self.name.clone();
        let _ = crate::path::write_segments(&mut name, path.segments(), false);
        name
    }

    /// The column for the number of the element.
    pub(crate) fn ordinality(&self) -> String {
        format!("{} ordinality", self.name)
    }
}

/// What a table with these lists is called: another name for each that is another table.
pub(crate) fn table_name(shape: &TableShape, lists: &[Unnested]) -> String {
    let mut name = shape.table.clone();
    for list in lists {
        name.push_str(if list.outer { ", left " } else { ", " });
        name.push_str(&list.name);
        if let Some((one, other)) = &list.on {
            name.push_str(&format!(" on {one} = {other}"));
        }
    }
    name
}
