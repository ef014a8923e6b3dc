//! What is answered over HTTP. Talks to the store alone: no request of anybody waits for a remote service.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_http::{HttpService, Protocol};
use actix_server::Server;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, Extensions};
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{Condition, DefaultHeaders, from_fn};
use actix_web::{App, HttpResponse, Resource, guard, web};
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use self::connections::{Connection, Connections};
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::signature::Secrets;
use crate::store::Store;

#[expect(unused_qualifications, reason = "utoipa's macro writes them")]
mod api;
mod auth;
#[expect(unused_qualifications, reason = "utoipa's macro writes them")]
mod check;
mod connections;
mod dashboard;
#[expect(unused_qualifications, reason = "utoipa's macro writes them")]
mod events;
mod health;
mod metrics;
mod openapi;
#[expect(unused_qualifications, reason = "utoipa's macro writes them")]
mod operator;
mod probes;
mod problem;
mod send;
mod webhook;

pub use auth::Admin;
pub use dashboard::{LOGIN_ROUTES, PAGES};
pub use events::MAX_STREAMS;
pub use openapi::Document;

/// What the handlers work with.
pub struct AppState {
    pub store: Arc<Store>,
    /// For the age of signatures.
    pub clock: SharedClock,
    /// The webhook's secrets.
    pub secrets: Secrets,
    /// `SANITY_WEBHOOK_MAX_AGE`.
    pub max_age: Option<Duration>,
    /// The leads' document type.
    pub lead_type: String,
    /// Where the pages are, and where their links lead.
    pub links: Links,
    /// Between the upsert and the tag, for the pages' countdown.
    pub tag_delay: Duration,
    /// How long a lead may fail by itself before it is given up, for the pages to say.
    pub give_up_after: Duration,
    /// Credits that Bigin gives in 24 hours, where that is known.
    pub daily_credits: Option<u64>,
    /// Who may use the API and the pages; without it they are off.
    pub admin: Option<Admin>,
    /// The one origin whose pages may call the API from a browser, with the admin token.
    pub cors_origin: Option<String>,
    /// Longest wait of `/api/send-to-bigin`.
    pub send_wait: Duration,
    /// What this process has counted.
    pub metrics: Arc<Metrics>,
    /// The bytes of large webhooks that may be read, [`LARGE_BODIES`] of them.
    pub large_bodies: Semaphore,
    /// One for each stream of events that may be open.
    pub streams: Arc<Semaphore>,
    /// Held while `/metrics` reads the store, so that frequent scrapes take no room from the webhooks. Holds whether that
    /// failed the last time.
    pub scraping: tokio::sync::Mutex<bool>,
    /// Told that an operator has a service checked that no sync in progress needs, so that none is the probe.
    pub idle_check: tokio::sync::Notify,
    /// When the process was started, by the wall clock.
    pub started_at: Timestamp,
    /// Becomes true when the process is to end: requests that wait for a lead's end are answered then.
    pub stopping: watch::Sender<bool>,
}

/// The addresses around the pages.
pub struct Links {
    /// People come by HTTPS, so that the session's cookie is for HTTPS only.
    pub by_https: bool,
    /// Sanity Studio, without a slash at the end.
    pub studio: Option<String>,
    /// Bigin as people use it, without a slash at the end.
    pub bigin: String,
}

/// Bytes of all webhooks together that are larger than `webhook::SMALL_BODY`.
pub const LARGE_BODIES: usize = 32 * 1024 * 1024;

/// A connection that is closed before its request has been read whole is read for this long, so that its peer gets to the
/// answer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests in flight get this long when the server stops.
const SHUTDOWN_TIMEOUT: u64 = 5;

/// Threads that read and answer. Checking a signature is microseconds and storing is one thread's work, so that one
/// would do; the second keeps a large body from holding up the others.
const WORKERS: usize = 2;

/// Connections at once of each of these threads. All of them together stay below the 1,024 files that most systems let a
/// process open, so that strangers who hold connections cannot keep the database from its own; more wait to be accepted.
const CONNECTIONS: usize = 400;

/// Starts to listen. The server runs when it is awaited, and stops by its handle. Must be called within a runtime.
///
/// This is what `actix_web::HttpServer` does, with `Connections` between actix and the sockets.
///
/// # Errors
/// Where the address is taken or not ours.
pub fn serve(state: web::Data<AppState>, listener: std::net::TcpListener) -> std::io::Result<Server> {
    metrics::show(&state.metrics);
    let builder = Server::build()
        .workers(WORKERS)
        .max_concurrent_connections(CONNECTIONS)
        .shutdown_timeout(SHUTDOWN_TIMEOUT)
        .disable_signals();
    let connections = Arc::new(Connections::default());
    let stop = builder.graceful_shutdown_signal();
    tokio::spawn(connections::watch(Arc::downgrade(&connections), stop));
    let http = move || {
        let app = App::new()
            .configure(|config| configure(config, &state))
            .wrap(from_fn(connections::track))
            .into_factory()
            .map_err(|error| error.error_response());
        let http = HttpService::build()
            // Connections have deadlines of their own.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .on_connect_ext(|connection: &Connection, data: &mut Extensions| {
                data.insert(connection.handle());
            })
            .finish(map_config(app, |()| AppConfig::default()));
        let connections = Arc::clone(&connections);
        fn_service(move |io: TcpStream| {
            let peer = io.peer_addr().ok();
            ready(Ok((connections.accept(io), Protocol::Http1, peer)))
        })
        .and_then(http)
    };
    Ok(builder.listen("http", listener, http)?.run())
}

