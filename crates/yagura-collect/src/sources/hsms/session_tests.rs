use proptest::prelude::*;

use super::super::replies::frames;
use super::*;

proptest! {
    #[test]
    fn whatever_comes_is_survived(
        messages in prop::collection::vec((any::<[u8; 10]>(), prop::collection::vec(any::<u8>(), 0..20)), 0..30),
        passive in any::<bool>(),
    ) {
        let mut session = session(passive, Some(SECOND));
        for (now, (header, text)) in messages.into_iter().enumerate() {
            let now = now as Micros * SECOND;
            if session.take(now, Header::of(&header), &text).is_err() || session.tick(now).is_err() {
                break;
            }
            // Nothing is sent that is not on the list, and no answer begets another without end.
            for (sent, _) in frames(&std::mem::take(&mut session.out)) {
                let question = Question::ALL.iter().any(|q| sent.stream() == 1 && q.function() == sent.function());
                prop_assert!(!sent.is_data() || sent.is_reply() || question, "{sent:?}");
            }
        }
    }
}

fn session(passive: bool, every: Option<Micros>) -> Session {
    let asks = Asks { ids: Vec::new(), every };
    let terms =
        Terms { name: "T".into(), device: 3, passive, timers: Timers::default(), asks, tell_time: false };
    Session::new(&Arc::new(terms), 100, 0)
}

/// What was sent since the last look: `(SType, stream, function, status)`.
fn sent(session: &mut Session) -> Vec<(u8, u8, u8)> {
    let out = std::mem::take(&mut session.out);
    frames(&out).map(|(h, _)| (h.stype, if h.stype == 0 { h.stream() } else { 0 }, h.byte3)).collect()
}

fn system(session: &Session) -> u32 {
    session.next_system
}

fn control(stype: u8, byte3: u8, system: u32) -> Header {
    control_header(stype, byte3, system)
}

fn selected(every: Option<Micros>) -> Session {
    let mut session = session(false, every);
    assert_eq!(sent(&mut session), [(1, 0, 0)]);
    let asked = system(&session);
    session.take(0, control(2, 0, asked), &[]).expect("selected");
    session
}

fn established(every: Option<Micros>) -> Session {
    let mut session = selected(every);
    session.tick(0).expect("ticks");
    assert_eq!(sent(&mut session), [(0, 1, 13)]);
    let ack = Value::List(vec![Value::Binary(vec![0]), Value::List(Vec::new())]).to_bytes();
    let asked = system(&session);
    session.take(1, data_header(3, 1, 14, false, asked), &ack).expect("goes on");
    session
}

fn events(session: &mut Session) -> Vec<&'static str> {
    std::mem::take(&mut session.notes).iter().map(|note| note.event).collect()
}

#[test]
fn an_active_host_selects_or_says_why_not() {
    let mut silent = session(false, None);
    assert_eq!(silent.due(), 5 * SECOND);
    assert!(silent.tick(4 * SECOND).is_ok());
    assert!(silent.tick(5 * SECOND).is_err_and(|e| e.contains("T6")));
    let mut used = session(false, None);
    let asked = system(&used);
    assert!(used.take(0, control(2, 1, asked), &[]).is_err_and(|e| e.contains("in use already")));
    let mut passive = session(true, None);
    assert_eq!(sent(&mut passive), []);
    assert!(passive.tick(10 * SECOND).is_err_and(|e| e.contains("T7")));
    let mut passive = session(true, None);
    passive.take(0, control(1, 0, 7), &[]).expect("goes on");
    passive.take(0, control(1, 0, 8), &[]).expect("goes on");
    assert_eq!(sent(&mut passive), [(2, 0, 0), (2, 0, 1)]);
    assert!(passive.selected);
}

#[test]
fn data_before_the_session_and_unknown_types_are_rejected() {
    let mut session = session(false, None);
    sent(&mut session);
    session.take(0, data_header(3, 6, 11, true, 5), &[]).expect("goes on");
    session.take(0, control(3, 0, 6), &[]).expect("goes on");
    session.take(0, Header { ptype: 9, ..control(0, 0, 6) }, &[]).expect("goes on");
    assert_eq!(sent(&mut session), [(7, 0, 4), (7, 0, 1), (7, 0, 2)]);
    assert!(session.waiting.is_empty());
    assert_eq!(events(&mut session), ["rejected"; 3]);
}

