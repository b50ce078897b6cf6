//! Single rules of a link, one case each.

use broker_core::cluster::limits::{
    LINK_DEAD_MS, LINK_DOUBT_MS, LINK_HELD_BYTES_MAX, LINK_IDLE_MS, LINK_PING_MS, LINK_STREAMS_MAX,
    LINK_WAITING_BYTES_MAX, LINK_WINDOW_BYTES,
};
use broker_core::cluster::link::{Death, Ending, Event, Fault, Link, Refused, Role};
use broker_core::time::Now;
use codec::link::{Ack, Client, End, Frame, FrameError, How, Kind, Open, write};

const WINDOW: u32 = 256 * 1024;

fn link(role: Role) -> Link {
    Link::new(role, WINDOW, Now(0))
}

fn pair() -> (Link, Link) {
    (link(Role::Front), link(Role::Owner))
}

fn client(kind: Kind) -> Client {
    Client {
        kind,
        address: ([192, 0, 2, 1], 9).into(),
        listener: 0,
        tls: false,
        server_name: "".into(),
        certificate: None,
    }
}

fn open(front: &mut Link, kind: Kind) -> u32 {
    let id = front.open(&client(kind), b"head".to_vec(), 0);
    id.expect("room for a stream")
}

/// One write of `from`, which `to` reads.
fn carry(from: &mut Link, to: &mut Link, now: u64) {
    let mut bytes = Vec::new();
    from.write(&mut bytes, Now(now));
    to.read(&bytes, Now(now));
}

fn events(link: &mut Link) -> Vec<Event> {
    std::iter::from_fn(|| link.poll()).collect()
}

fn frame(stream: u32, frame: Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, stream, &frame);
    bytes
}

/// A front with one stream, whose client has not taken `bytes` of the owner; `whole`: a frame ends with them.
fn answered(kind: Kind, bytes: usize, whole: bool) -> (Link, Link, u32) {
    let (mut front, mut owner) = pair();
    let id = open(&mut front, kind);
    carry(&mut front, &mut owner, 0);
    owner.streams.push(id, &vec![7; bytes], whole);
    carry(&mut owner, &mut front, 0);
    events(&mut front);
    events(&mut owner);
    (front, owner, id)
}

fn data(stream: u32) -> Vec<u8> {
    let (bytes, whole) = (&b"x"[..], false);
    frame(stream, Frame::Data { bytes, whole })
}

fn end(how: How, offset: u64) -> Vec<u8> {
    frame(1, Frame::End(End { how, offset }))
}

fn ack(offset: u64) -> Vec<u8> {
    let ack = Ack {
        offset,
        window: WINDOW,
        ..Ack::default()
    };
    frame(1, Frame::Ack(ack))
}

fn opened(stream: u32) -> Vec<u8> {
    let (client, begin) = (client(Kind::Upgrade), &b"head"[..]);
    let open = Open {
        client,
        request_bytes: 4,
        begin,
    };
    frame(stream, Frame::Open(open))
}

#[test]
fn each_broken_rule_ends_the_link_by_its_name() {
    let windowful = frame(
        1,
        Frame::Data {
            bytes: &[0; 16_384],
            whole: false,
        },
    )
    .repeat(17);
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (Role::Owner, vec![255; 8], Fault::Frame(FrameError::TooLong)),
        (Role::Owner, frame(1, Frame::Ask), Fault::WrongSide),
        (Role::Front, opened(1), Fault::WrongSide),
        (Role::Owner, end(How::Finish, 0), Fault::WrongSide),
        (Role::Front, end(How::Fin, 0), Fault::WrongSide),
        (Role::Owner, data(2), Fault::NeverOpened),
        (Role::Front, data(2), Fault::NeverOpened),
        (Role::Owner, opened(1), Fault::IdReused),
        (Role::Owner, ack(1), Fault::AckBeyond),
        (Role::Front, ack(5), Fault::AckBeyond),
        (Role::Owner, end(How::Fin, 1), Fault::AckBeyond),
        (Role::Owner, windowful, Fault::DataBeyond),
        (Role::Owner, [end(How::Fin, 0), data(1)].concat(), Fault::BehindEnd),
        (Role::Owner, [end(How::Fin, 0), end(How::Fin, 0)].concat(), Fault::BehindEnd),
        (Role::Front, [end(How::Cut(0), 0), end(How::Cut(0), 0)].concat(), Fault::BehindEnd),
    ];
    for (role, bytes, fault) in cases {
        let (mut front, mut owner) = pair();
        open(&mut front, Kind::Upgrade);
        carry(&mut front, &mut owner, 0);
        let end = match role {
            Role::Front => &mut front,
            Role::Owner => &mut owner,
        };
        end.read(&bytes, Now(0));
        let dead = Event::Dead(Death::Fault(fault));
        assert!(events(end).contains(&dead), "{fault:?}");
        assert_eq!(end.streams.len(), 0);
        end.streams.invariants();
    }
}

