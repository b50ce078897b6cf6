//! Players without an SDK: codec/PROTOCOL.md, WHEP.

use crate::shard_transcripts::script::Script;
use broker_core::event::{Kind, Outcome};
use broker_core::settings::{Ice, IceCredential};
use codec::{base64, signal::Action};

/// A camera, a player whose offer it got, and the id to which it answers.
struct Call {
    script: Script,
    id: String,
}

impl Call {
    /// Makes a world of one shard under `--dev`.
    fn new() -> Self {
        Self::on(Script::dev())
    }

    fn on(mut script: Script) -> Self {
        script.play("m connects | m < 101\na connects |");
        let id = offered(&mut script, "a", "tv");
        Self { script, id }
    }

    /// Plays a transcript in which `PLAYER` is the call's id, `answer(LINES)` and `candidate(TEXT)` are payloads.
    fn play(&mut self, transcript: &str) {
        let transcript = transcript.replace("PLAYER", &self.id);
        let mut played = String::new();
        let mut rest = &*transcript;
        while let Some((before, kind, from)) = next_payload(rest) {
            let (text, after) = from.split_once(')').expect("a closing bracket");
            played.extend([before, &payload(kind, text)]);
            rest = after;
        }
        played.push_str(rest);
        self.script.play(&played);
    }
}

fn next_payload(text: &str) -> Option<(&str, &str, &str)> {
    let kinds = [" answer(", " candidate("].into_iter();
    let found = kinds.filter_map(|kind| Some((text.find(kind)? + 1, kind.trim_start())));
    let (place, kind) = found.min()?;
    Some((&text[..place], kind, &text[place + kind.len()..]))
}

