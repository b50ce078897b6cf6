//! API calls on a connection: codec/PROTOCOL.md, HTTP and CHAN.

use crate::shard_transcripts::script::Script;

const CREATED: &str =
    r#"200 {"ChannelARN":"arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1767323075123"}"#;

#[test]
fn a_channel_is_created_described_listed_and_deleted() {
    let mut script = Script::with(3, false, |_| ());
    script.play(&format!(
        "a connects                               |
         a > describe cam                         | a < 404 ResourceNotFoundException
         a > create cam                           | a < {CREATED}
         a > create cam                           | a < 400 ResourceInUseException
         m connects                               | m < 404 ResourceNotFoundException; m < end
         m-b connects cam@1767323075123           | m-b < 101
         a > delete cam                           | a < 404 ResourceNotFoundException
         a > delete cam created-now               | a < 200 {{}}; m-b < close 1001 Channel deleted
         a > describe cam                         | a < 404 ResourceNotFoundException
         a > list                                 | a < 200 {{\"ChannelInfoList\":[]}}"
    ));
    assert_eq!(script.channels(), 0);
}

#[test]
fn a_name_made_again_in_the_same_millisecond_is_another_channel() {
    let mut script = Script::with(1, false, |_| ());
    script.play(&format!(
        "a connects                               |
         a > create cam                           | a < {CREATED}
         a > delete cam created-now               | a < 200 {{}}
         a > create cam                           | a < {}
         m connects cam@1767323075123             | m < 404 ResourceNotFoundException; m < end
         m-b connects cam@1767323075124           | m-b < 101",
        CREATED.replace("5123", "5124")
    ));
}

#[test]
fn in_dev_an_unknown_arn_makes_its_channel_and_another_birth_is_another_channel() {
    let mut script = Script::dev();
    script.play(
        "m connects                               | m < 101
         v1 connects cam@1700000000001            | v1 < 404 ResourceNotFoundException; v1 < end
         v1-b connects                            | v1-b < 101",
    );
    assert_eq!(script.channels(), 1);
}

#[test]
fn a_post_of_no_bytes_is_a_request_and_one_without_a_length_is_none() {
    Script::dev().play(
        "a connects                               |
         a > http POST /createSignalingChannel HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 0\\r\\n\\r\\n | a < 400 \
         SerializationException
         a > http POST /createSignalingChannel HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n | a < 411 InvalidArgumentException; a \
         < end",
    );
}

#[test]
fn a_connection_is_kept_for_seventy_five_seconds_and_a_head_for_ten() {
    Script::dev().play(
        "a connects                               |
         time 9s                                  |
         a > describe cam                         | a < 404 ResourceNotFoundException
         time 74s                                 |
         a > http POST /x                         |
         time 9s                                  |
         time 2s                                  | a < 408 InvalidArgumentException; a < end
         a2 connects                              |
         a2 > describe cam                        | a2 < 404 ResourceNotFoundException
         time 76s                                 | a2 < end
         a3 connects                              |
         time 11s                                 | a3 < end",
    );
    let mut script = Script::with(1, true, |settings| settings.timeouts.keep_alive_ms = 20_000);
    script.play(
        "a connects                               |
         a > describe cam                         | a < 404 ResourceNotFoundException
         time 19s                                 |
         time 2s                                  | a < end",
    );
}

#[test]
fn a_head_that_began_behind_a_call_has_ten_seconds_as_well() {
    Script::dev().play(
        "m connects                               | m < 101
         a connects                               |
         a > alexa p1 as echo                     | m < SDP_OFFER p1 from echo
         a > http POST /x                         |
         time 30s                                 |
         m > SDP_ANSWER p2 to echo                | a < 200 {\"Answer\":\"p2\"}
         time 9s                                  |
         time 2s                                  | a < 408 InvalidArgumentException; a < end",
    );
}

#[test]
fn connection_close_is_honoured_at_once() {
    Script::dev().play(
        "a connects                               |
         a > http POST /describeSignalingChannel HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\nContent-Length: \
         2\\r\\n\\r\\n{} | a < 400 InvalidArgumentException; a < end",
    );
}

#[test]
fn bad_requests_end_the_connection_when_what_follows_is_unknown() {
    Script::dev().play(
        "a1 connects                              |
         a1 > http \\x16\\x03\\x01\\r\\n\\r\\n     | a1 < 400 InvalidArgumentException; a1 < end
         a2 connects                              |
         a2 > http POST /createSignalingChannel HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 70000\\r\\n\\r\\n | a2 < \
         413 InvalidArgumentException; a2 < end
         a3 connects                              |
         a3 > http GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n | a3 < 404 UnknownOperationException
         a3 > http POST /createSignalingChannel HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 4\\r\\n\\r\\nnull | a3 < \
         400 SerializationException
         a3 > http POST /createSignalingChannel HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: \
         20\\r\\n\\r\\n{\"ChannelName\":1234} | a3 < 400 SerializationException",
    );
}
