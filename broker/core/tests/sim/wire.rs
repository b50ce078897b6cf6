//! The server's bytes as a client reads them: HTTP responses, and frames after a 101. Shares no code with the broker.

/// One whole thing in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An HTTP response.
    Response(Response),
    /// A delivered message: the whole text, and its payload.
    Message {
        /// The text of the frame.
        text: String,
        /// Its `messagePayload`.
        payload: String,
    },
    /// STATUS_RESPONSE, as its whole text.
    Status(String),
    /// GO_AWAY.
    GoAway,
    /// RECONNECT_ICE_SERVER.
    ReconnectIce,
    /// A ping of the server's.
    Ping,
    /// One whose pong proves, with its number.
    ProofPing(u32),
    /// A pong with its payload.
    Pong(Vec<u8>),
    /// A close frame with its code (0 for none) and reason.
    Close(u16, String),
}

/// A response, as much of it as matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status.
    pub(crate) status: u16,
    /// `x-amzn-RequestId`.
    pub(crate) request_id: String,
    /// `x-amzn-ErrorType`, empty if there is none.
    pub(crate) error: String,
    /// Whether the connection ends with it.
    pub(crate) close: bool,
    /// The body.
    pub(crate) body: String,
}

/// An item, with its begin and end in bytes of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// Its first byte.
    pub(crate) begin: usize,
    /// The byte behind its last.
    pub(crate) end: usize,
    /// The item.
    pub(crate) item: Item,
}

/// Reads everything from `at` on. The stream must end at the end of a thing: the machine queues whole ones only.
pub(crate) fn read(stream: &[u8], mut at: usize, mut upgraded: bool) -> Vec<Placed> {
    let mut all = Vec::new();
    while at < stream.len() {
        let rest = &stream[at..];
        let (bytes, item) = if upgraded {
            frame(rest)
        } else {
            response(rest)
        };
        if let Item::Response(response) = &item {
            upgraded = response.status == 101;
        }
        all.push(Placed {
            begin: at,
            end: at + bytes,
            item,
        });
        at += bytes;
    }
    all
}

fn response(bytes: &[u8]) -> (usize, Item) {
    let head_end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole response head");
    let head = std::str::from_utf8(&bytes[..head_end]).expect("an ASCII head");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("a status line");
    let status = status_line[9..12].parse().expect("a status");
    let (mut error, mut close, mut length) = (String::new(), false, 0);
    let (mut date, mut request_id) = (false, String::new());
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header line");
        match name.to_ascii_lowercase().as_str() {
            "x-amzn-errortype" => error = value.to_owned(),
            "connection" => close = value == "close",
            "content-length" => length = value.parse().expect("a length"),
            "date" => date = true,
            "x-amzn-requestid" => request_id = value.to_owned(),
            _ => {}
        }
    }
    let both = date && request_id.len() == 36;
    assert!(both, "each response has both: {head}");
    let body = &bytes[head_end + 4..head_end + 4 + length];
    let response = Response {
        status,
        request_id,
        error,
        close,
        body: String::from_utf8(body.to_vec()).expect("a UTF-8 body"),
    };
    (head_end + 4 + length, Item::Response(response))
}

fn frame(bytes: &[u8]) -> (usize, Item) {
    assert_eq!(bytes[0] & 0x70, 0, "no extension was agreed");
    assert_ne!(bytes[0] & 0x80, 0, "the server never fragments");
    assert_eq!(bytes[1] & 0x80, 0, "a server does not mask");
    let (head, length) = match bytes[1] {
        126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        127 => panic!("no frame is that long"),
        short => (2, usize::from(short)),
    };
    let payload = &bytes[head..head + length];
    let item = match bytes[0] & 0x0f {
        1 => text(payload),
        8 if payload.is_empty() => Item::Close(0, String::new()),
        8 => Item::Close(
            u16::from_be_bytes([payload[0], payload[1]]),
            String::from_utf8(payload[2..].to_vec()).expect("a UTF-8 reason"),
        ),
        9 => match payload.try_into() {
            Ok(number) => Item::ProofPing(u32::from_be_bytes(number)),
            Err(_) => Item::Ping,
        },
        10 => Item::Pong(payload.to_vec()),
        other => panic!("opcode {other}"),
    };
    (head + length, item)
}

fn text(payload: &[u8]) -> Item {
    let text = String::from_utf8(payload.to_vec()).expect("UTF-8 text");
    if text == r#"{"messageType":"GO_AWAY"}"# {
        return Item::GoAway;
    }
    if text == r#"{"messageType":"RECONNECT_ICE_SERVER"}"# {
        return Item::ReconnectIce;
    }
    if text.starts_with(r#"{"messageType":"STATUS_RESPONSE","#) {
        return Item::Status(text);
    }
    let payload = text
        .strip_prefix(r#"{"messagePayload":""#)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_else(|| panic!("not an event: {text}"))
        .to_owned();
    Item::Message { text, payload }
}