#[test]
fn communications_are_established_and_values_asked_for_at_their_times() {
    let mut session = established(Some(10 * SECOND));
    session.tick(1).expect("ticks");
    assert_eq!(sent(&mut session), [(0, 1, 11)]);
    let asked = system(&session);
    session.take(2, data_header(3, 1, 0, false, asked), &[]).expect("goes on");
    assert_eq!(events(&mut session), ["denied"]);
    session.tick(2).expect("ticks");
    assert_eq!(sent(&mut session), [(0, 1, 3)]);
    let asked = system(&session);
    session.take(SECOND, data_header(3, 1, 4, false, asked), &[1, 0]).expect("goes on");
    session.tick(9 * SECOND).expect("ticks");
    assert_eq!(sent(&mut session), []);
    session.tick(10 * SECOND + 2).expect("ticks");
    assert_eq!(sent(&mut session), [(0, 1, 3)]);
    let mut quiet = established(None);
    assert_eq!(quiet.due(), 30 * SECOND, "only the link is tested");
    assert_eq!(events(&mut quiet), [""; 0]);
}

#[test]
fn an_equipment_that_establishes_first_is_not_asked() {
    let mut session = selected(None);
    session.take(0, data_header(3, 1, 13, true, 9), &[1, 0]).expect("goes on");
    assert_eq!(sent(&mut session), [(0, 1, 14)]);
    session.tick(0).expect("ticks");
    assert_eq!(sent(&mut session), []);
}

#[test]
fn late_unexpected_and_refused_replies_are_told() {
    let mut session = selected(None);
    session.tick(0).expect("ticks");
    let asked = system(&session);
    session.linktest_at = Micros::MAX;
    session.tick(45 * SECOND).expect("ticks");
    session.take(46 * SECOND, data_header(3, 1, 14, false, asked), &[]).expect("goes on");
    session.take(46 * SECOND, data_header(3, 1, 14, false, asked), &[]).expect("goes on");
    assert_eq!(events(&mut session), ["reply_timeout", "late_reply", "unexpected_reply"]);
    sent(&mut session);
    session.tick(55 * SECOND).expect("ticks");
    assert_eq!(sent(&mut session), [(0, 1, 13)], "tried again after the delay");
    let quoted = data_header(3, 1, 13, true, system(&session)).to_bytes().to_vec();
    session
        .take(56 * SECOND, data_header(3, 9, 5, false, 4), &Value::Binary(quoted).to_bytes())
        .expect("goes on");
    assert_eq!(events(&mut session), ["error"]);
    assert!(session.asked.is_none());
    session.take(56 * SECOND, data_header(4, 6, 11, true, 4), &[]).expect("goes on");
    assert_eq!(events(&mut session), ["wrong_device"]);
}

#[test]
fn the_link_is_tested_and_its_silence_ends_the_connection() {
    let mut session = established(None);
    session.tick(30 * SECOND).expect("ticks");
    assert_eq!(sent(&mut session), [(5, 0, 0)]);
    session.held_up(SECOND);
    assert_eq!(session.due(), 36 * SECOND, "a connection that was not read has more time");
    let asked = system(&session);
    session.take(31 * SECOND, control(6, 0, asked), &[]).expect("goes on");
    session.tick(61 * SECOND).expect("ticks");
    assert!(session.tick(66 * SECOND).is_err_and(|e| e.contains("Linktest")));
    let mut session = established(None);
    session.take(0, control(5, 0, 77), &[]).expect("goes on");
    session.end();
    assert_eq!(sent(&mut session), [(6, 0, 0), (9, 0, 0)]);
}

#[test]
fn what_is_reported_is_acknowledged_later() {
    let mut session = established(None);
    for (stream, function) in [(5, 1), (6, 1), (6, 11)] {
        session.take(0, data_header(3, stream, function, true, 9), &[0xff]).expect("goes on");
    }
    session.take(0, data_header(3, 6, 11, false, 10), &[]).expect("goes on");
    session.take(0, data_header(3, 7, 3, true, 11), &[]).expect("goes on");
    let waiting: Vec<_> = session.waiting.iter().map(|(h, reply)| (h.stream(), reply.function)).collect();
    assert_eq!(waiting, [(5, 2), (6, 2), (6, 12)]);
    assert_eq!(sent(&mut session), [(0, 7, 0)], "a recipe is not taken: aborted");
}

#[test]
fn an_equipment_that_lost_its_session_is_connected_to_anew() {
    let mut session = selected(None);
    for round in 0..3 {
        let now = round * 10 * SECOND;
        session.linktest_at = Micros::MAX;
        session.tick(now).expect("ticks");
        assert_eq!(sent(&mut session), [(0, 1, 13)]);
        let asked = system(&session);
        let end = session.take(now, Header { byte2: 0, byte3: 4, ..control(7, 4, asked) }, &[]);
        assert_eq!(end.is_err(), round == 2, "one may come because both sides select at once");
    }
}
