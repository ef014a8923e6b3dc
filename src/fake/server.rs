//! The server of the simulated services, and an answer that may be sent over it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, PayloadConfig, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer};

/// An answer that was not sent over a socket. `None` in its place is a connection that was cut.
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// Its headers, with the type of the body.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Room for a hundred records that are as long as Bigin's fields allow.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// An HTTP server on a free port of 127.0.0.1, on threads of its own: it goes on answering while a test's runtime is
/// busy, and ends when it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Server {
    /// Starts it; requests are taken from now on.
    pub(super) fn start(routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let app = move || {
            App::new()
                .app_data(PayloadConfig::new(MAX_BODY))
                .configure(routes.clone())
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .listen(listener)?
            .run();
        let handle = server.handle();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("fake".to_owned())
            .spawn(move || runtime.block_on(server))?;
        Ok(Self { address, handle })
    }

    /// `http://127.0.0.1:PORT`
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the port and every connection, and waits until that is done.
    pub(super) async fn stop(self) {
        self.handle.stop(false).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The order is sent at once; only its outcome would have to be awaited.
        drop(self.handle.stop(false));
    }
}

/// The answer as the server sends it. One that never arrives cuts the connection instead.
pub(super) fn respond(answer: Option<Answered>) -> HttpResponse {
    let Some(Answered { status, headers, body }) = answer else {
        return HttpResponse::with_body(StatusCode::OK, BoxBody::new(Cut));
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for header in headers {
        response.insert_header(header);
    }
    match body.is_empty() {
        true => response.finish(),
        false => response.body(body),
    }
}

/// A body that announces a length and fails before its first byte. Actix then drops the connection without flushing the
/// head of the answer.
struct Cut;

#[derive(Debug)]
struct CutOnPurpose;

impl fmt::Display for CutOnPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fake cuts this connection on purpose")
    }
}

impl std::error::Error for CutOnPurpose {}

impl MessageBody for Cut {
    type Error = CutOnPurpose;

    fn size(&self) -> BodySize {
        BodySize::Sized(1)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOnPurpose>>> {
        Poll::Ready(Some(Err(CutOnPurpose)))
    }
}
