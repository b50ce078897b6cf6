//! Channel names.

word_type! {
    /// A channel's name: 1 to 256 characters of `[a-zA-Z0-9_.-]`, unique per account and region.
    ///
    /// Source: API reference, "CreateSignalingChannel", `ChannelName`.
    ChannelName
}
