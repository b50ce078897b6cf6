//! One message and the reply to it, over a connection that ends with them.

use crate::limits::{ASKED_BYTES_MAX, PEER_HELLO};
use crate::names::Name;
use crate::peers::{Mail, Reply};
use crate::tcp::frames::{self, Hello, garbage};
use crate::tcp::outgoing;
use crate::tcp::shared::{Shared, within};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Asks a node at the first address where it is. The reply goes into the mailbox.
pub(crate) async fn ask(shared: Rc<Shared>, of: Name, at: Vec<SocketAddr>, message: Vec<u8>) {
    let hello = Hello {
        from: shared.node.clone(),
        to: of.clone(),
        only_asks: true,
    };
    for address in at {
        let asking = async {
            let mut stream = outgoing::connect(&shared, address, &hello).await?;
            frames::write(&mut stream, &message).await?;
            within(PEER_HELLO, "no reply in time", read(&mut stream)).await
        };
        // A node that cannot be asked is in the log of those that send it messages.
        let replied: io::Result<Vec<u8>> = asking.await;
        if let Ok(reply) = replied {
            shared.mailbox.put(Mail::Message(of, reply));
            return;
        }
    }
}

/// Passes on what a node asks, and replies.
pub(crate) async fn reply(
    shared: &Shared,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    from: &Name,
) -> io::Result<()> {
    let message = read(stream).await?;
    let (reply, replied) = Reply::new();
    shared
        .mailbox
        .put(Mail::Asked(from.clone(), message, reply));
    let reply = replied.await.map_err(|_| garbage("nothing to reply to"))?;
    frames::write(stream, &reply).await?;
    stream.shutdown().await
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = frames::read_length(stream).await?;
    let length = length.filter(|length| *length <= ASKED_BYTES_MAX);
    let length = length.ok_or_else(|| garbage("no message that is asked by"))?;
    frames::read_message(stream, length).await
}
