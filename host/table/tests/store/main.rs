//! The store from outside: what it promises to SQL, the engine and the watches.
#![cfg(test)]

mod columns;
mod converge;
mod expiry;
mod jobs;
mod lists;
mod model;
mod object;
mod pressure;
mod rules;
mod snapshots;
