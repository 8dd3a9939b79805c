//! Why a file was not sealed or not opened.

use super::PASSPHRASE_LOG_N;

/// Why a file of age was not sealed or not opened.
#[derive(Debug, thiserror::Error)]
pub enum AgeError {
    /// The bytes are not of this format, or their beginning is damaged.
    #[error("this is not an age file, or its header is damaged: {0}")]
    Malformed(&'static str),
    /// Sealed to others. A changed byte in the part of the header that is for us looks the same.
    #[error("it is sealed to another key, or its header is damaged")]
    NoneFits,
    /// The passphrase does not open it. A changed byte in the header may look the same.
    #[error("the password does not open it, or its header is damaged")]
    WrongPassphrase,
    /// It opens by a key and not by a passphrase, or the other way round.
    #[error("it is not sealed by a password alone")]
    NotByPassphrase,
    /// A cost that is too cheap or asks for absurd work.
    #[error(
        "its password has a cost of 2^{log_n}, and 2^{} to 2^{} are accepted",
        PASSPHRASE_LOG_N.start(),
        PASSPHRASE_LOG_N.end()
    )]
    WorkFactor {
        /// The cost's power of two.
        log_n: u8,
    },
    /// The header is not the one that was written.
    #[error("the authentication code of its header does not match")]
    HeaderChanged,
    /// The payload is not the one that was written.
    #[error("piece {piece} of 64 KiB is changed, cut, moved, or not the last one")]
    PayloadChanged {
        /// Counted from 0.
        piece: u64,
    },
    /// Nobody to seal to.
    #[error("there is nobody to seal it to")]
    NoRecipient,
    /// The system has no randomness to give.
    #[error("the system gave no random bytes")]
    Random(#[from] getrandom::Error),
    /// The cipher refused lengths that are always right, so this is a mistake of ours.
    #[error("the cipher refused its input; this is a bug")]
    Refused,
}
