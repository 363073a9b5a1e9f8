//! `Quantity` against Kubernetes' own `resource.Quantity`.
//!
//! The tests are in `tests/quantity`; `go` holds the program that runs Kubernetes' code.
