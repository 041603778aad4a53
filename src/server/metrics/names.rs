//! The names of what the server counts, for recorders.

/// Counter of answered requests, by `mount` (the prefix, `/` for the root, empty for requests that none was mounted
/// for) and by `status` (one of [`STATUS_CLASSES`](crate::server::STATUS_CLASSES)).
pub const REQUESTS: &str = "spile_requests_total";
/// Histogram, in seconds: from the arrival of a request's variables to the last byte of its response handed to the
/// operating system.
pub const DURATION: &str = "spile_request_duration_seconds";
/// Gauge of requests in hand: their variables have come, and their response is not through.
pub const IN_FLIGHT: &str = "spile_requests_in_flight";
/// Counter of bytes received of request bodies.
pub const REQUEST_BYTES: &str = "spile_request_bytes_total";
/// Counter of bytes sent of response bodies.
pub const RESPONSE_BYTES: &str = "spile_response_bytes_total";
/// Counter of requests that reached no application, by `reason` (one of
/// [`REFUSAL_REASONS`](crate::server::REFUSAL_REASONS)).
pub const REFUSED: &str = "spile_refused_total";
