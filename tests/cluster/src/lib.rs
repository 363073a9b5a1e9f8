//! kybern-testcluster
