//! Tests a node whose name resolves to several addresses.

use super::*;

/// Returns an address at which no process is listening, since its node has ended.
async fn nobody() -> SocketAddr {
    let node = Node::new("n9");
    let address = node.address;
    drop(node.peers);
    tokio::task::yield_now().await;
    address
}

#[test]
fn of_several_addresses_the_next_one_is_tried_after_a_failure() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        let at = [nobody().await, n2.address];
        let mail = loop {
            n1.peers.send(&n2.name, &at, b"x".to_vec());
            if let Ok(mail) = timeout(Duration::from_millis(100), n2.inbox.recv()).await {
                break mail.unwrap();
            }
        };
        assert!(is_message(&mail, "n1", b"x"));
        let mail = n1.inbox.recv().await.unwrap();
        assert!(matches!(&mail, PeerMail::Refused(node) if *node == n2.name));
        // A second address next to it does not affect the connection.
        let sent = n1.counts.sent.load(Ordering::Relaxed);
        let at = [n2.address, nobody().await];
        n1.peers.send(&n2.name, &at, b"y".to_vec());
        let mail = n2.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n1", b"y"));
        assert_eq!(n1.counts.sent.load(Ordering::Relaxed), sent + 1);
        assert_eq!(n2.counts.refused.load(Ordering::Relaxed), 0);
    });
}

/// A connection stays open as long as its address is one of the node's addresses.
#[test]
fn a_node_whose_address_is_taken_away_is_reached_at_the_others() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        n1.reaches(&mut n2, b"here").await;
        let mut moved = Node::new("n2");
        let both = [moved.address, n2.address];
        n1.peers.send(&n2.name, &both, b"both".to_vec());
        let mail = n2.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n1", b"both"));
        let mail = n1.reaches(&mut moved, b"there").await;
        assert!(is_message(&mail, "n1", b"there"));
    });
}
