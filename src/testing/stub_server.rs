//! A tiny HTTP server for the tests of the clients: it answers canned text and remembers what it was asked.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

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
    /// These bytes and nothing else, as no decent server would send them.
    Raw(Vec<u8>, Then),
}

/// How an answer in raw bytes goes on.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// The connection is closed.
    Close,
    /// It stays open, and nothing more is said.
    Silence,
    /// It stays open for what the client has to say; the server's half is closed.
    HalfClose,
    /// The last byte is said again and again, slowly.
    Dribble,
    /// The last thousand bytes are said again and again, as fast as they are taken.
    Flood,
}

/// A server on a port of its own, until it is dropped.
pub(crate) struct StubServer {
    pub(crate) url: Url,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StubServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StubServer {
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

/// A server that no caller should meet: what it does, how, and what a call to it comes to by its deadline.
pub(crate) type OddServer = (&'static str, fn() -> Reply, &'static str);

/// All of them.
pub(crate) fn odd_servers() -> Vec<OddServer> {
    use Then::{Close, Dribble, Flood, HalfClose, Silence};
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    fn said(text: &str, then: Then) -> Reply {
        Reply::Raw(text.as_bytes().to_vec(), then)
    }
    fn ok(rest: &str, then: Then) -> Reply {
        said(&format!("{OK}{rest}"), then)
    }
    vec![
        ("says nothing", || said("", Silence), "timeout"),
        ("hangs up", || said("", Close), "connection lost"),
        ("closes its half", || said("", HalfClose), "connection lost"),
        ("dribbles its head", || ok("x-slow: a", Dribble), "timeout"),
        (
            "never ends its head",
            || ok(&format!("x-long: {}", "a".repeat(1000)), Flood),
            "connection lost",
        ),
        ("stops in its head", || ok("content-le", Silence), "timeout"),
        ("breaks off in its head", || ok("content-le", Close), "connection lost"),
        (
            "stops in its body",
            || ok("content-length: 99\r\n\r\n{\"data\":[", Silence),
            "timeout",
        ),
        (
            "breaks off in its body",
            || ok("content-length: 99\r\n\r\n{\"data\":[", Close),
            "connection lost",
        ),
        (
            "closes its half in its body",
            || ok("content-length: 99\r\n\r\n{", HalfClose),
            "connection lost",
        ),
        (
            "dribbles its body",
            || ok("content-length: 99999\r\n\r\n ", Dribble),
            "timeout",
        ),
        (
            "breaks off in a chunk",
            || ok("transfer-encoding: chunked\r\n\r\n5\r\n{", Close),
            "connection lost",
        ),
        (
            "never ends",
            || ok(&format!("\r\n{}", " ".repeat(1000)), Flood),
            "answer too large",
        ),
        (
            "announces too little",
            || ok("content-length: 5\r\n\r\n{\"data\":[]}", Close),
            "HTTP 200",
        ),
        (
            "speaks another protocol",
            || said("SSH-2.0-OpenSSH_9.9\r\n", Silence),
            "connection lost",
        ),
        (
            "speaks Latin-1",
            || Reply::Raw([OK.as_bytes(), b"\r\n{\"data\":\"\xe4\"}"].concat(), Close),
            "HTTP 200",
        ),
        (
            "speaks UTF-16",
            || Reply::Raw([OK.as_bytes(), b"\r\n\xff\xfe{\0}\0"].concat(), Close),
            "HTTP 200",
        ),
        (
            "shows a page",
            || Reply::Text(200, "<html>Log in to the Wi-Fi</html>"),
            "HTTP 200",
        ),
        (
            "sends a bomb",
            || Reply::Raw([OK.as_bytes(), &bomb()].concat(), Close),
            "answer too large",
        ),
        (
            "packs nonsense",
            || ok("content-encoding: gzip\r\n\r\nnot gzip", Close),
            "connection lost",
        ),
    ]
}

/// A body that grows a thousandfold when it is unpacked, past all that is allowed.
fn bomb() -> Vec<u8> {
    static BOMB: LazyLock<Vec<u8>> = LazyLock::new(pack_bomb);
    BOMB.clone()
}

fn pack_bomb() -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..65 {
        std::io::Write::write_all(&mut packed, &[b' '; 1024 * 1024]).unwrap();
    }
    let packed = packed.finish().unwrap();
    let head = format!("content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
    [head.as_bytes(), &packed].concat()
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
        Reply::Raw(bytes, then) => return raw(stream, &bytes, then).await,
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Canned\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

/// Says the bytes and goes on until the client hangs up.
async fn raw(mut stream: TcpStream, bytes: &[u8], then: Then) {
    let mut said = stream.write_all(bytes).await;
    match then {
        Then::Close => return,
        Then::Silence => {}
        Then::HalfClose => said = stream.shutdown().await,
        Then::Dribble => {
            let last = &bytes[bytes.len() - 1..];
            while said.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                said = stream.write_all(last).await;
            }
        }
        Then::Flood => {
            let last = &bytes[bytes.len().saturating_sub(1000)..];
            while said.is_ok() {
                said = stream.write_all(last).await;
            }
        }
    }
    let mut buffer = [0; 64];
    while said.is_ok() && stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
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
