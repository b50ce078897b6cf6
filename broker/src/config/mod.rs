//! From flags and file to [`Settings`]: what may be written, what it must satisfy, and what everybody else reads.

mod settings;

pub use settings::{
    Admin, Advertise, Auth, Ice, IceCredential, Limits, Listen, LogFormat, Options, Profile,
    Quotas, Rate, SHARDS_MAX, Scheme, Settings, Timeouts, TlsFiles,
};
