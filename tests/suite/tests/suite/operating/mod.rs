//! `kybern sql` changes objects of a real API server.

mod faults;
mod person;
pub(crate) mod plans;
mod random;
mod rights;
mod statements;
