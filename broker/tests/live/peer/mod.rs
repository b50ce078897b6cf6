//! Masters and viewers made of tungstenite, a WebSocket implementation that shares no code with the broker.

mod healthy;
mod stream;
mod texts;

pub(crate) use healthy::HealthyPair;
pub(crate) use stream::{client_config, tcp, tcp_from};
pub(crate) use texts::{
    answer, candidate, candidate_to, master_query, offer, percent_encoded, status, to_master,
    to_viewer, viewer_query,
};

use crate::http::{Answer, Connection};
use crate::process::Broker;
use rustls::ClientConfig;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::{Stream, is_timeout};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket, client};

/// A connected master or viewer.
pub(crate) struct Peer {
    socket: WebSocket<Stream>,
    barriers: u32,
}

impl Peer {
    /// A master over plain TCP.
    pub(crate) fn master(broker: &Broker, arn: &str) -> Self {
        Self::plain(broker, &master_query(arn))
    }

    /// A viewer over plain TCP.
    pub(crate) fn viewer(broker: &Broker, arn: &str, client_id: &str) -> Self {
        Self::plain(broker, &viewer_query(arn, client_id))
    }

    /// A connection over plain TCP with this query.
    pub(crate) fn plain(broker: &Broker, query: &str) -> Self {
        Self::plain_at(broker.plain, query)
    }

    /// A connection over plain TCP to this address with this query.
    pub(crate) fn plain_at(to: SocketAddr, query: &str) -> Self {
        Self::handshake(Stream::Plain(tcp(to)), format!("ws://{to}/?{query}"))
    }

    /// A connection over TLS with this query; the development certificate is verified.
    pub(crate) fn secure(broker: &Broker, query: &str) -> Self {
        Self::secure_as(broker, query, client_config(broker))
    }

    /// A connection over TLS by this client with this query.
    pub(crate) fn secure_as(broker: &Broker, query: &str, client: Arc<ClientConfig>) -> Self {
        Self::secure_at(broker.tls, query, client)
    }

    /// A connection over TLS to this address by this client with this query.
    pub(crate) fn secure_at(to: SocketAddr, query: &str, client: Arc<ClientConfig>) -> Self {
        Self::encrypted(tcp(to), to, query, client)
    }

    /// A connection over plain TCP from this address of loopback with this query.
    pub(crate) fn plain_from(source: IpAddr, broker: &Broker, query: &str) -> Self {
        let to = broker.plain;
        let stream = Stream::Plain(tcp_from(source, to));
        Self::handshake(stream, format!("ws://{to}/?{query}"))
    }

    /// A connection over TLS from this address of loopback to this one by this client with this query.
    pub(crate) fn secure_from(
        source: IpAddr,
        to: SocketAddr,
        query: &str,
        client: Arc<ClientConfig>,
    ) -> Self {
        Self::encrypted(tcp_from(source, to), to, query, client)
    }

    fn encrypted(tcp: TcpStream, to: SocketAddr, query: &str, client: Arc<ClientConfig>) -> Self {
        let url = format!("wss://localhost:{}/?{query}", to.port());
        Self::handshake(Stream::tls(tcp, client), url)
    }

    /// A connection that offers the subprotocol `wss`, as the C SDK does: over TLS or plain.
    pub(crate) fn offering_wss(broker: &Broker, query: &str, tls: bool) -> Self {
        let (stream, url) = if tls {
            let port = broker.tls.port();
            let stream = Stream::tls(tcp(broker.tls), client_config(broker));
            (stream, format!("wss://localhost:{port}/?{query}"))
        } else {
            let url = format!("ws://{}/?{query}", broker.plain);
            (Stream::Plain(tcp(broker.plain)), url)
        };
        let mut request = url.as_str().into_client_request().expect("a URL");
        let offered = "wss".parse().expect("a header's value");
        (request.headers_mut()).insert("Sec-WebSocket-Protocol", offered);
        Self::handshake(stream, request)
    }

    /// Goes on where an upgrade made by hand ended.
    pub(crate) fn after_upgrade(connection: Connection) -> Self {
        let (stream, read) = connection.into_parts();
        Self {
            socket: WebSocket::from_partially_read(Stream::Plain(stream), read, Role::Client, None),
            barriers: 0,
        }
    }

    fn handshake(stream: Stream, request: impl IntoClientRequest) -> Self {
        match client::client(request, stream) {
            Ok((socket, answer)) => {
                assert_eq!(answer.status(), 101);
                Self {
                    socket,
                    barriers: 0,
                }
            }
            Err(error) => panic!("the upgrade: {error}"),
        }
    }

    /// Sends a text message.
    pub(crate) fn send(&mut self, text: &str) {
        self.socket
            .send(Message::text(text))
            .expect("the broker takes it");
    }

    /// Sends text messages with one write.
    pub(crate) fn send_together(&mut self, texts: &[String]) {
        for text in texts {
            let queued = self.socket.write(Message::text(text));
            queued.expect("there is room in the library's buffer");
        }
        self.socket.flush().expect("the broker takes it");
    }

