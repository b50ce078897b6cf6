//! The HTTP API operations: typed requests and response bodies.
