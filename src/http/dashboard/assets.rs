//! What the pages are drawn with: a style sheet, a script and an icon, built into the program. Their addresses change with
//! what is in them, so that browsers may keep them.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, ETAG};
use actix_web::{HttpResponse, web};

use crate::crypto;
use crate::http::problem;

/// Name, media type, content.
type Asset = (&'static str, &'static str, &'static str);

const CSS: Asset = (
    "app.css",
    "text/css; charset=utf-8",
    include_str!("../../../assets/app.css"),
);
const JS: Asset = (
    "app.js",
    "text/javascript; charset=utf-8",
    include_str!("../../../assets/app.js"),
);
const ICON: Asset = ("icon.svg", "image/svg+xml", include_str!("../../../assets/icon.svg"));

/// Where the assets of this build are.
pub(super) struct Addresses {
    pub(super) css: String,
    pub(super) js: String,
    pub(super) icon: String,
}

static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| Addresses {
    css: address(CSS),
    js: address(JS),
    icon: address(ICON),
});

pub(super) fn addresses() -> &'static Addresses {
    &ADDRESSES
}

fn address((name, _, content): Asset) -> String {
    let hash = crypto::base64url(&crypto::sha256(content.as_bytes()));
    format!("/assets/{name}?v={}", hash.get(..12).unwrap_or_default())
}

/// One of them.
pub(super) async fn asset(name: web::Path<String>) -> HttpResponse {
    let Some(asset) = [CSS, JS, ICON]
        .into_iter()
        .find(|(known, _, _)| *known == name.as_str())
    else {
        return problem::answer(404, "There is nothing at this address.");
    };
    HttpResponse::Ok()
        .content_type(asset.1)
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((ETAG, format!("\"{}\"", address(asset))))
        .body(asset.2)
}
