//! The admin listener's connections, each served by the routes: a bounded head, within a bounded time.

use crate::limits::ADMIN_HEAD_BYTES_MAX;
use crate::side::admin::door::{Door, Visitor};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::time::Duration;

/// Serves who comes in, forever.
pub(crate) async fn serve(mut door: Door, routes: Router) {
    loop {
        let visitor = door.accept().await;
        tokio::spawn(one(visitor, routes.clone()));
    }
}

async fn one(visitor: Visitor, routes: Router) {
    let seat = visitor.seat();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let seat = ConnectInfo(seat.clone());
        request.extensions_mut().insert(seat);
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .max_buf_size(ADMIN_HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(visitor), service);
    // One that breaks is nothing to tell anybody of: its peer knows.
    let _ = connection.await;
}

/// From a connection's beginning to the end of its head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
