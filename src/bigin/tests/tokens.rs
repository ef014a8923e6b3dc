//! Tests of the access token's life.

use futures_util::future::join_all;

use super::*;
use crate::domain::failure::{CallError, Remote, ServiceError, ServiceErrorKind};

fn service_error(result: Result<(), CallError>) -> ServiceError {
    match result {
        Err(CallError::Service(service_error)) => service_error,
        other => panic!("not a pause: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_calls_at_once_share_one_grant() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    for result in join_all((0..100).map(|_| call(&bigin))).await {
        result.unwrap();
    }
    assert_eq!(world.grants(), 1);
    let asked = &world.server.requests("/oauth/v2/token")[0];
    assert_eq!(asked.method, "POST");
    assert!(asked.url.query().is_none());
    assert_eq!(
        asked.body,
        "grant_type=refresh_token&client_id=client&client_secret=client-secret&refresh_token=refresh-token"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mass_of_refusals_costs_one_refresh() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    call(&bigin).await.unwrap();
    world.zoho.refuse(1);
    for result in join_all((0..100).map(|_| call(&bigin))).await {
        result.unwrap();
    }
    assert_eq!(world.grants(), 2);
}

#[tokio::test]
async fn all_who_need_a_token_before_there_is_one_wait_for_the_same() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    for result in join_all((0..100).map(|_| call(&bigin))).await {
        result.unwrap();
    }
    assert_eq!(world.grants(), 1);
}

#[tokio::test]
async fn a_token_expires_by_our_clock_a_minute_early() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    call(&bigin).await.unwrap();
    world.clock.advance(Duration::from_secs(3600 - 61));
    call(&bigin).await.unwrap();
    assert_eq!(world.grants(), 1);
    world.clock.advance(Duration::from_secs(2));
    for result in join_all((0..20).map(|_| call(&bigin))).await {
        result.unwrap();
    }
    assert_eq!(world.grants(), 2);
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_at_once_trips() {
    let world = World::of_tokens().await;
    world.zoho.refuses_all.store(true, Ordering::SeqCst);
    let bigin = world.bigin();
    let service_error = service_error(call(&bigin).await);
    assert_eq!(
        (service_error.remote, service_error.kind),
        (Remote::Bigin, ServiceErrorKind::Unauthorized)
    );
    assert_eq!(service_error.code, "INVALID_TOKEN");
    assert_eq!(world.grants(), 2);
    // The next probe costs one more, and no two.
    call(&bigin).await.unwrap_err();
    assert_eq!(world.grants(), 3);
}

#[tokio::test]
async fn a_restart_uses_the_stored_token_until_a_credential_changes() {
    let world = World::of_tokens().await;
    call(&world.bigin()).await.unwrap();
    call(&world.bigin()).await.unwrap();
    assert_eq!(world.grants(), 1);

    let changes: [fn(&mut BiginSettings); 4] = [
        |settings| settings.refresh_token = SecretString::from("another".to_owned()),
        |settings| settings.client_id = "another".to_owned(),
        |settings| settings.client_secret = SecretString::from("another".to_owned()),
        |settings| settings.accounts_url.set_host(Some("localhost")).unwrap(),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        // What is stored is of the credentials as they were, so that nothing but this change keeps it closed.
        call(&world.bigin()).await.unwrap();
        let before = world.grants();
        let mut settings = world.settings();
        change(&mut settings);
        call(&world.bigin_with(settings)).await.unwrap();
        assert_eq!(world.grants(), before + 1, "change {place}");
    }
}

#[tokio::test]
async fn a_stored_token_that_expired_or_was_refused_is_not_used() {
    let world = World::of_tokens().await;
    call(&world.bigin()).await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    call(&world.bigin()).await.unwrap();
    assert_eq!(world.grants(), 2);
    world.zoho.refuse(2);
    call(&world.bigin()).await.unwrap();
    assert_eq!(world.grants(), 3);
    // Another replica refreshed meanwhile: its token serves us too.
    call(&world.bigin()).await.unwrap();
    assert_eq!(world.grants(), 3);
}

#[tokio::test]
async fn only_the_token_that_failed_is_dropped() {
    let world = World::of_tokens().await;
    let (ours, theirs) = (world.bigin(), world.bigin());
    call(&ours).await.unwrap();
    call(&theirs).await.unwrap();
    world.zoho.refuse(1);
    call(&theirs).await.unwrap();
    call(&ours).await.unwrap();
    assert_eq!(world.grants(), 2);
}

#[tokio::test]
async fn a_late_refusal_of_an_older_token_leaves_the_newer_in_place() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    let older = bigin.tokens.get(DEADLINE).await.unwrap();
    world.zoho.refuse(1);
    call(&bigin).await.unwrap();
    assert_eq!(world.grants(), 2);
    // A call that was sent with the older one is answered only now. The vault could not help out.
    world.vault.broken.store(true, Ordering::SeqCst);
    bigin.tokens.discard(&older).await;
    call(&bigin).await.unwrap();
    assert_eq!(world.grants(), 2);
}

