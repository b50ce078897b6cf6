//! A common interface to the unbuffered client and server connections of rustls.

use crate::edge::tls::Unwritable;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{AlertDescription, CommonState, Error};
use std::ops::Deref;

/// A rustls connection, with its keys and state.
pub(crate) enum Engine {
    /// The accepting side.
    Server(UnbufferedServerConnection),
    /// The connecting side.
    Client(UnbufferedClientConnection),
}

/// The outcome of processing bytes from the peer, apart from the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The peer may send more data.
    More,
    /// The peer sent close_notify.
    End,
    /// The peer violated the protocol, or has no version, cipher or protocol in common with us.
    Failed(Fault),
}

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer is not a node of this cluster.
    Foreign,
    /// According to its alert, the peer does not trust our certificate.
    Distrusted,
    /// The two sides have no version, cipher or protocol in common.
    Disagreed,
    /// The peer violated the protocol, or does not speak TLS.
    Broken,
}

impl Fault {
    /// Classifies a rustls error, which may stem from an alert that the peer sent (RFC 8446 section 6.2).
    fn of(error: &Error) -> Self {
        use AlertDescription as Alert;
        let alert = |alerts: &[Alert]| matches!(error, Error::AlertReceived(alert) if alerts.contains(alert));
        let distrusts = [
            Alert::BadCertificate,
            Alert::UnsupportedCertificate,
            Alert::CertificateRevoked,
            Alert::CertificateExpired,
            Alert::CertificateUnknown,
            Alert::UnknownCA,
        ];
        let disagrees = [
            Alert::HandshakeFailure,
            Alert::ProtocolVersion,
            Alert::InsufficientSecurity,
            Alert::UnrecognisedName,
            Alert::NoApplicationProtocol,
        ];
        if link::is_of_another_cluster(error) {
            Self::Foreign
        } else if alert(&distrusts) {
            Self::Distrusted
        } else if alert(&disagrees)
            || matches!(
                error,
                Error::PeerIncompatible(_) | Error::NoApplicationProtocol
            )
        {
            Self::Disagreed
        } else {
            Self::Broken
        }
    }
}

impl Engine {
    /// Runs the engine on `bytes` until it needs more data. Returns the number of bytes consumed.
    pub(crate) fn advance(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> (usize, Step) {
        match self {
            Self::Server(engine) => advance(engine, bytes, plain, out),
            Self::Client(engine) => advance(engine, bytes, plain, out),
        }
    }

    /// Encrypts `plain` and appends the result to `cipher`. `held` must be the bytes last passed to the engine.
    pub(crate) fn encrypt(
        &mut self,
        held: &mut [u8],
        plain: &[u8],
        cipher: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        match self {
            Self::Server(engine) => encrypt(engine.records(held), plain, cipher),
            Self::Client(engine) => encrypt(engine.records(held), plain, cipher),
        }
    }

    /// Appends a close_notify to `out`, if possible.
    pub(crate) fn close(&mut self, held: &mut [u8], out: &mut Vec<u8>) -> Result<(), Unwritable> {
        match self {
            Self::Server(engine) => close(engine.records(held), out),
            Self::Client(engine) => close(engine.records(held), out),
        }
    }
}

impl Deref for Engine {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Server(engine) => engine,
            Self::Client(engine) => engine,
        }
    }
}

/// The common interface of client and server connections, whose data types differ.
trait Records: Deref<Target: Deref<Target = CommonState>> {
    type Data;

    fn records<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn records<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn records<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }
}

fn advance<E: Records>(
    engine: &mut E,
    bytes: &mut [u8],
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (usize, Step) {
    let (mut used, mut step) = (0, Step::More);
    loop {
        let UnbufferedStatus {
            mut discard, state, ..
        } = engine.records(&mut bytes[used..]);
        let mut go_on = true;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    plain.extend_from_slice(record.payload);
                    discard += record.discard;
                }
            }
            Ok(ConnectionState::EncodeTlsData(encode)) => go_on = say(encode, out),
            Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
            Ok(ConnectionState::PeerClosed) if step == Step::More => step = Step::End,
            Ok(ConnectionState::PeerClosed) => {}
            Ok(
                ConnectionState::BlockedHandshake
                | ConnectionState::WriteTraffic(_)
                | ConnectionState::Closed,
            ) => go_on = false,
            // Early data is never offered. This version of rustls has no other states.
            Ok(_) => (go_on, step) = (false, Step::Failed(Fault::Broken)),
            Err(error) => step = step.failed(&error),
        }
        used = (used + discard).min(bytes.len());
        // A failed engine may still have to write an alert, but must do nothing else. Processing the offending bytes
        // again would violate an assertion.
        let failed = matches!(step, Step::Failed(_));
        if !go_on || (failed && !engine.wants_write()) {
            return (used, step);
        }
    }
}

impl Step {
    /// Keeps the first error. Later ones only say that the engine cannot continue.
    fn failed(self, error: &Error) -> Self {
        match self {
            Self::Failed(_) => self,
            Self::More | Self::End => Self::Failed(Fault::of(error)),
        }
    }
}

fn say<D>(mut encode: EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> bool {
    let said = append(out, OVERHEAD_BYTES, |room| match encode.encode(room) {
        Ok(written) => Ok(written),
        Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
        Err(EncodeError::AlreadyEncoded) => Err(None),
    });
    said.is_ok()
}

fn encrypt<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &[u8],
    cipher: &mut Vec<u8>,
) -> Result<(), Unwritable> {
    debug_assert_eq!(status.discard, 0, "nothing was left to process");
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            append(cipher, plain.len() + OVERHEAD_BYTES, |room| {
                written(traffic.encrypt(plain, room))
            })
        }
        Ok(_) | Err(_) => Err(Unwritable),
    }
}

fn close<D>(status: UnbufferedStatus<'_, '_, D>, out: &mut Vec<u8>) -> Result<(), Unwritable> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => append(out, OVERHEAD_BYTES, |room| {
            written(traffic.queue_close_notify(room))
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn written(result: Result<usize, EncryptError>) -> Result<usize, Option<usize>> {
    match result {
        Ok(written) => Ok(written),
        Err(EncryptError::InsufficientSize(size)) => Err(Some(size.required_size)),
        Err(EncryptError::EncryptExhausted) => Err(None),
    }
}

/// Lets `write` append to `out`. First offers `guess` bytes of space and, if that is too little, as much as `write`
/// asks for.
fn append(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Unwritable> {
    let start = out.len();
    let mut room = guess;
    for _ in 0..2 {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Some(required)) => room = required,
            Err(None) => break,
        }
    }
    out.truncate(start);
    Err(Unwritable)
}

/// Space reserved for the record headers and tags around a piece of plaintext, and for one message from the engine
/// itself.
const OVERHEAD_BYTES: usize = 1024;
