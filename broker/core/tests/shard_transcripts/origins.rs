//! Pages of foreign origins, where nobody is asked for a signature.

use crate::shard_transcripts::script::Script;

const UPGRADE: &str = "GET /?X-Amz-ChannelARN=arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1700000000000 \
                       HTTP/1.1\\r\\n\
    Host: h\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n";

#[test]
fn a_foreign_page_makes_nothing_and_a_page_of_loopback_does() {
    let mut script = Script::dev();
    let call = "POST /createSignalingChannel HTTP/1.1\\r\\nContent-Length: 21\\r\\n";
    let body = "\\r\\n{\"ChannelName\":\"cam\"}";
    script.play(&format!(
        "a connects |
         a > http {call}Host: h\\r\\nOrigin: https://evil.example\\r\\n{body} | a < 403 InvalidArgumentException; a < \
         end
         a2 connects |
         a2 > http {call}Host: evil.example\\r\\n{body} | a2 < 403 InvalidArgumentException; a2 < end
         a3 connects |
         a3 > http {UPGRADE}Origin: null\\r\\n\\r\\n | a3 < 403 InvalidArgumentException; a3 < end
         a4 connects |
         a4 > http OPTIONS / HTTP/1.1\\r\\nHost: h\\r\\nOrigin: https://evil.example\\r\\n\\r\\n | a4 < 403 \
         InvalidArgumentException; a4 < end"
    ));
    assert_eq!(script.channels(), 0);
    script.play(&format!(
        "a5 connects |
         a5 > http {UPGRADE}Origin: http://localhost:3000\\r\\n\\r\\n | a5 < 101"
    ));
    assert_eq!(script.channels(), 1);
}
