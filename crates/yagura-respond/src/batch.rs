//! Receivers that are asked and answer: what comes while a request is under way goes with the next
//! one, so that batches grow with the load and a single alert waits for nobody.

use std::collections::VecDeque;
use std::future::pending;

use tokio::time::{Instant, sleep_until};

use crate::formats::Format;
use crate::message::Message;
use crate::sink::{Answer, Boxed, Connection, SinkError, Verdict};

/// One message, ready to go.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub token: u64,
    /// The revision's id.
    pub id: String,
    pub body: String,
}

/// What became of a batch.
pub(crate) enum Delivered {
    /// What became of each, in their order; of those without a verdict nothing is known, and `trouble` says why.
    Each { verdicts: Vec<Option<Verdict>>, trouble: Option<SinkError> },
    /// All were refused, without a word about which of them is at fault.
    Refused(String),
}

impl Delivered {
    /// All are the receiver's.
    pub fn all(batch: &[Item]) -> Self {
        Delivered::Each { verdicts: vec![Some(Verdict::Taken); batch.len()], trouble: None }
    }
}

/// Delivers batches.
pub(crate) trait Deliver: Send + 'static {
    /// Delivers one, which may be empty when it is [`Deliver::due`].
    fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>>;

    /// When it wants to be called although there is nothing new.
    fn due(&self) -> Option<Instant> {
        None
    }
}

/// How large a batch may grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub items: usize,
    pub bytes: usize,
}

