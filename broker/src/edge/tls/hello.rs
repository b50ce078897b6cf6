//! The first bytes of a connection, where its server name decides how it is served.
//!
//! A copy of them is shown to the library's acceptor, for the name alone; then the engine is shown the bytes
//! themselves, all of them. So a ClientHello may come in pieces of any size.

use crate::devices::Door;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use std::sync::Arc;

/// A connection whose server name is not known yet, or that is asked for a certificate.
pub(crate) enum Asked {
    /// Its name is awaited.
    Hello(Box<Hello>),
    /// It asks for this name, and is asked for a certificate.
    Certificate(Arc<Door>, Box<str>),
}

/// A ClientHello that is not whole.
pub(crate) struct Hello {
    acceptor: Acceptor,
    door: Arc<Door>,
    /// The bytes of it that were looked at.
    pub(crate) seen: usize,
}

/// The way in which a connection is served.
pub(crate) enum Choice {
    /// Its first bytes are not whole.
    Open,
    /// As any other.
    Ordinary,
    /// It is asked for a certificate, under this name.
    Certificate(Arc<ServerConfig>, Arc<Door>, Box<str>),
}

impl Hello {
    pub(crate) fn new(door: &Arc<Door>) -> Self {
        Self {
            acceptor: Acceptor::default(),
            door: Arc::clone(door),
            seen: 0,
        }
    }

    /// Looks at further bytes. What is no ClientHello is ordinary: the engine says what is wrong with it.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Choice {
        self.seen += bytes.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok(1..) = self.acceptor.read_tls(&mut rest) else {
                return Choice::Ordinary;
            };
            match self.acceptor.accept() {
                Ok(None) => {}
                Err(_) => return Choice::Ordinary,
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let name = hello.server_name().unwrap_or_default();
                    return match self.door.opens(name) {
                        None => Choice::Ordinary,
                        Some(config) => {
                            let door = Arc::clone(&self.door);
                            Choice::Certificate(Arc::clone(config), door, name.into())
                        }
                    };
                }
            }
        }
        Choice::Open
    }
}
