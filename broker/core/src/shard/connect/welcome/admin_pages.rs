//! Pages of the admin listener that are asked for on a TLS listener: under `--lan` a phone finds them at the address
//! and port where it connects as a client.
//!
//! The shard looks at the first line of a request and passes the connection on with it; who may see what is decided by
//! the side thread, which answers. None of these paths is one of the client API.

use crate::check::Check;
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::machine::Output;
use crate::session::http::HttpStage;
use crate::settings::Settings;
use crate::shard::Fault;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::refusals::NO_ROOM;
use crate::shard::calls::respond::{self, Rejected};
use crate::shard::connect::requests::Step;
use crate::shard::end::drain;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::control::ErrorKind;
use codec::http::Head;

/// Whether a request, which is no upgrade, is for a page that the side thread serves here.
pub(crate) fn is_meant(sockets: &Sockets, key: SessionKey, head: &Head<'_>) -> bool {
    let peer = sockets.session(key).map(|session| session.peer());
    peer.is_some_and(|peer| peer.tls && !peer.inner && sockets.settings().has_pages(peer.listener))
        && is_page(sockets.settings(), head)
}

fn is_page(settings: &Settings, head: &Head<'_>) -> bool {
    let path = head.path();
    match head.method() {
        "GET" | "HEAD" if path == "/" => head.query().is_none() && super::is_visit(settings, head),
        "GET" | "HEAD" | "POST" | "DELETE" => {
            PAGES.contains(&path) || FOLDERS.iter().any(|folder| path.starts_with(folder))
        }
        _ => false,
    }
}

/// Announces that a connection goes to the side thread; its release follows, when the answers before it are sent.
pub(crate) fn pass_on(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    whole: Vec<u8>,
    at: Moment,
) -> Step {
    let evidence = Evidence::default();
    if drain::refuses_in_drain(sockets, books, key, Purpose::Unknown, &evidence, at) {
        return Step::Over;
    }
    let deadline = at.now.after(sockets.settings().timeouts.head_ms);
    if let Some(http) = sockets.http(key) {
        http.stage = HttpStage::AwaitAdmin(whole);
        http.deadline = deadline;
        sockets.charge(key);
        sockets.output(Output::Admin(key));
        sockets.arm(key, deadline);
    }
    Step::Over
}

/// The side thread has no room for the connection, or closed it without an answer.
pub(crate) fn refuse(sockets: &mut Sockets, books: &mut Books, key: SessionKey, at: Moment) {
    let fault = Fault::new(
        Check::ConnectionsFull,
        ErrorKind::ServiceUnavailable,
        NO_ROOM,
    );
    let (purpose, evidence) = (Purpose::Unknown, Evidence::default());
    let rejected = Rejected::last(purpose, &evidence);
    respond::respond_error(sockets, books, key, &fault, rejected, at);
}

/// Pages, and what they fetch. What an operator needs beside them (metrics, backups) is on the admin listener alone.
const PAGES: [&str; 5] = ["/try", "/overview", "/events", "/channels", "/refusals"];
const FOLDERS: [&str; 7] = [
    "/try/",
    "/pair/",
    "/assets/",
    "/channels/",
    "/refusals/",
    "/sessions/",
    "/dev/",
];

#[cfg(test)]
mod tests {

    use super::*;
    use crate::settings::Profile;
    use codec::control::Operation;
    use codec::http::HeadLimits;
    use strum::VariantArray as _;

    fn meant(line: &str, accept: &str) -> bool {
        let settings = Settings::new(Profile::Default, true);
        let text = format!("{line} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        let limits = HeadLimits {
            head_bytes: 4096,
            header_lines: 64,
        };
        is_page(&settings, &Head::parse(text.as_bytes(), &limits).unwrap())
    }

    #[test]
    fn pages_go_to_the_side_thread_and_calls_stay() {
        for line in [
            "GET /try",
            "HEAD /try",
            "POST /pair/CODE",
            "GET /events?topics=overview",
            "DELETE /dev/faults/1",
        ] {
            assert!(meant(line, "*/*"), "{line}");
        }
        for line in [
            "GET /",
            "POST /",
            "POST /?X-Amz-ChannelARN=a",
            "GET /backup",
            "POST /backup",
            "GET /metrics",
            "GET /trying",
            "OPTIONS /try",
            "PUT /try",
            "GET //try",
        ] {
            assert!(!meant(line, "*/*"), "{line}");
        }
        assert!(meant("GET /", "text/html"));
        assert!(!meant("GET /?X-Amz-ChannelARN=a", "text/html"));
    }

    #[test]
    fn no_call_of_clients_has_such_a_path() {
        for operation in Operation::VARIANTS {
            let path = operation.path();
            assert!(!meant(&format!("POST {path}"), "*/*"), "{path}");
        }
    }
}
