//! A request as the fake reads it.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{Bytes, Query};
use serde_json::Value;

/// One request, read to its end.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: Vec<String>,
    /// The query as it came.
    query: String,
    content_type: String,
    authorization: String,
    body: Bytes,
}

impl Request {
    pub(super) fn new(request: &HttpRequest, body: Bytes) -> Self {
        let header = |name| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let path = request.path().trim_matches('/').split('/').map(str::to_owned);
        Self {
            method: request.method().as_str().to_owned(),
            path: path.collect(),
            query: request.query_string().to_owned(),
            content_type: header(header::CONTENT_TYPE),
            authorization: header(header::AUTHORIZATION),
            body,
        }
    }

    /// One that was not sent over a socket.
    pub(super) fn of(request: &reqwest::Request) -> Self {
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let path = request.url().path().trim_matches('/').split('/').map(str::to_owned);
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        Self {
            method: request.method().as_str().to_owned(),
            path: path.collect(),
            query: request.url().query().unwrap_or_default().to_owned(),
            content_type: header("content-type"),
            authorization: header("authorization"),
            body: Bytes::copy_from_slice(body),
        }
    }

    /// A parameter of the query, decoded. A bare `+` is a space.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let mut pairs = decoded(&self.query).into_iter();
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The parameters of query, form and multipart body together: the docs show query parameters and recommend
    /// form-data, and the official SDKs use either.
    pub(super) fn params(&self) -> BTreeMap<String, String> {
        let body = String::from_utf8_lossy(&self.body);
        let mut params: BTreeMap<String, String> = decoded(&self.query).into_iter().collect();
        match self.content_type.split_once("boundary=") {
            Some((_, boundary)) => params.extend(parts(&body, boundary.trim_matches('"'))),
            None => params.extend(decoded(&body)),
        }
        params
    }

    /// The body, where it is JSON. What the content type says plays no part: an official SDK sends none.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The access token.
    pub(super) fn token(&self) -> Option<&str> {
        let (scheme, token) = self.authorization.split_once(' ')?;
        matches!(scheme, "Zoho-oauthtoken" | "Bearer").then_some(token.trim())
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        let in_query = decoded(&self.query).iter().any(|(_, value)| value.contains(text));
        in_query || String::from_utf8_lossy(&self.body).contains(text)
    }
}

fn decoded(pairs: &str) -> Vec<(String, String)> {
    Query::<Vec<(String, String)>>::from_query(pairs).map_or_else(|_| Vec::new(), Query::into_inner)
}

/// The fields of a multipart body.
fn parts(body: &str, boundary: &str) -> Vec<(String, String)> {
    let delimiter = format!("--{boundary}");
    let parts = body.split(&delimiter).filter_map(|part| {
        let (head, value) = part.split_once("\r\n\r\n")?;
        let (_, name) = head.split_once("name=\"")?;
        let (name, _) = name.split_once('"')?;
        let value = value.strip_suffix("\r\n").unwrap_or(value);
        Some((name.to_owned(), value.to_owned()))
    });
    parts.collect()
}
