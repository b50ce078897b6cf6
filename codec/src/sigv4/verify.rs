//! Verifies signatures: parses a claim from a request, and checks the claim with the access key that it names.

use crate::http::Head;
use crate::sigv4::canonical::{Places, Source, bare_host, string_to_sign};
use crate::sigv4::credential::{Credential, Service};
use crate::sigv4::diagnosis::Refused;
use crate::sigv4::endpoint::{OtherForm, OtherHost, WITHOUT_PORT, other_forms};
use crate::sigv4::header::{self, Signed};
use crate::sigv4::keys::{SigningKey, SigningKeys, hex, unhex};
use crate::sigv4::query::{self, Encoding, QueryPairs};
use crate::sigv4::refusal::{Malformed, Refusal, Window};
use crate::sigv4::stamp::Stamp;
use crate::sigv4::{CLOCK_TOLERANCE_S_MAX, EXPIRES_S_MAX, PLAYER_EXPIRES_S_MAX};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use std::{fmt, iter};

/// The requirements that a request must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRules<'a> {
    /// The service that the scope must name.
    pub service: Service,
    /// The region that the scope must name. `None` accepts any region.
    pub region: Option<&'a str>,
    /// The server's current time, in seconds since 1970 UTC.
    pub now_s: u64,
    /// Clock tolerance in seconds, unless the client's access key overrides it. At most [`CLOCK_TOLERANCE_S_MAX`].
    pub clock_tolerance_s: u64,
    /// Whether an empty session token counts as absent.
    pub empty_token_is_none: bool,
}

/// An access key that the caller has looked up.
#[derive(Clone, Copy)]
pub struct AccessKey<'a> {
    /// Secret access key.
    pub secret_access_key: &'a str,
    /// Session token of a temporary key. Requests signed with this key must contain the token. Requests signed with a
    /// long-term key must not contain one.
    pub session_token: Option<&'a str>,
    /// Time at which a temporary key expires, in seconds since 1970 UTC. From this time on, the key is invalid.
    pub expires_s: Option<u64>,
    /// Clock tolerance for this client in seconds, which overrides [`RequestRules`]. At most [`CLOCK_TOLERANCE_S_MAX`].
    pub clock_tolerance_s: Option<u64>,
}

/// Verifies requests, one at a time. Each shard has one verifier, whose buffers are reused and take a few KiB after the
/// first request.
#[derive(Default)]
pub struct Verifier {
    query: QueryPairs,
    decoded: Vec<u8>,
    canonical_request: Vec<u8>,
    string_to_sign: Vec<u8>,
    hashed_bytes: u64,
    pub(crate) refused: Option<Refused>,
}

/// A request whose signature parts, scope and time are valid, but whose signature has not been checked yet.
///
/// Borrows the [`Verifier`]. A caller that must wait for the body parses the head again once the body has arrived.
pub struct Claim<'a> {
    head: &'a Head<'a>,
    /// The method that was signed. For a token, `method` and `query_text` differ from those in `head`.
    method: &'a str,
    query_text: &'a str,
    now: Stamp,
    clock_tolerance_s: u64,
    credential: Credential<'a>,
    signed_headers: &'a [u8],
    signature: [u8; 32],
    signed: Stamp,
    /// Time of the signature in basic format. Stored because it is used twice.
    moment: [u8; 16],
    token: Option<&'a [u8]>,
    carrier: Signed,
    is_upgrade: bool,
    query: &'a mut QueryPairs,
    decoded: &'a [u8],
    canonical_request: &'a mut Vec<u8>,
    string_to_sign: &'a mut Vec<u8>,
    hashed_bytes: &'a mut u64,
    refused: &'a mut Option<Refused>,
}

/// The form of the request in which the signature matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The request is signed in the `Authorization` header.
    Header,
    /// The request is presigned, with the query encoded as AWS prescribes.
    Strict,
    /// The request is presigned, with the query as received, and possibly with a different host or path.
    Raw,
}

/// The verified signer of a request, with the form and the time of the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// Access key id of the signer: 1 to 128 bytes of visible ASCII.
    pub access_key_id: &'a str,
    /// The region in the scope.
    pub region: &'a str,
    /// The form in which the signature matched.
    pub form: Form,
    /// Time at which the request was signed, by the client's clock.
    pub signed: Stamp,
    /// The path that was signed. The client may have signed it as part of the host.
    pub path: &'a str,
}

