//! Startup checks that depend on the machine's state (ports, memory, descriptors), for `heliograph doctor`: each does
//! what the start does, and leaves nothing behind.

use crate::server::kept_sockets::KeptSockets;
use crate::server::{connections, edge_settings, listeners, shards};
use crate::{edge::ShardThread, failure::Failure, side};
use broker_core::settings::{EngineChoice, Settings};
use std::net::{SocketAddr, TcpListener};

/// Whether this machine allows any io_uring.
///
/// # Errors
/// Why not, with the remedy.
pub(crate) fn io_uring() -> Result<(), String> {
    shards::probe()
}

/// The number of client connections that the limit of open files leaves room for.
///
/// # Errors
/// [`Failure::Fatal`] with the remedy when there is room for too few.
pub(crate) fn descriptors(settings: &Settings) -> Result<usize, Failure> {
    connections(settings, side::open_files_hard())
}

/// The number of shards that locked memory, threads and memory have room for, and what they work with: each is made,
/// and ended.
///
/// # Errors
/// [`Failure::Fatal`] with the remedy when a start would be refused.
pub(crate) fn shards(settings: &Settings) -> Result<(usize, EngineChoice), Failure> {
    let mut settings = settings.clone();
    let connections = settings.limits.connections;
    let mut edge = edge_settings(&settings, connections);
    let limit = ring::raise_memlock();
    side::raise_open_files(); // of this process, since the shards are made
    shards::choose_engine(&mut settings)?;
    let threads = shards::prepare(&mut settings, &mut edge.ring, limit)?;
    threads.into_iter().for_each(ShardThread::end);
    Ok((settings.shards, settings.engine))
}

/// The addresses of all listeners, each with why it cannot be had.
pub(crate) fn listeners(settings: &Settings) -> Vec<(SocketAddr, Result<(), Failure>)> {
    let mut all = Vec::new();
    for listen in &settings.listen {
        let bound = listeners::bind(settings, listen.addr, &mut KeptSockets::default());
        all.push((listen.addr, bound.map(|_| ())));
    }
    let mut cluster = settings.cluster.clone();
    if let Some(addr) = cluster.listen {
        let bound = listeners::bind_inner(&mut cluster, settings.shards, 0);
        all.push((addr, bound.map(|_| ())));
    }
    if let Some(addr) = settings
        .cluster
        .peers()
        .filter(|_| settings.cluster.etcd.is_on())
    {
        let bound = TcpListener::bind(addr).map(|_| ()).map_err(|error| {
            let rule = "must be an address of this machine with a free port";
            Failure::Configuration(format!("cluster.peers = {addr}: {rule}: {error}"))
        });
        all.push((addr, bound));
    }
    if let Some(addr) = settings.admin.listen {
        let bound = listeners::bind_admin(settings, addr);
        all.push((addr, bound.map(|_| ())));
    }
    all
}
