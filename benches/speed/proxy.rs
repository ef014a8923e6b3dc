//! The way to a remote server: a relay of TCP that delays everything by a fixed time, half of it in each direction.
//!
//! A program beside its database pays nothing for a round trip, and one in a data centre about half a millisecond. What
//! was sent while something else is under way must not wait for that: so each chunk goes into a queue with the time at
//! which it is due, and the queue has no limit. The delay thus costs time, and no throughput.
//!
//! These are threads and not tasks, since tokio's timers have a resolution of a millisecond.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bigin_sync::clock::{SharedClock, SystemClock, after, until};
use jiff::Timestamp;

/// What has arrived, and when it is passed on.
struct Chunk {
    due: Timestamp,
    bytes: Vec<u8>,
}

/// Relays a port of its own, which is returned, to a server of this machine. Runs until this process ends.
pub fn start(server: u16, round_trip: Duration) -> u16 {
    // By default the kernel may wake a thread 50 µs late. Threads inherit this from the one that starts them. Where it
    // cannot be set, round trips take that much longer, which the measured one shows.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let clock: SharedClock = Arc::new(SystemClock::new());
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            // A server that refuses the connection closes it.
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                continue;
            };
            for end in [&client, &server] {
                end.set_nodelay(true).unwrap();
            }
            let (to_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            relay(client, to_server, round_trip / 2, &clock);
            relay(server, to_client, round_trip / 2, &clock);
        }
    });
    port
}

/// One direction of a connection.
fn relay(from: TcpStream, to: TcpStream, delay: Duration, clock: &SharedClock) {
    let (queue, due) = channel();
    let [arrival, departure] = [clock.clone(), clock.clone()];
    thread::spawn(move || receive(from, &queue, delay, &arrival));
    thread::spawn(move || pass_on(to, &due, &departure));
}

fn receive(mut from: TcpStream, queue: &Sender<Chunk>, delay: Duration, clock: &SharedClock) {
    let mut buffer = vec![0; 64 * 1024];
    // A connection that is cut ends like one that is closed.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let chunk = Chunk {
            due: after(clock.now(), delay),
            bytes: buffer[..length].to_vec(),
        };
        if queue.send(chunk).is_err() {
            return;
        }
    }
}

fn pass_on(mut to: TcpStream, due: &Receiver<Chunk>, clock: &SharedClock) {
    for chunk in due {
        thread::sleep(until(clock.now(), chunk.due));
        if to.write_all(&chunk.bytes).is_err() {
            break;
        }
    }
    // Only this direction: the other end may still have something to say.
    let _ = to.shutdown(Shutdown::Write);
}
