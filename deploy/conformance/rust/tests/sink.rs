//! GStreamer's `awskvswebrtcsink` as the camera of a channel, with a test picture, until it is killed.
//!
//!     sink CHANNEL AUTHORITY      the channel's name, and the file of the authority of the WebSocket's certificate
//!
//! The environment has AWS_ENDPOINT_URL, AWS_REGION, keys, and SSL_CERT_FILE. Exit code 101: GStreamer reports an
//! error.

use gst::prelude::*;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, channel, authority] = &words[..] else {
        panic!("sink CHANNEL AUTHORITY");
    };
    gst::init().unwrap();
    gstrswebrtc::plugin_register_static().unwrap();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=15/1 ! awskvswebrtcsink \
         video-caps=video/x-vp8 congestion-control=disabled signaller::channel-name={channel} \
         signaller::cafile={authority}"
    ));
    let pipeline = pipeline.unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for message in pipeline.bus().unwrap().iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => return,
            gst::MessageView::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
}
