//! The connections of the server: what each of them waits for, since when, and which are closed for it.
//!
//! **Properties.** Slow connections of strangers never keep a webhook waiting: beyond [`MAX_UNAUTHENTICATED`] the slowest is
//! closed for the one that is accepted. A request that comes too slowly is closed without an answer or answered 503, never
//! 4xx, which Sanity would not send again. What a stranger makes the server buffer has a bound per connection. A connection
//! that is closed by a deadline or for another is never one whose request has been read whole and authenticated, so that
//! event streams and webhooks that are being stored go on.
//!
//! **Design.** A connection is in one of three phases ([`Phase`]), each with a deadline: it waits for a head (from its accept,
//! or from the end of its last answer), for the rest of a body, or for its answer to be made and taken. The middleware
//! [`track`] marks the phases; the webhook and the API mark requests that are [`authenticated`]. All this is in one table.
//! To be closed, a connection reads the end of its stream, and a write that would block fails: actix ends it as it ends
//! one whose peer has left, after the answer to what was read whole, if its peer takes it.
//!
//! **Why not actix's own means.** Its timeout of heads answers 408, covers the first request of a connection only, and nothing
//! in it closes a connection to accept another. It also parses up to 16 requests (of 128 KiB each) ahead of the one that is
//! being answered; here it is given no more than [`MAX_READ_AHEAD`] meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_server::GracefulShutdownSignal;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpRequest};
use futures_util::stream::{self, StreamExt as _};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Connections at once whose request is not, or not yet, read whole and authenticated.
const MAX_UNAUTHENTICATED: usize = 300;

/// A head has arrived after this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for a body. Sanity gives up after 30 s, so that one which takes longer is of no use.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The answer to a request that is not authenticated has been made, and taken by its peer, after this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that waits for its answer is closed later than one whose request is not complete, by this much.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Bytes of later requests that are read while one is being answered.
const MAX_READ_AHEAD: usize = 64 * 1024;

/// Deadlines are checked this often.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// All connections of the process.
#[derive(Default)]
pub(super) struct Connections {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<u64, Entry>,
    next_id: u64,
    /// No connection gets another request.
    is_stopping: bool,
}

struct Entry {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    is_authenticated: bool,
    handle: Arc<Handle>,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The head of a request, also where it idles between two.
    Head,
    /// The rest of a body.
    Body,
    /// The answer: the request has been read whole.
    Answer,
}

/// What a connection shares with its requests.
pub(super) struct Handle {
    id: u64,
    connections: Weak<Connections>,
    is_closed: AtomicBool,
    is_answering: AtomicBool,
    task: AtomicWaker,
}

/// A connection as actix reads and writes it.
pub(super) struct Connection {
    io: TcpStream,
    handle: Arc<Handle>,
    read_ahead: usize,
}

impl Connections {
    /// Takes a connection in, and closes the slowest where there are too many.
    pub(super) fn accept(self: &Arc<Self>, io: TcpStream) -> Connection {
        Connection {
            io,
            handle: self.register(),
            read_ahead: 0,
        }
    }

    fn register(self: &Arc<Self>) -> Arc<Handle> {
        let mut table = self.lock();
        let id = table.next_id;
        table.next_id += 1;
        let handle = Arc::new(Handle {
            id,
            connections: Arc::downgrade(self),
            is_closed: AtomicBool::new(false),
            is_answering: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        table.make_room();
        table.entries.insert(id, Entry::new(Arc::clone(&handle)));
        if table.is_stopping {
            table.close(id);
        }
        handle
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room(&mut self) {
        let unauthenticated = self.entries.values().filter(|entry| !entry.is_exempt());
        if unauthenticated.clone().count() >= MAX_UNAUTHENTICATED
            && let Some(slowest) = unauthenticated.min_by_key(|entry| entry.rank())
        {
            self.close(slowest.handle.id);
        }
    }

    fn end_answer(&mut self, id: u64) {
        if self.is_stopping {
            self.close(id);
        } else if let Some(entry) = self.entries.get_mut(&id) {
            *entry = Entry::new(Arc::clone(&entry.handle));
        }
    }

    fn close_overdue(&mut self, now: Instant) {
        self.close_where(|entry| !entry.is_exempt() && now.duration_since(entry.since) >= entry.phase.timeout());
    }

    /// Closes what idles; the others end with their answers.
    fn stop(&mut self) {
        self.is_stopping = true;
        self.close_where(|entry| entry.phase == Phase::Head);
    }

    fn close_where(&mut self, is_meant: impl Fn(&Entry) -> bool) {
        let meant = self.entries.iter().filter(|(_, entry)| is_meant(entry));
        for id in meant.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(id);
        }
    }

    fn close(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            entry.handle.is_closed.store(true, Ordering::Release);
            entry.handle.task.wake();
        }
    }
}

impl Entry {
    fn new(handle: Arc<Handle>) -> Self {
        Self {
            phase: Phase::Head,
            since: Instant::now(),
            is_authenticated: false,
            handle,
        }
    }

