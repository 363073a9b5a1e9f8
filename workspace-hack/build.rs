//! Lets cargo see the build-dependencies.
// Without a build script cargo would ignore the build-dependencies.
fn main() {}
