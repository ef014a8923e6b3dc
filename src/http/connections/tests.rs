//! Which connections are closed, and how much is read of one that waits for its answer.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn is_closed(handle: &Handle) -> bool {
    handle.is_closed.load(Ordering::Acquire)
}

fn authenticate(handle: &Handle) {
    handle.change(|table, id| table.entries.get_mut(&id).unwrap().is_authenticated = true);
}

/// As many connections as may be open, of which the first has been open for longest.
fn full(connections: &Arc<Connections>) -> Vec<Arc<Handle>> {
    let handles = (0..MAX_UNAUTHENTICATED).map(|_| {
        std::thread::sleep(Duration::from_micros(10));
        connections.register()
    });
    handles.collect()
}

/// A connection as the server has it, and its other end.
async fn connected(connections: &Arc<Connections>) -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (io, _) = listener.accept().await.unwrap();
    (connections.accept(io), peer)
}

#[test]
fn the_slowest_makes_room_for_one_more() {
    let connections = Arc::new(Connections::default());
    let handles = full(&connections);
    assert!(handles.iter().all(|handle| !is_closed(handle)));
    let more = connections.register();
    let closed: Vec<_> = handles
        .iter()
        .filter(|handle| is_closed(handle))
        .map(|handle| handle.id)
        .collect();
    assert_eq!(closed, [0]);
    assert!(!is_closed(&more));
}

#[test]
fn who_waits_for_an_answer_outlives_who_owes_a_request() {
    let connections = Arc::new(Connections::default());
    let handles = full(&connections);
    handles[0].enter(Phase::Answer);
    for later in &handles[1..] {
        std::thread::sleep(Duration::from_micros(10));
        later.enter(Phase::Body);
    }
    connections.register();
    assert!(!is_closed(&handles[0]));
    assert!(is_closed(&handles[1]));
}

#[test]
fn an_authenticated_request_gives_way_to_nobody() {
    let connections = Arc::new(Connections::default());
    let streams = full(&connections);
    for stream in &streams {
        stream.enter(Phase::Body);
        authenticate(stream);
        stream.enter(Phase::Answer);
    }
    let others = full(&connections);
    connections.register();
    assert!(streams.iter().all(|handle| !is_closed(handle)));
    assert!(is_closed(&others[0]));
    // The next request on the connection has to be authenticated again.
    streams[0].end_answer();
    connections.lock().close_overdue(Instant::now() + HEAD_TIMEOUT);
    assert!(is_closed(&streams[0]));
}

#[test]
fn every_phase_has_its_deadline() {
    let second = Duration::from_secs(1);
    for (phase, is_authenticated, timeout) in [
        (Phase::Head, false, Some(HEAD_TIMEOUT)),
        (Phase::Head, true, Some(HEAD_TIMEOUT)),
        (Phase::Body, false, Some(BODY_TIMEOUT)),
        (Phase::Body, true, Some(BODY_TIMEOUT)),
        (Phase::Answer, false, Some(ANSWER_TIMEOUT)),
        (Phase::Answer, true, None),
    ] {
        let connections = Arc::new(Connections::default());
        let handle = connections.register();
        handle.enter(phase);
        if is_authenticated {
            authenticate(&handle);
        }
        let before = timeout.map_or(Duration::from_secs(3600), |timeout| timeout.saturating_sub(second));
        connections.lock().close_overdue(Instant::now() + before);
        assert!(!is_closed(&handle), "{phase:?}");
        if let Some(timeout) = timeout {
            connections.lock().close_overdue(Instant::now() + timeout);
            assert!(is_closed(&handle), "{phase:?}");
        }
    }
}

#[test]
fn a_server_that_stops_closes_what_idles_and_the_others_after_their_answer() {
    let connections = Arc::new(Connections::default());
    let (idle, busy) = (connections.register(), connections.register());
    busy.enter(Phase::Answer);
    connections.lock().stop();
    assert!(is_closed(&idle) && !is_closed(&busy));
    busy.end_answer();
    assert!(is_closed(&busy));
    assert!(is_closed(&connections.register()), "one that was still on its way");
}

#[tokio::test]
async fn no_more_is_read_ahead_of_an_answer_than_its_bound() {
    let connections = Arc::new(Connections::default());
    let (mut connection, mut peer) = connected(&connections).await;
    let handle = connection.handle();
    handle.enter(Phase::Answer);
    let sender = tokio::spawn(async move { peer.write_all(&vec![b'a'; 1 << 20]).await.map(|()| peer) });
    let mut bytes = [0; 4096];
    let mut read = 0;
    while let Ok(more) = tokio::time::timeout(Duration::from_millis(200), connection.read(&mut bytes)).await {
        read += more.unwrap();
    }
    assert!((MAX_READ_AHEAD..MAX_READ_AHEAD + bytes.len()).contains(&read), "{read}");
    let rest = async {
        while read < 1 << 20 {
            read += connection.read(&mut bytes).await.unwrap();
        }
    };
    // The reader waits when the answer ends.
    let end = async {
        tokio::task::yield_now().await;
        handle.end_answer();
    };
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(rest, end) })
        .await
        .unwrap();
    drop(sender.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_connection_that_is_closed_reads_its_end_and_blocks_no_write() {
    let connections = Arc::new(Connections::default());
    let (mut connection, peer) = connected(&connections).await;
    let handle = connection.handle();
    let close = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        handle.change(Table::close);
    };
    // The peer takes nothing.
    let write = async {
        loop {
            if let Err(error) = connection.write_all(&[b'a'; 65_536]).await {
                return error.kind();
            }
        }
    };
    let (failed, ()) = tokio::join!(write, close);
    assert_eq!(failed, io::ErrorKind::TimedOut);
    assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
    drop(peer);
}

#[tokio::test]
async fn a_connection_that_ends_leaves_the_table() {
    let connections = Arc::new(Connections::default());
    let (connection, _peer) = connected(&connections).await;
    assert_eq!(connections.lock().entries.len(), 1);
    drop(connection);
    assert_eq!(connections.lock().entries.len(), 0);
}
