//! Measures the store with seeded pods: bytes and events each second.
//!
//! `pods [COUNT] [CONTAINERS]`: loads so many pods as one list would, updates
//! each three times as watches would, and prints what each cost.
fn main() {}
