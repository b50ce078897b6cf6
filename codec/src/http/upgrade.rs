//! The opening handshake's request fields (RFC 6455 section 4.2.1).

use crate::http::head::Head;
use crate::ws;

/// A WebSocket client's request for an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// `Sec-WebSocket-Key`: base64 of 16 bytes, checked.
    pub key: &'a str,
    /// Whether the client offers the subprotocol `wss`, as the C SDK does. It must then be echoed, or old releases of
    /// its WebSocket library lose the connection.
    pub offers_wss: bool,
}

/// Why a request that means to become a WebSocket cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The method is not GET, or the version not HTTP/1.1.
    NotGet,
    /// `Connection` does not name the upgrade.
    NotConnection,
    /// `Sec-WebSocket-Version` is not 13 (section 4.4). The answer carries `Sec-WebSocket-Version: 13`.
    BadVersion,
    /// No `Sec-WebSocket-Key`.
    MissingKey,
    /// `Sec-WebSocket-Key` twice, or not base64 of 16 bytes.
    BadKey,
    /// A body is announced, which the bytes of the first frames could be taken for.
    Body,
}

impl UpgradeError {
    /// The status to answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadVersion => 426,
            Self::NotGet | Self::NotConnection | Self::MissingKey | Self::BadKey | Self::Body => {
                400
            }
        }
    }

    /// The text for the peer: plain ASCII without quotes.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotGet => "A WebSocket begins with a GET request of HTTP/1.1.",
            Self::NotConnection => {
                "The Connection header of a WebSocket request must contain Upgrade."
            }
            Self::BadVersion => "The WebSocket version must be 13.",
            Self::MissingKey => "The Sec-WebSocket-Key header is missing.",
            Self::BadKey => "The Sec-WebSocket-Key header must be base64 of 16 bytes, once.",
            Self::Body => "A WebSocket request has no body.",
        }
    }
}

/// Reads the fields of an opening handshake; `None` when the request does not ask for a WebSocket at all.
///
/// Extensions that the client offers are declined by silence (RFC 7692 section 5).
///
/// # Errors
/// See [`UpgradeError`].
pub fn upgrade<'a>(head: &Head<'a>) -> Result<Option<Upgrade<'a>>, UpgradeError> {
    if !head
        .list("upgrade")
        .any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    {
        return Ok(None);
    }
    if head.method() != "GET" || !head.is_http11() {
        return Err(UpgradeError::NotGet);
    }
    if !head
        .list("connection")
        .any(|option| option.eq_ignore_ascii_case("upgrade"))
    {
        return Err(UpgradeError::NotConnection);
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# If this version does not match a version understood by the server, the server MUST abort the WebSocket handshake
    let mut versions = head.values("sec-websocket-version");
    if versions.next() != Some("13") || versions.next().is_some() {
        return Err(UpgradeError::BadVersion);
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.1
    //# The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request.
    let mut keys = head.values("sec-websocket-key");
    let key = keys.next().ok_or(UpgradeError::MissingKey)?;
    if keys.next().is_some() || !ws::valid_key(key) {
        return Err(UpgradeError::BadKey);
    }
    if head.body() != Ok(super::Body::None) {
        return Err(UpgradeError::Body);
    }
    let offers_wss = head
        .list("sec-websocket-protocol")
        .any(|protocol| protocol == "wss");
    Ok(Some(Upgrade { key, offers_wss }))
}
