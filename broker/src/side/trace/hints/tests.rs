use super::{Span, *};

/// A viewer of ten seconds that offered after 3 ms.
fn offered() -> Facts {
    Facts {
        now: 10_000.0,
        whole: true,
        master: true,
        offer: Some(3.0),
        viewer_candidates: 5,
        longest: 6_000,
        ..Facts::default()
    }
}

/// The same, answered after 65 ms.
fn answered() -> Facts {
    Facts {
        arrived: Some(3.0),
        answer: Some(65.0),
        master_candidates: 5,
        ..offered()
    }
}

fn unaccepted() -> Unaccepteds {
    let mut all = Unaccepteds::default();
    let lengths = Lengths {
        bytes: 40_112,
        most: 32_768,
    };
    all.add(Unaccepted::TooLong, lengths);
    all.add(Unaccepted::TooLong, lengths);
    all.add(Unaccepted::NotJson, Lengths::default());
    all
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_table_of_hints() {
    const DONE: &str = "signaling took 62 ms; what fails after it is ICE or TURN, not the broker";
    let cases: [(&str, Facts, &[&str]); 31] = [
        ("a session as it should be", answered(), &[DONE]),
        (
            "an offer that waited",
            Facts {
                offer: Some(3.0),
                arrived: Some(12_403.0),
                answer: Some(12_465.0),
                now: 20_000.0,
                ..answered()
            },
            &[
                "the offer waited 12.4 s: no master was connected",
                "once the master was connected, signaling took 62 ms; what fails after it is ICE or TURN, not \
                 the broker",
            ],
        ),
        (
            "an offer that waits",
            Facts {
                master: false,
                ..offered()
            },
            &["the offer has waited 10.0 s so far: no master is connected"],
        ),
        (
            "an offer that expired",
            Facts {
                master: false,
                now: 70_000.0,
                expired: Some(60_003.0),
                ..offered()
            },
            &[
                "the offer was dropped after 60.0 s, the channel's MessageTtlSeconds: no master came for it",
            ],
        ),
        (
            "a master that says nothing",
            Facts {
                arrived: Some(2_000.0),
                offer: Some(2_000.0),
                ..offered()
            },
            &["the offer went to the master 8.0 s ago, and it has sent nothing to this viewer"],
        ),
        (
            "a master that has had no time yet",
            Facts {
                arrived: Some(9_000.0),
                offer: Some(9_000.0),
                ..offered()
            },
            &[],
        ),
        (
            "a master whose messages are not accepted",
            Facts {
                arrived: Some(2_000.0),
                offer: Some(2_000.0),
                of_master: vec![(Unaccepted::NotJson, Lengths::default())],
                ..offered()
            },
            &[
                "the offer went to the master 8.0 s ago, and nothing that it has sent since was accepted",
                "the master's messages were not accepted: it is not one JSON object",
            ],
        ),
        (
            "an offer that was not accepted",
            Facts {
                declined: true,
                unaccepted: unaccepted(),
                now: 185_000.0,
                whole: true,
                ..Facts::default()
            },
            &[
                "2 messages were not accepted: messagePayload of 40,112 characters; 32,768 are allowed",
                "1 message was not accepted: it is not one JSON object",
            ],
        ),
        (
            "a viewer that left a silent master",
            Facts {
                arrived: Some(3.0),
                left: Some(503.0),
                ..offered()
            },
            &[
                "the offer went to the master 500 ms before this viewer left, and it has sent nothing to it",
            ],
        ),
        (
            "candidates without an answer",
            Facts {
                arrived: Some(0.0),
                offer: Some(0.0),
                master_candidates: 1,
                ..offered()
            },
            &[
                "the offer went to the master 10.0 s ago, and it has sent this viewer 1 ICE candidate and no \
                 answer",
            ],
        ),
        (
            "a viewer that left before the answer",
            Facts {
                arrived: Some(3.0),
                left: Some(4_000.0),
                missed: Some(4_900.0),
                ..offered()
            },
            &["the viewer left 900 ms before the answer"],
        ),
        (
            "an answer to an earlier connection",
            Facts {
                now: 1_000.0,
                whole: true,
                master: true,
                early: Some(40.0),
                older_offer: true,
                ..Facts::default()
            },
            &[
                "the answer is for an offer of an earlier connection of this client id; this one has sent none",
            ],
        ),
        (
            "a master that connected again",
            Facts {
                arrived: Some(3.0),
                replaced: Some((303.0, Again::Not("[signaling] repeat_offers is off"))),
                ..offered()
            },
            &[
                "the master connected again 300 ms after the offer had gone to it: its new connection does not \
                 get that offer again, since [signaling] repeat_offers is off",
                "the offer went to the master 10.0 s ago, and it has sent nothing to this viewer",
            ],
        ),
        (
            "no candidates of the master",
            Facts {
                master_candidates: 0,
                ..answered()
            },
            &[
                "the master has sent no ICE candidates: unless its answer contains them, ICE has no address to \
                 try",
                DONE,
            ],
        ),
        (
            "no candidates of the master, in its answer neither",
            Facts {
                master_candidates: 0,
                in_answer: Some(0),
                ..answered()
            },
            &[
                "the master has sent no ICE candidates, and its answer contains none: ICE has no address of it to \
                 try",
                DONE,
            ],
        ),
        (
            "candidates of the master in its answer",
            Facts {
                master_candidates: 0,
                in_answer: Some(4),
                ..answered()
            },
            &[DONE],
        ),
        (
            "no candidates anywhere",
            Facts {
                viewer_candidates: 0,
                master_candidates: 0,
                in_offer: Some(0),
                in_answer: Some(0),
                ..answered()
            },
            &[
                "neither side has sent ICE candidates, and neither offer nor answer contains any: ICE has no \
                 address to try",
                DONE,
            ],
        ),
        (
            "a client that cannot take GO_AWAY",
            Facts {
                told_to_go: Some(9_000.0),
                left: Some(9_012.0),
                ended: Some(EndReason::PeerGone),
                ..answered()
            },
            &[
                "the client ended within 12 ms of GO_AWAY, which asks it to connect again: if it does not come \
                 back, set [clients] go_away = false for it",
                DONE,
            ],
        ),
        (
            "a call over HTTP",
            Facts {
                whole: true,
                absent: true,
                call: Some(HttpCall {
                    answered: Some(Some(4)),
                    dropped: 3,
                }),
                ..Facts::default()
            },
            &[
                "a call of SendAlexaOfferToMaster by this client id was answered, with 4 ICE candidates in the \
                 answer; of its master 3 ICE candidates apart from the answer came to nothing: a call takes none",
            ],
        ),
        (
            "no candidates of the master yet",
            Facts {
                master_candidates: 0,
                now: 1_000.0,
                ..answered()
            },
            &[DONE],
        ),
        (
            "a long offer",
            Facts {
                longest: 12_014,
                ..answered()
            },
            &[
                "a message of 12014 bytes: old builds of the C SDK take 10240 at most",
                DONE,
            ],
        ),
        (
            "the longest that is none",
            Facts {
                longest: 10_240,
                ..answered()
            },
            &[DONE],
        ),
        (
            "refused messages",
            Facts {
                unaccepted: unaccepted(),
                ..answered()
            },
            &[
                "2 messages were not accepted: messagePayload of 40,112 characters; 32,768 are allowed",
                "1 message was not accepted: it is not one JSON object",
                DONE,
            ],
        ),
        (
            "a viewer without an offer",
            Facts {
                now: 185_000.0,
                whole: true,
                ..Facts::default()
            },
            &["the viewer has been connected for 3 min 5 s and has sent no offer"],
        ),
        (
            "a viewer that has just come",
            Facts {
                now: 4_000.0,
                whole: true,
                ..Facts::default()
            },
            &[],
        ),
        (
            "a viewer whose beginning is not known",
            Facts {
                now: 185_000.0,
                ..Facts::default()
            },
            &[],
        ),
        (
            "a viewer that left without an offer",
            Facts {
                now: 185_000.0,
                left: Some(900.0),
                whole: true,
                ..Facts::default()
            },
            &["the viewer left after 900 ms and had sent no offer"],
        ),
        (
            "a client id that never connected",
            Facts {
                now: 60_000.0,
                whole: true,
                absent: true,
                missed: Some(0.0),
                ..Facts::default()
            },
            &[
                "no connection of this client id is known: the master sent to it before it came, or after it left",
            ],
        ),
        (
            "a viewer that left while its offer was kept",
            Facts {
                left: Some(4_003.0),
                ..offered()
            },
            &["the viewer left 4.0 s after its offer, and no master had connected"],
        ),
        (
            "an answer that came late",
            Facts {
                answer: Some(4_203.0),
                ..answered()
            },
            &[
                "the answer came 4.2 s after the offer",
                "signaling took 4.2 s; what fails after it is ICE or TURN, not the broker",
            ],
        ),
        (
            "an answer in time, and one to a second offer that came too late",
            Facts {
                left: Some(4_000.0),
                missed: Some(4_900.0),
                ..answered()
            },
            &[DONE],
        ),
    ];
    for (name, facts, wanted) in cases {
        let got: Vec<String> = hints(&facts).iter().map(Hint::to_string).collect();
        assert_eq!(got, wanted, "{name}");
    }
}

#[test]
fn what_becomes_of_an_offer_whose_master_connected_again() {
    for (again, says) in [
        (
            Again::Given(2_010.0, 1),
            "its new connection got that offer again 2.0 s later, with 1 ICE candidate",
        ),
        (
            Again::Due(1_200.0, 2_000.0),
            "its new connection gets that offer again in 1.2 s, when it has been open for 2.0 s",
        ),
        (
            Again::Next(2_000.0),
            "the next connection that stays open for 2.0 s gets that offer again",
        ),
        (
            Again::Returned,
            "the former one had not confirmed it, so the new one got it",
        ),
    ] {
        assert_eq!(again.to_string(), says);
    }
}

/// One that hangs is found by a ping; one that ends long after is none.
#[test]
fn what_follows_go_away_is_said_where_it_follows_soon() {
    let facts = |left, ended| Facts {
        told_to_go: Some(1_000.0),
        left: Some(left),
        ended,
        ..Facts::default()
    };
    let hung = ended_after_go_away(&facts(91_000.0, Some(EndReason::Unanswered)));
    assert_eq!(
        hung,
        Some(Hint::EndedAfterGoAway(90_000.0, "answered no ping"))
    );
    for (left, ended) in [
        (4_000.0, Some(EndReason::PeerClosed)),
        (1_100.0, Some(EndReason::Drain)),
        (1_100.0, None),
    ] {
        assert_eq!(ended_after_go_away(&facts(left, ended)), None);
    }
}

#[test]
fn spans_are_short() {
    let spans = [
        (-1.0, "0.0 ms"),
        (0.04, "0.0 ms"),
        (9.94, "9.9 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (99_949.0, "99.9 s"),
        (100_000.0, "1 min 40 s"),
    ];
    for (ms, text) in spans {
        assert_eq!(Span(ms).to_string(), text);
    }
}

#[test]
fn who_confirmed_the_answer_is_said_where_that_may_be_a_proxy() {
    let facts = Facts {
        now: 9_000.0,
        whole: true,
        master: true,
        offer: Some(1_000.0),
        arrived: Some(1_001.0),
        answer: Some(1_200.0),
        confirmed_by: Some([192, 0, 2, 7].into()),
        master_candidates: 1,
        master_trickled: Some(1_210.0),
        ..Facts::default()
    };
    let sentences = hints(&facts).into_iter().map(|hint| hint.to_string());
    assert_eq!(
        Vec::from_iter(sentences),
        [
            "signaling took 200 ms, confirmed by 192.0.2.7, which is the proxy where one ends TCP; what fails after it \
             is ICE or TURN, not the broker"
        ]
    );
}

#[test]
fn nothing_is_said_of_ice_where_the_answer_was_not_confirmed() {
    let facts = |left| Facts {
        now: 9_000.0,
        left,
        whole: true,
        master: true,
        offer: Some(1_000.0),
        arrived: Some(1_001.0),
        answer: Some(1_200.0),
        unconfirmed: true,
        ..Facts::default()
    };
    let sentences = |left| {
        let hints = hints(&facts(left)).into_iter();
        hints.map(|hint| hint.to_string()).collect::<Vec<_>>()
    };
    let sent =
        "the answer was sent 200 ms after the offer, and the viewer's machine has not confirmed it";
    let connected = format!("{sent}: the viewer may be cut off, or have another network");
    assert!(
        sentences(None).contains(&connected),
        "{:?}",
        sentences(None)
    );
    let left = format!("{sent}: it is kept for the viewer's next connection");
    assert!(sentences(Some(5_000.0)).contains(&left));
    assert!(
        !sentences(None)
            .iter()
            .any(|one| one.contains("ICE or TURN"))
    );
}