#[test]
fn frames_of_an_ended_stream_are_skipped() {
    let (mut front, mut owner, id) = answered(Kind::Upgrade, 5, true);
    front.streams.end(id, How::Reset);
    carry(&mut front, &mut owner, 0);
    owner.streams.took(id, 4);
    owner.streams.end(id, How::Cut(0));
    carry(&mut owner, &mut front, 0);
    assert_eq!((front.streams.len(), owner.streams.len()), (0, 0));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        Frame::Data { bytes: b"x", whole: true },
        Frame::Ack(Ack::default()),
        Frame::End(End { how: How::Reset, offset: 0 }),
    ];
    for late in cases {
        owner.read(&frame(id, late), Now(0));
    }
    let gone = Event::Gone(id, 5);
    assert_eq!(
        events(&mut owner),
        [Event::Ended(id, Ending::Left(How::Reset)), gone]
    );
}

#[test]
fn a_client_that_sends_no_more_may_still_be_reset() {
    let (mut front, mut owner, id) = answered(Kind::Call, 5, false);
    for how in [How::Fin, How::Reset, How::Timeout] {
        front.streams.end(id, how);
        carry(&mut front, &mut owner, 0);
    }
    let left = |how| Event::Ended(id, Ending::Left(how));
    assert_eq!(events(&mut owner), []); // its bytes come first
    owner.streams.took(id, 4);
    assert_eq!(events(&mut owner), [left(How::Reset)]);
    owner.streams.end(id, How::Cut(0));
    carry(&mut owner, &mut front, 0);
    assert_eq!((front.streams.len(), owner.streams.len()), (0, 0));
}

#[test]
fn what_a_dead_link_is_for_a_client_goes_by_what_it_has() {
    let unanswered = |kind, is_sent| {
        let (mut front, mut owner) = pair();
        let id = open(&mut front, kind);
        front.streams.push(id, b"behind", false);
        if is_sent {
            carry(&mut front, &mut owner, 0);
        }
        (front, id)
    };
    let answered = |kind, whole, taken| {
        let (mut front, _, id) = answered(kind, 9, whole);
        front.streams.took(id, taken);
        (front, id)
    };
    let repeat = || Ending::Repeat(b"headbehind".to_vec());
    for ((mut front, id), ending) in [
        (unanswered(Kind::Upgrade, true), repeat()),
        (unanswered(Kind::Upgrade, false), repeat()),
        (unanswered(Kind::Call, false), repeat()),
        (unanswered(Kind::Call, true), Ending::Unavailable),
        (unanswered(Kind::AlexaCall, true), Ending::Unavailable),
        (answered(Kind::Upgrade, true, 9), Ending::Close(1001)),
        (answered(Kind::Upgrade, true, 8), Ending::Reset),
        (answered(Kind::Upgrade, false, 9), Ending::Reset),
        (answered(Kind::Call, true, 9), Ending::Reset),
    ] {
        front.broke(Death::Reset);
        let found = events(&mut front);
        let ended = [Event::Dead(Death::Reset), Event::Ended(id, ending)];
        assert_eq!(found[..2], ended);
        assert!(matches!(found[2..], [Event::Gone(gone, _)] if gone == id));
        let refused = front.open(&client(Kind::Call), vec![1], 0);
        assert_eq!(refused, Err(Refused::Dead));
    }
}

