//! Long texts in transcripts.

/// A text with every `<text*times>` written out.
pub(crate) fn repeated(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('<') {
        let (repeated, after) = after.split_once('>').expect("closed");
        let (text, times) = repeated.split_once('*').expect("text*times");
        out.push_str(before);
        out.push_str(&text.repeat(times.parse().expect("a number")));
        rest = after;
    }
    out.push_str(rest);
    out
}
