//! httparse alone: only the grammar of a head, parsed into uninitialised header slots.
//!
//! This is a floor rather than a rival. The codec itself calls httparse; in addition, it limits the size of the head,
//! rejects ambiguous requests, and checks `Host`.

use crate::rival::{ReadHead, Seen};
use codec::limits::HEADER_LINES;
use httparse::{Request, Status};
use std::mem::MaybeUninit;

/// An adaptor for httparse.
#[derive(Debug)]
pub struct Httparse;

impl ReadHead for Httparse {
    const LIBRARY: &'static str = "httparse";

    fn read(bytes: &[u8]) -> Option<Seen> {
        let mut slots = [const { MaybeUninit::uninit() }; HEADER_LINES];
        let mut request = Request::new(&mut []);
        let Ok(Status::Complete(used)) = request.parse_with_uninit_headers(bytes, &mut slots)
        else {
            return None;
        };
        let host = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("host"))?;
        Some(Seen {
            bytes: used,
            target_bytes: request.path?.len(),
            lines: request.headers.len(),
            host_bytes: host.value.len(),
        })
    }
}
