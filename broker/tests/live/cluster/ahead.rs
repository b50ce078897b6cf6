//! Connections between nodes that are there before their client: opened ahead, or come back from one that has closed.

use super::meeting::{assert_quiet, exchange};
use super::nodes::{Files, NAME, Nodes, SECRET};
use super::owner::{CHALLENGE, World, accept, client, link, read_until, take_header};
use crate::peer::Peer;
use crate::process::Broker;
use codec::proxy::{AHEAD_BYTES, LinkKey, greeting, is_ahead, parse_ahead};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use testkit::until;

/// Connections of `node` that wait for a client: to other nodes (`out`), or of other nodes (`in`).
pub(crate) fn waiting(node: &Broker, way: &str) -> f64 {
    let name = format!("heliograph_cluster_links_ahead{{way=\"{way}\"}}");
    node.scrape().sum(&name)
}

pub(crate) fn count(node: &Broker, event: &str) -> f64 {
    let name = format!("heliograph_cluster_ahead_total{{event=\"{event}\"}}");
    node.scrape().sum(&name)
}

/// Connects peers through `n1` to a channel of `n2` until some find a connection that was opened ahead.
fn use_some(nodes: &Nodes, arn: &str) {
    let mut master = Peer::master(&nodes.n2, arn);
    until("a connection that was opened ahead and used", || {
        for _ in 0..8 {
            let mut viewer = Peer::viewer(&nodes.n1, arn, "v1");
            exchange(&mut master, &mut viewer);
            viewer.close();
        }
        (count(&nodes.n1, "used") > 0.0).then_some(())
    });
    master.close();
}

#[test]
fn upgrades_find_connections_that_were_opened_ahead() {
    for nodes in [Nodes::start(1), Nodes::encrypted(1)] {
        let mut nodes = nodes;
        let [_, others] = nodes.channels();
        assert_eq!(count(&nodes.n1, "opened"), 0.0, "calls need none");
        use_some(&nodes, &others);
        assert_quiet(&nodes);
        assert_eq!(waiting(&nodes.n2, "out"), 0.0, "nothing goes from there");
        until("as many at the owner", || {
            (waiting(&nodes.n1, "out") == waiting(&nodes.n2, "in")).then_some(())
        });
        assert!(waiting(&nodes.n1, "out") <= 32.0);
        let refused = "heliograph_cluster_inner_refused_total";
        assert_eq!(nodes.n2.scrape().sum(refused), 0.0);
        // They keep no node from its end.
        nodes.n2.signal("TERM");
        assert!(nodes.n2.ended_within(Duration::from_secs(10)).success());
        until("the end of those to a node that has ended", || {
            (waiting(&nodes.n1, "out") == 0.0).then_some(())
        });
        nodes.n1.signal("TERM");
        assert!(nodes.n1.ended_within(Duration::from_secs(10)).success());
    }
}

#[test]
fn of_connections_to_a_node_that_is_killed_none_is_kept() {
    let nodes = Nodes::encrypted(1);
    let [_, others] = nodes.channels();
    use_some(&nodes, &others);
    until("one that waits", || {
        (waiting(&nodes.n1, "out") > 0.0).then_some(())
    });
    nodes.n2.signal("KILL");
    until("their end", || {
        (waiting(&nodes.n1, "out") == 0.0).then_some(())
    });
}

