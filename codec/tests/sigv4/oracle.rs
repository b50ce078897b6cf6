//! Random requests signed by aws-sigv4 verify in every spelling that means the same, and no change of meaning passes.

use super::support::{Call, NOON, Shard, Signer};
use codec::http::encode;
use codec::sigv4::{Form, Service};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::Index;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn signed_headers_verify(call in call(), signer in signer(), style in style(), changes in vec(change(), 8)) {
        let signed = signer.sign(call);
        hold(&signer, &signed, Form::Header, style, &changes)?;
    }

    #[test]
    fn presigned_urls_verify(
        call in call(), signer in signer(), expires in 1u64..=604_800, style in style(), changes in vec(change(), 8),
    ) {
        let signed = signer.presign(call, expires);
        hold(&signer, &signed, Form::Strict, style, &changes)?;
    }
}

/// The request verifies as signed and in another spelling; each change is refused.
fn hold(
    signer: &Signer,
    signed: &Call,
    form: Form,
    style: Style,
    changes: &[Change],
) -> Result<(), TestCaseError> {
    let mut shard = Shard::new();
    let mut verify =
        |head: &str, body: &[u8]| shard.verify(head, body, &signer.rules(), Some(&signer.key()));
    prop_assert_eq!(
        verify(&signed.head(), &signed.body),
        Ok(form),
        "{}",
        signed.head()
    );
    let restyled = style.head(signed);
    prop_assert_eq!(verify(&restyled, &signed.body), Ok(form), "{}", restyled);
    for change in changes {
        let changed = change.apply(signed);
        let verdict = verify(&changed.head(), &changed.body);
        prop_assert!(verdict.is_err(), "{:?}: {}", change, changed.head());
    }
    Ok(())
}

fn call() -> impl Strategy<Value = Call> {
    let segment = any::<String>().prop_filter_map("signers drop dots", |text| {
        let mut segment = String::new();
        encode(&mut segment, &text);
        (!segment.is_empty() && segment != "." && segment != ".." && segment.len() < 200)
            .then(|| format!("/{segment}"))
    });
    let path = vec(segment, 0..4).prop_map(|segments| {
        if segments.is_empty() {
            "/".to_owned()
        } else {
            segments.concat()
        }
    });
    let pair = ("[a-zA-Z0-9+ ~!%&=\u{e9}\u{20ac}-]{1,6}", any::<String>());
    let value = "[!-~]{0,9}( {1,3}[!-~]{1,9}){0,3}";
    let headers = btree_map("x-[a-z]{1,6}(-[a-z0-9]{1,4})?", value, 0..6);
    let host = "[a-z][a-z0-9-]{0,18}[a-z](\\.[a-z]{2,5})?(:8[0-9]{3})?";
    (
        prop_oneof!["GET", "POST", "PUT"],
        host,
        path,
        vec(pair, 0..6),
        headers,
        vec(any::<u8>(), 0..200),
    )
        .prop_map(|(method, host, path, pairs, headers, body)| Call {
            method,
            host,
            path,
            pairs,
            headers: headers.into_iter().collect(),
            body,
        })
}

fn signer() -> impl Strategy<Value = Signer> {
    let token = proptest::option::of("[A-Za-z0-9+/=]{1,300}");
    let service = prop_oneof![Just(Service::KinesisVideo), Just(Service::Sts)];
    (token, service, 0..NOON * 2, any::<bool>()).prop_map(
        |(token, service, time, announces_hash)| Signer {
            token,
            service,
            time,
            announces_hash,
        },
    )
}

/// Another spelling of the same request.
#[derive(Clone, Copy, Debug)]
struct Style {
    reversed: bool,
    lower_case_escapes: bool,
    sloppy: bool,
    blanks: bool,
    upper_case_names: bool,
}

fn style() -> impl Strategy<Value = Style> {
    any::<[bool; 5]>().prop_map(
        |[
            reversed,
            lower_case_escapes,
            sloppy,
            blanks,
            upper_case_names,
        ]| Style {
            reversed,
            lower_case_escapes,
            sloppy,
            blanks,
            upper_case_names,
        },
    )
}

impl Style {
    fn head(self, call: &Call) -> String {
        let mut call = call.clone();
        if self.reversed {
            call.pairs.reverse();
            call.headers.reverse();
        }
        for (name, value) in &mut call.headers {
            if self.upper_case_names {
                name.make_ascii_uppercase();
            }
            if self.blanks && !name.eq_ignore_ascii_case("authorization") {
                *value = format!(" \t{} ", value.replace(' ', "   "));
            }
        }
        let query = self.query(&call);
        call.head().replacen(&call.query(), &query, 1)
    }

    fn query(self, call: &Call) -> String {
        let mut query = String::new();
        for (name, value) in &call.pairs {
            query.push(if query.is_empty() { '?' } else { '&' });
            if name.starts_with("X-Amz-") {
                query.push_str(name); // has one spelling
            } else {
                self.encode(&mut query, name);
            }
            query.push('=');
            self.encode(&mut query, value);
        }
        query
    }

    fn encode(self, out: &mut String, text: &str) {
        for character in text.chars() {
            let start = out.len();
            encode(out, character.encode_utf8(&mut [0; 4]));
            let written = out.split_off(start);
            if self.sloppy && ":/@!$'()*,;+".contains(character) {
                out.push(character);
            } else if self.sloppy && character == '~' {
                out.push_str("%7e");
            } else if self.lower_case_escapes && written.starts_with('%') {
                out.push_str(&written.to_lowercase());
            } else {
                out.push_str(&written);
            }
        }
    }
}

/// One character of one part becomes another.
#[derive(Clone, Debug)]
struct Change {
    part: Index,
    place: Index,
    byte: u8,
}

fn change() -> impl Strategy<Value = Change> {
    (any::<Index>(), any::<Index>(), 1u8..).prop_map(|(part, place, byte)| Change {
        part,
        place,
        byte,
    })
}

impl Change {
    fn apply(&self, call: &Call) -> Call {
        let mut call = call.clone();
        let Call {
            method,
            host,
            path,
            pairs,
            headers,
            body,
        } = &mut call;
        let mut texts = vec![method, host, path];
        for (name, value) in pairs.iter_mut().chain(headers.iter_mut()) {
            texts.push(name);
            texts.push(value);
        }
        texts.retain(|text| !text.is_empty());
        let part = self.part.index(texts.len() + usize::from(!body.is_empty()));
        match texts.get_mut(part) {
            Some(text) => {
                let characters: Vec<char> = text.chars().collect();
                let place = self.place.index(characters.len());
                let other = if characters[place] == '0' { '1' } else { '0' };
                **text = characters
                    .iter()
                    .enumerate()
                    .map(|(at, &old)| if at == place { other } else { old })
                    .collect();
            }
            None => {
                let place = self.place.index(body.len());
                body[place] ^= self.byte;
            }
        }
        call
    }
}
