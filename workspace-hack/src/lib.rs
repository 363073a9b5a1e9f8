//! Holds no code: it names the features that all members share (see .config/hakari.toml).
