//! The certificate that a client showed in its TLS handshake, and what the edge found out about it.
//!
//! Only connections to the names of the credentials provider are asked for one. Whether it is let in is decided in the
//! core: here are facts.

/// The beginning of a connection to a name of the credentials provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The server name that it asked for, in lower case.
    pub server_name: Box<str>,
    /// Its certificate; `None` if it showed none.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate whose key the client has: it signed the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// Its first second, since 1970 UTC.
    pub not_before_s: u64,
    /// Its last second, since 1970 UTC.
    pub not_after_s: u64,
    /// The authority that vouches for it, or why none does.
    pub vouched: Result<Certified, Box<str>>,
}

/// An authority vouches for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the authority's public key.
    pub authority: [u8; 32],
    /// The certificate's serial number.
    pub serial: Box<[u8]>,
    /// The thing's name in it.
    pub name: Box<str>,
}
