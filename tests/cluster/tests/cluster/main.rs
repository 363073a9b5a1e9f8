//! The test cluster against itself: one real control plane, asked by each test.

mod children;
mod plane;