#[tokio::test]
async fn a_refused_token_that_the_vault_cannot_forget_is_not_used_again() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    call(&bigin).await.unwrap();
    world.vault.keeps.store(true, Ordering::SeqCst);
    world.zoho.refuse(1);
    call(&bigin).await.unwrap();
    assert_eq!(world.grants(), 2);
}

#[tokio::test]
async fn a_broken_vault_stops_no_work() {
    let world = World::of_tokens().await;
    world.vault.broken.store(true, Ordering::SeqCst);
    let bigin = world.bigin();
    call(&bigin).await.unwrap();
    world.zoho.refuse(1);
    call(&bigin).await.unwrap();
    call(&bigin).await.unwrap();
    assert_eq!(world.grants(), 2);
}

#[tokio::test]
async fn nothing_readable_of_the_token_reaches_the_vault() {
    let world = World::of_tokens().await;
    call(&world.bigin()).await.unwrap();
    let sealed = world.vault.sealed.lock().unwrap().clone().unwrap();
    assert!(
        sealed
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    );
    assert!(!sealed.contains("token-1"));
}

#[tokio::test]
async fn the_tenth_grant_in_ten_minutes_waits_for_the_first_to_fall_out() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    for token in 1..=9 {
        call(&bigin).await.unwrap();
        world.zoho.refuse(token);
        world.clock.advance(Duration::from_secs(10));
    }
    let service_error = service_error(call(&bigin).await);
    assert_eq!(
        (service_error.remote, service_error.kind),
        (Remote::ZohoAccounts, ServiceErrorKind::TokenRateLimited)
    );
    assert_eq!(service_error.retry_after, Some(Duration::from_secs(510)));
    assert_eq!(world.grants(), 9);
    // A restart knows of them too.
    call(&world.bigin()).await.unwrap_err();
    assert_eq!(world.grants(), 9);
    world.clock.advance(Duration::from_secs(510));
    call(&bigin).await.unwrap();
    assert_eq!(world.grants(), 10);
}

