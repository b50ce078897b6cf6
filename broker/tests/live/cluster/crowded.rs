//! A node all of whose connections are clients of one tenant that the other node serves, beside a tenant of another
//! account.

use super::meeting::{assert_gone, exchange};
use super::nodes::Files;
use crate::attacks::tenants::upgrade;
use crate::attacks::{ATTACKER, HEALTHY};
use crate::http::Connection;
use crate::peer::Peer;
use crate::process::Broker;
use crate::signed::service::credentials;
use crate::signed::signer::{Call, Signer};
use serde_json::json;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;

/// Connections of the node, and those of them that may be on links: a sixteenth is kept for those that were not
/// admitted.
const CONNECTIONS: usize = 100;
const ON_LINKS: usize = CONNECTIONS - CONNECTIONS / 16;

#[test]
fn clients_of_one_tenant_make_room_for_another() {
    let files = Files::new();
    files.write_map("map", ["0", "1-4095"]);
    fs::write(files.path("credentials.toml"), credentials()).expect("a file under target/");
    let path = files.path("credentials.toml");
    let path = path.to_str().expect("a path in UTF-8");
    let signed = ["--auth", "sigv4", "--listen", "http://127.0.0.1:0"];
    let arguments = [&signed[..], &["--credentials", path]].concat();
    let quotas = "[quotas]\noff = true\n";
    let limits = format!("{quotas}[limits]\nconnections = {CONNECTIONS}\n");
    let viewers = format!("{quotas}[limits]\nviewers_per_channel = {CONNECTIONS}\n");
    let front = files.start("n1", 1, &limits, &arguments);
    let owner = files.start("n2", 1, &viewers, &arguments);
    let (tenant, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
    let theirs = create(&owner, &tenant);
    let own = create(&owner, &neighbour);
    let mut held = Vec::new();
    for number in 0..ON_LINKS + 5 {
        let viewer = Call::viewer(&front, &theirs, &format!("v{number}"));
        let (status, connection) = upgrade(ATTACKER, &front, &tenant, viewer);
        if status == 101 {
            held.push(connection.into_parts().0);
        }
    }
    assert_eq!(held.len(), ON_LINKS);
    let join = |call| {
        let (status, connection) = upgrade(HEALTHY, &front, &neighbour, call);
        assert_eq!(status, 101, "a newcomer below its part");
        Peer::after_upgrade(connection)
    };
    let mut master = join(Call::master(&front, &own));
    let mut viewer = join(Call::viewer(&front, &own, "v1"));
    exchange(&mut master, &mut viewer);
    let closed: Vec<usize> = (0..ON_LINKS).filter(|at| was_closed(&held[*at])).collect();
    assert_eq!(
        closed,
        [ON_LINKS - 2, ON_LINKS - 1],
        "one for each, the newest"
    );
    drop(held);
    exchange(&mut master, &mut viewer);
    viewer.close();
    master.close();
    assert_gone(&front);
    front.assert_balanced();
}

/// Makes a channel of the node that has nearly all slots.
fn create(owner: &Broker, signer: &Signer) -> String {
    for number in 0.. {
        let body = json!({"ChannelName": format!("far-{number}")});
        let call = signer.sign(Call::api(owner, "/createSignalingChannel", &body));
        let mut connection = Connection::open(owner.plain);
        connection.send(&call.bytes());
        let made = connection.answer().expect("an answer").ok();
        if owner.scrape().sum("heliograph_channels") > 0.0 {
            return made["ChannelARN"].as_str().expect("an ARN").to_owned();
        }
    }
    unreachable!("the numbers do not end")
}

/// Whether the node has closed a connection.
fn was_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    match stream.read(&mut [0]) {
        Ok(read) => {
            assert_eq!(read, 0, "nothing but its end");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            false
        }
    }
}