#[test]
fn a_client_whose_owner_is_lost_ends_as_on_a_dead_link_and_the_owner_learns_of_a_reset() {
    let unanswered = |kind| {
        let (mut front, mut owner) = pair();
        let id = open(&mut front, kind);
        carry(&mut front, &mut owner, 0);
        (front, owner, id)
    };
    let taken = |kind, whole, bytes| {
        let (mut front, owner, id) = answered(kind, 9, whole);
        front.streams.took(id, bytes);
        (front, owner, id)
    };
    for ((mut front, mut owner, id), ending) in [
        (unanswered(Kind::Upgrade), Ending::Repeat(b"head".to_vec())),
        (unanswered(Kind::Call), Ending::Unavailable),
        (taken(Kind::Upgrade, true, 9), Ending::Close(1001)),
        (taken(Kind::Upgrade, true, 8), Ending::Reset),
        (taken(Kind::Call, true, 9), Ending::Reset),
    ] {
        let came = owner.inbox(id).len();
        owner.streams.took(id, came);
        drop((events(&mut front), events(&mut owner)));
        front.streams.lose(id);
        assert_eq!(events(&mut front), [Event::Ended(id, ending)]);
        carry(&mut front, &mut owner, 0);
        let left = Event::Ended(id, Ending::Left(How::Reset));
        assert!(events(&mut owner).contains(&left));
        owner.streams.end(id, How::Cut(0));
        carry(&mut owner, &mut front, 0);
        assert!(matches!(events(&mut front)[..], [Event::Gone(gone, _)] if gone == id));
        assert_eq!(front.accepts(), Ok(()), "the link goes on");
    }
}

#[test]
fn links_share_what_may_wait_for_frames() {
    let (mut front, mut owner, id) = answered(Kind::Upgrade, 1, true);
    let most = 4 * 16_384;
    front.streams.bound_waiting(most);
    assert_eq!(front.streams.room(id), most);
    front.streams.push(id, &vec![7; most], false);
    assert_eq!(front.streams.room(id), 0);
    assert_eq!(front.accepts(), Err(Refused::Full));
    events(&mut front);
    carry(&mut front, &mut owner, 0);
    assert_eq!(
        events(&mut front),
        [],
        "room is announced when half is free"
    );
    carry(&mut front, &mut owner, 0);
    assert_eq!(events(&mut front), [Event::Room(id)]);
    assert_eq!(front.streams.room(id), most / 2);
    assert_eq!(front.accepts(), Ok(()));
}

#[test]
fn a_silent_link_is_asked_doubted_and_given_up() {
    let (mut front, mut owner, id) = answered(Kind::Upgrade, 1, true);
    front.tick(Now(LINK_PING_MS - 1));
    assert!(!front.has_output());
    assert_eq!(front.due(Now(0)), Some(Now(LINK_PING_MS)));
    front.tick(Now(LINK_PING_MS));
    carry(&mut front, &mut owner, LINK_PING_MS);
    owner.tick(Now(LINK_PING_MS));
    carry(&mut owner, &mut front, LINK_PING_MS); // PONG and PING
    carry(&mut front, &mut owner, LINK_PING_MS);
    assert_eq!(front.due(Now(LINK_PING_MS)), None, "nothing is open");
    owner.streams.push(id, b"message", true);
    let mut lost = Vec::new();
    owner.write(&mut lost, Now(2_000));
    for (at, is_doubtful) in [
        (2_000 + LINK_DOUBT_MS - 1, false),
        (2_000 + LINK_DOUBT_MS, true),
    ] {
        owner.tick(Now(at));
        assert_eq!(owner.is_doubtful(), is_doubtful);
    }
    owner.tick(Now(2_000 + LINK_DEAD_MS - 1));
    assert_eq!(events(&mut owner), []);
    owner.tick(Now(2_000 + LINK_DEAD_MS));
    // The one byte before, and the message.
    assert_eq!(
        events(&mut owner),
        [Event::Dead(Death::Silent), Event::Gone(id, 8)]
    );
    assert_eq!(owner.due(Now(20_000)), None);
}

