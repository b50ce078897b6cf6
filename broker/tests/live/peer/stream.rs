//! Connections to a broker, plain and over TLS, on which nothing waits forever.

use crate::http::ANSWER_WITHIN;
use crate::process::Broker;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A plain connection on which nothing waits forever.
pub(crate) fn tcp(to: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(to).expect("the broker accepts"))
}

/// The same from this address: the whole of 127.0.0.0/8 is loopback, and each address of it a client of its own.
pub(crate) fn tcp_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    let bound = socket.bind(&SocketAddr::new(source, 0).into());
    bound.unwrap_or_else(|error| panic!("{source} is not free on loopback: {error}"));
    socket.connect(&to.into()).expect("the broker accepts");
    patient(socket.into())
}

fn patient(stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(ANSWER_WITHIN))
        .expect("a read timeout");
    stream
        .set_write_timeout(Some(ANSWER_WITHIN))
        .expect("a write timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A client that trusts the development certificate's authority.
pub(crate) fn client_config(broker: &Broker) -> Arc<ClientConfig> {
    let authority = broker
        .authority
        .as_ref()
        .expect("the ready line names the development authority");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).expect("the authority can be read")
    {
        roots
            .add(certificate.expect("a certificate"))
            .expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(
        versions
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// A client of TLS on a connection; the certificate is that of `localhost`.
    pub(crate) fn tls(tcp: TcpStream, client: Arc<ClientConfig>) -> Self {
        let name = "localhost".try_into().expect("a name");
        let session = ClientConnection::new(client, name).expect("a TLS session");
        Self::Tls(Box::new(StreamOwned::new(session, tcp)))
    }

    /// A read may take this long.
    pub(crate) fn be_patient(&self, limit: Duration) {
        let set = self.tcp().set_read_timeout(Some(limit));
        set.expect("a read timeout");
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
