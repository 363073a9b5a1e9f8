//! A way to an API server on which a test makes faults happen, while a real host runs on it.
//!
//! ```no_run
//! use kybern_faults::{Fault, FaultProxy, Pattern, Upstream, When};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pem = std::fs::read("apiserver.crt")?;
//! let proxy = FaultProxy::start(Upstream::new("https://127.0.0.1:6443", Some(&pem))?)?;
//! // A host whose kubeconfig says `proxy.url()` sees its second write of `web` refused.
//! let writes = Pattern::writes().name("web");
//! let fault = proxy.inject(Fault::refuse(writes, When::Nth(2), 409));
//! // ... and once it has come to rest:
//! assert_eq!(fault.hits(), 1, "the fault has happened");
//! # Ok(())
//! # }
//! ```
//!
//! # Contract
//! * Who asks keeps its own credentials: they are passed on, none are added.
//! * Plain HTTP on 127.0.0.1 towards the host, TLS towards the API server.
//! * Requests pass unchanged unless a fault says otherwise; watches and reads are streamed, never
//!   held as a whole; the body and answer of a write are read whole, because the journal needs them.
//! * A fault lasts until its handle is dropped. It counts what it did: a test asserts that.
//! * Nothing of this knows a host's crates: any client of an API server can be run under it.
//!
//! # Limits
//! Bodies of writes and their answers: 16 MiB. One event of a watch: 16 MiB. The journal keeps the
//! last 65,536 requests and says how many it lost. Of 65,536 objects that were created with an owner
//! the owner is known.

mod ask;
mod error;
mod events;
mod fault;
mod journal;
mod observer;
mod older;
mod owners;
mod pattern;
mod proxy;
mod relay;
mod rules;
mod serve;
mod upstream;
mod watches;

pub use ask::{Ask, Verb};
pub use error::FaultError;
pub use events::{Event, EventPattern};
pub use fault::{Fault, Happening, When};
pub use journal::{Entry, Fate, Journal, Mark, Tally};
pub use observer::{Life, Observer};
pub use pattern::Pattern;
pub use proxy::FaultProxy;
pub use rules::Injected;
pub use upstream::Upstream;
pub use watches::{Flow, Flowing};