#[test]
fn an_own_standstill_is_no_sign_of_the_other_side() {
    let (mut front, mut owner, id) = answered(Kind::Upgrade, 1, true);
    owner.streams.push(id, b"message", true);
    carry(&mut owner, &mut front, 0);
    owner.stood_still(60_000, Now(60_000));
    owner.tick(Now(60_000));
    owner.tick(Now(60_000 + LINK_DOUBT_MS - 1));
    assert!(!owner.is_doubtful() && events(&mut owner).is_empty());
}

#[test]
fn a_woken_front_passes_on_what_came_before_the_pong_and_nothing_without_it() {
    let (mut front, mut owner, id) = answered(Kind::Upgrade, 1, true);
    front.streams.took(id, 1);
    let mut pings = Vec::new();
    owner.streams.push(id, b"old", true);
    carry(&mut owner, &mut front, 0);
    assert_eq!(front.inbox(id), b"old");
    front.stood_still(2_001, Now(5_000));
    assert_eq!(front.inbox(id), b"");
    owner.streams.push(id, b"er", true);
    carry(&mut owner, &mut front, 5_000);
    front.tick(Now(5_000));
    front.write(&mut pings, Now(5_000));
    events(&mut front);
    owner.read(&pings, Now(5_000));
    carry(&mut owner, &mut front, 5_000);
    assert_eq!(front.inbox(id), b"older");
    assert_eq!(events(&mut front), [Event::Inbox(id, 5)]);
    front.stood_still(2_000, Now(8_000));
    assert_eq!(front.inbox(id), b"older", "too short to be given up");
}

#[test]
fn a_doubtful_link_passes_nothing_on_and_what_was_not_sent_comes_back() {
    let (mut front, _, id) = answered(Kind::Upgrade, 1, true);
    front.tick(Now(LINK_DOUBT_MS - 1));
    let call = open(&mut front, Kind::Call);
    front.tick(Now(LINK_DOUBT_MS));
    let repeat = Event::Ended(call, Ending::Repeat(b"head".to_vec()));
    assert_eq!(events(&mut front), [repeat, Event::Gone(call, 4)]);
    let refused = front.open(&client(Kind::Call), vec![1], 0);
    assert_eq!(refused, Err(Refused::Doubtful));
    // The PONG of the ping before the doubt shows that the other side is there, not that it kept the link.
    for (number, inbox) in [(1, 0), (2, 1)] {
        front.read(&frame(0, Frame::Pong(number)), Now(3_500));
        assert!(!front.is_doubtful());
        assert_eq!(front.inbox(id).len(), inbox);
    }
    front.streams.invariants();
}

#[test]
fn a_link_ends_after_a_minute_without_a_stream() {
    let (mut front, mut owner, id) = answered(Kind::Upgrade, 1, true);
    front.streams.end(id, How::Reset);
    carry(&mut front, &mut owner, 0);
    owner.streams.end(id, How::Cut(0));
    carry(&mut owner, &mut front, 0);
    events(&mut front);
    front.tick(Now(7));
    front.read(&frame(0, Frame::Pong(9)), Now(LINK_IDLE_MS));
    front.tick(Now(7 + LINK_IDLE_MS - 1));
    assert_eq!(events(&mut front), []);
    front.tick(Now(7 + LINK_IDLE_MS));
    assert_eq!(events(&mut front), [Event::Dead(Death::Idle)]);
}

#[test]
fn an_owner_that_leaves_gets_no_more_streams() {
    let (mut front, mut owner, id) = answered(Kind::Upgrade, 1, true);
    owner.leave();
    carry(&mut owner, &mut front, 0);
    owner.leave();
    assert!(!owner.has_output(), "said once");
    assert_eq!(events(&mut front), [Event::Away]);
    assert_eq!(
        front.open(&client(Kind::Call), vec![1], 0),
        Err(Refused::Away)
    );
    owner.streams.push(id, b"goes on", true);
    carry(&mut owner, &mut front, 0);
    assert_eq!(events(&mut front), [Event::Inbox(id, 7)]);
}

