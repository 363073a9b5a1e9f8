//! kybern-evil
