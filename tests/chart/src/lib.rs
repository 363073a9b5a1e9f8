//! Tests of the Helm chart: what it renders, what its schema refuses, that an API server takes it.
//!
//! The tests are in `tests/chart`; `values` holds the value sets, `goldens` what they render, and
//! `refused` the value files that must be refused.
