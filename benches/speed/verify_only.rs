//! The floor beside the service: a route of the same web server that checks the signature, answers, and keeps nothing. A
//! process of its own, so that its processor time is its own.

use std::net::TcpListener;

use actix_web::http::header::HeaderValue;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bigin_sync::clock::{Clock as _, SystemClock};
use bigin_sync::signature::{self, Secrets};

struct Known {
    secrets: Secrets,
    clock: SystemClock,
}

/// Serves until it is killed. Prints its address.
pub fn serve() {
    let secrets = Secrets::new(crate::load::SECRET.into(), None).unwrap();
    let known = web::Data::new(Known {
        secrets,
        clock: SystemClock::new(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    // As the service has it: see src/http/mod.rs.
    let app = move || {
        App::new()
            .app_data(known.clone())
            .route("/webhooks/sanity", web::post().to(receive))
    };
    let server = HttpServer::new(app).workers(2).listen(listener).unwrap().run();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(server).unwrap();
}

async fn receive(request: HttpRequest, body: web::Bytes, known: web::Data<Known>) -> HttpResponse {
    let headers = request.headers().get_all(signature::HEADER).map(HeaderValue::as_bytes);
    match signature::verify(headers, &body, &known.secrets, None, known.clock.wall()) {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(error) => HttpResponse::build(actix_web::http::StatusCode::from_u16(error.status()).unwrap()).finish(),
    }
}
