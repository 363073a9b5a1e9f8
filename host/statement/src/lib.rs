//! kybern-statement
