//! Letters, sent once more to the receiver that refused them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::time::{Duration, timeout};
use uuid::Uuid;
use yagura_log::{Log, LogError, Whole};

use crate::decisions::Decisions;
use crate::delivery::Delivery;
use crate::message::News;
use crate::sink::{Sink, SinkError, Verdict};
use crate::undelivered::Letter;

/// How long the receiver's farewell is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is to be sent: the letters as the sink's settings are now, and behind them, where the log's topic of alerts has
/// more of an alert than its letters, the newest of that again, under its own id: so that nobody takes a letter for how
/// an alert stands.
pub fn to_resend(
    log: &dyn Log,
    topic: &str,
    delivery: &Delivery,
    letters: &[Letter],
) -> Result<Vec<News>, LogError> {
    let mut again: Vec<News> = letters.iter().map(|letter| delivery.cover(letter)).collect();
    let about: BTreeSet<Uuid> = again.iter().map(|news| news.alert.uid).collect();
    let mut decisions = Decisions::default();
    let decided = decisions.read(log)?;
    let mut newest: BTreeMap<Uuid, News> = BTreeMap::new();
    Whole::of(topic).read(log, |_, stored| {
        // What holds no alerts is told where alerts are forwarded.
        let news = delivery.choose(&stored.record, decided).unwrap_or_default().news;
        newest.extend(news.into_iter().filter(|n| about.contains(&n.alert.uid)).map(|n| (n.alert.uid, n)));
    })?;
    let sent: BTreeSet<String> = again.iter().map(|news| news.message().revision_uid()).collect();
    again.extend(newest.into_values().filter(|news| !sent.contains(&news.message().revision_uid())));
    Ok(again)
}

/// Sends over a connection of its own and tells each answer with the number of what it is to. An error leaves those
/// without an answer where they were.
pub async fn resend(
    sink: &dyn Sink,
    news: &[News],
    mut answered: impl FnMut(usize, Verdict),
) -> Result<(), SinkError> {
    let mut connection = sink.connect().await?;
    let mut rest = news.iter().zip(1..);
    let mut waiting: VecDeque<u64> = VecDeque::new();
    loop {
        while waiting.len() < sink.window()
            && let Some((news, token)) = rest.next()
        {
            connection.send(token, &news.message()).await?;
            waiting.push_back(token);
        }
        if waiting.is_empty() {
            break;
        }
        let patience = sink.patience();
        let answer =
            timeout(patience, connection.acknowledged()).await.map_err(|_| SinkError::Timeout {
                address: sink.describe(),
                seconds: patience.as_secs(),
                what: "acknowledging alerts",
            })??;
        waiting.retain(|token| *token != answer.token);
        answered(answer.token as usize - 1, answer.verdict);
    }
    // The answers are what counts.
    let _ = timeout(FAREWELL, connection.close()).await;
    Ok(())
}

impl Delivery {
    /// A letter as the sink's settings are now.
    fn cover(&self, letter: &Letter) -> News {
        match letter.decided.clone() {
            None => self.redact.apply(letter.alert.clone()).into(),
            Some(decided) => {
                let (alert, decided) = crate::redact::both(&self.redact, letter.alert.clone(), decided);
                News { alert, decided: Some(Arc::new(decided)), stands: None }
            }
        }
    }
}
