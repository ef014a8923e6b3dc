//! The stream of events, which continues after a lost connection where it stopped.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{Api, ApiError, REQUEST_TIMEOUT};
use crate::domain::failure::TransportError;
use crate::store::EventRow;

/// The service writes at least every 15 seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(40);

/// In bytes; blocks are far smaller.
const MAX_BLOCK: usize = 64 * 1024;

pub(in crate::cli) struct Events {
    response: Response,
    blocks: Blocks,
}

impl Api {
    /// The events after one, or from now on.
    ///
    /// # Errors
    /// [`ApiError`]; temporary while the service has too many streams.
    pub(in crate::cli) async fn events(&self, after: Option<i64>) -> Result<Events, ApiError> {
        let request = || {
            let request = self.request(Method::GET, "/api/events");
            match after {
                Some(after) => request.header("last-event-id", after),
                None => request,
            }
        };
        // The timeout covers the head only: the body does not end by itself.
        let response = match tokio::time::timeout(REQUEST_TIMEOUT, request().send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.no_answer(error.into(), REQUEST_TIMEOUT)),
            Err(_) => return Err(self.no_answer(TransportError::Timeout, REQUEST_TIMEOUT)),
        };
        let content = response.headers().get("content-type");
        let is_stream = content.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if response.status() != StatusCode::OK {
            // Requested again as an ordinary call, to read the error.
            return Err(match self.call::<Value>(request(), REQUEST_TIMEOUT).await {
                Err(error) => error,
                Ok(_) => self.no_answer(TransportError::Lost, REQUEST_TIMEOUT),
            });
        }
        if !is_stream {
            return Err(self.not_bigin_sync(None));
        }
        Ok(Events {
            response,
            blocks: Blocks::default(),
        })
    }

    /// The id of the newest event. A stream from it misses nothing.
    ///
    /// # Errors
    /// As for [`Api::events`].
    pub(in crate::cli) async fn last_event(&self) -> Result<i64, ApiError> {
        let mut events = self.events(None).await?;
        let block = events.block().await;
        let id = block.and_then(|block| block.id);
        id.ok_or_else(|| self.no_answer(TransportError::Lost, REQUEST_TIMEOUT))
    }
}

impl Events {
    /// The next event with its id; `None` once the stream ends or the connection is lost.
    pub(in crate::cli) async fn next(&mut self) -> Option<(i64, EventRow)> {
        loop {
            let block = self.block().await?;
            if let (Some(id), Some(data)) = (block.id, block.data)
                && let Ok(event) = serde_json::from_str(&data)
            {
                return Some((id, event));
            }
        }
    }

    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.blocks.take() {
                return Some(block);
            }
            if self.blocks.bytes.len() > MAX_BLOCK {
                return None;
            }
            let chunk = tokio::time::timeout(SILENCE_TIMEOUT, self.response.chunk()).await;
            self.blocks.bytes.extend_from_slice(&chunk.ok()?.ok()??);
        }
    }
}

/// The lines between two empty ones.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    id: Option<i64>,
    data: Option<String>,
}

/// Bytes that arrived and were not read yet.
#[derive(Default)]
struct Blocks {
    bytes: Vec<u8>,
}

impl Blocks {
    /// The next complete block.
    fn take(&mut self) -> Option<Block> {
        let end = self.bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let rest = self.bytes.split_off(end + 2);
        let block = std::mem::replace(&mut self.bytes, rest);
        let text = String::from_utf8_lossy(&block);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Some(Block {
            id: field("id: ").and_then(|id| id.parse().ok()),
            data: field("data: ").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_blocks_cut_anywhere() {
        let stream = "retry: 2000\nid: 7\n\n:\n\nid: 8\nevent: sync\ndata: {\"reason\":\"Grün\"}\n\n";
        for cut in 0..stream.len() {
            let mut blocks = Blocks::default();
            let mut found = Vec::new();
            for part in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
                blocks.bytes.extend_from_slice(part);
                found.extend(std::iter::from_fn(|| blocks.take()));
            }
            let expected = [(Some(7), None), (None, None), (Some(8), Some("{\"reason\":\"Grün\"}"))];
            let expected = expected.map(|(id, data)| Block {
                id,
                data: data.map(str::to_owned),
            });
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
}
