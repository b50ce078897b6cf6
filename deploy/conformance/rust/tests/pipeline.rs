//! A pipeline of GStreamer, with the plugins of `gst-plugin-webrtc` and `gst-plugin-webrtchttp`: `awskvswebrtcsink`, a
//! camera, and `whepclientsrc` and `whepsrc`, players.
//!
//!     pipeline DESCRIPTION        as `gst-launch-1.0` has it, in one word
//!
//! Ends with the pipeline's stream. Exit code 101: GStreamer reports an error.

use gst::prelude::*;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, description] = &words[..] else {
        panic!("pipeline DESCRIPTION");
    };
    gst::init().unwrap();
    gstrswebrtc::plugin_register_static().unwrap();
    gstwebrtchttp::plugin_register_static().unwrap();
    let pipeline = gst::parse::launch(description).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for message in pipeline.bus().unwrap().iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => return,
            gst::MessageView::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
}