    /// Neither a deadline nor another connection closes it.
    fn is_exempt(&self) -> bool {
        self.is_authenticated && self.phase == Phase::Answer
    }

    /// The smallest is the slowest.
    fn rank(&self) -> Instant {
        match self.phase {
            Phase::Head | Phase::Body => self.since,
            Phase::Answer => self.since + ANSWER_GRACE,
        }
    }
}

impl Phase {
    fn timeout(self) -> Duration {
        match self {
            Self::Head => HEAD_TIMEOUT,
            Self::Body => BODY_TIMEOUT,
            Self::Answer => ANSWER_TIMEOUT,
        }
    }
}

/// Closes connections whose deadline has passed, until the server stops; then those that idle.
pub(super) async fn watch(connections: Weak<Connections>, stop: GracefulShutdownSignal) {
    loop {
        let stopped = tokio::time::timeout(CHECK_INTERVAL, stop.notified()).await.is_ok();
        let Some(connections) = connections.upgrade() else {
            return;
        };
        if stopped {
            return connections.lock().stop();
        }
        connections.lock().close_overdue(Instant::now());
    }
}

impl Handle {
    fn enter(&self, phase: Phase) {
        self.is_answering.store(phase == Phase::Answer, Ordering::Release);
        self.change(|table, id| {
            if let Some(entry) = table.entries.get_mut(&id) {
                entry.phase = phase;
                entry.since = Instant::now();
            }
        });
    }

    /// The answer has been written, or is not wanted any more.
    fn end_answer(&self) {
        self.is_answering.store(false, Ordering::Release);
        self.change(Table::end_answer);
        // What was not read ahead is read now.
        self.task.wake();
    }

    fn change(&self, change: impl FnOnce(&mut Table, u64)) {
        if let Some(connections) = self.connections.upgrade() {
            change(&mut connections.lock(), self.id);
        }
    }
}

/// This request is authenticated as from Sanity or an operator: from when it has been read whole until it is answered,
/// its connection is not closed for being slow.
pub(super) fn authenticated(request: &HttpRequest) {
    if let Some(handle) = request.conn_data::<Arc<Handle>>() {
        handle.change(|table, id| {
            if let Some(entry) = table.entries.get_mut(&id) {
                entry.is_authenticated = true;
            }
        });
    }
}

/// Marks how far a request has come.
pub(super) async fn track(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(handle) = request.request().conn_data::<Arc<Handle>>().cloned() else {
        // A request that came by no connection, in a test.
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    match request.take_payload() {
        Payload::None => handle.enter(Phase::Answer),
        mut body => {
            handle.enter(Phase::Body);
            let handle = Arc::clone(&handle);
            let until_whole = stream::poll_fn(move |context| {
                let chunk = body.poll_next_unpin(context);
                if matches!(chunk, Poll::Ready(None)) {
                    handle.enter(Phase::Answer);
                }
                chunk
            });
            request.set_payload(Payload::Stream {
                payload: Box::pin(until_whole),
            });
        }
    }
    let end = AnswerEnd(handle);
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(response.map_body(|_, body| BoxBody::new(Tracked { body, _end: end })))
}

/// Marks the end of an answer, however it ends.
struct AnswerEnd(Arc<Handle>);

impl Drop for AnswerEnd {
    fn drop(&mut self) {
        self.0.end_answer();
    }
}

/// The body of an answer, which is dropped when it has been written.
struct Tracked {
    body: BoxBody,
    _end: AnswerEnd,
}

impl MessageBody for Tracked {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.body.as_pin_mut().poll_next(context)
    }
}

impl Connection {
    /// For the requests that come by it.
    pub(super) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.handle)
    }

    /// Whether it is closed; if not, the task that asks is woken when it is.
    fn is_closed(&self, context: &Context<'_>) -> bool {
        self.handle.task.register(context.waker());
        self.handle.is_closed.load(Ordering::Acquire)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.handle.change(Table::close);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_closed(context) {
            return Poll::Ready(Ok(()));
        }
        if !self.handle.is_answering.load(Ordering::Acquire) {
            self.read_ahead = 0;
        } else if self.read_ahead >= MAX_READ_AHEAD {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.io).poll_read(context, buffer);
        self.read_ahead += buffer.filled().len() - before;
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let is_closed = self.is_closed(context);
        match Pin::new(&mut self.io).poll_write(context, bytes) {
            Poll::Pending if is_closed => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
