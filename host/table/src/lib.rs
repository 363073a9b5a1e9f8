//! kybern-table