impl Verifier {
    /// Creates a verifier with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the signature of a request. Refuses requests that no key could make valid: requests that are unsigned or
    /// malformed, have duplicate parameters or a wrong scope, or were signed at a time outside every possible clock
    /// tolerance.
    pub fn read<'a>(
        &'a mut self,
        head: &'a Head<'a>,
        rules: &RequestRules<'_>,
    ) -> Result<Claim<'a>, Refusal> {
        self.claim(head, None, rules)
    }

    /// Parses a player's token, which may come from any part of the request. The token is the query of a URL presigned
    /// for `GET`, with a lifetime of up to [`PLAYER_EXPIRES_S_MAX`]. The claim must be verified with an empty body.
    pub fn read_token<'a>(
        &'a mut self,
        head: &'a Head<'a>,
        token: &'a str,
        rules: &RequestRules<'_>,
    ) -> Result<Claim<'a>, Refusal> {
        self.claim(head, Some(token), rules)
    }

    fn claim<'a>(
        &'a mut self,
        head: &'a Head<'a>,
        token: Option<&'a str>,
        rules: &RequestRules<'_>,
    ) -> Result<Claim<'a>, Refusal> {
        let Self {
            query,
            decoded,
            canonical_request,
            string_to_sign,
            hashed_bytes,
            refused,
        } = self;
        // Discards the last request, so that none of its parts is displayed if this request is refused early.
        *refused = None;
        canonical_request.clear();
        string_to_sign.clear();
        let (header, method, query_text, expires_s_max) = match token {
            None => {
                let header = header::read(head).map_err(Refusal::Malformed)?;
                let text = head.query().unwrap_or_default();
                (header, head.method(), text, EXPIRES_S_MAX)
            }
            Some(token) => (None, "GET", token, PLAYER_EXPIRES_S_MAX),
        };
        let found = query.read(query_text, decoded);
        let decoded: &'a [u8] = decoded;
        // If there are too many parameters, a signature may be among the unread ones.
        let is_whole = found.fault != Some(Malformed::TooMany);
        if header.is_none() && is_whole && !query::is_signed(&found, decoded) {
            return Err(Refusal::Missing);
        }
        if let Some(fault) = found.fault {
            return Err(Refusal::Malformed(fault));
        }
        let parts = match header {
            Some(parts) => parts,
            None => {
                if let Some(parameter) = found.twice {
                    return Err(Refusal::Duplicate(parameter.name()));
                }
                query::read(&found, decoded, expires_s_max).map_err(Refusal::Malformed)?
            }
        };
        let claim = Claim {
            head,
            method,
            query_text,
            now: Stamp::from_epoch(rules.now_s),
            clock_tolerance_s: rules.clock_tolerance_s.min(CLOCK_TOLERANCE_S_MAX),
            credential: Credential::parse(parts.credential).map_err(Refusal::Malformed)?,
            signed_headers: parts.signed_headers,
            signature: unhex(parts.signature).ok_or(Refusal::Malformed(Malformed::Signature))?,
            signed: parts.signed,
            moment: parts.signed.basic(),
            token: (parts.token).filter(|token| !token.is_empty() || !rules.empty_token_is_none),
            carrier: parts.carrier,
            is_upgrade: false,
            query,
            decoded,
            canonical_request,
            string_to_sign,
            hashed_bytes,
            refused,
        };
        claim
            .credential
            .check(rules.service, rules.region, &claim.moment)?;
        claim.check_clock(CLOCK_TOLERANCE_S_MAX, claim.clock_tolerance_s)?;
        Ok(claim)
    }

    /// Returns the canonical request of the last head, as far as it was written. Empty if the request was refused
    /// before verification. It may contain a session token, which must be removed before the text is displayed.
    #[must_use]
    pub fn canonical_request(&self) -> &[u8] {
        &self.canonical_request
    }

    /// Returns the total number of bytes of canonical requests and bodies hashed so far, as a measure of the work done
    /// by [`Claim::verify`].
    #[must_use]
    pub const fn hashed_bytes(&self) -> u64 {
        self.hashed_bytes
    }

    /// Returns the string to sign of the last head. Empty if the request was refused before verification.
    #[must_use]
    pub fn string_to_sign(&self) -> &[u8] {
        &self.string_to_sign
    }
}

