use super::*;
use crate::settings::Settings;

fn master() -> WebSocket {
    let terms = AdmissionTerms {
        notices: true,
        program: Program::default(),
        bounds: BoundsPlace::default(),
        ends: Now(3_600_000),
    };
    WebSocket::new(ChannelKey::default(), Role::Master, terms, Now(0))
}

#[test]
fn a_silent_client_is_pinged_then_cut_at_the_idle_limit() {
    let timeouts = Timeouts {
        pong_ms: 0,
        ..Settings::default().timeouts
    };
    let mut session = master();
    assert_eq!(session.due(&timeouts, Now(0)), Due::At(Now(45_000)));
    for at in (45_000..600_000).step_by(45_000) {
        assert_eq!(session.due(&timeouts, Now(at)), Due::Ping);
        session.sends(Now(at));
        session.pinged(Now(at));
        let next = Now((at + 45_000).min(600_000));
        assert_eq!(session.due(&timeouts, Now(at + 1)), Due::At(next));
    }
    assert_eq!(session.due(&timeouts, Now(600_000)), Due::Idle);
    assert!(
        session.heard(false, Now(599_999)),
        "the next ping comes before the idle limit"
    );
    assert_eq!(session.due(&timeouts, Now(600_000)), Due::At(Now(630_000)));
    assert!(!session.heard(false, Now(600_001)));
}

#[test]
fn a_client_is_pinged_when_nothing_came_or_nothing_went() {
    let timeouts = Settings::default().timeouts;
    // When bytes were last received, when bytes were last sent, a ping after which no frame has arrived, and when the
    // next ping is due.
    for (came, went, pinged, due) in [
        (0, 0, None, 45_000),
        (30_000, 10_000, None, 55_000), // the client only sends
        (10_000, 30_000, None, 55_000), // the client only receives
        (30_000, 30_000, None, 75_000),
        (30_001, 31_000, None, 76_000),
        (0, 44_000, Some(40_000), 70_000), // without a pong, the connection ends
        (39_000, 10_000, Some(40_000), 55_000),
        (39_000, 50_000, None, 84_000), // nothing is due until the clock has jumped this far
    ] {
        let mut session = master();
        session.heard(false, Now(came));
        if let Some(pinged) = pinged {
            session.pinged(Now(pinged));
        }
        session.sends(Now(went));
        assert_eq!(
            session.due(&timeouts, Now(40_000)),
            Due::At(Now(due)),
            "{came} {went} {pinged:?}"
        );
    }
    // The low half of the time is sufficient, even when it wraps around.
    let mut session = master();
    session.times.ends = NEVER;
    for round in [0xffff_0000_u64, 0x1_0000_0000, 0x5_ffff_fff0] {
        session.heard(false, Now(round + 20_000));
        session.sends(Now(round));
        assert_eq!(session.times.last_sent(Now(round + 44_000)), Now(round));
        let due = whole_second(Now(round + 45_000));
        assert_eq!(session.due(&timeouts, Now(round + 44_000)), Due::At(due));
    }
}

#[test]
fn a_ping_that_no_frame_follows_ends_the_connection() {
    let timeouts = Settings::default().timeouts;
    let mut session = master();
    session.sends(Now(60_030));
    session.pinged(Now(60_030));
    assert_eq!(session.due(&timeouts, Now(60_031)), Due::At(Now(91_000)));
    assert_eq!(session.due(&timeouts, Now(91_000)), Due::Unanswered);
    assert!(!session.stood_still(&timeouts, Now(93_000)));
    assert!(session.stood_still(&timeouts, Now(93_001)));
    let mut superseded = master();
    superseded.pinged(Now(60_030));
    superseded.superseded = true;
    assert_eq!(
        superseded.due(&timeouts, Now(91_000)),
        Due::At(Now(600_000))
    );
    session.sends(Now(60_030));
    session.heard(false, Now(90_001));
    assert_eq!(session.due(&timeouts, Now(91_000)), Due::At(Now(106_000)));
}

