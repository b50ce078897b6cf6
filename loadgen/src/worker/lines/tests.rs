use super::*;
use std::net::TcpListener;

/// Opens connections over a route to these addresses and waits until each is open or broken. Returns how many are open.
fn connections(engine: Engine, addresses: &[SocketAddr], count: usize) -> usize {
    let mut target = Target::parse("http://127.0.0.1:1", false).unwrap();
    target.address = addresses[0];
    target.others = addresses[1..].to_vec();
    let mut lines = Lines::new(vec![Arc::new(Route { target, tls: None })], engine).unwrap();
    for _ in 0..count {
        lines.open(0, Some(Ipv4Addr::LOCALHOST)).unwrap();
    }
    let (mut ready, mut broken) = (0, 0);
    while ready + broken < count {
        lines.turn(Duration::from_secs(1)).unwrap();
        while let Some(news) = lines.next() {
            match news {
                News::Ready(_) => ready += 1,
                News::Broken(_, kind) => {
                    assert_eq!(kind, "connect_refused");
                    broken += 1;
                }
                News::Connected(_) | News::Bytes(..) | News::Freed(_) => {}
            }
        }
    }
    ready
}

fn accepted(listener: &TcpListener) -> usize {
    listener.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn connections_are_spread_and_try_every_address() {
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, other, gone) = (listener(), listener(), listener());
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let (first, second, closed) = (address(&one), address(&other), address(&gone));
    drop(gone);
    for engine in [Engine::IoUring, Engine::Epoll] {
        assert_eq!(connections(engine, &[first, closed, second], 12), 12);
        // Connections to an address at which nothing listens were made to the next address instead.
        assert_eq!((accepted(&one), accepted(&other)), (4, 8));
        assert_eq!(connections(engine, &[closed, closed], 2), 0);
    }
}
