use super::{PASSAGES, *};
use crate::{channel::Towards, journal::Unaccepted, time::Now};
use codec::signal::Action;
use codec::ws::{Excess, FrameError};

fn recorder(notes: usize) -> Recorder {
    Recorder::new(notes, RandomState::with_seeds(1, 2, 3, 4))
}

fn goes(recorder: &mut Recorder, ms: u64) {
    let at = Moment {
        now: Now(ms),
        ..Moment::default()
    };
    let recorder = recorder.at(at, ChannelKey::new(1, 0));
    recorder.told_to_go(SessionKey::new(2, 0));
}

#[test]
fn the_oldest_notes_are_overwritten() {
    let mut recorder = recorder(4);
    for ms in 0..6 {
        goes(&mut recorder, ms);
    }
    assert_eq!((recorder.oldest(), recorder.written()), (2, 6));
    let times = (0..8).map(|serial| recorder.get(serial).map(|[first, ..]| first / 1000));
    let left = [None, None, Some(2), Some(3), Some(4), Some(5), None, None];
    assert_eq!(times.collect::<Vec<_>>(), left);
}

#[test]
fn a_recorder_that_is_off_has_no_notes_and_no_memory() {
    let mut recorder = recorder(0);
    goes(&mut recorder, 1);
    assert!(!recorder.is_on() && recorder.notes.is_empty());
    assert_eq!(
        (recorder.oldest(), recorder.written(), recorder.get(0)),
        (0, 0, None)
    );
}

#[test]
fn time_goes_on_when_the_clock_of_microseconds_wraps() {
    let at = |us: u64| Moment {
        now: Now(us / 1000),
        micros: u32::try_from(us & u64::from(u32::MAX)).unwrap(),
        ..Moment::default()
    };
    for us in [
        0,
        1,
        999,
        1000,
        4_294_967_295,
        4_294_967_296,
        4_294_968_001,
        1 << 40,
    ] {
        assert_eq!(micros(at(us)), us);
    }
    let odd = Moment {
        now: Now(5),
        micros: 77_777,
        ..Moment::default()
    };
    assert_eq!(micros(odd), 5_000, "the milliseconds count");
}

#[test]
fn messages_come_out_of_their_notes_as_they_went_in() {
    let actions = [
        None,
        Some(Action::SdpOffer),
        Some(Action::SdpAnswer),
        Some(Action::IceCandidate),
    ];
    let unaccepted = Unaccepted::ALL.iter().copied().map(Passage::Unaccepted);
    for passage in PASSAGES.into_iter().chain(unaccepted) {
        for action in actions {
            for towards in [Towards::Master, Towards::Viewer] {
                let passed = NotedMessage::new(action, towards, passage, 7);
                assert_eq!(NotedMessage::of_detail(passed.detail(), 7), passed);
            }
        }
    }
    for (candidates, wanted) in [
        (None, None),
        (Some(0), Some(0)),
        (Some(4), Some(4)),
        (Some(999), Some(126)),
    ] {
        let passed = NotedMessage {
            candidates,
            ..NotedMessage::of_detail(0, 7)
        };
        let first = LOW | 256 << SHIFT | passed.looked();
        assert_eq!(
            name_and_candidates(first),
            (256, wanted),
            "beside the longest name"
        );
    }
    let [low, high] = halves(0x0123_4567);
    assert_eq!((low >> SHIFT, high >> SHIFT), (0x4567, 0x0123));
    let whole = halves(usize::MAX).map(|half| half >> SHIFT);
    assert_eq!(whole, [0xffff; 2], "the greatest length that fits");
}

#[test]
fn the_lengths_of_a_message_that_was_too_big_are_noted() {
    let big = EndReason::ProtocolError(FrameError::MessageTooBig(Excess::new(70_112, 65_536)));
    for known in [big, EndReason::Idle] {
        assert_eq!(reason(known.code().get(), lengths(known)), Some(known));
    }
    assert_eq!((reason(0, 0), reason(u8::MAX, 0)), (None, None));
}
