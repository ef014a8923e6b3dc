//! The dashboard: pages for people, rendered here and complete without JavaScript. They show what the API shows and do what
//! it does, by the same functions.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::auth::{Session, is_same_origin};
use super::problem::{self, Said};
use super::{AppState, Route, get};
use crate::store::StoreError;

mod actions;
mod assets;
mod chart;
mod failures;
mod flash;
mod labels;
mod list;
mod login;
mod overview;
mod services;
mod sync;
mod timeline;

/// The addresses that are open to everybody: the login and what it is drawn with.
pub const LOGIN_ROUTES: &[Route] = &[
    Route {
        path: "/login",
        methods: &["GET", "POST"],
        mount: |resource| resource.route(get().to(login::show)).post(login::log_in),
    },
    Route {
        path: "/login/session",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(login::session)),
    },
    Route {
        path: "/assets/{name}",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(assets::asset)),
    },
];

/// The pages, which want a session; their forms want its token too.
pub const PAGES: &[Route] = &[
    Route {
        path: "/",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(overview::show)),
    },
    Route {
        path: "/syncs",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(list::show)),
    },
    Route {
        path: "/syncs/retry",
        methods: &["POST"],
        mount: |resource| resource.post(actions::retry_failed),
    },
    Route {
        path: "/syncs/{id}",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(sync::show)),
    },
    Route {
        path: "/syncs/{id}/retry",
        methods: &["POST"],
        mount: |resource| resource.post(actions::retry),
    },
    Route {
        path: "/syncs/{id}/cancel",
        methods: &["POST"],
        mount: |resource| resource.post(actions::cancel),
    },
    Route {
        path: "/syncs/{id}/dismiss",
        methods: &["POST"],
        mount: |resource| resource.post(actions::dismiss),
    },
    Route {
        path: "/services/{remote}/check",
        methods: &["POST"],
        mount: |resource| resource.post(actions::check),
    },
    Route {
        path: "/failures",
        methods: &["GET"],
        mount: |resource| resource.route(get().to(failures::show)),
    },
    Route {
        path: "/pause",
        methods: &["POST"],
        mount: |resource| resource.post(actions::pause),
    },
    Route {
        path: "/resume",
        methods: &["POST"],
        mount: |resource| resource.post(actions::resume),
    },
    Route {
        path: "/logout",
        methods: &["POST"],
        mount: |resource| resource.post(login::log_out),
    },
];

/// What every page says to browsers. The referrer stays on the site, and is not left out altogether: browsers that do not
/// send `Sec-Fetch-Site` (none does over plain HTTP) would then hide where a form comes from.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

/// A form of these pages is a few ids and a reason.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// What every page is framed by.
struct Frame {
    /// Of the window.
    title: String,
    /// Which part of the navigation it is: overview, syncs, failures, or none.
    part: &'static str,
    /// Goes into every form; none without a login.
    form_token: Option<String>,
    /// What has just been done.
    note: Option<flash::Note>,
    /// The service's time.
    now: labels::Moment,
    /// Where parts of the page change by themselves: its address, and after how many seconds a browser without
    /// JavaScript loads it again.
    again: Option<(String, u32)>,
    css: &'static str,
    js: &'static str,
    icon: &'static str,
}

impl Frame {
    fn new(state: &AppState, session: Option<&Session>, part: &'static str, title: &str) -> Self {
        let form_token = session.and_then(|session| Some(state.admin.as_ref()?.form_token(session)));
        let assets = assets::addresses();
        Self {
            title: title.to_owned(),
            part,
            form_token,
            note: None,
            now: labels::Moment(state.clock.now()),
            again: None,
            css: &assets.css,
            js: &assets.js,
            icon: &assets.icon,
        }
    }

