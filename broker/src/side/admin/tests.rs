use super::*;
use crate::side::HistoryStore;
use crate::side::admin::rules::BROWSER_HEADERS;
use crate::side::console::history::History;
use crate::side::log::Item;
use crate::side::metrics::{ProcessState, Report};
use crate::side::{Backup, Log, Readers, Refusals, Tries};
use crate::side::{inspector::Whom, shared_state::Shared};
use broker_core::{auth::SessionKeys, id::ShardId, shard::Reply};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Serves on a free port, sends one request with the given lines, and returns the status and body of the response.
fn ask(status: Status, token: Option<&str>, scraped: bool, request: &'static str) -> (u16, String) {
    let answer = answer(status, token, scraped, request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

fn answer(status: Status, token: Option<&str>, scraped: bool, request: &'static str) -> String {
    answer_beside(Refusals::none(), status, token, scraped, request)
}

fn answer_beside(
    refusals: Refusals,
    status: Status,
    token: Option<&str>,
    scraped: bool,
    request: &'static str,
) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let board = StatusBoard::default();
    board.set(status);
    let report = move || {
        scraped.then(|| Report {
            shards: Vec::new(),
            busy_ratios: Vec::new(),
            process: ProcessState::default(),
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut inspector_answers = scraped;
    let shows = Shows {
        hooks: None,
        providers: None,
        known: None,
        accounts: None,
        readers: Readers::new(None),
        scrape: Box::new(report),
        inspect: Box::new(move |whom, _| {
            if !std::mem::take(&mut inspector_answers) {
                return vec![(ShardId(0), None)];
            }
            match whom {
                Whom::All => Vec::new(),
                Whom::Home(_) => vec![(ShardId(0), Some(Reply::Channel(None)))],
                Whom::One(_) => vec![(ShardId(0), Some(Reply::Session(Box::default())))],
            }
        }),
        look: Box::new(Vec::new),
        history: Shared::new(History::new(0, Instant::now(), HistoryStore::default())),
        log: Arc::default(),
        refusals,
        troubled: Arc::default(),
        backup: Backup::none(),
        settings: Arc::default(),
        tries: Tries::default(),
        in_force: None,
        imports: None,
        tokens: token.map(|token| crate::side::Tokens::fixed(&[token])),
        lan: None,
        cluster: None,
        nodes: None,
        dev: None,
    };
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        tokio::spawn(serve(vec![listener], board, shows));
        tokio::task::spawn_blocking(move || exchange(addr, request))
            .await
            .unwrap()
    })
}

fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(30)))
        .unwrap();
    let host = if request.contains("Host:") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    write!(stream, "{request}\r\n{host}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn readiness_follows_the_status_and_liveness_does_not() {
    let cases = [
        (Status::Starting, 503, "{\"status\":\"starting\"}"),
        (Status::Ok, 200, "{\"status\":\"ok\"}"),
        (Status::Draining, 503, "{\"status\":\"draining\"}"),
        (Status::StoreFailed, 503, "{\"status\":\"store_failed\"}"),
    ];
    for (status, code, body) in cases {
        assert_eq!(
            ask(status, None, true, "GET /ready HTTP/1.1"),
            (code, body.to_owned())
        );
        assert_eq!(
            ask(status, None, true, "GET /live HTTP/1.1"),
            (200, body.to_owned())
        );
    }
}

/// Pages that show what the log thread writes wait for it. Its mark is therefore among the lines.
#[test]
fn what_a_client_has_seen_is_on_each_page_of_the_log_threads_memories() {
    for (request, waits) in [
        ("GET /refusals HTTP/1.1", true),
        ("GET /refusals/groups HTTP/1.1", true),
        ("GET /overview HTTP/1.1", true),
        ("GET /channels/one/trace HTTP/1.1", true),
        ("GET /channels/one HTTP/1.1", false),
    ] {
        let (log, items) = Log::new(8, 0);
        let refusals = Refusals::new(&log, &SessionKeys::new(&[0; 32], None), 1);
        drop(log);
        let marks = std::thread::spawn(move || {
            let marks = items.iter().filter(|item| matches!(item, Item::Mark(_)));
            marks.count()
        });
        answer_beside(refusals, Status::Ok, None, true, request);
        assert_eq!(marks.join().unwrap() > 0, waits, "{request}");
    }
}

#[test]
fn metrics_are_503_when_a_shard_does_not_answer() {
    assert_eq!(ask(Status::Ok, None, false, "GET /metrics HTTP/1.1").0, 503);
    let (code, text) = ask(Status::Ok, None, true, "GET /metrics HTTP/1.1");
    assert_eq!(code, 200);
    assert!(text.contains("heliograph_messages_total"), "{text}");
}

#[test]
fn other_pages_and_methods_are_refused() {
    assert_eq!(ask(Status::Ok, None, true, "GET /nothing HTTP/1.1").0, 404);
    assert_eq!(ask(Status::Ok, None, true, "POST /ready HTTP/1.1").0, 405);
}

