//! kybern-suite