    /// What every form carries.
    fn token(&self) -> &str {
        self.form_token.as_deref().unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    heading: &'static str,
    detail: String,
}

/// A page, or what kept it from being one.
type Answer = Result<HttpResponse, Refusal>;

/// A problem, on its way to the page that says it.
struct Refusal(HttpResponse);

impl From<HttpResponse> for Refusal {
    fn from(response: HttpResponse) -> Self {
        Self(response)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl From<Refusal> for actix_web::Error {
    fn from(Refusal(response): Refusal) -> Self {
        InternalError::from_response("refused", response).into()
    }
}

fn page(status: u16, template: &impl Template) -> HttpResponse {
    match template.render() {
        Ok(html) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            HttpResponse::build(status)
                .content_type("text/html; charset=utf-8")
                .body(html)
        }
        Err(error) => {
            tracing::error!("a page could not be rendered: {error}");
            problem::answer(500, "This page could not be rendered. The log has the error.")
        }
    }
}

/// Leads on to another page, with a GET.
fn see(address: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, address)).finish()
}

/// As part of an address.
fn percent(text: &str) -> String {
    askama::filters::urlencode_strict(text).map_or_else(|_| String::new(), |encoded| encoded.to_string())
}

/// Lets a request pass to a page that has a session, and one that changes something only from a form of that session.
pub(super) async fn require_session(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let response = match pass(&mut request).await {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => request.into_response(refusal),
    };
    Ok(as_page(response))
}

/// Frames what is open to everybody.
pub(super) async fn public_page(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    Ok(as_page(next.call(request).await?.map_into_boxed_body()))
}

#[derive(Deserialize)]
struct OwnForm {
    form_token: String,
}

async fn pass(request: &mut ServiceRequest) -> Result<(), HttpResponse> {
    let state = state_of(request.request()).ok_or_else(off)?;
    let admin = state.admin.as_ref().ok_or_else(off)?;
    let safe = request.method().is_safe();
    let Some(session) = admin.session(request.request(), state.clock.now()) else {
        let next = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
        return Err(see(&login::login_address(if safe { next } else { "/" }, !safe)));
    };
    if !safe {
        let own = || {
            problem::answer(
                403,
                "The form is not from these pages, or is too old. Nothing was done: go back and try again.",
            )
        };
        if !is_same_origin(request.request()) {
            return Err(own());
        }
        let body = request.extract::<web::Bytes>().await.ok();
        let body = body.filter(|body| body.len() <= MAX_FORM_BYTES).ok_or_else(own)?;
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let form = web::Query::<OwnForm>::from_query(text).map_err(|_| own())?;
        if !admin.is_own_form(&session, &form.form_token) {
            return Err(own());
        }
        request.set_payload(Payload::from(body));
    }
    request.extensions_mut().insert(session);
    Ok(())
}

fn state_of(request: &HttpRequest) -> Option<web::Data<AppState>> {
    request.app_data::<web::Data<AppState>>().cloned()
}

fn off() -> HttpResponse {
    problem::answer(
        404,
        "The dashboard is off: set ADMIN_TOKEN (at least 32 characters where other machines can reach the service) and start the service again to turn it on.",
    )
}

/// Nothing is at the address: a page for people, a problem for programs.
pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let missing = super::not_found().await;
    match state_of(&request) {
        Some(state) if accept.is_some_and(|accept| accept.contains("text/html")) => {
            let mut response = in_words(&state, None, missing);
            frame_headers(response.headers_mut());
            response
        }
        _ => missing,
    }
}

/// Says a problem in words on a page, and sets the headers that every page has.
fn as_page(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let (request, mut response) = response.into_parts();
    if let Some(state) = state_of(&request) {
        let session = request.extensions().get::<Session>().cloned();
        response = in_words(&state, session.as_ref(), response);
    }
    frame_headers(response.headers_mut());
    ServiceResponse::new(request, response)
}

fn frame_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// The same answer, its problem on a page if it is one.
fn in_words(state: &AppState, session: Option<&Session>, response: HttpResponse) -> HttpResponse {
    let Some(detail) = response.extensions().get::<Said>().map(|said| said.0.clone()) else {
        return response;
    };
    let status = response.status();
    let heading = labels::status(status.as_u16());
    let template = ProblemPage {
        frame: Frame::new(state, session, "", heading),
        heading,
        detail,
    };
    let mut framed = page(status.as_u16(), &template);
    for name in [RETRY_AFTER, ALLOW] {
        if let Some(value) = response.headers().get(&name) {
            framed.headers_mut().insert(name, value.clone());
        }
    }
    framed
}
