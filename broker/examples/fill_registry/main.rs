//! Fills a registry with channels, to see how long a server takes to start with them.
//!
//! ```text
//! cargo run --release -p broker --example fill_registry -- DIR CHANNELS [TAGS]
//! heliograph serve --auth none --data-dir DIR --listen http://127.0.0.1:8080
//! ```
//! `DIR` must exist, and no server may use it. Channels are called `fill-0000000` and so on; each bears `TAGS` tags,
//! none if that is left out.

mod fill;

use fill::fill;
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| {
        arguments
            .get(at)
            .map(|text| text.parse().expect("a number"))
    };
    let (Some(dir), Some(channels)) = (arguments.first(), number(1)) else {
        eprintln!("usage: fill_registry DIR CHANNELS [TAGS]");
        std::process::exit(2);
    };
    fill(Path::new(dir), channels, number(2).unwrap_or(0));
}