/// Makes a message ready.
pub(crate) type Encode = Box<dyn Fn(&Message<'_>) -> String + Send>;

/// Messages as lines of a format, of at most `bytes_max` bytes.
pub(crate) fn lines(format: Format, bytes_max: usize) -> Encode {
    Box::new(move |message| format.line(message, bytes_max))
}

/// A connection that delivers batches, one after the other.
struct Batched<D> {
    encode: Encode,
    most: Most,
    /// How many of the first that wait were refused together: one of them, or more, is at fault.
    suspects: usize,
    state: State<D>,
    waiting: VecDeque<Item>,
    answers: VecDeque<Answer>,
    trouble: Option<SinkError>,
}

enum State<D> {
    Idle(D),
    Busy(Boxed<'static, (D, Vec<Item>, Result<Delivered, SinkError>)>),
    /// A request was dropped with its answer.
    Lost,
}

/// A connection to what delivers batches.
pub(crate) fn batched(deliver: impl Deliver, most: Most, encode: Encode) -> Box<dyn Connection> {
    Box::new(Batched::new(deliver, most, encode))
}

impl<D: Deliver> Batched<D> {
    fn new(deliver: D, most: Most, encode: Encode) -> Self {
        Self {
            encode,
            most,
            suspects: 0,
            state: State::Idle(deliver),
            waiting: VecDeque::new(),
            answers: VecDeque::new(),
            trouble: None,
        }
    }

    fn take_batch(&mut self) -> Vec<Item> {
        // Halves, until the one at fault goes alone.
        let items = if self.suspects > 0 { (self.suspects / 2).max(1) } else { self.most.items };
        let mut bytes = 0;
        let fit = self.waiting.iter().take(items).take_while(|item| {
            bytes += item.body.len();
            bytes <= self.most.bytes
        });
        // One that is too large by itself goes alone, and the receiver judges it.
        let count = fit.count().max(1).min(self.waiting.len());
        self.waiting.drain(..count).collect()
    }

    fn start(&mut self) {
        if let State::Idle(mut deliver) = std::mem::replace(&mut self.state, State::Lost) {
            let batch = self.take_batch();
            self.state = State::Busy(Box::pin(async move {
                let delivered = deliver.deliver(&batch).await;
                (deliver, batch, delivered)
            }));
        }
    }

    fn delivered(&mut self, batch: Vec<Item>, delivered: Result<Delivered, SinkError>) {
        match delivered {
            Ok(Delivered::Each { verdicts, trouble }) => {
                self.suspects = self.suspects.saturating_sub(batch.len());
                self.trouble = trouble;
                let answered = batch.iter().zip(verdicts);
                self.answers.extend(answered.filter_map(|(item, verdict)| {
                    verdict.map(|verdict| Answer { token: item.token, verdict })
                }));
            }
            Ok(Delivered::Refused(words)) if batch.len() <= 1 => {
                self.suspects = self.suspects.saturating_sub(batch.len());
                let refused =
                    |item: &Item| Answer { token: item.token, verdict: Verdict::Refused(words.clone()) };
                self.answers.extend(batch.iter().map(refused));
            }
            Ok(Delivered::Refused(_)) => {
                self.suspects = batch.len();
                batch.into_iter().rev().for_each(|item| self.waiting.push_front(item));
            }
            Err(error) => self.trouble = Some(error),
        }
    }
}

impl<D: Deliver> Connection for Batched<D> {
    fn send<'a>(&'a mut self, token: u64, message: &'a Message<'a>) -> Boxed<'a, Result<(), SinkError>> {
        let item = Item { token, id: message.revision_uid(), body: (self.encode)(message) };
        self.waiting.push_back(item);
        Box::pin(async { Ok(()) })
    }

    fn acknowledged(&mut self) -> Boxed<'_, Result<Answer, SinkError>> {
        Box::pin(async move {
            loop {
                if let Some(answer) = self.answers.pop_front() {
                    return Ok(answer);
                }
                if let Some(trouble) = self.trouble.take() {
                    return Err(trouble);
                }
                match &mut self.state {
                    State::Busy(request) => {
                        let (deliver, batch, delivered) = request.await;
                        self.state = State::Idle(deliver);
                        self.delivered(batch, delivered);
                    }
                    State::Idle(deliver) => {
                        if self.waiting.is_empty() {
                            match deliver.due() {
                                Some(due) => sleep_until(due).await,
                                None => pending().await,
                            }
                        }
                        self.start();
                    }
                    State::Lost => return pending().await,
                }
            }
        })
    }

    fn close(&mut self) -> Boxed<'_, Result<(), SinkError>> {
        self.state = State::Lost;
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fixtures;

    /// Refuses every batch that holds a body with `bad` in it, and answers `later` with trouble.
    struct Picky(Arc<Mutex<Vec<usize>>>);

    impl Deliver for Picky {
        fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>> {
            self.0.lock().expect("no panic").push(batch.len());
            Box::pin(async move {
                tokio::task::yield_now().await;
                if batch.iter().any(|item| item.body == "bad") {
                    return Ok(Delivered::Refused("no".into()));
                }
                let later = batch.iter().any(|item| item.body == "later");
                let verdicts =
                    batch.iter().map(|item| (item.body != "later").then_some(Verdict::Taken)).collect();
                let trouble = later.then(|| SinkError::Busy { address: "x".into(), answer: "later".into() });
                Ok(Delivered::Each { verdicts, trouble })
            })
        }
    }

    async fn run(bodies: &[&str], most: usize) -> (Vec<Answer>, Option<SinkError>, Vec<usize>) {
        let bodies: Vec<String> = bodies.iter().map(|body| (*body).to_string()).collect();
        let (sizes, texts) = (Arc::<Mutex<Vec<usize>>>::default(), bodies.clone());
        let mut connection = Batched::new(
            Picky(Arc::clone(&sizes)),
            Most { items: most, bytes: 1000 },
            Box::new(move |message| texts[message.alert.sequence as usize].clone()),
        );
        for number in 0..bodies.len() as u64 {
            let alert = fixtures::alert(number);
            connection.send(number, &Message::of(&alert)).await.expect("taken");
        }
        let mut answers = Vec::new();
        let mut trouble = None;
        while answers.len() < bodies.len() && trouble.is_none() {
            // What waits for an answer is dropped again and again, and no answer is lost.
            tokio::select! {
                biased;
                answer = connection.acknowledged() => match answer {
                    Ok(answer) => answers.push(answer),
                    Err(error) => trouble = Some(error),
                },
                () = tokio::task::yield_now() => {}
            }
        }
        let sizes = sizes.lock().expect("no panic").clone();
        (answers, trouble, sizes)
    }

    #[tokio::test]
    async fn the_one_at_fault_is_found_and_the_others_are_taken() {
        let mut bodies = vec!["good"; 20];
        bodies[13] = "bad";
        let (mut answers, trouble, sizes) = run(&bodies, 16).await;
        assert!(trouble.is_none());
        answers.sort_by_key(|answer| answer.token);
        assert!(answers.iter().map(|answer| answer.token).eq(0..20), "each once");
        for answer in &answers {
            let expected = if answer.token == 13 { Verdict::Refused("no".into()) } else { Verdict::Taken };
            assert_eq!(answer.verdict, expected, "{}", answer.token);
        }
        assert_eq!(sizes, [16, 8, 4, 2, 1, 1, 6]);
    }

    #[tokio::test]
    async fn trouble_comes_after_the_answers_that_are_known() {
        let (answers, trouble, _) = run(&["good", "later", "good"], 16).await;
        assert_eq!(answers, [Answer::taken(0), Answer::taken(2)]);
        assert_eq!(trouble.map(|error| error.reason()), Some("busy"));
    }

    #[tokio::test]
    async fn batches_are_bounded_in_number_and_in_bytes() {
        let large = "x".repeat(600);
        let (answers, _, sizes) = run(&[&large, &large, "a", "b", "c", "d"], 3).await;
        assert_eq!(answers.len(), 6);
        assert_eq!(sizes, [1, 3, 2]);
        let huge = "x".repeat(5000);
        assert_eq!(run(&[&huge], 3).await.2, [1], "one that is too large goes alone");
    }
}
