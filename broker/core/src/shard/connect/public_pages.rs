//! Unsigned requests on a client listener: the browser page at `/`, admin pages, and `GET /ping`.
//!
//! With `--dev`, the page at `/` shows what is running and what to do next. It is sent only if the request accepts
//! HTML. API clients never request `/`, and other tools receive the unknown-operation error.

use crate::event::{Purpose, Requested};
use crate::machine::{Output, Peer};
use crate::session::http::HttpStage;
use crate::shard::calls::responses::{self, Response, shutting_down};
use crate::shard::connect::requests::refuse_step;
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::sockets::{Sockets, Step};
use crate::shard::state::State;
use crate::{control::host_name, id::SessionKey, settings::Settings};
use codec::http::{Head, Meta, respond};
use std::fmt::Write as _;

/// Returns whether a request comes from a browser and should be answered with the page at `/`.
pub(crate) fn is_visit(settings: &Settings, head: &Head<'_>) -> bool {
    let accepts = |accept: &str| accept.contains("text/html");
    settings.dev
        && matches!(head.method(), "GET" | "HEAD")
        && head.path() == "/"
        && head.header("accept").is_some_and(accepts)
}

pub(crate) fn answer_visit(shard: &mut State, key: SessionKey, head: &Head<'_>, close: bool) {
    let sockets = &mut shard.sockets;
    let Some(peer) = sockets.session(key).map(|session| session.peer()) else {
        return;
    };
    let page = page(sockets.settings(), head.host().unwrap_or_default(), peer);
    let answer = Response {
        content_type: "text/html; charset=utf-8",
        ..Response::json(key, Purpose::Unknown, page.as_bytes(), close)
    };
    responses::respond(shard, &answer);
}

/// Renders the HTML page at `/`. `host` is the request's host, which appears in links and commands.
fn page(settings: &Settings, host: &str, peer: Peer) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let host = if host.bytes().all(is_plain) {
        host
    } else {
        "localhost"
    };
    let scheme = if peer.tls { "https" } else { "http" };
    let mut page = String::from(HEAD);
    if let Some(exposure) = settings.exposure() {
        let _ = write!(page, "<p><strong>{exposure}</strong></p>");
    }
    match settings.admin_url(host_name(host)) {
        Some(admin) => {
            let _ = write!(
                page,
                "<p><a class=\"main\" href=\"{admin}/try\">Try it</a> a camera and its viewer in this browser</p>\
                 <p><a href=\"{admin}/\">Console</a> connections, channels and refusals</p>"
            );
        }
        None => page
            .push_str("<p>The admin listener is off, and with it the page to try the service.</p>"),
    }
    let _ = write!(
        page,
        "<p>With the AWS CLI; deploy/FIRST-SESSION.md continues:</p>\
         <pre tabindex=\"0\" role=\"region\" aria-label=\"Command\">\
         aws --endpoint-url {scheme}://{host} kinesisvideo \\\n  \
         create-signaling-channel --channel-name porch</pre>\
         </main>\n"
    );
    page
}