#[test]
fn a_message_s_time_begins_with_its_first_byte() {
    let timeouts = Settings::default().timeouts;
    let mut session = master();
    session.sends(Now(70_000));
    for at in [70_003, 71_000, 74_500] {
        assert!(session.heard(true, Now(at)));
        assert_eq!(session.due(&timeouts, Now(at)), Due::At(Now(80_003)));
    }
    assert_eq!(session.due(&timeouts, Now(80_003)), Due::SlowMessage);
    session.message_ended();
    assert_eq!(session.due(&timeouts, Now(80_003)), Due::At(Now(115_000)));
    assert!(
        session.heard(true, Now(81_000)),
        "the next one has a time of its own"
    );
    assert_eq!(session.due(&timeouts, Now(81_000)), Due::At(Now(91_000)));
    // The time of a ping is kept, however long ago the last frame was received.
    let mut session = master();
    session.pinged(Now(86_400_000));
    assert_eq!(session.times.pinged(), Some(Now(86_400_000)));
    assert!(session.heard(false, Now(86_400_001)));
    assert_eq!(session.times.pinged(), None);
}

#[test]
fn silence_is_measured_in_whole_seconds() {
    let timeouts = Settings::default().timeouts;
    for (heard, pinged) in [(0, 45_000), (1, 46_000), (999, 46_000), (1_000, 46_000)] {
        let mut session = master();
        session.sends(Now(heard));
        session.heard(false, Now(heard));
        assert_eq!(session.due(&timeouts, Now(heard)), Due::At(Now(pinged)));
    }
    assert_eq!(whole_second(NEVER), NEVER);
}

#[test]
fn a_connection_without_notices_is_closed_at_once_when_it_is_recalled() {
    let timeouts = Timeouts {
        idle_ms: u64::MAX,
        ping_ms: 0,
        ..Settings::default().timeouts
    };
    let mut session = master();
    session.notices = Notices::Never;
    assert!(!session.tell_to_go());
    assert_eq!(session.due(&timeouts, Now(5)), Due::At(Now(3_600_000)));
    session.recall(Now(70));
    session.recall(Now(80));
    assert_eq!(session.due(&timeouts, Now(5)), Due::At(Now(70)));
    assert_eq!(session.due(&timeouts, Now(70)), Due::Old);
    assert_eq!(session.end(), EndReason::IceReconnect);
}

#[test]
fn an_hour_ends_with_a_minute_of_notice() {
    let timeouts = Timeouts {
        ping_ms: 0,
        idle_ms: u64::MAX,
        ..Settings::default().timeouts
    };
    let mut session = master();
    assert_eq!(
        session.due(&timeouts, Now(3_539_999)),
        Due::At(Now(3_540_000))
    );
    assert_eq!(session.due(&timeouts, Now(3_540_000)), Due::GoAway);
    assert!(session.tell_to_go() && !session.tell_to_go());
    assert_eq!(
        session.due(&timeouts, Now(3_540_000)),
        Due::At(Now(3_600_000))
    );
    assert_eq!(session.due(&timeouts, Now(3_600_000)), Due::Old);
}

#[test]
fn a_superseded_connection_gets_neither_ping_nor_go_away() {
    let mut session = master();
    session.superseded = true;
    let timeouts = Timeouts {
        idle_ms: u64::MAX,
        ..Settings::default().timeouts
    };
    assert_eq!(
        session.due(&timeouts, Now(3_550_000)),
        Due::At(Now(3_600_000))
    );
}

#[test]
fn a_message_must_end_within_ten_seconds_of_its_first_byte() {
    let timeouts = Settings::default().timeouts;
    let mut session = master();
    session.heard(true, Now(100));
    session.heard(true, Now(9_000));
    assert_eq!(session.due(&timeouts, Now(10_099)), Due::At(Now(10_100)));
    assert_eq!(session.due(&timeouts, Now(10_100)), Due::SlowMessage);
    session.heard(false, Now(10_000));
    assert_eq!(session.due(&timeouts, Now(10_100)), Due::At(Now(45_000)));
}

#[test]
fn frames_without_effect_are_counted_by_the_second() {
    let mut session = master();
    assert!((0..200).all(|_| session.count_idle_frame(Now(5))));
    assert!(!session.count_idle_frame(Now(999)));
    assert!(session.count_idle_frame(Now(1000)));
}
