//! A relay with fastwebsockets and httparse on a current-thread runtime. Each connection has one channel and two tasks,
//! one for reading and one for writing.

use crate::relay::directory::Directory;
use crate::relay::place::Place;
use crate::relay::work::{READ_BYTES, translate};
use codec::ws::accept_key;
use fastwebsockets::{
    Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead, WebSocketWrite,
    after_handshake_split,
};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

type Way = UnboundedSender<Frame<'static>>;
type Everybody = Rc<RefCell<Directory<Way>>>;

/// Serves a listener until it fails. Uses TLS if `tls` is given.
pub(crate) fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let everybody = Everybody::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let (everybody, tls) = (Rc::clone(&everybody), tls.clone());
            spawn_local(async move {
                // Errors on connections are ignored here, because the driver counts them.
                let _ = connection(stream, tls, everybody).await;
            });
        }
    })
}

async fn connection(
    mut stream: TcpStream,
    tls: Option<TlsAcceptor>,
    everybody: Everybody,
) -> Result<(), WebSocketError> {
    stream.set_nodelay(true)?;
    if let Some(tls) = tls {
        let mut stream = tls.accept(stream).await?;
        let Some(place) = shake(&mut stream).await? else {
            return Ok(());
        };
        let (read, write) = tokio::io::split(stream);
        return both(read, write, place, everybody).await;
    }
    let Some(place) = shake(&mut stream).await? else {
        return Ok(());
    };
    let (read, write) = stream.into_split();
    both(read, write, place, everybody).await
}

async fn both<R, W>(
    read: R,
    write: W,
    place: Place,
    everybody: Everybody,
) -> Result<(), WebSocketError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + 'static,
{
    let write = BufWriter::with_capacity(WRITE_BYTES, write);
    let (read, write) = after_handshake_split(read, write, Role::Server);
    let (way, frames) = unbounded_channel();
    spawn_local(async move {
        let _ = write_all(write, frames).await;
    });
    let entered = everybody.borrow_mut().enter(&place, way.clone());
    let ended = relay(read, &way, &place, &everybody).await;
    everybody.borrow_mut().leave(&place, entered);
    ended
}

/// Replies to an upgrade request. Returns `None` if the request is not an upgrade.
async fn shake(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Option<Place>> {
    let mut head = Vec::with_capacity(READ_BYTES);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        let mut lines = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut lines);
        let Ok(status) = request.parse(&head) else {
            return Ok(None);
        };
        if status.is_partial() {
            continue;
        }
        let key = request
            .headers
            .iter()
            .find(|line| line.name.eq_ignore_ascii_case("sec-websocket-key"))
            .and_then(|line| std::str::from_utf8(line.value).ok());
        let place = request.path.and_then(Place::of_target);
        let (Some(key), Some(place)) = (key, place) else {
            return Ok(None);
        };
        let accept = accept_key(key);
        let parts: [&[u8]; 3] = [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
            &accept,
            b"\r\n\r\n",
        ];
        stream.write_all(&parts.concat()).await?;
        stream.flush().await?;
        return Ok(Some(place));
    }
}

async fn relay(
    mut socket: WebSocketRead<impl AsyncRead + Unpin>,
    own: &Way,
    place: &Place,
    everybody: &Everybody,
) -> Result<(), WebSocketError> {
    // Replies to ping and close frames are sent through the same channel as all other frames.
    let mut answer = |frame: Frame<'static>| {
        let _ = own.send(frame);
        ready(Ok::<_, Infallible>(()))
    };
    loop {
        let frame = socket.read_frame(&mut answer).await?;
        match frame.opcode {
            OpCode::Text => {}
            OpCode::Close => return Ok(()),
            OpCode::Continuation | OpCode::Binary | OpCode::Ping | OpCode::Pong => continue,
        }
        // fastwebsockets has already validated the text, but returns it as bytes.
        let Ok(text) = simdutf8::basic::from_utf8(&frame.payload) else {
            return Ok(());
        };
        translate(text, place, |recipient, event| {
            if let Some(way) = everybody.borrow().find(place, recipient) {
                // Sending fails if the recipient is disconnecting.
                let _ = way.send(Frame::text(Payload::Owned(event.into_bytes())));
            }
        });
    }
}

/// Writes all pending frames at once. Returns when all senders have been dropped.
async fn write_all(
    mut socket: WebSocketWrite<BufWriter<impl AsyncWrite + Unpin>>,
    mut frames: UnboundedReceiver<Frame<'static>>,
) -> Result<(), WebSocketError> {
    while let Some(first) = frames.recv().await {
        socket.write_frame(first).await?;
        while let Ok(next) = frames.try_recv() {
            socket.write_frame(next).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}

/// Maximum number of bytes per write. Large enough for one event from each viewer in the load `fan-in`.
const WRITE_BYTES: usize = 4 * 1024;
