//! STUN and TURN servers that clients are given.

use std::fmt;

/// One entry of GetIceServerConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ice {
    /// `stun:`, `turn:` and `turns:` URLs in the order in which clients see them: 1 to 4.
    pub urls: Vec<String>,
    /// The client's credential for the server.
    pub credential: IceCredential,
    /// Time for which the answer is valid: 30 to 86 400 seconds. Source: GetIceServerConfig, `Ttl`.
    pub ttl_seconds: u32,
}

/// The credential that a client shows a STUN or TURN server. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum IceCredential {
    /// Nothing: STUN only. The answer carries placeholders, since clients refuse entries without credentials.
    None,
    /// A fixed user.
    Fixed {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
    /// Time-limited credentials are minted with the first secret (coturn's `static-auth-secret`); the others are those
    /// that the TURN server still takes during a rotation. At least one.
    Secrets(Vec<String>),
}

impl fmt::Debug for IceCredential {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => to.write_str("None"),
            Self::Fixed {
                username,
                password: _,
            } => write!(to, "Fixed({username:?}, <redacted>)"),
            Self::Secrets(secrets) => write!(to, "Secrets(<{} redacted>)", secrets.len()),
        }
    }
}
