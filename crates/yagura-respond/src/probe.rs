//! One test alert, to see whether a receiver takes it.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use yagura_event::clock;

use crate::message::{Message, test_alert};
use crate::sink::{Sink, SinkError, Verdict};

/// How long the receiver's farewell is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// What came of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// The id of what was sent, by which it is found at the receiver.
    pub revision_uid: String,
    /// What the receiver said.
    pub verdict: Verdict,
    /// How long it took, the connection included.
    pub took: Duration,
}

/// Sends one alert that is marked as a test over a connection of its own, and waits for the answer. It does not go
/// through the log, and through no condition.
pub async fn probe(name: &str, sink: &dyn Sink) -> Result<Probed, SinkError> {
    let begun = Instant::now();
    let alert = test_alert(name, clock::now());
    let message = Message::of(&alert);
    let mut connection = sink.connect().await?;
    connection.send(1, &message).await?;
    let patience = sink.patience();
    let answer = timeout(patience, connection.acknowledged()).await.map_err(|_| SinkError::Timeout {
        address: sink.describe(),
        seconds: patience.as_secs(),
        what: "acknowledging a test alert",
    })??;
    let took = begun.elapsed();
    // The answer is what counts.
    let _ = timeout(FAREWELL, connection.close()).await;
    Ok(Probed { revision_uid: message.revision_uid(), verdict: answer.verdict, took })
}