/// All addresses, on this state.
pub fn configure(config: &mut web::ServiceConfig, state: &web::Data<AppState>) {
    config.app_data(state.clone());
    routes(config, state.cors_origin.as_deref());
}

/// A route: a path, with the methods it takes and their handlers.
pub struct Route {
    /// Relative to where it is mounted.
    pub path: &'static str,
    /// GET brings HEAD along.
    pub methods: &'static [&'static str],
    mount: fn(Resource) -> Resource,
}

/// The addresses that are open to everybody.
pub const PUBLIC_ROUTES: &[Route] = &[
    Route {
        path: "/webhooks/sanity",
        methods: &["POST"],
        mount: |resource| resource.post(webhook::receive),
    },
    Route {
        path: "/livez",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(probes::livez)),
    },
    Route {
        path: "/readyz",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(probes::readyz)),
    },
    Route {
        path: "/metrics",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(metrics::metrics)),
    },
];

/// The addresses under `/api`, which want the admin token.
pub const API: &[Route] = &[
    Route {
        path: "/send-to-bigin",
        methods: &["POST"],
        mount: |resource| resource.post(send::send_to_bigin),
    },
    Route {
        path: "/syncs",
        methods: &["GET", "POST"],
        mount: |resource| resource.route(get().to(api::list)).post(api::create),
    },
    Route {
        path: "/syncs/retry",
        methods: &["POST"],
        mount: |resource| resource.post(operator::retry_failed),
    },
    Route {
        path: "/syncs/{id}",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(api::one)),
    },
    Route {
        path: "/syncs/{id}/retry",
        methods: &["POST"],
        mount: |resource| resource.post(operator::retry),
    },
    Route {
        path: "/syncs/{id}/cancel",
        methods: &["POST"],
        mount: |resource| resource.post(operator::cancel),
    },
    Route {
        path: "/syncs/{id}/dismiss",
        methods: &["POST"],
        mount: |resource| resource.post(operator::dismiss),
    },
    Route {
        path: "/services/{remote}/check",
        methods: &["POST"],
        mount: |resource| resource.post(check::check),
    },
    Route {
        path: "/failures",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(operator::failures)),
    },
    Route {
        path: "/events",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(events::events)),
    },
    Route {
        path: "/health",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(health::health)),
    },
    Route {
        path: "/pause",
        methods: &["POST"],
        mount: |resource| resource.post(operator::pause),
    },
    Route {
        path: "/resume",
        methods: &["POST"],
        mount: |resource| resource.post(operator::resume),
    },
    Route {
        path: "/openapi.json",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(openapi::openapi)),
    },
];

fn routes(config: &mut web::ServiceConfig, cors_origin: Option<&str>) {
    // The last that is wrapped is the first that a request meets: a browser asks for permission without the token.
    let mut api = web::scope("/api")
        .wrap(from_fn(auth::authorize))
        .wrap(
            DefaultHeaders::new()
                .add((CACHE_CONTROL, "no-store"))
                .add((X_CONTENT_TYPE_OPTIONS, "nosniff")),
        )
        .wrap(Condition::new(cors_origin.is_some(), cors(cors_origin)));
    for route in API {
        api = api.service(route.resource());
    }
    config
        .app_data(
            web::JsonConfig::default()
                .limit(64 * 1024)
                .error_handler(problem::bad_json),
        )
        .app_data(web::FormConfig::default().error_handler(problem::bad_form))
        .app_data(web::QueryConfig::default().error_handler(problem::bad_query))
        .app_data(web::PathConfig::default().error_handler(problem::bad_path));
    for route in PUBLIC_ROUTES {
        config.service(route.resource());
    }
    for route in LOGIN_ROUTES {
        config.service(route.resource().wrap(from_fn(dashboard::public_page)));
    }
    for route in PAGES {
        config.service(route.resource().wrap(from_fn(dashboard::require_session)));
    }
    config
        .service(api.default_service(web::to(not_found)))
        .default_service(web::to(dashboard::not_found));
}

/// Lets the pages of one origin call the API. Cookies stay out of it.
fn cors(origin: Option<&str>) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST"])
        .allowed_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("last-event-id")])
        .max_age(3600);
    match origin {
        Some(origin) => cors.allowed_origin(origin),
        None => cors,
    }
}

impl Route {
    fn resource(&self) -> Resource {
        let methods: Vec<&str> = self
            .methods
            .iter()
            .flat_map(|method| {
                if *method == "GET" {
                    vec!["GET", "HEAD"]
                } else {
                    vec![*method]
                }
            })
            .collect();
        let methods = methods.join(", ");
        // Answers the methods that the route does not take, and names those it does.
        let only = web::to(move || {
            let response = problem::method_not_allowed(&methods);
            async move { response }
        });
        (self.mount)(web::resource(self.path)).default_service(only)
    }
}

/// The answer with a body, or the problem.
fn answer(result: Result<impl Serialize, impl Into<HttpResponse>>) -> HttpResponse {
    match result {
        Ok(body) => HttpResponse::Ok().json(body),
        Err(problem) => problem.into(),
    }
}

async fn not_found() -> HttpResponse {
    problem::answer(404, "There is nothing at this address.")
}

/// GET, and HEAD, which monitors like to ask with; the server leaves the body out by itself.
fn get() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
