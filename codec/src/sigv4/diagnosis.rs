//! Diagnoses signature mismatches. Detects common mistakes made by clients and proxies by verifying variants of the
//! request that may have been signed. The result is for operators only; no variant is ever accepted.

use crate::sigv4::canonical::{Places, bare_host};
use crate::sigv4::endpoint::{MASTER_PATH, VIEWER_PATH};
use crate::sigv4::keys::{SigningKey, hex};
use crate::sigv4::verify::Verifier;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256};
use std::fmt;

/// How the request that was signed differs from the request that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedAs {
    /// The path that was signed.
    Path(String),
    /// The host that was signed, with or without a port. A path may follow the host.
    Host(String),
    /// The query was signed with single percent-encoding, but arrived with double encoding.
    EncodedOnce,
    /// The query was signed with double percent-encoding.
    EncodedTwice,
}

impl fmt::Display for SignedAs {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(to, "the path {path} was signed, and another one sent"),
            Self::Host(host) => write!(to, "the host {host} was signed, and another one sent"),
            Self::EncodedOnce => {
                to.write_str("the query was signed percent-encoded once, and sent encoded twice")
            }
            Self::EncodedTwice => {
                to.write_str("the query was signed percent-encoded twice, and sent encoded once")
            }
        }
    }
}

pub(crate) struct Refused {
    pub(crate) places: Places,
    pub(crate) signature: [u8; 32],
    pub(crate) signing_key: SigningKey,
}

impl Verifier {
    /// Determines which form of the last request the client signed. Returns `None` unless that request was refused
    /// because of a signature mismatch. `hosts` are names by which clients may address the server. Computes about
    /// twenty SHA-256 hashes of the canonical request, whether or not the key is known.
    #[must_use]
    pub fn signed_as(&self, hosts: &[&str]) -> Option<SignedAs> {
        let refused = self.refused.as_ref()?;
        let text = str::from_utf8(self.canonical_request()).ok()?;
        let Places { path, query, host } = &refused.places;
        let (path, host) = (text.get(path.clone())?, text.get(host.clone())?);
        let query = text.get(query.clone())?;
        let is_of = |path: &str, query: &str, host: &str| {
            let request = refused.places.replaced(text, [path, query, host]);
            request.is_some_and(|request| self.is_signed(refused, request))
        };
        let twin = match path.strip_suffix('/') {
            Some(bare) => bare.to_owned(),
            None => format!("{path}/"),
        };
        let paths = ["/", VIEWER_PATH, "/viewer/", MASTER_PATH, "/master/", &twin];
        if let Some(path) = paths.into_iter().find(|path| is_of(path, query, host)) {
            return Some(SignedAs::Path(path.to_owned()));
        }
        let name = bare_host(host);
        let mut of_sent = vec![name.to_owned(), name.to_ascii_lowercase()];
        of_sent.extend([443, 80].map(|port| format!("{name}:{port}")));
        of_sent.extend(name.strip_suffix('.').map(str::to_owned));
        of_sent.extend([VIEWER_PATH, MASTER_PATH].map(|path| [host, path].concat()));
        let mut others = of_sent.iter().map(String::as_str);
        let mut all = others.by_ref().chain(hosts.iter().copied().take(HOSTS_MAX));
        let signed = all.find(|other| {
            is_of(path, query, other) || (other.ends_with(path) && is_of("/", query, other))
        });
        if let Some(host) = signed {
            return Some(SignedAs::Host(host.to_owned()));
        }
        if is_of(path, &query.replace("%25", "%"), host) {
            return Some(SignedAs::EncodedOnce);
        }
        let twice = query.replace('%', "%25");
        is_of(path, &twice, host).then_some(SignedAs::EncodedTwice)
    }

    fn is_signed(&self, refused: &Refused, request: [&str; 7]) -> bool {
        let mut context = Context::new(&SHA256);
        for piece in request {
            context.update(piece.as_bytes());
        }
        let hash = hex(context.finish().as_ref());
        let text = self.string_to_sign();
        let before = text.get(..text.len().saturating_sub(hash.len()));
        let text = [before.unwrap_or_default(), &hash].concat();
        let signature = refused.signing_key.sign(&text);
        verify_slices_are_equal(&signature, &refused.signature).is_ok()
    }
}

impl Places {
    fn replaced<'a>(&self, of: &'a str, [path, query, host]: [&'a str; 3]) -> Option<[&'a str; 7]> {
        Some([
            of.get(..self.path.start)?,
            path,
            of.get(self.path.end..self.query.start)?,
            query,
            of.get(self.query.end..self.host.start)?,
            host,
            of.get(self.host.end..)?,
        ])
    }
}

/// Maximum number of hosts to try, in addition to those derived from the request's own host.
const HOSTS_MAX: usize = 4;
