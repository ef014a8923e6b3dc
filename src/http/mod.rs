//! What is answered over HTTP. Talks to the store alone: no request of anybody waits for a remote service.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, web};
use secrecy::SecretString;

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
                .default_service(web::to(method_not_allowed)),
        )
        .service(web::resource("/livez").get(health::livez))
        .service(web::resource("/readyz").get(health::readyz))
        .service(
            web::scope("/api")
                .wrap(actix_web::middleware::from_fn(api::authorize))
                .service(web::resource("/send-to-bigin").post(send::send_to_bigin))
                .service(web::resource("/syncs").get(api::list).post(api::open))
                .service(web::resource("/syncs/{id}").get(api::one))
                .service(web::resource("/health").get(api::health))
                .default_service(web::to(not_found)),
        )
        .default_service(web::to(not_found));
}

async fn not_found() -> HttpResponse {
    problem::answer(404, "There is nothing at this address.")
}

async fn method_not_allowed() -> HttpResponse {
    problem::answer(405, "Webhooks come by POST.")
}
