//! Fuzz entry point for WHEP. Checks that, whatever a camera sends, the player receives an SDP that contains the
//! camera's lines and sections in order, with nothing inserted except candidates.

use crate::base64;
use crate::json::write;
use crate::limits::{WHEP_ANSWER_BYTES, WHEP_CANDIDATES, WHEP_GATHERED_BYTES};
use crate::whep::{Fault, Gathered, Target, lines, offer_payload, read, text};

/// Splits `data` at bytes of value 255. The first part is an SDP; the others are JSON candidates or complete payloads.
///
/// # Panics
/// Panics if an invariant of the module is violated.
pub fn fuzz(data: &[u8]) {
    let mut pieces = data.split(|byte| *byte == 0xFF);
    let sdp = String::from_utf8_lossy(pieces.next().unwrap_or_default());
    offer(&sdp);
    let _ = Target::parse(&sdp);
    let mut json = b"{\"sdp\":".to_vec();
    write::string(&mut json, &sdp);
    json.push(b'}');
    let mut gathered = Gathered::default();
    for (number, piece) in pieces.enumerate() {
        if number == 2 {
            let _ = gathered.take_answer(&payload(&json));
        }
        let _ = Gathered::default().take_answer(&payload(piece));
        gathered.take_candidate(piece);
        gathered.take_candidate(&payload(piece));
        assert!(gathered.candidates() <= WHEP_CANDIDATES);
        assert!(gathered.bytes() <= WHEP_GATHERED_BYTES);
    }
    let verdict = gathered.take_answer(&payload(&json));
    assert_eq!(gathered.has_answer(), verdict.is_ok());
    assert!(gathered.bytes() <= WHEP_GATHERED_BYTES);
    let kept = gathered.candidates();
    let Some(answer) = gathered.into_answer() else {
        return;
    };
    assert!(answer.len() <= WHEP_ANSWER_BYTES);
    let mut own = lines(&sdp).peekable();
    let mut added = 0;
    for line in lines(&answer) {
        let bare = line.trim_end_matches(['\r', '\n']);
        // The last line may have been given a terminator.
        let is_own = |own: &&str| {
            own.trim_end_matches(['\r', '\n']) == bare && (line.starts_with(own) || own == &line)
        };
        if own.next_if(is_own).is_none() {
            let is_plain = bare.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            assert!(is_plain && bare.starts_with("a=candidate:"), "{line:?}");
            added += 1;
        }
    }
    assert!(own.next().is_none() && added <= kept);
}

fn offer(sdp: &str) {
    let sent = match offer_payload(sdp.as_bytes(), usize::MAX) {
        Ok(sent) => sent,
        Err(fault) => return assert_eq!(fault, Fault::NoMedia),
    };
    assert!(base64::is_well_formed(&sent));
    let least = offer_payload(sdp.as_bytes(), sent.len().saturating_sub(1));
    assert_eq!(least, Err(Fault::TooLong));
    let sent = read(&sent, |object| text(object, "sdp").map(str::to_owned)).unwrap_or_default();
    let is_kept = |line: &&str| !line.starts_with("a=ice-options:");
    assert!(lines(sdp).filter(is_kept).eq(lines(&sent).filter(is_kept)));
    let mut options = lines(&sent).filter(|line| !is_kept(line));
    assert!(options.all(|line| line.split_whitespace().all(|word| word != "trickle")));
}

fn payload(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    base64::encode(&mut out, json);
    out
}
