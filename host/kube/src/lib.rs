//! kybern-kube
