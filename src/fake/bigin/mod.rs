//! A stand-in for Zoho's accounts server and Bigin's API: strict, stateful, and behaving as the real ones do also where that
//! is inconvenient. What is known from official documentation, from recorded live traffic (2026-10-09) and from what
//! integrators report is marked where it is used; where sources disagree there is a switch; what nothing says is marked as
//! an assumption.

mod accounts;
mod coql;
mod fault;
mod fields;
mod model;
mod oauth;
mod options;
mod read;
mod records;
mod reply;
mod request;
mod request_log;
mod routes;
mod tags;
mod validate;

use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::web::{self, Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::FutureExt as _;

pub use self::fault::Fault;
pub use self::fields::{FieldMeta, Unique};
pub use self::model::{Contact, Model};
pub use self::options::{Switches, UnknownKeys};
pub use self::request_log::{Action, Call, CallKind, Change};

use self::accounts::Accounts;
use self::reply::Reply;
use self::request::Request;
use super::server::{Answered, Server};
use crate::clock::SharedClock;

/// Where one without a socket seems to be.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The accounts server and the API of one organisation, on one port of this machine. Ends when dropped.
pub struct FakeBigin {
    model: Arc<Mutex<Model>>,
    server: Option<Server>,
}

impl FakeBigin {
    /// Starts it with the default fields and no contacts. Tokens, limits and the index's lag go by `clock`; latency and
    /// hanging calls take real time.
    ///
    /// # Errors
    /// Where no port or thread is to be had.
    pub async fn start(clock: SharedClock) -> std::io::Result<Self> {
        let model = Arc::new(Mutex::new(Model::new(clock, String::new())));
        let served = Data::from(Arc::clone(&model));
        let server = Server::start(move |config| {
            config.app_data(served.clone()).default_service(web::to(answer));
        })?;
        routes::lock(&model).api_domain = server.url();
        Ok(Self {
            model,
            server: Some(server),
        })
    }

    /// One without a socket: the owner of a request lets it [answer](Self::answer).
    pub fn without_socket(clock: SharedClock) -> Self {
        Self {
            model: Arc::new(Mutex::new(Model::new(clock, NOWHERE.to_owned()))),
            server: None,
        }
    }

    /// Carries out a request at once, whatever the switches say of latency: the answer, or `None` where the connection is
    /// to be cut. The calls that are in flight are not counted.
    pub fn answer(&self, request: &reqwest::Request) -> Option<Answered> {
        let process = routes::process(Arc::clone(&self.model), Request::of(request));
        process.now_or_never()?.into_answer()
    }

    /// The base address of both the accounts server and the API, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.as_ref().map_or_else(|| NOWHERE.to_owned(), Server::url)
    }

    /// The one client id that is known.
    pub fn client_id(&self) -> String {
        self.model().accounts.client_id.clone()
    }

    pub fn client_secret(&self) -> String {
        self.model().accounts.client_secret.clone()
    }

    /// The refresh token that is valid from the start.
    pub fn refresh_token(&self) -> String {
        Accounts::first_refresh_token().to_owned()
    }

    /// What it holds, to be read and changed. No call proceeds while the guard is held: let go of it before awaiting.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        routes::lock(&self.model)
    }

    /// Closes the port and cuts every connection.
    pub async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

async fn answer(model: Data<Mutex<Model>>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let request = Request::new(&request, body);
    // Actix drops a handler whose caller has hung up; on a task of its own the work goes on.
    let work = actix_web::rt::spawn(routes::process(model.into_inner(), request));
    work.await.unwrap_or_else(|_| Reply::cut()).into_http()
}
