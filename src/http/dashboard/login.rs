//! The login: the admin token is exchanged for a session's cookie, and the browser goes on to the page that was
//! asked for.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::{Answer, Frame, off, page, percent, see};
use crate::http::AppState;
use crate::http::auth::{LoginError, is_same_origin, no_cookie, retry_after};
use crate::http::problem;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    /// Where to go on.
    next: String,
    /// Why the login failed.
    fault: Option<String>,
    /// Something was to be done when the session had ended.
    undone: bool,
}

#[derive(Default, Deserialize)]
pub(super) struct LoginQuery {
    next: Option<String>,
    undone: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct LoginForm {
    token: String,
    next: Option<String>,
}

/// Shows the form; with a session, redirects at once.
pub(super) async fn show(request: HttpRequest, query: web::Query<LoginQuery>, state: web::Data<AppState>) -> Answer {
    let admin = state.admin.as_ref().ok_or_else(off)?;
    let next = local(query.next.as_deref());
    if admin.session(&request, state.clock.now()).is_some() {
        return Ok(see(&next));
    }
    Ok(form(&state, 200, next, None, query.undone.is_some()))
}

fn form(state: &AppState, status: u16, next: String, fault: Option<String>, undone: bool) -> HttpResponse {
    let template = LoginPage {
        frame: Frame::new(state, None, "", "Log in"),
        next,
        fault,
        undone,
    };
    page(status, &template)
}

/// Whether the browser has a session. A link on another site brings the page without the cookie, which is for our own
/// pages only; the login page asks this as one of them.
pub(super) async fn session(request: HttpRequest, state: web::Data<AppState>) -> Answer {
    let admin = state.admin.as_ref().ok_or_else(off)?;
    let there = admin.session(&request, state.clock.now()).is_some();
    Ok(HttpResponse::Ok().json(there))
}

/// Exchanges the token for a session.
pub(super) async fn log_in(request: HttpRequest, form_: web::Form<LoginForm>, state: web::Data<AppState>) -> Answer {
    let admin = state.admin.as_ref().ok_or_else(off)?;
    // Another site could not get in, and could use up the logins that may fail.
    if !is_same_origin(&request) {
        return Err(problem::answer(
            403,
            "The form is not from this page. Open the login page, and try again.",
        )
        .into());
    }
    let next = local(form_.next.as_deref());
    match admin.log_in(form_.token.trim(), state.clock.now()) {
        Ok(session) => {
            tracing::info!("the operator has logged in");
            let mut response = see(&next);
            let cookie = admin.cookie(&session, state.links.by_https);
            response.add_cookie(&cookie).map_err(|_| off())?;
            Ok(response)
        }
        Err(LoginError::Wrong) => {
            state.metrics.logins_failed.add();
            tracing::warn!("a login failed: it was not the admin token");
            let fault = "That is not the admin token. It is the value of ADMIN_TOKEN in the service's settings.";
            Ok(form(&state, 403, next, Some(fault.to_owned()), false))
        }
        Err(LoginError::TooMany(wait)) => {
            state.metrics.logins_failed.add();
            let (name, seconds) = retry_after(wait);
            let fault =
                format!("That is not the admin token, and too many logins have failed. Try again in {seconds} s.");
            let mut response = form(&state, 429, next, Some(fault), false);
            if let Ok(value) = seconds.parse() {
                response.headers_mut().insert(name, value);
            }
            Ok(response)
        }
    }
}

/// Ends the session in this browser.
pub(super) async fn log_out() -> Answer {
    let mut response = see("/login");
    response.add_cookie(&no_cookie()).map_err(|_| off())?;
    Ok(response)
}

/// The login page before the page at `next`. `undone` says that something was to be done there.
pub(super) fn login_address(next: &str, undone: bool) -> String {
    let next = local(Some(next));
    let next = if next == "/" {
        String::new()
    } else {
        format!("next={}", percent(&next))
    };
    let undone = if undone { "undone=yes" } else { "" };
    match [next.as_str(), undone]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
    {
        parts if parts.is_empty() => "/login".to_owned(),
        parts => format!("/login?{}", parts.join("&")),
    }
}

/// A page of ours; the overview where it is anything else. A browser would take `//host`, `/\host` and more for another
/// site, so that only what is known to be a page passes.
fn local(next: Option<&str>) -> String {
    let is_page = |next: &&str| {
        let path = next.split_once('?').map_or(*next, |(path, _)| path);
        let is_sync = |id: &str| !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit());
        let known = matches!(path, "/" | "/syncs" | "/failures") || path.strip_prefix("/syncs/").is_some_and(is_sync);
        known && next.len() <= 1000 && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    next.filter(is_page).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_leads_on_to_pages_of_ours_and_nowhere_else() {
        for ours in [
            "/",
            "/syncs",
            "/syncs?state=failed&q=lead-a",
            "/syncs/12",
            "/failures",
            "/?x=y",
        ] {
            assert_eq!(local(Some(ours)), ours);
        }
        for other in [
            "",
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/syncs//evil.example",
            "/syncs/12/retry",
            "/logout",
            "/login",
            "/syncs?\r\nSet-Cookie: a=b",
            "/syncs/..",
            "javascript:alert(1)",
            "/syncs/\t12",
        ] {
            assert_eq!(local(Some(other)), "/", "{other:?}");
        }
        assert_eq!(local(None), "/");
    }

    #[test]
    fn the_address_of_the_login_carries_the_page_whole() {
        assert_eq!(login_address("/", false), "/login");
        assert_eq!(
            login_address("/syncs?state=failed&q=a", false),
            "/login?next=%2Fsyncs%3Fstate%3Dfailed%26q%3Da"
        );
        assert_eq!(login_address("/syncs/5", true), "/login?next=%2Fsyncs%2F5&undone=yes");
    }
}
