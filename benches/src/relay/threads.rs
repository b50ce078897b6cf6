//! A relay with tungstenite and one thread per connection. The thread reads from its own socket and writes directly to
//! the sockets of recipients.

use crate::relay::directory::Directory;
use crate::relay::place::Place;
use crate::relay::work::{READ_BYTES, translate};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket, accept_hdr_with_config};

type Writer = Arc<Mutex<WebSocket<Shared>>>;
type Everybody = Arc<Mutex<Directory<Writer>>>;

#[derive(Clone, Debug)]
struct Shared(Arc<TcpStream>);

impl Read for Shared {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(into)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    let everybody = Everybody::default();
    loop {
        let (stream, _) = listener.accept()?;
        let everybody = Arc::clone(&everybody);
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // Errors on connections are ignored here, because the driver counts them.
                let _ = connection(stream, &everybody);
            })?;
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the errors are those of tungstenite's functions and traits"
)]
fn connection(stream: TcpStream, everybody: &Everybody) -> tungstenite::Result<()> {
    stream.set_nodelay(true)?;
    let shared = Shared(Arc::new(stream));
    let mut place = None;
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let target = request.uri().path_and_query();
        place = target.and_then(|target| Place::of_target(target.as_str()));
        Ok(response)
    };
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let Ok(mut socket) = accept_hdr_with_config(shared.clone(), note, Some(config)) else {
        return Ok(());
    };
    let Some(place) = place else {
        return Ok(());
    };
    // This half only writes, so it needs no read buffer.
    let config = WebSocketConfig::default().read_buffer_size(1);
    let writer = WebSocket::from_raw_socket(shared, Role::Server, Some(config));
    let entered = lock(everybody).enter(&place, Arc::new(Mutex::new(writer)));
    let ended = relay(&mut socket, &place, everybody);
    lock(everybody).leave(&place, entered);
    ended
}

fn relay(
    socket: &mut WebSocket<Shared>,
    place: &Place,
    everybody: &Everybody,
) -> tungstenite::Result<()> {
    loop {
        // The next call to `read` replies to a close frame and ends the loop.
        let Message::Text(text) = socket.read()? else {
            continue;
        };
        translate(&text, place, |recipient, event| {
            let way = lock(everybody).find(place, recipient).cloned();
            if let Some(way) = way {
                // If the recipient's connection is broken, its own thread handles that.
                let _ = lock(&way).send(Message::text(event));
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stack size of each connection's thread. The default, 2 MiB of address space, would also work.
const STACK_BYTES: usize = 256 * 1024;