#[test]
fn a_full_front_ends_the_slowest_of_the_account_with_most() {
    let (mut front, mut owner) = pair();
    let most = LINK_HELD_BYTES_MAX / LINK_WINDOW_BYTES;
    // Account 1 has the stream with most; account 0 has more in all.
    let begin =
        |front: &mut Link, account| front.open(&client(Kind::Call), vec![1], account).unwrap();
    let other = begin(&mut front, 1);
    let ids: Vec<u32> = (0..most).map(|_| begin(&mut front, 0)).collect();
    carry(&mut front, &mut owner, 0);
    let bytes = vec![0; LINK_WINDOW_BYTES];
    owner.streams.push(other, &bytes, false);
    for id in &ids {
        let bytes = &bytes[usize::from(*id != ids[9])..];
        owner.streams.push(*id, bytes, false);
    }
    for _ in 0..2 * LINK_WINDOW_BYTES / 16_384 * most {
        carry(&mut owner, &mut front, 0);
    }
    let found = events(&mut front);
    let ended = |it: &&Event| matches!(it, Event::Ended(..));
    let slow: Vec<&Event> = found.iter().filter(ended).collect();
    let first = Event::Ended(ids[9], Ending::Slow);
    assert_eq!((slow[0], slow.len()), (&first, most / 64));
    front.streams.invariants();
    carry(&mut front, &mut owner, 0);
    let left = Event::Ended(ids[9], Ending::Left(How::Slow));
    owner.streams.took(ids[9], 1);
    assert!(events(&mut owner).contains(&left));
}

#[test]
fn what_waits_for_frames_has_a_bound() {
    let (mut front, mut owner) = pair();
    let ids: Vec<u32> = (0..LINK_WAITING_BYTES_MAX / LINK_WINDOW_BYTES)
        .map(|_| open(&mut front, Kind::Upgrade))
        .collect();
    for id in &ids {
        let room = front.streams.room(*id);
        front.streams.push(*id, &vec![0; room], false);
    }
    front.streams.invariants();
    assert_eq!(front.streams.room(ids[0]), 0);
    let refused = front.open(&client(Kind::Call), vec![1], 0);
    assert_eq!(refused, Err(Refused::Full));
    carry(&mut front, &mut owner, 0);
    for id in &ids {
        owner.streams.push(*id, b"answer", true);
        owner.streams.took(*id, 4);
    }
    carry(&mut owner, &mut front, 0);
    for _ in 0..ids.len() * LINK_WINDOW_BYTES / 16_384 {
        carry(&mut front, &mut owner, 0);
        for id in &ids {
            let there = owner.inbox(*id).len();
            owner.streams.took(*id, there);
        }
        carry(&mut owner, &mut front, 0);
    }
    assert!(events(&mut front).contains(&Event::Room(ids[0])));
    assert!(front.streams.room(ids[0]) > 0);
}

#[test]
fn a_link_has_so_many_streams() {
    let mut front = link(Role::Front);
    for _ in 0..LINK_STREAMS_MAX {
        open(&mut front, Kind::Upgrade);
    }
    assert_eq!(
        front.open(&client(Kind::Call), vec![1], 0),
        Err(Refused::Full)
    );
    let mut owner = link(Role::Owner);
    for _ in 0..LINK_STREAMS_MAX {
        carry(&mut front, &mut owner, 0);
        if owner.streams.len() == LINK_STREAMS_MAX {
            break;
        }
    }
    let next = u32::try_from(LINK_STREAMS_MAX + 1).unwrap();
    let open = Open {
        client: client(Kind::Call),
        request_bytes: 4,
        begin: b"",
    };
    owner.read(&frame(next, Frame::Open(open)), Now(0));
    let mut found = std::iter::from_fn(|| owner.poll());
    let fault = Death::Fault(Fault::TooManyStreams);
    assert!(found.any(|event| event == Event::Dead(fault)));
}
