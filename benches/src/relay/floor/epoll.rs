//! The floor on level-triggered epoll. Each wake-up of a socket causes one receive, and each round ends with one send
//! per socket.

use crate::relay::floor::passing::{Passing, Step};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::net::{TcpListener, TcpStream};

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&set, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut passing = Passing::default();
    let mut sockets: Vec<Option<TcpStream>> = Vec::new();
    let mut free: Vec<u32> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut scratch = vec![0; RECEIVE_BYTES];
    let mut ended = Vec::new();
    loop {
        events.clear();
        match epoll::wait(&set, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let data = event.data;
            if data.u64() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let peer = free.pop().unwrap_or_else(|| {
                        sockets.push(None);
                        u32::try_from(sockets.len() - 1).unwrap_or(u32::MAX)
                    });
                    epoll::add(
                        &set,
                        &stream,
                        EventData::new_u64(peer.into()),
                        EventFlags::IN,
                    )?;
                    passing.enter(peer);
                    sockets[peer as usize] = Some(stream);
                }
                continue;
            }
            let Ok(peer) = u32::try_from(data.u64()) else {
                continue;
            };
            let Some(socket) = &sockets[peer as usize] else {
                continue;
            };
            let step = match recv(socket, &mut scratch[..], RecvFlags::DONTWAIT) {
                Ok((1.., bytes)) => passing.receive(peer, &scratch[..bytes]),
                Err(Errno::AGAIN | Errno::INTR) => Step::Passed,
                Ok((0, _)) | Err(_) => Step::Closed,
            };
            if step == Step::Closed {
                ended.push(peer);
            }
        }
        for peer in std::mem::take(&mut passing.dirty) {
            let out = passing.take_out(peer);
            if let Some(socket) = &sockets[peer as usize] {
                // This call blocks while the peer's window is full, which is brief because the driver runs a closed
                // loop. If the connection is closed, the next receive detects it.
                let _ = send(socket, &out, SendFlags::NOSIGNAL);
            }
            passing.give_back(peer, out);
        }
        for peer in ended.drain(..) {
            if sockets[peer as usize].take().is_some() {
                passing.leave(peer);
                free.push(peer);
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 512;
const RECEIVE_BYTES: usize = 64 * 1024;
