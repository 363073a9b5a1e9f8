//! Why a component is refused.

/// Why a component is refused. A retry helps only where the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is too large; nothing of it was read.
    #[error("the component has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is accepted.
        limit: usize,
    },
    /// The bytes are no WebAssembly component.
    #[error("not a WebAssembly component: {reason}")]
    NotAComponent {
        /// What is wrong, and the cure.
        reason: String,
    },
    /// There is no manifest, or it is not right.
    #[error("the manifest (custom section `kybern:manifest`) {reason}")]
    Manifest {
        /// What is wrong with it.
        reason: String,
    },
    /// Its bundle is no bundle.
    #[error("the component's bundle (custom section `kybern:bundle`) is not right: {reason}")]
    Section {
        /// What is wrong with it.
        reason: String,
    },
    /// The files of its bundle are wrong, as the plugin itself says.
    #[error("{reason}")]
    Bundle {
        /// Where, and what; may have several lines.
        reason: String,
    },
    /// It does not say what it is.
    #[error("the plugin does not say what its bundle makes of it (hook `describe`)")]
    Describe(#[source] crate::CallError),
    /// It was built for another version of the interface.
    #[error(
        "the plugin was built for {found}; this host offers {offered}: build it with an SDK of that version"
    )]
    World {
        /// What the component names.
        found: String,
        /// What this host offers.
        offered: &'static str,
    },
    /// It imports what the host does not give.
    #[error("the plugin imports what this host does not offer: {}; {cure}", .imports.join(", "))]
    Imports {
        /// The imports.
        imports: Vec<String>,
        /// What to do about it.
        cure: &'static str,
    },
    /// Its manifest names effects, and it exports no `act` hook.
    #[error(
        "the plugin's manifest names effects, but it exports no `act` hook (kybern:operator/act)"
    )]
    NoAct,
    /// It exports no `decide` hook.
    #[error("the plugin exports no `decide` hook (kybern:operator/decide)")]
    NoDecide,
    /// A hook or an import has another type than the interface says.
    #[error("the plugin does not fit {offered}: {reason}")]
    Interface {
        /// What does not fit.
        reason: String,
        /// What this host offers.
        offered: &'static str,
    },
    /// It could not be compiled.
    #[error("the component cannot be compiled: {reason}")]
    Compile {
        /// The compiler's message.
        reason: String,
    },
    /// Compiling it takes too much.
    #[error("{0}")]
    TooDear(crate::TooDear),
    /// It was not compiled, for a reason outside of it. Helps to retry, later.
    #[error("the component was not compiled: {reason}")]
    NotCompiled {
        /// What happened, and the cure.
        reason: String,
    },
    /// A trial instance failed. Helps to retry if the source is [`CallError::Busy`](crate::CallError::Busy).
    #[error("a trial instance of the plugin failed")]
    Probe(#[source] crate::CallError),
}