/// The payload of an answer, whose lines are separated by slashes, or of a candidate.
fn payload(kind: &str, text: &str) -> String {
    let json = if kind == "answer(" {
        let lines = text.split('/').map(|line| format!("{line}\\r\\n"));
        let sdp: String = lines.collect();
        format!(r#"{{"type":"answer","sdp":"{sdp}"}}"#)
    } else {
        format!(r#"{{"candidate":"{text}","sdpMLineIndex":0}}"#)
    };
    let mut out = Vec::new();
    base64::encode(&mut out, json.as_bytes());
    String::from_utf8(out).expect("base64")
}

/// A player POSTs its offer; returns the id that the camera gets with it.
fn offered(script: &mut Script, player: &str, client_id: &str) -> String {
    script.act(&format!("{player} > {}", post(client_id)));
    let heard = script.hear();
    let (offer, id) = heard[0].rsplit_once(" from ").expect("an offer");
    let offer =
        base64::decode(offer.rsplit(' ').next().expect("a payload").as_bytes()).expect("base64");
    assert_eq!(offer, br#"{"type":"offer","sdp":"v=0\r\nm=video\r\n"}"#);
    let random = id
        .strip_prefix(&format!("{client_id}-"))
        .expect("the client id");
    assert_eq!(random.len(), 16, "{id}");
    id.into()
}

fn post(client_id: &str) -> String {
    format!(
        "http POST /whep/cam?X-Amz-ClientId={client_id} HTTP/1.1\\r\\nHost: localhost\\r\\n\
         Content-Type: application/sdp\\r\\nContent-Length: 14\\r\\n\\r\\nv=0\\r\\nm=video\\r\\n"
    )
}

/// A player that waits while no camera is connected.
fn alone() -> Script {
    let mut script = Script::dev();
    script.play(
        "m connects                                    | m < 101
         m vanishes                                    | m < end
         a connects                                    |",
    );
    script.act(&format!("a > {}", post("tv")));
    script
}

#[test]
fn candidates_before_with_and_after_the_answer_are_in_it() {
    let host = "candidate:1 1 udp 1 192.0.2.1 9 typ host";
    Call::new().play(&format!(
        "m > ICE_CANDIDATE candidate({host}) to PLAYER     |
         time 100ms                                    |
         m > SDP_ANSWER answer(v=0/m=video) to PLAYER      |
         time 300ms                                    |
         m > ICE_CANDIDATE candidate({host} 2) to PLAYER   |
         time 399ms                                    |
         time 65ms                                     | a < 201 v=0/m=video/a={host}/a={host} 2",
    ));
}

/// The id of a call is remembered for 30 s after its longest wait.
#[test]
fn what_comes_for_an_ended_call_is_dropped_and_counted() {
    let mut call = Call::new();
    call.play(
        "m > SDP_ANSWER answer(v=0/m=video/a=end-of-candidates) to PLAYER | a < 201 v=0/m=video/a=end-of-candidates
         a vanishes                                     | a < end
         m > SDP_ANSWER answer(v=0/m=video) to PLAYER   |
         m > ICE_CANDIDATE candidate(candidate:1) to PLAYER |
         time 39s                                       |
         m > ICE_CANDIDATE candidate(candidate:1) to PLAYER |",
    );
    let dropped = [Action::SdpAnswer, Action::IceCandidate].map(|action| {
        let row = call.script.counters().outcomes[Kind::Known(action).index()];
        row[Outcome::Withdrawn.index()]
    });
    assert_eq!(dropped, [1, 2]);
    assert_eq!(call.script.counters().pending_messages, 0);
    call.play("time 1s |\nm > ICE_CANDIDATE candidate(candidate:1) to PLAYER |");
    let found = call.script.counters().pending_messages;
    assert_eq!(found, 1, "as for a viewer");
}

/// A camera with a small buffer would lose its connection by a longer message.
#[test]
fn an_offer_that_the_camera_cannot_take_is_refused() {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.wss_message_bytes = 1024;
    });
    let long = format!("m={}", "x".repeat(900));
    let post = format!(
        "http POST /whep/cam HTTP/1.1\\r\\nHost: localhost\\r\\n\
         Content-Type: application/sdp\\r\\nContent-Length: 902\\r\\n\\r\\n{long}"
    );
    script.play(&format!(
        "m connects wss                                 | m < 101
         a1 connects                                    |
         a1 > {post}                                    | a1 < 413 InvalidArgumentException
         m vanishes                                     | m < end
         a2 connects                                    |
         a2 > {post}                                    |
         m-b connects wss                               | a2 < 413 InvalidArgumentException; m-b < 101
         a3 connects                                    |"
    ));
    let id = offered(&mut script, "a3", "tv");
    Call { script, id }.play("m-b > SDP_ANSWER answer(v=0) to PLAYER | a3 < 502 NoAnswerException");
}

#[test]
fn a_call_ends_when_it_is_complete_or_at_its_bound() {
    let relay = "candidate:1 1 udp 1 192.0.2.1 9 typ relay";
    for line in ["a=end-of-candidates", &*format!("a={relay}")] {
        let answer = format!("v=0/m=video/{line}");
        Call::new().play(&format!(
            "m > SDP_ANSWER answer({answer}) to PLAYER | a < 201 {answer}"
        ));
    }
    Call::new().play(
        "m > ICE_CANDIDATE candidate() to PLAYER           |
         m > SDP_ANSWER answer(v=0/m=video) to PLAYER      | a < 201 v=0/m=video",
    );
    let mut call = Call::new();
    call.play("m > SDP_ANSWER answer(v=0/m=video) to PLAYER   |");
    for _ in 0..6 {
        call.play("time 320ms |\nm > ICE_CANDIDATE candidate(candidate:1) to PLAYER |");
    }
    let six = "/a=candidate:1".repeat(6);
    call.play(&format!(
        "time 79ms |\ntime 65ms | a < 201 v=0/m=video{six}"
    ));
}

#[test]
fn who_gets_no_answer_is_told_why() {
    Call::new().play("time 9299ms |\ntime 65ms | a < 504 NoAnswerException");
    alone().play("time 9299ms |\ntime 65ms | a < 409 NoAnswerException");
    Call::new().play("m > SDP_ANSWER answer(v=0) to PLAYER | a < 502 NoAnswerException");
    let mut script = Script::dev();
    script.play("a connects |");
    script.act(&format!("a > {}", post("tv")));
    assert_eq!(script.hear(), ["a < 404 ResourceNotFoundException"]);
}

#[test]
fn the_next_master_gets_an_unanswered_offer_and_only_its_candidates_count() {
    let mut call = Call::new();
    call.play(
        "m > ICE_CANDIDATE candidate(candidate:1) to PLAYER |
         m vanishes                                     | m < end",
    );
    call.script.act("m-b connects");
    let heard = call.script.hear();
    assert!(heard[1].ends_with(&call.id), "{heard:?}");
    call.play(
        "m-b > ICE_CANDIDATE candidate(candidate:2) to PLAYER |
         m-b > SDP_ANSWER answer(v=0/m=video) to PLAYER       |
         m-b vanishes                                     | m-b < end
         # it is answered: no other master gets it
         m-c connects                                     | m-c < 101
         m-c > ICE_CANDIDATE candidate(candidate:3) to PLAYER |
         time 465ms                                       | a < 201 v=0/m=video/a=candidate:2",
    );
}

#[test]
fn a_player_that_hangs_up_withdraws_its_offer() {
    let mut script = alone();
    script.play("a vanishes | a < end\nm-b connects | m-b < 101");
    assert_eq!(script.counters().players.iter().sum::<u64>(), 1);
    let mut call = Call::new();
    call.play(
        "m > SDP_ANSWER answer(v=0/m=video) to PLAYER       |
         a vanishes                                     | a < end
         time 1s                                        |",
    );
}

#[test]
fn an_answered_call_ends_with_its_answer_whatever_ends_it() {
    for (ends, waiting) in [
        ("drain 2s", "503 ServiceUnavailable"),
        ("a3 > delete cam", "404 ResourceNotFoundException"),
    ] {
        let mut call = Call::new();
        call.script.play("a2 connects |\na3 connects |");
        offered(&mut call.script, "a2", "tv");
        call.play("time 1ms |\nm > SDP_ANSWER answer(v=0/m=video) to PLAYER |");
        call.script.act(ends);
        let mut heard = call.script.hear();
        call.script.pass_by(399);
        heard.extend(call.script.hear());
        let answered = "a < 201 v=0/m=video".to_owned();
        let is_drain = ends.starts_with("drain");
        assert_eq!(heard.contains(&answered), !is_drain, "{ends}: {heard:?}");
        call.script.pass_by(1_700);
        heard.extend(call.script.hear());
        for expected in [answered, format!("a2 < {waiting}")] {
            assert!(heard.contains(&expected), "{ends}: {heard:?}");
        }
    }
}

#[test]
fn other_methods_change_nothing() {
    let request = |line: &str| format!("a > http {line} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n");
    let mut script = Script::dev();
    script.play(&format!(
        "a connects |
         {} | a < 200
         {} | a < 204
         {} | a < 200
         {} | a < 200
         {} | a < 405 InvalidArgumentException; a < end",
        request("HEAD /whep/cam"),
        request("GET /whep/cam"),
        request("DELETE /whep/cam/0123456789abcdef"),
        request("OPTIONS /whep/cam"),
        request("PATCH /whep/cam/0123456789abcdef"),
    ));
    let mut off = Script::with(1, true, |settings| settings.whep.on = false);
    off.play("a connects |");
    off.act(&format!("a > {}", post("tv")));
    assert_eq!(off.hear()[0], "a < 404 UnknownOperationException");
}

#[test]
fn what_is_no_offer_is_refused() {
    let request = |content_type: &str, body: &str| {
        let length = body.len();
        format!(
            "a > http POST /whep/cam HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: {content_type}\\r\\n\
             Content-Length: {length}\\r\\n\\r\\n{body}"
        )
    };
    let long = format!("m={}", "x".repeat(40_000));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("application/json", "m=", "415 InvalidArgumentException; a < end"),
        ("application/sdp", "v=0", "400 InvalidArgumentException"),
        ("application/SDP, v=1", "v=0", "415 InvalidArgumentException; a < end"),
        ("application/SDP", "v=0", "400 InvalidArgumentException"),
        ("application/sdp", &*long, "413 InvalidArgumentException"),
    ];
    for (content_type, body, expected) in cases {
        let mut script = Script::opened();
        let act = request(content_type, body);
        script.play(&format!("a connects |\n{act} | a < {expected}"));
    }
}