/// Clients come and go through two nodes; few connections serve them all.
#[test]
fn clients_that_come_and_go_share_few_connections() {
    let quotas = ["[quotas]\noff = true"; 2];
    for files in [Files::new(), Files::encrypted()] {
        let nodes = Nodes::of(files, 2, quotas);
        let [_, others] = nodes.channels();
        let mut master = Peer::master(&nodes.n1, &others);
        for _ in 0..60 {
            Peer::viewer(&nodes.n1, &others, "v1").close();
        }
        let mut viewer = Peer::viewer(&nodes.n1, &others, "v1");
        exchange(&mut master, &mut viewer);
        // One of which a ping is under way does not come back: they answer the last ones.
        for _ in 0..2 {
            master.expect_silence();
            viewer.expect_silence();
        }
        viewer.close();
        master.close();
        assert_quiet(&nodes);
        until("all that came back", || {
            (count(&nodes.n1, "returned") == 62.0).then_some(())
        });
        let opened = count(&nodes.n1, "opened");
        assert!(count(&nodes.n1, "used") >= 50.0, "{opened} opened");
        assert!(opened <= 10.0, "{opened}");
        let refused = "heliograph_cluster_inner_refused_total";
        assert_eq!(nodes.n2.scrape().sum(refused), 0.0);
        until("as many at the owner", || {
            (waiting(&nodes.n1, "out") == waiting(&nodes.n2, "in")).then_some(())
        });
    }
}

/// A connection that was opened ahead, which the node has signed: accepted once four upgrades were answered.
fn opened_ahead(world: &World, owner: &TcpListener) -> TcpStream {
    let answered: Vec<_> = (0..4)
        .map(|_| {
            let (client, _) = client(&world.node);
            let (mut link, _, _) = accept(owner);
            link.write_all(b"x").expect("sent");
            let (mut client, mut got) = client.into_parts();
            read_until(&mut client, &mut got, 1);
            (client, link)
        })
        .collect();
    let (mut stream, _) = owner.accept().expect("a node");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    stream.write_all(&greeting(&CHALLENGE)).expect("sent");
    let (mut frame, key) = ([0; AHEAD_BYTES], LinkKey::derive(&SECRET, NAME));
    stream.read_exact(&mut frame).expect("a frame");
    assert_eq!(parse_ahead(&frame, &link(&key)), Ok(Some(AHEAD_BYTES)));
    drop(answered);
    stream
}

#[test]
fn a_client_takes_a_connection_that_was_opened_ahead() {
    let world = World::new();
    let owner = world.owner();
    let waiting = opened_ahead(&world, &owner);
    let (mut client, head) = client(&world.node);
    let (mut link, header, mut bytes) = take_header(waiting).expect("a header");
    assert_eq!(header.destination, world.node.plain);
    read_until(&mut link, &mut bytes, head.len());
    assert_eq!(bytes, head.as_bytes());
    link.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .expect("sent");
    assert_eq!(client.answer().expect("an answer").status, 400);
}

/// The owner closed it at the moment when a client took it: nothing is answered, so the request goes there again.
#[test]
fn an_upgrade_on_a_connection_that_ends_unanswered_is_sent_again() {
    let world = World::new();
    let owner = world.owner();
    let waiting = opened_ahead(&world, &owner);
    let (mut client, head) = client(&world.node);
    drop(take_header(waiting).expect("a header"));
    // The node opens one in place of that as well.
    let mut ahead = Vec::new();
    let again = loop {
        let (mut stream, _) = owner.accept().expect("a node");
        stream.write_all(&greeting(&CHALLENGE)).expect("sent");
        let mut begun = [0; 13];
        until("the first bytes", || {
            (stream.peek(&mut begun).expect("a node") == begun.len()).then_some(())
        });
        if !is_ahead(&begun) {
            break stream;
        }
        ahead.push(stream);
    };
    let (mut link, _, mut bytes) = take_header(again).expect("a header");
    read_until(&mut link, &mut bytes, head.len());
    assert_eq!(bytes, head.as_bytes());
    link.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .expect("sent");
    assert_eq!(client.answer().expect("an answer").status, 400);
    world.assert_none_failed();
}

/// Bytes that a node has not asked for are no answer to the client that comes next.
#[test]
fn an_owner_that_speaks_before_a_header_is_closed() {
    let world = World::new();
    let owner = world.owner();
    let mut waiting = opened_ahead(&world, &owner);
    waiting
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .expect("sent");
    let mut got = Vec::new();
    let _ = waiting.read_to_end(&mut got);
    assert_eq!(got, b"");
}
