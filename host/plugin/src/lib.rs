//! kybern-plugin
