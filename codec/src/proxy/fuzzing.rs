//! The entry of fuzzers and of the seeded test: whatever the bytes, no panic, and pieces mean the same as the whole.

use crate::proxy::{
    CHALLENGE_BYTES, Entry, FIXED_BYTES, Introduction, Link, LinkKey, MAC_BYTES, ProxyError,
    TYPE_MAC, introduced, parse_ahead, read_frame, write, write_call, write_frame, write_upgrade,
};
use std::fmt::Debug;

/// Reads `data` as a header, as it is and with a right HMAC behind it, in one piece and byte by byte.
///
/// # Panics
/// When they differ, or when what was read cannot be written and read again, which is a bug.
pub fn fuzz(data: &[u8]) {
    let key = LinkKey::derive(&[1; 32], "fuzz");
    let link = Link {
        key: &key,
        challenge: &[2; CHALLENGE_BYTES],
        node: "n1",
    };
    fuzz_frame(data);
    let verdict = in_pieces(data, |bytes| introduced(bytes, &link));
    assert!(
        !matches!(verdict, Ok(Some(_))),
        "nobody has signed it: {verdict:?}"
    );
    let verdict = in_pieces(data, |bytes| parse_ahead(bytes, &link));
    assert!(
        !matches!(verdict, Ok(Some(_))),
        "nobody has signed it: {verdict:?}"
    );
    let signed = signed(data, &link);
    let read = (
        in_pieces(&signed, |bytes| introduced(bytes, &link)),
        in_pieces(&signed, |bytes| parse_ahead(bytes, &link)),
    );
    assert!(
        !matches!(read, (Ok(Some(_)), Ok(Some(_)))),
        "a frame is read in one way"
    );
    let (Ok(Some(Introduction { header, entry, .. })), _) = read else {
        return;
    };
    let mut again = Vec::new();
    match entry {
        Some(Entry::Call(call)) => write_call(&mut again, &header, call, &link),
        Some(Entry::Upgrade(number)) => write_upgrade(&mut again, &header, number, &link),
        None => write(&mut again, &header, &link),
    }
    let length = again.len();
    let written = Introduction {
        header,
        entry,
        length,
    };
    assert_eq!(introduced(&again, &link), Ok(Some(written)));
}

/// Reads `data` as a frame of an owner: what is read is written as it came.
fn fuzz_frame(data: &[u8]) {
    if let Ok(Some((frame, length))) = read_frame(data, 0) {
        let mut again = Vec::new();
        write_frame(&mut again, 0, frame);
        assert_eq!(Some(&again[..]), data.get(..length));
    }
}

/// A verdict on a header, or on another frame.
type Verdict<T> = Result<Option<T>, ProxyError>;

fn in_pieces<T: PartialEq + Debug>(data: &[u8], parse: impl Fn(&[u8]) -> Verdict<T>) -> Verdict<T> {
    let whole = parse(data);
    let mut pieces = Ok(None);
    for upto in 0..=data.len() {
        pieces = parse(data.get(..upto).unwrap_or_default());
        if pieces != Ok(None) {
            break;
        }
    }
    assert_eq!(
        whole, pieces,
        "the verdict depends on how the bytes arrived"
    );
    whole
}

/// `data` with the length and the HMAC that make it a whole header.
fn signed(data: &[u8], link: &Link<'_>) -> Vec<u8> {
    let [high, low] = u16::try_from(MAC_BYTES).unwrap_or_default().to_be_bytes();
    let mut bytes = [data, &[TYPE_MAC, high, low]].concat();
    let rest = (bytes.len() + MAC_BYTES).saturating_sub(FIXED_BYTES);
    let rest = u16::try_from(rest).unwrap_or(u16::MAX);
    if let Some(length) = bytes.get_mut(FIXED_BYTES - 2..FIXED_BYTES) {
        length.copy_from_slice(&rest.to_be_bytes());
    }
    let mac = link.key.sign(link, &bytes);
    bytes.extend_from_slice(mac.as_ref());
    bytes
}
