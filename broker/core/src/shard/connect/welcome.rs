//! The page for browsers at `/` of a client listener under `--dev`: what runs here, and where to go on.
//!
//! Only a request that accepts HTML gets it. API clients send none to `/`, and tools get the error of any unknown
//! operation.

pub(crate) mod admin_pages;

use crate::control::endpoint::host_name;
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::machine::Peer;
use crate::settings::Settings;
use crate::shard::books::Books;
use crate::shard::calls::respond::{self, Response};
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::http::Head;
use std::fmt::Write as _;

/// Whether a request is a browser's visit that is answered by the page.
pub(crate) fn is_visit(settings: &Settings, head: &Head<'_>) -> bool {
    let accepts = |accept: &str| accept.contains("text/html");
    settings.dev
        && matches!(head.method(), "GET" | "HEAD")
        && head.path() == "/"
        && head.header("accept").is_some_and(accepts)
}

pub(crate) fn answer_visit(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    head: &Head<'_>,
    close: bool,
    at: Moment,
) {
    let Some(peer) = sockets.session(key).map(|session| session.peer()) else {
        return;
    };
    let page = page(sockets.settings(), head.host().unwrap_or_default(), peer);
    let answer = Response {
        purpose: Purpose::Unknown,
        status: 200,
        refusal: None,
        content_type: "text/html; charset=utf-8",
        body: page.as_bytes(),
        close,
    };
    respond::respond(sockets, books, key, &answer, at);
}

/// The page. `host` is the request's: by what name the visitor reached us.
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
        "<p>With the AWS CLI; README.md continues under \"First session\":</p>\
         <pre>aws --endpoint-url {scheme}://{host} kinesisvideo \\\n  \
         create-signaling-channel --channel-name porch</pre>\
         </main>\n"
    );
    page
}

/// No byte comes from elsewhere, and no script runs.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Heliograph</title>\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">\
<style>:root{color-scheme:light dark}\
body{font:16px/1.6 system-ui,sans-serif;margin:12vh auto 2rem;max-width:38rem;padding:0 1.2rem}\
h1{margin:0;font-size:1.7rem}pre{overflow-x:auto;padding:.8rem 1rem;border:1px solid #8886;border-radius:8px}\
a{color:LinkText;font-weight:600;margin-right:.4rem}\
a.main{display:inline-block;padding:.35rem .9rem;border-radius:8px;background:#2159d6;color:#fff;text-decoration:none}\
</style><main><h1>Heliograph</h1>\
<p>A signaling service for WebRTC, in development mode. Clients of Amazon Kinesis Video Streams WebRTC signaling use \
this address as their endpoint.</p>";

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
