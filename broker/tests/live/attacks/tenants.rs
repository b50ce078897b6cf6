//! One tenant that takes all connections with WebSockets of its own, beside a tenant of another account.

use super::{ATTACKER, HEALTHY};
use crate::http::Connection;
use crate::peer::Peer;
use crate::process::Broker;
use crate::signed::service::{Service, credentials, relay};
use crate::signed::signer::{Call, Signer};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, TcpStream};

/// Connections of the process.
const CONNECTIONS: usize = 400;

/// Channels of the tenant, on each shard some; and those of its neighbour, each for a master and a viewer.
const CHANNELS: usize = 24;
const PAIRS: usize = 8;

#[test]
fn a_tenant_with_all_connections_makes_room_for_another() {
    for shards in [1, 2] {
        let service = service(shards);
        let (tenant, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
        let channels: Vec<String> = (0..CHANNELS)
            .map(|number| service.create(&tenant, &format!("hoard-{number}")))
            .collect();
        let own: Vec<String> = (0..PAIRS)
            .map(|number| service.create(&neighbour, &format!("own-{number}")))
            .collect();
        let masters = channels
            .iter()
            .map(|arn| Call::master(&service.broker, arn));
        let mut held: Vec<Connection> = Vec::new();
        let mut refused = Vec::new();
        let mut take = |call: Call| {
            let (status, connection) = upgrade(ATTACKER, &service.broker, &tenant, call);
            match status {
                101 => held.push(connection),
                _ => refused.push(connection),
            }
            status
        };
        masters.for_each(|call| assert_eq!(take(call), 101, "its own masters"));
        let viewers = (0..CONNECTIONS).map(|number| {
            let arn = &channels[number % CHANNELS];
            Call::viewer(&service.broker, arn, &format!("v{number}"))
        });
        let statuses: Vec<u16> = viewers.map(&mut take).collect();
        assert!(statuses.iter().all(|status| matches!(status, 101 | 503)));
        // A sixteenth of each shard's stays for those that were not admitted yet.
        let part = CONNECTIONS / usize::from(shards);
        let most = usize::from(shards) * (part - part / 16);
        assert!(statuses.contains(&503), "it has all that it may have");
        let mut pairs = Vec::new();
        for arn in &own {
            // Nobody is closed for one more of the tenant, which has most. Of two shards one may have places.
            let one_more = Call::viewer(&service.broker, &channels[0], "one-more");
            let (status, connection) = upgrade(ATTACKER, &service.broker, &tenant, one_more);
            assert!(status == 503 || shards == 2, "{status}");
            refused.push(connection);
            let broker = &service.broker;
            let join = |call| {
                let (status, connection) = upgrade(HEALTHY, broker, &neighbour, call);
                assert_eq!(status, 101, "a newcomer below its part");
                Peer::after_upgrade(connection)
            };
            let mut master = join(Call::master(broker, arn));
            let mut viewer = join(Call::viewer(broker, arn, "v1"));
            relay(&mut master, &mut viewer);
            pairs.push((master, viewer));
        }
        assert!(held.len() <= most, "{} at a time", held.len());
        let held: Vec<TcpStream> = held.into_iter().map(|one| one.into_parts().0).collect();
        let closed: Vec<bool> = held.iter().map(was_closed).collect();
        let made_room = closed.iter().filter(|closed| **closed).count();
        assert!(made_room <= 2 * PAIRS, "{made_room} for {}", 2 * PAIRS);
        if shards == 1 {
            assert_eq!((held.len(), made_room), (most, 2 * PAIRS));
        }
        let of_masters = closed.iter().take(CHANNELS).filter(|closed| **closed);
        assert_eq!(of_masters.count(), 0, "viewers come first");
        for (master, viewer) in &mut pairs {
            relay(master, viewer);
        }
        drop((held, refused, pairs));
        service.end();
    }
}

fn service(shards: u16) -> Service {
    let limits = format!(
        "[limits]\nconnections = {CONNECTIONS}\nviewers_per_channel = {CONNECTIONS}\n[quotas]\noff = true\n"
    );
    Service::configured(&limits, &credentials(), shards)
}

/// Asks for a WebSocket: the status of the answer, and the connection.
pub(crate) fn upgrade(
    from: IpAddr,
    broker: &Broker,
    signer: &Signer,
    call: Call,
) -> (u16, Connection) {
    let call = signer.sign(call);
    let mut connection = Connection::open_from(from, broker.plain);
    connection.send(&call.bytes());
    let answer = connection.answer().expect("an answer, not silence");
    if answer.status != 101 {
        // By the shard, or at once where those that were refused before have not closed their end.
        let text = answer.refused(503, "ServiceUnavailable");
        assert!(text.contains("connection"), "{text}");
    }
    (answer.status, connection)
}

/// Whether a close frame came, with 1001.
fn was_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let mut frame = [0; 4];
    match stream.read(&mut frame) {
        Ok(read) => {
            assert_eq!((read, frame[0]), (4, 0x88), "{frame:?}");
            assert_eq!(u16::from_be_bytes([frame[2], frame[3]]), 1001);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            false
        }
    }
}
