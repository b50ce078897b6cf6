//! The admin listener's tokens, and the event streams opened with each token. During a rotation, there are two tokens.

use crate::files::Token;
use crate::side::admin::connection_limits::Line;
use crate::side::shared_state::Shared;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, HeaderValue, header};
use tokio::sync::watch;

/// The tokens that are currently valid. Callers must present one of them. Clones share their state.
#[derive(Clone)]
pub struct Tokens {
    in_force: watch::Receiver<Vec<Token>>,
    streams: Shared<Vec<(Token, Line)>>,
}

impl Tokens {
    /// Creates a token set that follows the watch channel.
    #[must_use]
    pub fn new(in_force: watch::Receiver<Vec<Token>>) -> Self {
        Self {
            in_force,
            streams: Shared::default(),
        }
    }

    /// Returns the token in `Authorization` if it is valid. The token is always compared with all valid tokens, so the
    /// time taken does not reveal whether any of them matches.
    pub(crate) fn borne(&self, headers: &HeaderMap) -> Option<Token> {
        let given = headers.get(header::AUTHORIZATION);
        let given = given.map_or(&b""[..], HeaderValue::as_bytes);
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        let in_force = self.in_force.borrow();
        let compared = in_force.iter().map(|token| (equal(given, token), token));
        let borne = compared.fold(None, |borne, (is_it, token)| {
            is_it.then_some(token).or(borne)
        });
        borne.cloned()
    }

    /// Registers an event stream, which is closed when its token is removed.
    pub(crate) fn hold(&self, token: Token, stream: Line) {
        if !is_among(&self.in_force.borrow(), &token) {
            return stream.end(); // the token has been removed in the meantime
        }
        let mut streams = self.streams.lock();
        streams.retain(|(_, stream)| stream.is_open());
        streams.push((token, stream));
    }

    /// Closes the event streams of removed tokens. Returns when the sender of the watch channel is dropped.
    pub(crate) async fn watch(mut self) {
        while self.in_force.changed().await.is_ok() {
            let in_force = self.in_force.borrow_and_update();
            self.streams.lock().retain(|(token, stream)| {
                let stays = is_among(&in_force, token);
                if !stays {
                    stream.end();
                }
                stays
            });
        }
    }
}

fn is_among(in_force: &[Token], token: &Token) -> bool {
    in_force.iter().any(|it| equal(token.as_bytes(), it))
}

fn equal(given: &[u8], token: &Token) -> bool {
    verify_slices_are_equal(given, token.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use zeroize::Zeroizing;

    impl Tokens {
        /// Creates a token set that never changes.
        pub(crate) fn fixed(tokens: &[&str]) -> Self {
            Self::new(watch::Sender::new(all(tokens)).subscribe())
        }
    }

    fn all(tokens: &[&str]) -> Vec<Token> {
        let tokens = tokens.iter().map(|&token| Zeroizing::new(token.to_owned()));
        tokens.map(Arc::new).collect()
    }

    #[test]
    fn each_token_in_force_lets_in_and_no_other() {
        let sender = watch::Sender::new(all(&["former-token"]));
        let tokens = Tokens::new(sender.subscribe());
        let borne = |text: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(text).unwrap();
            headers.insert(header::AUTHORIZATION, value);
            tokens.borne(&headers).map(|token| token.to_string())
        };
        for (in_force, let_in) in [
            (&["former-token"][..], &["former-token"][..]),
            (
                &["next-token", "former-token"],
                &["next-token", "former-token"],
            ),
            (&["next-token"], &["next-token"]),
            (&[], &[]),
        ] {
            sender.send_replace(all(in_force));
            for token in ["former-token", "next-token"] {
                let expected = let_in.contains(&token).then(|| token.to_owned());
                assert_eq!(borne(&format!("Bearer {token}")), expected, "{in_force:?}");
                for wrong in [
                    token.to_owned(),
                    format!("Bearer {token}x"),
                    format!("bearer {token}"),
                    format!("Bearer  {token}"),
                    "Bearer ".to_owned(),
                ] {
                    assert_eq!(borne(&wrong), None, "{wrong}");
                }
            }
        }
        assert_eq!(tokens.borne(&HeaderMap::new()), None);
    }
}
