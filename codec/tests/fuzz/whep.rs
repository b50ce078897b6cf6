//! Answers and candidates of cameras, made of written ones by seeded mutations: nothing panics, and players get the
//! answer's own lines with candidates between.

use super::seeded::holds;
use codec::whep::fuzzing::fuzz;

#[test]
fn seeded_mutations_hold() {
    holds(&[INPUT.to_vec()], 0x3EB, DICTIONARY, fuzz);
}

const INPUT: &[u8] = b"v=0\r\na=ice-options:trickle x\r\nm=audio 9\r\na=mid:0\r\nm=video 9\r\na=mid:1\r\n\
    \xff{\"candidate\":\"candidate:1 1 udp 1 192.0.2.1 9 typ host\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0}\
    \xff{\"candidate\":\"candidate:2 1 udp 1 192.0.2.2 9 typ relay\",\"sdpMid\":\"1\"}\xff{\"candidate\":\"\"}";

#[rustfmt::skip] // a list
const DICTIONARY: &[&[u8]] = &[
    b"\r\n", b"\n", b"\r", b"\\r\\n", b"\\u000a", b"m=", b"m=x\r\n", b"a=mid:", b"a=ice-options:trickle\r\n",
    b"a=end-of-candidates\n", b"candidate:", b"\"sdpMLineIndex\":1,", b"\"sdpMLineIndex\":-1,", b"\"sdpMid\":\"\\n\",",
    b"\xff{\"candidate\":\"candidate:3\"}", b"\xff", b"\"", b"\\", b"\0",
];
