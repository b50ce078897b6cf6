//! The page that says why nobody was signed in.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Why nobody was signed in, in a sentence or two for the person who tried.
#[derive(Debug)]
pub(crate) struct Notice {
    code: StatusCode,
    text: String,
    /// Names and values of what it is about, shown below each other.
    facts: Vec<(&'static str, String)>,
}

impl Notice {
    pub(crate) fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            facts: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    /// The text alone, for the log.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl IntoResponse for Notice {
    fn into_response(self) -> Response {
        let facts = self.facts.iter();
        let facts =
            facts.map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
        let page = PAGE
            .replace("{facts}", &facts.collect::<String>())
            .replace("{text}", &escaped(&self.text));
        let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        (self.code, kind, page).into_response()
    }
}

/// A text as the content of an element.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not the first of a placeholder.
            '{' => out.push_str("&#123;"),
            // Neither ends of lines nor what turns the direction of a text around.
            letter if letter.is_control() || is_of_direction(letter) => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

const fn is_of_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first characters of a text of a provider, for the log.
pub(crate) fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(TEXT_CHARS_MAX);
    let end = end.map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

const TEXT_CHARS_MAX: usize = 128;

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Not signed in · Heliograph</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="/assets/icon.svg">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<header><a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="24" height="24">Heliograph</a></header>
<main>
<section class="card login">
<h1>Not signed in</h1>
<p role="alert">{text}</p>
<dl>{facts}</dl>
<p><a href="/">Back to the console</a></p>
</section>
</main>
</body>
</html>
"#;

#[cfg(test)]
mod tests {

    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn texts_of_a_provider_stay_texts() {
        let notice = Notice::new(StatusCode::FORBIDDEN, "<b>no</b>")
            .with("subject", "\"><script>{text}\u{202e}\n&'");
        let response = notice.into_response();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let page = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("&lt;b&gt;no&lt;/b&gt;"), "{page}");
        let shown = "<dd>&quot;&gt;&lt;script&gt;&#123;text}\u{fffd}\u{fffd}&amp;&#39;</dd>";
        assert!(page.contains(shown), "{page}");
        assert!(!page.contains("{text}") && !page.contains("<script"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("é"), "é");
        assert_eq!(cut(&"é".repeat(200)).chars().count(), TEXT_CHARS_MAX);
    }
}
