//! What a write may be told besides its target and body.

/// What every write may be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `fieldManager`; the API server derives one from the user agent when absent.
    pub field_manager: Option<String>,
    /// Ask the API server to do everything but store the result (`dryRun=All`).
    pub dry_run: bool,
    /// Refuse fields that the kind does not have, instead of dropping them (`fieldValidation=Strict`).
    pub strict: bool,
}

impl WriteOptions {
    /// A write in the name of a field manager.
    #[must_use]
    pub fn by(field_manager: &str) -> WriteOptions {
        WriteOptions {
            field_manager: Some(field_manager.to_owned()),
            dry_run: false,
            strict: false,
        }
    }
}

/// What a server-side apply is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// `fieldManager`, which server-side apply requires.
    pub field_manager: String,
    /// Take fields over from other managers instead of failing with a conflict.
    pub force: bool,
    /// Do everything but store the result.
    pub dry_run: bool,
    /// Refuse fields that the kind does not have, instead of dropping them (`fieldValidation=Strict`).
    pub strict: bool,
}

impl ApplyOptions {
    /// An apply that takes over what others own.
    #[must_use]
    pub fn force(field_manager: &str) -> ApplyOptions {
        ApplyOptions {
            field_manager: field_manager.to_owned(),
            force: true,
            dry_run: false,
            strict: false,
        }
    }

    /// An apply that fails with a conflict when another manager owns a field.
    #[must_use]
    pub fn polite(field_manager: &str) -> ApplyOptions {
        ApplyOptions {
            field_manager: field_manager.to_owned(),
            force: false,
            dry_run: false,
            strict: false,
        }
    }
}

/// What a patch is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchOptions {
    /// What every write may be told.
    pub write: WriteOptions,
    /// Patch a subresource, such as `status` or `scale`.
    pub subresource: Option<String>,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    #[default]
    Background,
    /// The object waits until they are gone.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

/// What a deletion is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Delete only the object with this uid; else 409. Ours is always given.
    pub uid: Option<String>,
    /// Delete only this version of the object; else 409.
    pub resource_version: Option<String>,
    /// What becomes of its dependents.
    pub propagation: Propagation,
    /// Seconds until the object is removed; the kind's default when absent.
    pub grace_period_seconds: Option<u32>,
    /// Do everything but delete.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Deletes the object with this uid, and no later one of the same name.
    #[must_use]
    pub fn of(uid: &str) -> DeleteOptions {
        DeleteOptions {
            uid: Some(uid.to_owned()),
            ..DeleteOptions::default()
        }
    }
}
