//! What can be wrong with a key. No text here ever holds key material.

use super::seal::SealError;

/// A key could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A sealed private half cannot be opened.
    #[error("{what}: {source}")]
    Sealed { what: String, source: SealError },
    /// A row's public half, or what was in its sealed private half, is not a key that can be used.
    #[error("{what} cannot be used: {cause}")]
    Unusable { what: String, cause: String },
    /// The library made no key.
    #[error("no {what} could be generated: {cause}")]
    Generation { what: &'static str, cause: String },
    /// The library made no signature.
    #[error("signing with {kid} failed: {cause}")]
    Signature { kid: String, cause: String },
    /// A plan asks for a key that its executor does not have: a defect.
    #[error("the plan imports the key {kid}, which is not the one at hand")]
    NotAtHand { kid: String },
}

impl KeyError {
    pub(super) fn unusable(what: impl Into<String>, cause: impl ToString) -> Self {
        Self::Unusable { what: what.into(), cause: cause.to_string() }
    }
}
