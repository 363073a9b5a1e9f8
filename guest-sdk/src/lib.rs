//! kybern-sdk
