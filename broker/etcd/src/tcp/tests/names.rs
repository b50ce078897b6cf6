//! Tests several connections under the same name.

use super::*;

#[test]
fn who_asks_over_a_connection_of_its_own_disturbs_nobody_of_its_name() {
    run(async {
        let (mut n1, mut n2, mut other) = (Node::new("n1"), Node::new("n2"), Node::new("n1"));
        n1.reaches(&mut n2, b"before").await;
        for asked in [&mut n1, &mut n2] {
            let of = asked.name.clone();
            other.peers.ask(&of, &[asked.address], b"who?".to_vec());
            let mail = asked.inbox.recv().await.unwrap();
            let PeerMail::Asked(from, message, reply) = mail else {
                panic!("{mail:?}");
            };
            assert_eq!((from, &message[..]), (name("n1"), &b"who?"[..]));
            reply.send(b"it".to_vec()).unwrap();
            let mail = other.inbox.recv().await.unwrap();
            assert!(is_message(&mail, of.as_str(), b"it"), "{mail:?}");
        }
        n1.send(&n2, b"after");
        let mail = n2.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n1", b"after"), "{mail:?}");
        let refused = n2.counts.refused.load(Ordering::Relaxed);
        assert_eq!((n1.lost(), refused), (0, 0));
        other.peers.ask(&n2.name, &[n2.address], vec![0; 300]);
        n2.refused(1).await;
    });
}

#[test]
fn the_newest_connection_of_a_node_counts() {
    run(async {
        let mut n2 = Node::new("n2");
        let mut older = n2.as_node("n1").await;
        let mut newer = n2.as_node("n1").await;
        let began = tokio::time::Instant::now();
        closed(&mut older).await;
        assert!(
            began.elapsed() < PEER_IDLE / 2,
            "it was closed for its silence"
        );
        frames::write(&mut newer, b"newer").await.unwrap();
        let mail = n2.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n1", b"newer"));
    });
}