#[test]
fn a_crowd_of_players_shares_the_places() {
    // One call of a player for four of Alexa.
    let mut call = Call::on(Script::with_waiting_calls(1, 4));
    call.script.play("a2 connects |");
    call.play("m > SDP_ANSWER answer(v=0/m=video) to PLAYER |");
    call.script.act(&format!("a2 > {}", post("tv")));
    assert_eq!(call.script.hear(), ["a2 < 503 ServiceUnavailable"]);
    call.play("time 465ms | a < 201 v=0/m=video");
    // The newest call of the channel with most makes room: with what it has, or with nothing.
    for (answers, ended) in [(true, "201 v=0/m=video"), (false, "503 ServiceUnavailable")] {
        let mut call = Call::on(Script::with_waiting_calls(1, 8));
        call.script.play("a2 connects |\na3 connects |");
        let newest = offered(&mut call.script, "a2", "tv");
        if answers {
            call.id = newest;
            call.play("m > SDP_ANSWER answer(v=0/m=video) to PLAYER |");
        }
        call.script.act("a3 > create door");
        call.script.hear();
        let other = post("tv").replace("/whep/cam", "/whep/door");
        (call.script).play(&format!("a3 > {other} | a2 < {ended}"));
    }
}

#[test]
fn ice_servers_are_named_with_the_answer() {
    let mut call = Call::on(Script::with(2, true, |settings| {
        settings.ice.push(Ice {
            urls: ["stun:s.example:3478", "turn:t.example:3478?transport=udp"]
                .map(Into::into)
                .into(),
            credential: IceCredential::Fixed {
                username: "u:1".into(),
                password: "p\"w".into(),
            },
            ttl_seconds: 60,
        });
    }));
    let head_of = |script: &mut Script, name: &str| {
        String::from_utf8(script.client(name).stream.clone()).expect("ASCII")
    };
    call.play("m > SDP_ANSWER answer(v=0/m=video) to PLAYER |");
    call.script.pass_by(465);
    call.script.hear();
    let links = "Link: <stun:s.example:3478>; rel=\"ice-server\"\r\n\
         Link: <turn:t.example:3478?transport=udp>; rel=\"ice-server\"; username=\"u:1\"; \
         credential=\"p\\\"w\"; credential-type=\"password\"\r\n";
    let head = head_of(&mut call.script, "a");
    let (_, random) = call.id.split_once('-').expect("an id");
    let location = format!("Location: /whep/cam/{random}\r\n");
    #[rustfmt::skip] // a list
    let cases = [links, &location, "Cache-Control: no-store\r\n", "Content-Type: application/sdp\r\n"];
    for line in cases {
        assert!(head.contains(line), "{head}");
    }
    call.script.play(
        "a2 connects |
         a2 > http OPTIONS /whep/cam HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n | a2 < 200
         a3 connects |
         a3 > http OPTIONS /whep/cam HTTP/1.1\\r\\nHost: localhost\\r\\nAccess-Control-Request-Method: \
         POST\\r\\n\\r\\n | a3 < 200",
    );
    let head = head_of(&mut call.script, "a2");
    let fine = head.contains(links) && head.contains("Accept-Post: application/sdp\r\n");
    assert!(fine, "{head}");
    let head = head_of(&mut call.script, "a3");
    let fine = !head.contains("Link: ") && head.contains("Methods: POST, DELETE, OPTIONS\r\n");
    assert!(fine, "{head}");
}