#[tokio::test]
async fn refused_credentials_are_asked_again_and_cost_no_grant() {
    let server = StubServer::start(|_| Reply::Json(200, json!({"error": "invalid_code"}))).await;
    let world = World {
        server,
        ..World::of_tokens().await
    };
    let bigin = world.bigin();
    for _ in 0..12 {
        let service_error = service_error(call(&bigin).await);
        assert_eq!(
            (service_error.remote, service_error.kind),
            (Remote::ZohoAccounts, ServiceErrorKind::Unauthorized)
        );
        assert!(service_error.action.unwrap().contains("BIGIN_REFRESH_TOKEN"));
    }
    assert!(world.vault.grants.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_answer_of_the_token_endpoint_counts_as_a_grant() {
    let world = World {
        server: StubServer::start(|_| Reply::Lost).await,
        ..World::of_tokens().await
    };
    let bigin = world.bigin();
    let service_error = service_error(call(&bigin).await);
    assert_eq!(
        (service_error.kind, service_error.code.as_str()),
        (ServiceErrorKind::Unavailable, "connection lost")
    );
    assert_eq!(world.vault.grants.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_success_without_a_token_in_it_counts_as_a_grant() {
    for (status, grants) in [(200, 1), (503, 0)] {
        let world = World {
            server: StubServer::start(move |_| Reply::Json(status, json!([]))).await,
            ..World::of_tokens().await
        };
        let bigin = world.bigin();
        assert_eq!(service_error(call(&bigin).await).kind, ServiceErrorKind::Unavailable);
        assert_eq!(world.vault.grants.lock().unwrap().len(), grants, "HTTP {status}");
    }
}

#[tokio::test]
async fn the_api_address_comes_with_the_token_and_must_be_safe() {
    let cases = [("http://api.example", "no_api_domain"), ("", "no_api_domain")];
    for (domain, code) in cases {
        let body = json!({"access_token": "t", "api_domain": domain, "expires_in": 3600});
        let server = StubServer::start(move |_| Reply::Json(200, body.clone())).await;
        let world = World {
            server,
            ..World::of_tokens().await
        };
        let settings = BiginSettings {
            api_domain: None,
            ..world.settings()
        };
        let service_error = service_error(call(&world.bigin_with(settings)).await);
        assert_eq!(
            (service_error.kind, service_error.code.as_str()),
            (ServiceErrorKind::Unauthorized, code),
            "{domain:?}"
        );
    }
}

#[tokio::test]
async fn the_token_knows_where_it_is_to_be_used() {
    let api = StubServer::start(|_| Reply::Text(204, "")).await;
    let body = json!({"access_token": "t", "api_domain": api.url.as_str(), "expires_in": 3600});
    let world = World {
        server: StubServer::start(move |_| Reply::Json(200, body.clone())).await,
        ..World::of_tokens().await
    };
    let settings = || BiginSettings {
        api_domain: None,
        ..world.settings()
    };
    call(&world.bigin_with(settings())).await.unwrap();
    call(&world.bigin_with(settings())).await.unwrap();
    assert_eq!(api.requests("/bigin/v2/coql").len(), 2);
    assert_eq!(world.server.requests("/token").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tokens_refused_again_and_again_cost_one_refresh_each() {
    let world = World::of_tokens().await;
    let bigin = Arc::new(world.bigin());
    for token in 1..=5 {
        let calls = (0..40).map(|_| {
            let bigin = Arc::clone(&bigin);
            tokio::spawn(async move { call(&bigin).await })
        });
        for result in join_all(calls.collect::<Vec<_>>()).await {
            result.unwrap().unwrap();
        }
        assert_eq!(world.grants(), token);
        world.zoho.refuse(token);
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_the_refresh() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    let held = world.vault.gate.lock().await;
    let hurried = bigin.find_by_phone(&["1".to_owned()], Duration::from_millis(5)).await;
    assert_eq!(service_error(hurried.map(|_| ())).code, "timeout");
    drop(held);
    call(&bigin).await.unwrap();
    assert_eq!(world.grants(), 1);
}

#[tokio::test]
async fn records_rate_limit_after_its_caller_gave_up() {
    let world = World {
        server: StubServer::start(|_| Reply::Json(400, json!({"error": "Access Denied"}))).await,
        ..World::of_tokens().await
    };
    let bigin = world.bigin();
    // A caller that waits records it itself, in its own transaction.
    assert_eq!(service_error(call(&bigin).await).code, "Access Denied");
    assert!(world.vault.rate_limits.lock().unwrap().is_empty());
    let held = world.vault.gate.lock().await;
    let hurried = bigin.find_by_phone(&["1".to_owned()], Duration::from_millis(5)).await;
    assert_eq!(service_error(hurried.map(|_| ())).code, "timeout");
    drop(held);
    let recorded = || world.vault.rate_limits.lock().unwrap().first().cloned();
    for _ in 0..500 {
        if recorded().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(recorded().unwrap().kind, ServiceErrorKind::TokenRateLimited);
}

#[tokio::test]
async fn calls_beyond_the_permits_wait_their_turn() {
    let world = World::of_tokens().await;
    let settings = BiginSettings {
        max_concurrency: 0,
        ..world.settings()
    };
    let bigin = world.bigin_with(settings);
    for result in join_all((0..5).map(|_| call(&bigin))).await {
        result.unwrap();
    }
    let held = bigin.permits.acquire().await.unwrap();
    let late = bigin.find_by_phone(&["1".to_owned()], Duration::from_millis(5)).await;
    assert_eq!(service_error(late.map(|_| ())).code, "busy");
    drop(held);
    call(&bigin).await.unwrap();
}

/// Bigin may carry out a call that is given up, so each gets half of its deadline at least.
#[tokio::test]
async fn a_call_for_which_too_little_time_is_left_is_not_sent() {
    // Seconds of a grant and of a refusal, whether the first token is refused, how many calls are sent, and who is blamed.
    let cases = [
        (5, 0, false, 1, None),
        (6, 0, false, 0, Some(Remote::ZohoAccounts)),
        (0, 5, true, 2, None),
        (0, 6, true, 1, Some(Remote::Bigin)),
        (2, 2, true, 1, Some(Remote::ZohoAccounts)),
    ];
    for (grant, refusal, is_refused, sent, blamed) in cases {
        let world = World::of_tokens().await;
        if is_refused {
            world.zoho.refuse(1);
        }
        let (zoho, clock) = (Arc::clone(&world.zoho), Arc::clone(&world.clock));
        let slow = StubServer::start(move |request| {
            let answer = zoho.answer(request);
            let seconds = match (&answer, request.path()) {
                (_, "/oauth/v2/token") => grant,
                (Some(_), _) => refusal,
                (None, _) => 0,
            };
            clock.advance(Duration::from_secs(seconds));
            answer.unwrap_or(Reply::Text(204, ""))
        });
        let world = World {
            server: slow.await,
            ..world
        };
        let bigin = world.bigin();
        let calls = || world.server.requests("/bigin/v2/coql").len();
        let case = format!("a grant takes {grant} s, a refusal {refusal} s");
        let error = call(&bigin).await.err().map(|error| service_error(Err(error)));
        let found = error.map(|error| (error.remote, error.kind, error.code));
        let expected = blamed.map(|remote| (remote, ServiceErrorKind::Unavailable, "slow".to_owned()));
        assert_eq!((found, calls()), (expected, sent), "{case}");
        // The next call has a token that it need not wait for, or the time to get one.
        call(&bigin).await.unwrap();
        assert_eq!(calls(), sent + 1, "{case}");
    }
}

#[tokio::test]
async fn a_replica_waits_for_the_refresh_of_another_and_uses_its_token() {
    let world = World::of_tokens().await;
    call(&world.bigin()).await.unwrap();
    let theirs = world.vault.sealed.lock().unwrap().take();
    world.vault.claimed.store(true, Ordering::SeqCst);
    let bigin = world.bigin();
    let other = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.grants(), 1);
        *world.vault.sealed.lock().unwrap() = theirs;
        world.vault.claimed.store(false, Ordering::SeqCst);
    };
    let (result, ()) = tokio::join!(call(&bigin), other);
    result.unwrap();
    assert_eq!(world.grants(), 1);
}
