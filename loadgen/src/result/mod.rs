//! The result of a run as data: the JSON document of schema 1, read, written, judged and merged.
//!
//! | module | what it is |
//! |---|---|
//! | [`document`] | the document, member by member, and its reading and writing |
//! | [`figures`] | the groups of figures that it consists of |
//! | [`kind`] | why something failed: a closed set, each with what to do about it |
//! | [`spread`] | the spans of one kind: quantiles and the full histogram |
//! | [`verdict`] | what a document comes to, as a word and as an exit code |
//! | [`merge`] | the documents of the parts of one run, added up exactly |
//! | [`threshold`] | what the operator wants of latency and failures |
//! | [`words`] | figures as people read them |
//! | [`rows`] [`table`] | a document as rows; as text, several side by side |
//!
//! Each worker fills a [`Document`] with what it counted; [`merge()`] adds them up, as it does those of processes and
//! machines; what only the whole knows is filled in then, and [`Document::judge`] is the last step. No I/O, no clock.

pub mod document;
pub mod figures;
pub mod kind;
pub mod merge;
pub mod rows;
pub mod spread;
pub mod table;
pub mod threshold;
pub mod verdict;
pub mod words;

pub use document::{Arguments, Document, DocumentError, Errors};
pub use figures::{
    Connections, Cpu, CutOff, Interval, Latencies, Memory, Messages, Saturated, ScheduleLag,
    Sessions, Span, TargetCounts,
};
pub use kind::{CLASSES, ErrorKind};
pub use merge::{MergeError, merge};
pub use spread::Spread;
pub use threshold::{Threshold, Thresholds};
pub use verdict::{Ending, Verdict};