#[test]
fn the_inspector_is_503_when_a_shard_does_not_answer() {
    #[rustfmt::skip] // a list
    let cases = ["GET /channels HTTP/1.1", "GET /channels/one HTTP/1.1", "POST /ice/reconnect HTTP/1.1"];
    for request in cases {
        let (code, text) = ask(Status::Ok, None, false, request);
        let wanted = "{\"error\":\"a shard does not answer\"}";
        assert_eq!((code, text.as_str()), (503, wanted), "{request}");
    }
    let (code, text) = ask(Status::Ok, None, true, "GET /channels HTTP/1.1");
    let wanted = "{\"channels\":[],\"nextToken\":null}";
    assert_eq!((code, text.as_str()), (200, wanted));
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_reason() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("GET /channels?limit=0 HTTP/1.1", 400),
        ("GET /channels?limit=1001 HTTP/1.1", 400),
        ("GET /channels?token=x HTTP/1.1", 400),
        ("GET /channels?prefix=%FF HTTP/1.1", 400),
        ("GET /channels/a%0Ab HTTP/1.1", 400),
        ("GET /channels/%FF HTTP/1.1", 400),
        ("GET /ice/reconnect HTTP/1.1", 405),
        ("PUT /channels HTTP/1.1", 405),
        ("GET /channels/one HTTP/1.1", 404),
        ("GET /refusals?limit=0 HTTP/1.1", 400),
        ("GET /refusals?chanel=x HTTP/1.1", 400),
        ("GET /refusals/none HTTP/1.1", 404),
        ("GET /sessions/0/7 HTTP/1.1", 404),
        ("GET /sessions/99/7 HTTP/1.1", 400),
        ("GET /sessions/0/x HTTP/1.1", 400),
        ("POST /ice/reconnect?channel=arn:aws:nothing HTTP/1.1", 400),
        ("POST /channels/one/trace HTTP/1.1", 405),
        ("GET /channels/a%0Ab/trace HTTP/1.1", 400),
        ("GET /channels/one/trace?limit=0 HTTP/1.1", 400),
        ("GET /channels/one/trace?limit=5001 HTTP/1.1", 400),
        ("GET /channels/one/trace?since=yesterday HTTP/1.1", 400),
        ("GET /channels/one/trace?since=2026-02-30T00:00:00Z HTTP/1.1", 400),
        ("GET /channels/one/trace?since=9223372036854775807-01-01T00:00:00Z HTTP/1.1", 400),
        ("GET /channels/one/trace?client=%FF HTTP/1.1", 400),
        ("GET /events?topics= HTTP/1.1", 400),
        ("GET /events?topics=nothing HTTP/1.1", 400),
        ("GET /events?topics=overview,overview HTTP/1.1", 400),
        ("GET /events?topics=channel: HTTP/1.1", 400),
        ("GET /events?topics=channel:a%20b HTTP/1.1", 400),
        ("GET /events?topics=log, HTTP/1.1", 400),
        ("GET /events?topics=%FF HTTP/1.1", 400),
        ("GET /events?topics=channel:r/1/a%20b HTTP/1.1", 400),
    ];
    for (request, code) in cases {
        let (got, text) = ask(Status::Ok, None, true, request);
        assert!(
            got == code && text.starts_with("{\"error\":"),
            "{request}: {got} {text}"
        );
    }
    let answer = answer(Status::Ok, None, true, "PUT /channels HTTP/1.1");
    assert!(answer.contains("\r\nallow: GET,HEAD\r\n"), "{answer}");
}

#[test]
fn pages_for_tests_are_absent_without_dev() {
    #[rustfmt::skip] // a list
    let cases = ["GET /dev HTTP/1.1", "GET /dev/clock HTTP/1.1", "POST /dev/any/thing HTTP/1.1"];
    for request in cases {
        let (code, text) = ask(Status::Ok, None, true, request);
        let wanted = "{\"error\":\"/dev needs --dev: it is for tests\"}";
        assert_eq!((code, text.as_str()), (404, wanted), "{request}");
    }
}

#[test]
fn the_settings_are_shown() {
    let (code, text) = ask(Status::Ok, None, true, "GET /config HTTP/1.1");
    assert_eq!(code, 200);
    assert!(text.contains("\"region\":\"us-west-2\""), "{text}");
}

#[test]
fn the_rules_of_access_hold_for_every_page() {
    let status = |token, request| ask(Status::Ok, token, true, request).0;
    let foreign = "GET /config HTTP/1.1\r\nOrigin: http://evil.example";
    assert_eq!(status(None, foreign), 403);
    let named = "GET /config HTTP/1.1\r\nHost: evil.example";
    assert_eq!(status(None, named), 403);
    assert_eq!(status(Some("t"), "GET /live HTTP/1.1"), 200);
    assert_eq!(status(Some("t"), "GET /ready HTTP/1.1"), 200);
    assert_eq!(status(Some("t"), "GET /nothing HTTP/1.1"), 401);
    assert_eq!(status(Some("t"), "GET /config HTTP/1.1"), 401);
    let bearer = "GET /config HTTP/1.1\r\nAuthorization: Bearer t";
    assert_eq!(status(Some("t"), bearer), 200);
}

#[test]
fn every_answer_has_the_security_headers_of_browsers() {
    for (request, status) in [
        ("GET /live HTTP/1.1", "200"),
        ("GET /nothing HTTP/1.1", "404"),
        ("GET /live HTTP/1.1\r\nOrigin: null", "403"),
    ] {
        let answer = answer(Status::Ok, None, true, request);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}");
        let head = answer.split("\r\n\r\n").next().unwrap();
        for (name, value) in BROWSER_HEADERS {
            let line = format!("\r\n{name}: {value}");
            assert!(head.contains(&line), "{request}: {head}");
        }
    }
}

#[test]
fn metrics_have_the_requested_format() {
    let accept = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text";
    for (request, kind, ends) in [
        ("GET /metrics HTTP/1.1", "text/plain; version=0.0.4", false),
        (accept, "application/openmetrics-text; version=1.0.0", true),
    ] {
        let answer = answer(Status::Ok, None, true, request);
        let line = format!("\r\ncontent-type: {kind}; charset=utf-8\r\n");
        assert!(answer.contains(&line), "{answer}");
        assert_eq!(answer.ends_with("# EOF\n"), ends);
    }
}
