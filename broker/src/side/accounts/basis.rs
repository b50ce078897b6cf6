//! The rule by which an account is let in.

/// By what an account is let in. A session is over when it is no longer that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The provider's issuer without `https://`.
    pub(crate) issuer: Box<str>,
    /// The client that the console is to it.
    pub(crate) client_id: Box<str>,
    /// The claim that decides, and the value that it must be or have.
    pub(crate) claim: Box<str>,
    pub(crate) value: Box<str>,
}
