//! A relay with axum and tokio-tungstenite, modelled on the chat example in axum's documentation: each connection has
//! one task and one channel.

use crate::relay::directory::Directory;
use crate::relay::place::Place;
use crate::relay::signed;
use crate::relay::work::{READ_BYTES, translate};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use futures_util::SinkExt;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Everybody = Arc<Mutex<Directory<UnboundedSender<String>>>>;

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let router = Router::new()
            .fallback(upgrade)
            .with_state(Everybody::default())
            .merge(signed::routes());
        axum::serve(listener, router).await
    })
}

async fn upgrade(
    State(everybody): State<Everybody>,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    let target = uri.path_and_query().map(|target| target.as_str());
    let Some(place) = target.and_then(Place::of_target) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    upgrade
        .read_buffer_size(READ_BYTES)
        .on_upgrade(move |socket| connection(socket, place, everybody))
}

async fn connection(mut socket: WebSocket, place: Place, everybody: Everybody) {
    let (way, events) = unbounded_channel();
    let entered = lock(&everybody).enter(&place, way);
    // Errors on connections are ignored here, because the driver counts them.
    let _ = relay(&mut socket, events, &place, &everybody).await;
    lock(&everybody).leave(&place, entered);
}

async fn relay(
    socket: &mut WebSocket,
    mut events: UnboundedReceiver<String>,
    place: &Place,
    everybody: &Everybody,
) -> Result<(), axum::Error> {
    loop {
        tokio::select! {
            message = socket.recv() => match message.transpose()? {
                Some(Message::Text(text)) => {
                    translate(&text, place, |recipient, event| {
                        if let Some(way) = lock(everybody).find(place, recipient) {
                            // Sending fails if the recipient is disconnecting.
                            let _ = way.send(event);
                        }
                    });
                }
                // The next call to `recv` replies to a close frame and ends the loop.
                Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
                None => return Ok(()),
            },
            event = events.recv() => {
                let mut event = event;
                while let Some(text) = event {
                    socket.feed(Message::Text(text.into())).await?;
                    event = events.try_recv().ok();
                }
                socket.flush().await?;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
