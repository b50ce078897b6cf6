//! The files of the console, embedded in the binary. They are the same for all clients.

use crate::side::admin::http::Fault;
use aws_lc_rs::digest;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::LazyLock;

struct Asset {
    path: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal),+ $(,)?) => {
        &[$(Asset { path: $path, bytes: include_bytes!(concat!("../../../console/", $path)) }),+]
    };
}

const ASSETS: &[Asset] = assets!(
    "index.html",
    "style.css",
    "drawing.css",
    "icon-alert.svg",
    "icon.svg",
    "main.js",
    "alarm.js",
    "api.js",
    "chart.js",
    "dom.js",
    "format.js",
    "series.js",
    "state.js",
    "tabs.js",
    "pair/pair.css",
    "pair/pair.html",
    "pair/pair.js",
    "try/camera.js",
    "try/figures.js",
    "try/line.js",
    "try/network.js",
    "try/phone.css",
    "try/phone.js",
    "try/role.js",
    "try/seen.js",
    "try/side.js",
    "try/signaling.js",
    "try/sleep.js",
    "try/sources.js",
    "try/try.css",
    "try/try.html",
    "try/try.js",
    "try/viewer.js",
    "views/channel.js",
    "views/channels.js",
    "views/cluster.js",
    "views/dev.js",
    "views/faults.js",
    "views/find.js",
    "views/history.js",
    "views/hooks.js",
    "views/log.js",
    "views/now.js",
    "views/overview.js",
    "views/refused.js",
    "views/session.js",
    "views/timeline.js",
    "views/why.js",
);

static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        let hash = digest::digest(&digest::SHA256, asset.bytes);
        let hex = data_encoding::HEXLOWER.encode(hash.as_ref().get(..8).unwrap_or_default());
        HeaderValue::try_from(format!("\"{hex}\""))
    };
    let tags: Result<_, _> = ASSETS.iter().map(tag).collect();
    tags.expect("digits between quotation marks")
});

pub(crate) async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

pub(crate) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    serve(&path, &headers)
}

fn serve(path: &str, headers: &HeaderMap) -> Response {
    let found = ASSETS.iter().zip(&*TAGS).find(|(it, _)| it.path == path);
    let Some((asset, tag)) = found else {
        return Fault::not_found("no such file").into_response();
    };
    let same = headers.get(header::IF_NONE_MATCH) == Some(tag);
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        asset.bytes.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind(path));
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn kind(path: &str) -> HeaderValue {
    let ending = path.rsplit('.').next().unwrap_or_default();
    HeaderValue::from_static(match ending {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn a_file_has_its_type_and_tag_and_is_not_sent_twice() {
        let mut headers = HeaderMap::new();
        let first = serve("views/log.js", &headers);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
        let kind = &first.headers()[header::CONTENT_TYPE];
        assert_eq!(kind, "text/javascript; charset=utf-8");
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(
            serve("views/log.js", &headers).status(),
            StatusCode::NOT_MODIFIED
        );
        assert_eq!(serve("index.html", &headers).status(), StatusCode::OK);
        for absent in ["", "../Cargo.toml", "views", "views/log.js/", "INDEX.HTML"] {
            assert_eq!(
                serve(absent, &HeaderMap::new()).status(),
                StatusCode::NOT_FOUND
            );
        }
    }

    /// Every file that a module imports or a page names exists.
    #[test]
    fn every_file_that_is_named_is_served() {
        let named: BTreeSet<&str> = ASSETS.iter().map(|asset| asset.path).collect();
        for asset in ASSETS {
            let Ok(text) = std::str::from_utf8(asset.bytes) else {
                continue;
            };
            let lines = text.lines().filter(|line| line.starts_with("import "));
            let first = lines.map(|line| line.split('\'').nth(1).expect("a module"));
            let later = text.split("import('").skip(1);
            let later = later.map(|rest| rest.split('\'').next().expect("a module"));
            for from in first.chain(later) {
                let folder = asset.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let path = match (from.strip_prefix("./"), from.strip_prefix("../")) {
                    (Some(file), _) if folder.is_empty() => file.to_owned(),
                    (Some(file), _) => format!("{folder}/{file}"),
                    (None, Some(file)) => file.to_owned(),
                    (None, None) => panic!("{}: {from}", asset.path),
                };
                assert!(named.contains(&*path), "{}: {from}", asset.path);
            }
            for part in text.split("\"/assets/").skip(1) {
                let path = part.split('"').next().unwrap();
                assert!(named.contains(path), "{}: {path}", asset.path);
            }
        }
        for folder in ["pair", "try", "views"] {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/console/").to_owned() + folder;
            for entry in fs::read_dir(path).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let path = format!("{folder}/{name}");
                assert!(named.contains(&*path), "{path} is not served");
            }
        }
    }

    /// Text is only ever set as text, and no file is fetched from another origin.
    #[test]
    fn no_file_writes_markup_or_names_another_origin() {
        for asset in ASSETS {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            #[rustfmt::skip] // a list
            let cases = ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style=", "https://"];
            for banned in cases {
                assert!(!text.contains(banned), "{}: {banned}", asset.path);
            }
            let lines = text.lines().count();
            assert!(lines <= 300, "{}: {lines} lines", asset.path);
        }
    }
}
