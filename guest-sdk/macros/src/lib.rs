//! kybern-sdk-macros