impl<'a> Claim<'a> {
    /// Returns the access key id named in the request: 1 to 128 bytes of visible ASCII.
    #[must_use]
    pub const fn access_key_id(&self) -> &'a str {
        self.credential.access_key_id
    }

    /// Returns the region in the scope.
    #[must_use]
    pub const fn region(&self) -> &'a str {
        self.credential.region
    }

    /// Returns the request's session token, which has not been verified yet. Keys that the server does not store are
    /// unsealed from this token.
    #[must_use]
    pub const fn session_token(&self) -> Option<&'a [u8]> {
        self.token
    }

    /// Marks the request as a WebSocket upgrade. If it is sent to the path of an endpoint, verification also tries
    /// other paths that the client may have signed.
    #[must_use]
    pub const fn of_upgrade(mut self) -> Self {
        self.is_upgrade = true;
        self
    }

    /// Verifies the signature, which covers the whole body. `key` is the key with the id [`Self::access_key_id`], or
    /// `None` if that id is unknown. Usually, the canonical request and the body are each hashed once with SHA-256. If
    /// the canonical request is short, other forms of it may be tried: the query as received, the host without its port
    /// and, for an upgrade to an endpoint, four other combinations of path and host. For such an upgrade, all forms are
    /// tried with both encodings of the query.
    ///
    /// # Errors
    /// Returns [`Refusal::Expired`] or [`Refusal::Early`] according to the key's clock tolerance, then
    /// [`Refusal::Mismatch`] or [`Refusal::UnknownKey`]. [`Refusal::Token`] and [`Refusal::TokenExpired`] are checked
    /// last, so that only the holder of the secret can observe them.
    pub fn verify(
        mut self,
        key: Option<&AccessKey<'_>>,
        body: &[u8],
        keys: &mut SigningKeys,
    ) -> Result<Verified<'a>, Refusal> {
        let (id, known) = key.map_or((UNKNOWN_ID, &UNKNOWN), |key| {
            (self.credential.access_key_id, key)
        });
        let tolerance = known
            .clock_tolerance_s
            .unwrap_or(self.clock_tolerance_s)
            .min(CLOCK_TOLERANCE_S_MAX);
        self.check_clock(tolerance, tolerance)?;
        let payload_hash = payload_hash(body);
        let mut announced = self
            .head
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-amz-content-sha256"));
        if announced.any(|(_, value)| value.as_bytes() != payload_hash) {
            return Err(Refusal::Mismatch);
        }
        let secret = (known.secret_access_key, known.session_token.is_some());
        let signing_key = keys.of(id, &self.credential, secret);
        *self.hashed_bytes += body.len() as u64;
        let form = self.matching_form(signing_key, &payload_hash)?;
        if key.is_none() {
            return Err(Refusal::UnknownKey);
        }
        let (form, path) = form.ok_or(Refusal::Mismatch)?;
        check_token(known, self.token, self.now)?;
        Ok(Verified {
            access_key_id: self.credential.access_key_id,
            region: self.credential.region,
            form,
            signed: self.signed,
            path,
        })
    }

    /// Tries each accepted form of the request. Returns the form for which the signature matches, and the signed path.
    /// If none matches, leaves the canonical request as received in the buffer, for operators to inspect.
    fn matching_form(
        &mut self,
        signing_key: &SigningKey,
        payload_hash: &[u8],
    ) -> Result<Option<(Form, &'a str)>, Refusal> {
        let source = Source {
            head: self.head,
            method: self.method,
            query: self.query_text,
            signed_headers: self.signed_headers,
            payload_hash,
            signed_in_query: self.carrier != Signed::Header,
        };
        let path = self.head.path();
        self.query.encode(self.decoded);
        let mut places = source.write(self.canonical_request, self.query, Encoding::Strict)?;
        let (strict, raw) = match self.carrier {
            Signed::Header => (Form::Header, Form::Header),
            Signed::Query { .. } => (Form::Strict, Form::Raw),
        };
        if self.is_of(signing_key, digest(&SHA256, self.canonical_request)) {
            return Ok(Some((strict, path)));
        }
        if self.canonical_request.len() > AGAIN_BYTES_MAX {
            return Ok(None);
        }
        if self.query.differs_raw() {
            places = source.write(self.canonical_request, self.query, Encoding::Raw)?;
            if self.is_of(signing_key, digest(&SHA256, self.canonical_request)) {
                return Ok(Some((raw, path)));
            }
        }
        let is_long = self.canonical_request.len() > AGAIN_BYTES_MAX;
        let other = if self.is_upgrade && !is_long {
            other_forms(path)
        } else {
            &[]
        };
        let forms = || iter::once(&WITHOUT_PORT).chain(other);
        let mut found = self.first_match(signing_key, &places, forms());
        let mut encoding = raw;
        if found.is_none() && self.query.differs_raw() && !other.is_empty() {
            // The client may have signed the query as prescribed, but its library may have decoded escapes before
            // sending it.
            let strictly = source.write(self.canonical_request, self.query, Encoding::Strict)?;
            found = self.first_match(signing_key, &strictly, forms());
            encoding = strict;
            places = source.write(self.canonical_request, self.query, Encoding::Raw)?;
        }
        if found.is_none() && !is_long {
            *self.refused = Some(Refused {
                places,
                signature: self.signature,
                signing_key: signing_key.clone(),
            });
        }
        Ok(found.map(|form| match form.host {
            OtherHost::AsSent | OtherHost::WithoutPort => (encoding, form.path.unwrap_or(path)),
            OtherHost::WithPath(path) => (encoding, path),
        }))
    }

    fn first_match(
        &mut self,
        signing_key: &SigningKey,
        places: &Places,
        forms: impl IntoIterator<Item = &'static OtherForm>,
    ) -> Option<&'static OtherForm> {
        forms.into_iter().find(|form| {
            let hash = self.hash_of(form, places);
            hash.is_some_and(|hash| self.is_of(signing_key, hash))
        })
    }

    /// Hashes the canonical request in another form. Returns `None` if that form drops the port but the host was sent
    /// without one.
    fn hash_of(&self, form: &OtherForm, places: &Places) -> Option<Digest> {
        let text = &self.canonical_request;
        let sent = str::from_utf8(text.get(places.host.clone())?).ok()?;
        let (host, behind) = match form.host {
            OtherHost::AsSent => (sent, ""),
            OtherHost::WithoutPort => (bare_host(sent), ""),
            OtherHost::WithPath(path) => (sent, path),
        };
        if form.host == OtherHost::WithoutPort && host == sent {
            return None;
        }
        let mut context = Context::new(&SHA256);
        let path = text.get(places.path.clone())?;
        context.update(text.get(..places.path.start)?);
        context.update(form.path.map_or(path, str::as_bytes));
        context.update(text.get(places.path.end..places.host.start)?);
        context.update(host.as_bytes());
        context.update(behind.as_bytes());
        context.update(text.get(places.host.end..)?);
        Some(context.finish())
    }

    fn is_of(&mut self, signing_key: &SigningKey, request_hash: Digest) -> bool {
        *self.hashed_bytes += self.canonical_request.len() as u64;
        let scope = self.credential.scope;
        string_to_sign(
            self.string_to_sign,
            &self.moment,
            scope,
            request_hash.as_ref(),
        );
        let signature = signing_key.sign(self.string_to_sign);
        verify_slices_are_equal(&signature, &self.signature).is_ok()
    }

    /// Checks that the request was signed within the tolerance. If it was not, the refusal reports `told` as the
    /// tolerance.
    fn check_clock(&self, tolerance_s: u64, told: u64) -> Result<(), Refusal> {
        let (signed, now) = (self.signed, self.now);
        if signed > now.after(tolerance_s) {
            return Err(Refusal::Early {
                signed,
                now,
                window: Window::Tolerance(told),
            });
        }
        let (life_s, window) = match self.carrier {
            Signed::Header => (tolerance_s, Window::Tolerance(told)),
            Signed::Query { expires_s } => (u64::from(expires_s), Window::Expires(expires_s)),
        };
        if now > signed.after(life_s) {
            return Err(Refusal::Expired {
                signed,
                now,
                window,
            });
        }
        Ok(())
    }
}

