//! Faults to order: what the next requests of a kind shall suffer.

use std::time::Duration;

use jiff::Timestamp;

/// The parts of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `/data/doc`: documents by id, consistent.
    Doc,
    /// `/data/mutate`.
    Mutate,
    /// `/data/query`: GROQ, eventually consistent.
    Query,
    /// `/hooks`: the webhooks themselves.
    Hooks,
}

/// What can go wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Sanity's own error body with this status, and no work. 401 says that the token is unknown (`SIO-401-ANF`).
    Status(u16),
    /// A proxy's HTML page with this status, and no work.
    Html(u16),
    /// The work is done, and the connection cut before any answer.
    LostReply,
    /// The connection is cut before the work.
    NoReply,
    /// The work is done at once, and the answer takes this long, in real time.
    Hang(Duration),
    /// 429, and no work; `Retry-After` as given, or none.
    RateLimited(Option<RetryAfter>),
    /// `transactionConflictError`: contention, rolled back, safe to send again (source of @sanity/sdk 3.12.0).
    Conflict,
}

/// The two forms of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// So many seconds.
    Seconds(u64),
    /// An HTTP date, that long after the clock's time; the answer carries a `Date` of the clock's time as well.
    Date(Duration),
}

/// Faults that wait for their request, in the order they were asked for.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Vec<Planned>,
    /// Those that have struck, in order.
    pub struck: Vec<(Kind, Fault)>,
}

#[derive(Debug)]
struct Planned {
    kind: Kind,
    fault: Fault,
    times: usize,
}

impl Faults {
    /// Lets the next `times` requests of a kind fail.
    pub fn fail_next(&mut self, kind: Kind, fault: Fault, times: usize) {
        self.planned.push(Planned { kind, fault, times });
    }

    /// Forgets the faults that were not met.
    pub fn clear(&mut self) {
        self.planned.clear();
    }

    /// Whether a fault still waits for its request.
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    pub(super) fn take(&mut self, kind: Kind) -> Option<Fault> {
        let planned = self
            .planned
            .iter_mut()
            .find(|planned| planned.kind == kind && planned.times > 0)?;
        planned.times -= 1;
        let fault = planned.fault.clone();
        self.planned.retain(|planned| planned.times > 0);
        self.struck.push((kind, fault.clone()));
        Some(fault)
    }
}

/// A time as HTTP headers have it.
pub(super) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
