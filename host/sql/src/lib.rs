//! kybern-sql