fn check_token(key: &AccessKey<'_>, sent: Option<&[u8]>, now: Stamp) -> Result<(), Refusal> {
    let is_right = match (key.session_token, sent) {
        (Some(own), Some(sent)) => verify_slices_are_equal(own.as_bytes(), sent).is_ok(),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !is_right {
        return Err(Refusal::Token);
    }
    if key
        .expires_s
        .is_some_and(|expires| now >= Stamp::from_epoch(expires))
    {
        return Err(Refusal::TokenExpired);
    }
    Ok(())
}

fn payload_hash(body: &[u8]) -> [u8; 64] {
    if body.is_empty() {
        return *EMPTY_SHA256;
    }
    hex(digest(&SHA256, body).as_ref())
}

impl fmt::Debug for AccessKey<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AccessKey")
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Verifier")
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Claim({}, {}, {:?})",
            self.access_key_id(),
            self.signed,
            self.carrier
        )
    }
}

/// Maximum length of a strict canonical request, in bytes, for which other forms are tried. Sufficient for the URLs of
/// SDKs, with a token of 4 KiB and an ARN of 1 KiB.
const AGAIN_BYTES_MAX: usize = 8 * 1024;

pub(crate) const EMPTY_SHA256: &[u8; 64] =
    b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Access key id under which all unknown ids are cached. Real ids are never empty, so unknown ids never share an entry
/// with a real one.
const UNKNOWN_ID: &str = "";

/// The key used to verify requests whose access key id is unknown. Its secret is as long as a real one.
const UNKNOWN: AccessKey<'static> = AccessKey {
    secret_access_key: "0000000000000000000000000000000000000000",
    session_token: None,
    expires_s: None,
    clock_tolerance_s: None,
};
