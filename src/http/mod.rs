//! What is answered over HTTP. Talks to the store alone: no request of anybody waits for a remote service.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, Route, guard, web};
use secrecy::SecretString;
use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::signature::Secrets;
use crate::store::Store;

mod api;
mod health;
mod problem;
mod send;
mod webhook;

/// What the handlers work with.
pub struct State {
    /// The durable truth.
    pub store: Arc<dyn Store>,
    /// For the age of signatures.
    pub clock: SharedClock,
    /// The webhook's secrets.
    pub secrets: Secrets,
    /// Older signatures are refused.
    pub max_age: Option<Duration>,
    /// The leads' document type.
    pub lead_type: String,
    /// For `/api`; without it `/api` is off.
    pub admin_token: Option<SecretString>,
    /// Longest wait of `/api/send-to-bigin`.
    pub send_wait: Duration,
    /// What this process has counted.
    pub metrics: Arc<Metrics>,
    /// Held while `/readyz` tries to store something, so that whoever asks often takes no room from the webhooks.
    pub checking: tokio::sync::Mutex<()>,
    /// Becomes true when the process is to end: requests that wait for a lead's end are answered then.
    pub stopping: watch::Sender<bool>,
}

/// A head of a request that takes longer than this to arrive is given up.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests in flight get this long when the server stops.
const SHUTDOWN: u64 = 5;

/// Threads that read and answer. Checking a signature is microseconds and storing is one thread's work, so that one
/// would do; the second keeps a large body from holding up the others.
const WORKERS: usize = 2;

/// Starts to listen. The server runs when it is awaited, and stops by its handle.
///
/// # Errors
/// Where the address is taken or not ours.
pub fn serve(state: web::Data<State>, listener: std::net::TcpListener) -> std::io::Result<Server> {
    let server = HttpServer::new(move || App::new().app_data(state.clone()).configure(routes))
        .workers(WORKERS)
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(SHUTDOWN)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(
            web::JsonConfig::default()
                .limit(64 * 1024)
                .error_handler(problem::bad_json),
        )
        .app_data(web::QueryConfig::default().error_handler(problem::bad_query))
        .app_data(web::PathConfig::default().error_handler(problem::bad_path))
        .service(
            web::resource("/webhooks/sanity")
                .post(webhook::receive)
                .default_service(only("POST")),
        )
        .service(
            web::resource("/livez")
                .route(get().to(health::livez))
                .default_service(only("GET, HEAD")),
        )
        .service(
            web::resource("/readyz")
                .route(get().to(health::readyz))
                .default_service(only("GET, HEAD")),
        )
        .service(
            web::scope("/api")
                .wrap(actix_web::middleware::from_fn(api::authorize))
                .service(
                    web::resource("/send-to-bigin")
                        .post(send::send_to_bigin)
                        .default_service(only("POST")),
                )
                .service(
                    web::resource("/syncs")
                        .route(get().to(api::list))
                        .post(api::open)
                        .default_service(only("GET, HEAD, POST")),
                )
                .service(
                    web::resource("/syncs/{id}")
                        .route(get().to(api::one))
                        .default_service(only("GET, HEAD")),
                )
                .service(
                    web::resource("/health")
                        .route(get().to(api::health))
                        .default_service(only("GET, HEAD")),
                )
                .default_service(web::to(not_found)),
        )
        .default_service(web::to(not_found));
}

async fn not_found() -> HttpResponse {
    problem::answer(404, "There is nothing at this address.")
}

/// GET, and HEAD, which monitors like to ask with; the server leaves the body out by itself.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Answers the methods that an address does not take, and names those it does.
fn only(methods: &'static str) -> Route {
    web::to(move || async move { problem::method_not_allowed(methods) })
}
