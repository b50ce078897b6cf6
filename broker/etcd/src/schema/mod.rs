//! The keys and values of a cluster in etcd.
//!
//! * [`keys`]: the names of the keys; [`values`]: their values, as JSON;
//! * [`translate`]: from keys and values to the types of the core, and back.

pub(crate) mod keys;
pub(crate) mod translate;
pub(crate) mod values;