    /// Sends a text message; false when the broker takes no more.
    pub(crate) fn try_send(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    /// Sends any message.
    pub(crate) fn send_message(&mut self, message: Message) {
        self.socket.send(message).expect("the broker takes it");
    }

    /// Sends bytes as they are, behind the library's back. Fails when the broker has closed or does not read.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// The next message that is not a ping of the broker.
    pub(crate) fn receive(&mut self) -> Message {
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_)) => {}
                Ok(message) => return message,
                Err(error) => panic!("waiting for a message: {error}"),
            }
        }
    }

    /// All texts until this moment, with the times of their arrival. The last is an error, if that ended them before.
    pub(crate) fn texts_until(&mut self, end: Instant) -> Vec<(Instant, String)> {
        let mut texts = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return texts;
            }
            self.socket.get_mut().be_patient(left);
            match self.socket.read() {
                Ok(Message::Text(text)) => texts.push((Instant::now(), text.as_str().to_owned())),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {}
                Err(error) => {
                    texts.push((Instant::now(), error.to_string()));
                    return texts;
                }
            }
        }
    }

    /// Its socket.
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.socket.get_ref().tcp()
    }

    /// Waits for a ping of the broker, which is answered with whatever is read or written next.
    pub(crate) fn await_ping(&mut self) {
        let message = self.socket.read().expect("a ping in time");
        assert!(message.is_ping(), "{message:?}");
    }

    /// Answers this many pings of the broker.
    pub(crate) fn answer_pings(&mut self, pings: u32) {
        for _ in 0..pings {
            self.await_ping();
            self.socket.flush().expect("the pong is sent");
        }
    }

    /// Asserts that the next message is exactly this text.
    pub(crate) fn expect(&mut self, text: &str) {
        let message = self.receive();
        let Message::Text(got) = &message else {
            panic!("instead of {text}: {message:?}");
        };
        assert_eq!(got.as_str(), text);
    }

    /// Asserts that nothing has come and nothing is on its way: the answer to a message that is refused by a status
    /// response is the next thing to arrive. What is sent to others before is routed before.
    pub(crate) fn expect_silence(&mut self) {
        self.barriers += 1;
        let id = format!("barrier-{}", self.barriers);
        self.send(&format!(
            r#"{{"action":"NONE","messagePayload":"AAAA","correlationId":"{id}"}}"#
        ));
        self.expect(&status(
            &id,
            "InvalidArgumentException",
            "400",
            "Unsupported action.",
        ));
    }

    /// Asserts that the broker closes this connection with this code, whatever else was on its way; returns the reason.
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => {
                    assert_eq!(u16::from(frame.code), code, "{}", frame.reason);
                    return frame.reason.as_str().to_owned();
                }
                Ok(Message::Close(None)) => panic!("closed without a code instead of {code}"),
                Ok(_) => {}
                Err(error) => panic!("instead of close {code}: {error}"),
            }
        }
    }

    /// Asserts that the broker resets this connection, and sends no frame before.
    pub(crate) fn expect_reset(&mut self) {
        match self.socket.read() {
            Err(tungstenite::Error::Io(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            }
            other => panic!("instead of a reset: {other:?}"),
        }
    }

    /// The same, where the broker may take this long.
    pub(crate) fn expect_close_within(&mut self, code: u16, limit: Duration) -> String {
        self.socket.get_mut().be_patient(limit);
        self.expect_close(code)
    }

    /// Whether the broker closes this connection with this code within this time.
    pub(crate) fn is_closed_within(&mut self, code: u16, limit: Duration) -> bool {
        self.socket.get_mut().be_patient(limit);
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => {
                    assert_eq!(u16::from(frame.code), code, "{}", frame.reason);
                    return true;
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => panic!("instead of close {code}: {message:?}"),
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => return false,
                Err(error) => panic!("instead of close {code}: {error}"),
            }
        }
    }

    /// Reads what is left until the connection ends, in whichever way.
    pub(crate) fn drain(&mut self) -> (Vec<String>, Option<CloseCode>) {
        let mut texts = Vec::new();
        let mut code = None;
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => texts.push(text.as_str().to_owned()),
                Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {
                    panic!("the connection does not end")
                }
                Err(_) => return (texts, code),
            }
        }
    }

    /// Closes politely and waits for the end.
    pub(crate) fn close(mut self) {
        self.socket.close(None).expect("a close frame is sent");
        let (_, code) = self.drain();
        assert!(
            code.is_none_or(|code| code == CloseCode::Normal),
            "{code:?}"
        );
    }
}

/// Asks for an upgrade over plain TCP and returns the answer, whatever it is, with the connection.
pub(crate) fn upgrade(broker: &Broker, query: &str, more_headers: &str) -> (Answer, Connection) {
    let mut connection = Connection::open(broker.plain);
    let head = upgrade_head(broker, query);
    connection.send(
        format!(
            "{}{more_headers}\r\n",
            head.strip_suffix("\r\n").expect("a whole head")
        )
        .as_bytes(),
    );
    let answer = connection.answer().expect("an answer to the upgrade");
    (answer, connection)
}

/// The head that asks for an upgrade, whole. Its key is that of RFC 6455 section 1.3.
pub(crate) fn upgrade_head(broker: &Broker, query: &str) -> String {
    format!(
        "GET /?{query} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
         13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        broker.plain
    )
}
