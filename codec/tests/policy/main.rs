//! Decisions of policies: cases of AWS's documentation, and an evaluator that is slow and obvious as an oracle.

mod cases;
mod generated;
mod oracle;
mod request;
