//! The session, the forms and the limit on failed logins, with a clock that the tests move.

use actix_web::test::TestRequest;

use super::*;

const TOKEN: &str = "invented-admin-token-of-32-letters";

fn at(seconds: u64) -> Timestamp {
    after("2026-11-22T10:00:00Z".parse().unwrap(), Duration::from_secs(seconds))
}

fn admin() -> Admin {
    Admin::new(TOKEN.to_owned().into(), at(0))
}

fn session_of(admin: &Admin, cookie: &str, now: Timestamp) -> Option<Session> {
    let request = TestRequest::default()
        .cookie(Cookie::new(COOKIE, cookie))
        .to_http_request();
    admin.session(&request, now)
}

#[test]
fn a_session_is_good_until_its_end_and_not_a_second_longer() {
    let admin = admin();
    let session = admin.log_in(TOKEN, at(0)).unwrap();
    let cookie = admin.cookie(&session, false);
    let last = SESSION.as_secs() - 1;
    assert_eq!(session_of(&admin, cookie.value(), at(last)), Some(session));
    assert_eq!(session_of(&admin, cookie.value(), at(last + 1)), None);
}

#[test]
fn a_cookie_that_was_altered_or_made_up_is_worth_nothing() {
    let admin = admin();
    let session = admin.log_in(TOKEN, at(0)).unwrap();
    let cookie = admin.cookie(&session, false).value().to_owned();
    let parts: Vec<&str> = cookie.split('.').collect();
    let [ends, nonce, signature] = parts[..] else {
        panic!("{cookie}");
    };
    let later = ends.parse::<i64>().unwrap() + 1;
    for altered in [
        format!("{later}.{nonce}.{signature}"),
        format!("{ends}.{nonce}x.{signature}"),
        format!("{ends}.{nonce}.{signature}x"),
        format!("{ends}.{nonce}."),
        format!("{ends}.{nonce}"),
        format!("{ends}.{signature}"),
        // What signs the forms signs no session.
        format!("{ends}.{nonce}.{}", admin.form_token(&session)),
        String::new(),
        "...".to_owned(),
    ] {
        assert_eq!(session_of(&admin, &altered, at(0)), None, "{altered:?}");
    }
    assert!(session_of(&admin, &cookie, at(0)).is_some());
}

#[test]
fn another_token_ends_all_sessions() {
    let session = admin().log_in(TOKEN, at(0)).unwrap();
    let cookie = admin().cookie(&session, false);
    assert!(
        session_of(&admin(), cookie.value(), at(1)).is_some(),
        "but a restart does not"
    );
    let changed = Admin::new("another-invented-admin-token-of-32".to_owned().into(), at(0));
    assert_eq!(session_of(&changed, cookie.value(), at(1)), None);
    assert!(!changed.is_own_form(&session, &admin().form_token(&session)));
}

#[test]
fn a_form_is_its_own_sessions_alone() {
    let admin = admin();
    let (one, other) = (admin.log_in(TOKEN, at(0)).unwrap(), admin.log_in(TOKEN, at(0)).unwrap());
    assert!(admin.is_own_form(&one, &admin.form_token(&one)));
    assert!(!admin.is_own_form(&one, &admin.form_token(&other)));
    assert!(!admin.is_own_form(&one, ""));
}

#[test]
fn failed_logins_are_limited_and_given_back_one_by_one() {
    let admin = admin();
    for _ in 0..FAILURES {
        assert_eq!(admin.log_in("a guess", at(100)), Err(LoginError::Wrong));
    }
    let wait = |seconds| Err(LoginError::TooMany(Duration::from_secs(seconds)));
    assert_eq!(admin.log_in("a guess", at(100)), wait(6));
    assert_eq!(admin.log_in("a guess", at(104)), wait(2));
    assert_eq!(admin.log_in("a guess", at(106)), Err(LoginError::Wrong), "one more");
    assert_eq!(admin.log_in("a guess", at(106)), wait(6));
    for _ in 0..FAILURES {
        assert_eq!(
            admin.log_in("a guess", at(9_000)),
            Err(LoginError::Wrong),
            "all of them, and no more"
        );
    }
    assert_eq!(admin.log_in("a guess", at(9_000)), wait(6));
}

#[test]
fn the_right_token_is_let_in_however_many_failed() {
    let admin = admin();
    for _ in 0..=FAILURES {
        assert!(admin.log_in("a guess", at(0)).is_err());
    }
    assert!(admin.log_in(TOKEN, at(0)).is_ok());
    let limited = admin.log_in("a guess", at(0));
    assert!(matches!(limited, Err(LoginError::TooMany(_))), "{limited:?}");
}

#[test]
fn a_login_that_succeeds_costs_nothing() {
    let admin = admin();
    for _ in 0..100 {
        assert!(admin.log_in(TOKEN, at(0)).is_ok());
    }
    assert_eq!(admin.log_in("a guess", at(0)), Err(LoginError::Wrong));
}

#[test]
fn a_request_is_of_our_origin_where_the_browser_says_so() {
    let from = |headers: &[(&str, &str)]| {
        let request = TestRequest::default().insert_header((HOST, "crm.example.org"));
        let request = headers
            .iter()
            .fold(request, |request, header| request.insert_header(*header));
        is_same_origin(&request.to_http_request())
    };
    assert!(from(&[("sec-fetch-site", "same-origin")]));
    assert!(from(&[("origin", "https://crm.example.org")]));
    for other in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://crm.example.org")],
        &[("origin", "https://evil.example")],
        &[("origin", "https://crm.example.org.evil.example")],
        &[("origin", "null")],
    ] {
        assert!(!from(other), "{other:?}");
    }
}
