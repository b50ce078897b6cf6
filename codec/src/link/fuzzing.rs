//! Fuzz entry point for links. Checks that no input causes a panic, that incremental parsing gives the same result as
//! parsing everything at once, and that parsed frames serialize to the same bytes.

use crate::link::{Frame, FrameError, HELLO_BYTES_MAX, Hello, Reader, write};

/// The frames of a byte stream, each serialized again with its stream number, and the error that ended the stream, if
/// any.
pub type SeenFrames = (Vec<Vec<u8>>, Option<FrameError>);

/// Parses `data` as a hello and as frames, both at once and in pieces. The first byte determines the length of the
/// pieces.
///
/// # Panics
/// Panics if the results differ, or if a frame does not serialize to the bytes from which it was parsed.
pub fn fuzz(data: &[u8]) {
    fuzz_hello(data);
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let whole = run(stream, usize::MAX);
    let cut = run(stream, usize::from(cut).max(1));
    assert_eq!(whole, cut, "the frames depend on how the bytes arrived");
    // Frames that were skipped or are incomplete are not serialized.
    let written: usize = whole.0.iter().map(Vec::len).sum();
    assert!(written <= stream.len(), "more was read than came");
}

/// Parses a stream that arrives in pieces of `piece` bytes, and returns its frames.
///
/// # Panics
/// Panics if the reader violates its contract.
pub fn run(stream: &[u8], piece: usize) -> SeenFrames {
    let mut reader = Reader::default();
    let mut frames = Vec::new();
    for mut bytes in stream.chunks(piece.min(stream.len().max(1))) {
        loop {
            let (used, frame) = match reader.next(bytes) {
                Ok(read) => read,
                Err(error) => return (frames, Some(error)),
            };
            let Some((stream, frame)) = frame else {
                assert_eq!(used, bytes.len(), "without a frame all is used");
                break;
            };
            frames.push(again(stream, &frame));
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }
    (frames, None)
}

fn again(stream: u32, frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, stream, frame);
    let mut reader = Reader::default();
    let read = reader.next(&bytes);
    assert_eq!(read, Ok((bytes.len(), Some((stream, frame.clone())))));
    bytes
}

fn fuzz_hello(data: &[u8]) {
    let whole = Hello::read(data);
    let cuts = 0..=data.len().min(HELLO_BYTES_MAX);
    let mut pieces = cuts.map(|upto| Hello::read(data.get(..upto).unwrap_or_default()));
    let first = pieces.find(|verdict| *verdict != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), whole);
    let Ok(Some((hello, length))) = whole else {
        return;
    };
    let mut bytes = Vec::new();
    hello.write(&mut bytes);
    assert!(bytes.len() <= length, "only what is skipped is not written");
    assert_eq!(Hello::read(&bytes), Ok(Some((hello, bytes.len()))));
}