/// Start of the page at `/`. The page loads no external resources and runs no scripts.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Heliograph</title>\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">\
<style>:root{color-scheme:light dark;background:Canvas;color:CanvasText}\
body{font:16px/1.6 system-ui,sans-serif;margin:12vh auto 2rem;max-width:38rem;padding:0 1.2rem}\
h1{margin:0;font-size:1.7rem}pre{overflow-x:auto;padding:.8rem 1rem;border:1px solid #8886;border-radius:8px}\
a{color:#1d4ed8;font-weight:600;margin-right:.4rem}\
@media(prefers-color-scheme:dark){a{color:#9dbcff}}\
a.main{display:inline-block;padding:.35rem .9rem;border-radius:8px;background:#1d4ed8;color:#fff;text-decoration:none}\
</style><main><h1>Heliograph</h1>\
<p>A signaling service for WebRTC, in development mode. Clients of Amazon Kinesis Video Streams WebRTC signaling use \
this address as their endpoint.</p>";

// Admin pages on a TLS client listener. Under `--lan`, a phone opens them at the same address and port to which it
// connects as a client.
//
// The shard looks only at the first line of a request and then hands the connection over to the side thread, which
// decides who may see a page and responds. None of these paths belongs to the client API.

/// Returns whether the side thread serves the requested page on this listener. Returns `false` for upgrades.
pub(crate) fn is_admin_page(sockets: &Sockets, key: SessionKey, head: &Head<'_>) -> bool {
    let peer = sockets.session(key).map(|session| session.own_peer());
    peer.is_some_and(|peer| peer.tls && !peer.inner && sockets.settings().has_pages(peer.listener))
        && is_page(sockets.settings(), head)
}

fn is_page(settings: &Settings, head: &Head<'_>) -> bool {
    let path = head.path();
    match head.method() {
        "GET" | "HEAD" if path == "/" => head.query().is_none() && is_visit(settings, head),
        "GET" | "HEAD" | "POST" | "DELETE" => {
            PAGES.contains(&path) || FOLDERS.iter().any(|folder| path.starts_with(folder))
        }
        _ => false,
    }
}

/// Schedules the handover of a connection to the side thread, once all earlier responses have been sent.
pub(crate) fn pass_on_admin_page(shard: &mut State, key: SessionKey, whole: Vec<u8>) -> Step {
    let (sockets, _, cx, _) = shard.parts();
    if sockets.drains() {
        let evidence = Evidence::of(key, Purpose::Unknown);
        return refuse_step(shard, &evidence, shutting_down());
    }
    sockets.announce(key, HttpStage::AwaitAdmin(whole), Output::Admin(key), cx.at);
    Step::Over
}

/// Paths of the admin pages and of the resources that they load. Other operator endpoints, such as metrics and backups,
/// are available only on the admin listener.
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

// `GET /ping` on a client listener tells load balancers, which cannot reach the admin listener, whether this node is
// ready for clients.
//
// The request needs no signature, and the response has no body. Requests are counted but not logged, because each load
// balancer sends one about every second.

/// Returns whether an `OPTIONS` request is a browser's preflight request, which always names the method that will
/// follow.
pub(crate) fn is_preflight(head: &Head<'_>) -> bool {
    head.header("access-control-request-method").is_some()
}

/// Returns whether a request is a health probe. This includes `OPTIONS` requests to any path, because some load
/// balancers send them.
pub(crate) fn is_probe(head: &Head<'_>) -> bool {
    match head.method() {
        "OPTIONS" => !is_preflight(head),
        "GET" | "HEAD" => head.path() == "/ping",
        _ => false,
    }
}

/// Responds to a health probe with 200 or 503 and no body.
pub(crate) fn answer_probe(sockets: &mut Sockets, cx: &mut Context, key: SessionKey, close: bool) {
    let status = if sockets.readiness().is_ready() {
        200
    } else {
        503
    };
    let close = close || sockets.drains();
    let id = cx.telemetry.request_id();
    let meta = Meta {
        wall_ms: cx.at.wall.0,
        request_id: &id,
        close,
        fields: "",
    };
    sockets.push_control(cx, key, |out| {
        respond(out, &meta, status, None, "", b"");
    });
    cx.telemetry.count_request(Requested::Ping, status);
    sockets.next_request(key, close, cx.at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Profile;

    fn shown(settings: &Settings, host: &str, tls: bool) -> String {
        let peer = Peer {
            remote: ([127, 0, 0, 1], 9).into(),
            listener: 0,
            tls,
            inner: false,
        };
        page(settings, host, peer)
    }

    #[test]
    fn the_page_leads_on_by_addresses_that_the_visitor_can_reach() {
        let mut settings = Settings::new(Profile::Default, true);
        let page = shown(&settings, "localhost:8080", false);
        assert!(
            page.contains("href=\"http://127.0.0.1:8090/try\""),
            "{page}"
        );
        assert!(
            page.contains("--endpoint-url http://localhost:8080 "),
            "{page}"
        );
        settings.admin.listen = Some("0.0.0.0:9091".parse().unwrap());
        let page = shown(&settings, "bench.test:8443", true);
        assert!(page.contains("href=\"http://bench.test:9091/\""), "{page}");
        assert!(
            page.contains("--endpoint-url https://bench.test:8443 "),
            "{page}"
        );
        assert!(!page.contains("--allow-remote"), "{page}");
        settings.allow_remote = true;
        assert!(shown(&settings, "localhost", false).contains("--allow-remote"));
        settings.admin.listen = None;
        assert!(!shown(&settings, "localhost", false).contains("href=\"http"));
    }

    #[test]
    fn a_host_cannot_bring_markup() {
        let settings = Settings::new(Profile::Default, true);
        let page = shown(&settings, "a\"><script>", false);
        assert!(
            !page.contains("<script>") && page.contains("http://localhost "),
            "{page}"
        );
    }
}

#[cfg(test)]
mod admin_pages_tests {
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
