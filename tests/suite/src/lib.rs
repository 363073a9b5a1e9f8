//! Tests of the whole: architecture, and the built host against a real API server.
//!
//! The tests are in `tests/suite`, one binary, so that all share one control plane.
