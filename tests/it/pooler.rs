//! Stands between a program and a PostgreSQL server as a pooler that forgets: after each transaction the server's session is
//! reset, so that nothing that was set for the session holds in the next one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A message of the protocol: `SET` of a session is undone by it.
const RESET: &[u8] = b"Q\0\0\0\x0eRESET ALL\0";

/// Accepts connections for as long as the test runs.
pub struct Pooler {
    port: u16,
    server: u16,
}

impl Pooler {
    /// Listens before the server on this port of this machine.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                // Either end may go away at any time.
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = answers(&server, &client);
                    let _ = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { port, server }
    }

    /// The same database, by way of this.
    pub fn url(&self, url: &str) -> String {
        url.replace(&format!(":{}/", self.server), &format!(":{}/", self.port))
    }
}

/// Passes on what the server says, and resets its session whenever it is out of a transaction. The client is silent then: it
/// waits to be told that the server is ready. (Or it has sent the other replicas word already, and does not read the answer.)
fn answers(mut server: &TcpStream, mut client: &TcpStream) -> std::io::Result<()> {
    loop {
        let said = message(server)?;
        if is_ready(&said) {
            server.write_all(RESET)?;
            while !is_ready(&message(server)?) {}
        }
        client.write_all(&said)?;
    }
}

/// Whether the server waits for a command, in no transaction.
fn is_ready(message: &[u8]) -> bool {
    message.first() == Some(&b'Z') && message.last() == Some(&b'I')
}

/// A letter, the length of what follows (and of itself), and that.
fn message(mut server: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    server.read_exact(&mut message)?;
    let length = u32::from_be_bytes(message[1..].try_into().unwrap());
    message.resize(usize::try_from(length).unwrap() + 1, 0);
    server.read_exact(&mut message[5..])?;
    Ok(message)
}
