//! A tiny HTTP server for the tests of the clients: it answers canned text and remembers what it was asked.

use std::sync::{Arc, Mutex};

use reqwest::Url;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: Url,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.url.path()
    }

    pub(crate) fn query(&self, key: &str) -> Option<String> {
        let mut pairs = self.url.query_pairs();
        pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// What is answered.
pub(crate) enum Reply {
    Json(u16, Value),
    Text(u16, &'static str),
    /// With one more header.
    Headed(u16, &'static str, Value),
    /// The connection is closed without a word.
    Lost,
}

/// A server on a port of its own, until it is dropped.
pub(crate) struct Canned {
    pub(crate) url: Url,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Canned {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move { serve(stream, &seen, &*answer).await });
            }
        });
        Self { url, requests, task }
    }

    /// The requests whose path ends so, in the order they came.
    pub(crate) fn requests(&self, path_end: &str) -> Vec<Request> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|request| request.path().ends_with(path_end))
            .cloned()
            .collect()
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &(impl Fn(&Request) -> Reply + Sync)) {
    let mut bytes = Vec::new();
    let request = loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
        if let Some(request) = parse(&bytes) {
            break request;
        }
    };
    seen.lock().unwrap().push(request.clone());
    let (status, header, body) = match answer(&request) {
        Reply::Json(status, body) => (status, "x-canned: 1", body.to_string()),
        Reply::Headed(status, header, body) => (status, header, body.to_string()),
        Reply::Text(status, body) => (status, "x-canned: 1", body.to_owned()),
        Reply::Lost => return,
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Canned\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

fn parse(bytes: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ');
    let request = Request {
        method: words.next()?.to_owned(),
        url: format!("http://canned{}", words.next()?).parse().ok()?,
        head: head.to_owned(),
        body: body.to_owned(),
    };
    let length: usize = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    (request.body.len() >= length).then_some(request)
}
