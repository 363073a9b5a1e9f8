//! `kybern sql` changes objects of a real API server.

mod faults;
mod person;
mod plans;
mod random;
mod rights;
mod statements;
