//! Seeded Kubernetes objects, as an API server would serve them.
//!
//! Every text is a pure function of the seed and of numbers, so that a bench, its
//! peers and the next run read the same bytes. No dependency, no clock.
//!
//! ```
//! let pods = kybern_seed::Pods::new(7);
//! assert_eq!(pods.pod(3, 0), kybern_seed::Pods::new(7).pod(3, 0));
//! assert_ne!(pods.pod(3, 0), pods.pod(3, 1));
//! ```

mod deployment;
mod dice;
mod node;
mod pod;

pub use deployment::Deployments;
pub use node::Nodes;
pub use pod::Pods;
