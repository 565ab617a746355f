use super::*;

const SECOND: i64 = 1_000_000;

/// A poller of four commands every ten seconds, with two more that write now and then, in one conversation.
struct Plant {
    time: i64,
    noise: u64,
    model: Model,
    events: Vec<Event>,
}

impl Plant {
    fn new() -> Plant {
        let mut model = Model::default();
        model.begin_conversation(0);
        (0..6).for_each(|command| model.begin_command(command));
        model.begin_place(0);
        Plant { time: 0, noise: 1, model, events: Vec::new() }
    }

    fn random(&mut self) -> i64 {
        self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.noise >> 33) as i64
    }

    fn poll(&mut self) {
        for command in 0..4 {
            let jitter = self.random() % 20_000;
            self.events.push(event(command, self.time + i64::from(command) * SECOND / 10 + jitter));
        }
        if self.random() % 10 == 0 {
            let value = 1.0 + (self.random() % 2) as f64;
            let write = event(4, self.time + 5 * SECOND);
            self.events.push(Event { place: 0, written: Written::Number(value), ..write });
        }
        self.time += 10 * SECOND;
    }

    fn judge(&mut self) -> (Vec<Hit>, Vec<f32>) {
        let (mut hits, mut scores) = (Vec::new(), Vec::new());
        self.model.judge(&std::mem::take(&mut self.events), &Parameters::default(), &mut hits, &mut scores);
        (hits, scores)
    }

    fn learned(polls: usize) -> Plant {
        let mut plant = Plant::new();
        (0..polls).for_each(|_| plant.poll());
        let (hits, scores) = plant.judge();
        assert!(hits.is_empty() && scores.iter().all(|&score| score == 0.0));
        plant.model.approve();
        plant
    }

    fn findings(&mut self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.judge().0.iter().map(|hit| hit.finding).collect();
        findings.sort();
        findings.dedup();
        findings
    }
}

fn event(command: u32, time: i64) -> Event {
    Event { conversation: 0, command, place: NONE, time, written: Written::Nothing, begins: false }
}

#[test]
fn what_was_learned_is_silent_for_a_week() {
    let mut plant = Plant::learned(2_000);
    (0..60_000).for_each(|_| plant.poll());
    let (hits, scores) = plant.judge();
    assert_eq!(hits, []);
    assert!(scores.iter().all(|&score| score < 1.0) && scores.len() > 240_000);
}

#[test]
fn strangers_and_strange_commands_are_found_at_once() {
    let mut plant = Plant::learned(500);
    plant.model.begin_conversation(1);
    plant.model.begin_command(6);
    plant.poll();
    let time = plant.time;
    plant.events.push(Event { conversation: 1, ..event(6, time) });
    let (hits, _) = plant.judge();
    assert_eq!(hits.iter().map(|h| h.finding).collect::<Vec<_>>(), [Finding::Peer]);
    assert!(hits[0].score > 1.0 && hits[0].learned > 2_000, "{hits:?}");
    plant.poll();
    plant.events.push(event(5, plant.time));
    let (hits, _) = plant.judge();
    assert_eq!(hits.iter().map(|h| h.finding).collect::<Vec<_>>(), [Finding::Command]);
    // However often it comes again, it stays a stranger until somebody approves it.
    for _ in 0..1_000 {
        plant.poll();
        plant.events.push(Event { conversation: 1, ..event(6, plant.time) });
    }
    assert_eq!(plant.judge().0.len(), 1_000);
    plant.model.approve();
    plant.poll();
    plant.events.push(Event { conversation: 1, ..event(6, plant.time) });
    assert_eq!(plant.findings(), []);
}

#[test]
fn who_is_always_new_is_no_news() {
    let mut plant = Plant::new();
    for command in 0..500 {
        plant.model.begin_command(command);
        plant.events.push(event(command, i64::from(command) * SECOND));
    }
    plant.judge();
    plant.model.approve();
    plant.model.begin_command(500);
    plant.events.push(event(500, 501 * SECOND));
    let (hits, scores) = plant.judge();
    assert_eq!(hits, []);
    assert!(scores[0] < 0.1, "{scores:?}");
}

#[test]
fn a_value_that_nobody_wrote_is_found_and_says_which_was_near() {
    let mut plant = Plant::learned(1_000);
    plant.poll();
    let forged = |value| Event { place: 0, written: Written::Number(value), ..event(4, 0) };
    plant.events.push(Event { time: plant.time - 5 * SECOND, ..forged(7.0) });
    let (hits, _) = plant.judge();
    let value: Vec<&Hit> = hits.iter().filter(|hit| hit.finding == Finding::Value).collect();
    assert_eq!((value[0].expected, value[0].seen), (Some(2.0), Some(7.0)), "{hits:?}");
    // Not a number, infinite, minus zero: nothing to judge, or what zero is.
    for value in [f64::NAN, f64::INFINITY] {
        plant.events.push(Event { time: plant.time, ..forged(value) });
    }
    assert!(!plant.findings().contains(&Finding::Value));
}

#[test]
fn a_range_is_judged_with_its_margin() {
    let mut plant = Plant::new();
    for step in 0..400_i64 {
        let value = 50.0 + (step * 37 % 101) as f64 / 10.0;
        plant.events.push(Event {
            place: 0,
            written: Written::Number(value),
            ..event(4, step * 10 * SECOND)
        });
    }
    plant.judge();
    plant.model.approve();
    let mut at = |value: f64, second| {
        plant.events.push(Event { place: 0, written: Written::Number(value), ..event(4, second * SECOND) });
        plant.findings().contains(&Finding::Value)
    };
    assert!(!at(60.5, 4_000), "within the margin");
    assert!(at(63.0, 4_010) && at(20.0, 4_020));
}

#[test]
fn a_known_command_slipped_into_the_cycle_is_found_by_its_rhythm() {
    let mut plant = Plant::learned(1_000);
    (0..10).for_each(|_| plant.poll());
    plant.events.push(event(2, plant.time - 5 * SECOND));
    (0..10).for_each(|_| plant.poll());
    assert_eq!(plant.findings(), [Finding::Rhythm]);
}

#[test]
fn known_commands_out_of_order_are_found_by_it() {
    let mut plant = Plant::learned(1_000);
    (0..10).for_each(|_| plant.poll());
    for (step, command) in [3, 2, 1, 0].into_iter().enumerate() {
        plant.events.push(event(command, plant.time + step as i64 * SECOND / 10));
    }
    let findings = plant.findings();
    assert!(findings.contains(&Finding::Sequence), "{findings:?}");
}

#[test]
fn one_lost_message_is_no_finding() {
    let mut plant = Plant::learned(1_000);
    for lost in 0..40 {
        (0..20).for_each(|_| plant.poll());
        plant.events.remove(plant.events.len() - 1 - lost % 4);
    }
    assert_eq!(plant.findings(), []);
}

#[test]
fn a_session_that_begins_anew_is_no_finding() {
    let mut plant = Plant::learned(1_000);
    for _ in 0..40 {
        (0..20).for_each(|_| plant.poll());
        // It breaks off after two of four commands.
        plant.events.truncate(plant.events.len() - 2);
        let first = plant.events.len();
        plant.time += SECOND;
        plant.poll();
        plant.events[first].begins = true;
    }
    assert_eq!(plant.findings(), []);
}

#[test]
fn a_pause_is_no_finding() {
    let mut plant = Plant::learned(1_000);
    for _ in 0..20 {
        plant.poll();
        plant.time += 3_600 * SECOND;
    }
    assert_eq!(plant.findings(), []);
}

#[test]
fn a_flood_of_known_commands_is_found_by_rate_and_mix() {
    let mut plant = Plant::learned(1_000);
    for step in 0..200 {
        plant.events.push(event(4, plant.time + step * 1_000));
    }
    let findings = plant.findings();
    assert!(findings.contains(&Finding::Rate) && findings.contains(&Finding::Mix), "{findings:?}");
}

#[test]
fn time_may_stand_still_or_go_back() {
    let mut plant = Plant::learned(300);
    for time in [0, i64::MIN, i64::MAX, 5, 5, 5] {
        plant.events.push(event(1, time));
        plant.events.push(event(3, time));
    }
    let (_, scores) = plant.judge();
    assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
    // Numbers that were never begun.
    plant.events.push(Event { conversation: 99, ..event(1, 6) });
    plant.events.push(event(99, 6));
    assert_eq!(plant.judge().1, [0.0, 0.0]);
}

#[test]
fn in_pieces_or_at_once_it_is_the_same() {
    let mut whole = Plant::learned(500);
    (0..200).for_each(|_| whole.poll());
    whole.events.push(event(2, whole.time - 5 * SECOND));
    (0..20).for_each(|_| whole.poll());
    let events = whole.events.clone();
    let mut pieces = whole.model.clone();
    let (_, at_once) = whole.judge();
    let (mut hits, mut scores) = (Vec::new(), Vec::new());
    for piece in events.chunks(7) {
        pieces.judge(piece, &Parameters::default(), &mut hits, &mut scores);
    }
    assert_eq!(at_once, scores);
    assert_eq!(whole.model, pieces);
}

#[test]
fn the_proportions_that_were_learned_have_no_entropy() {
    let even = 10 * novelty::count_bits(5);
    let weights = 50 * i64::from(novelty::fixed(10.0_f32.log2()));
    assert!(novelty::relative_entropy(even, weights, 50) < 1e-3, "ten commands in equal shares, as learned");
}

#[test]
fn what_comes_late_with_its_own_time_makes_no_rate() {
    let mut plant = Plant::learned(1_000);
    for round in 0..200 {
        plant.poll();
        if round % 20 == 0 {
            // It waited in vain for its answer.
            let late = event(1, plant.time - 400 * SECOND);
            plant.events.push(late);
        }
    }
    assert!(!plant.findings().contains(&Finding::Rate));
}

#[test]
fn memory_is_as_the_card_says() {
    let recent = RECENT * size_of::<Recent>();
    assert!(size_of::<Conversation>() + recent <= 1_100, "{}", size_of::<Conversation>() + recent);
    assert!(size_of::<Command>() <= 260, "{}", size_of::<Command>());
    assert!(size_of::<Place>() + 64 <= 180, "{}", size_of::<Place>() + 64);
}

#[test]
fn what_is_usual_is_told_as_it_was_approved_and_since_when_it_is_otherwise() {
    let mut plant = Plant::learned(500);
    let usual = plant.model.usual(0).unwrap();
    let commands: Vec<u32> = usual.commands.iter().map(|(command, _)| *command).collect();
    assert_eq!(commands, [0, 1, 2, 3], "the four that are polled, not the one that is rare");
    assert!(usual.commands.iter().all(|(_, count)| *count == 500));
    assert_eq!(usual.hours, 0b11, "an hour and a half from midnight");
    assert_eq!(usual.messages, plant.model.conversations[0].learned);
    assert_eq!(plant.model.usual(1), None);
    let Some(UsualValues::Numbers(mut values)) = plant.model.usual_values(0) else { panic!() };
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [1.0, 2.0]);
    assert_eq!(plant.model.usual_values(7), None);

    // At another hour, out of order: what came since the approval is not usual.
    plant.time = 7 * HOUR_US;
    let begun = plant.time;
    for _ in 0..30 {
        plant.poll();
        let last = plant.events.len();
        plant.events[last - 4..].iter_mut().for_each(|event| event.command = 3 - event.command % 4);
    }
    let (hits, _) = plant.judge();
    let hit = hits.iter().find(|hit| hit.finding == Finding::Sequence).unwrap();
    assert!((begun..begun + 60 * SECOND).contains(&hit.since), "{hit:?}");
    assert_eq!(plant.model.usual(0).unwrap(), usual);
    plant.events.push(event(5, plant.time));
    plant.judge();
    plant.model.approve();
    assert_eq!(plant.model.usual(0).unwrap().hours, 0b1000_0011);
}

#[test]
fn usual_values_are_numbers_a_range_or_words() {
    let written = |values: &[Written]| {
        let mut model = Model::default();
        model.begin_conversation(0);
        model.begin_command(0);
        model.begin_place(0);
        let events: Vec<Event> =
            values.iter().map(|&written| Event { place: 0, written, ..event(0, 0) }).collect();
        model.judge(&events, &Parameters::default(), &mut Vec::new(), &mut Vec::new());
        model.usual_values(0)
    };
    assert_eq!(written(&[Written::Nothing]), None);
    let many: Vec<Written> = (0..20).map(|n| Written::Number(f64::from(n))).collect();
    assert_eq!(written(&many), Some(UsualValues::Range(0.0, 19.0)));
    assert_eq!(written(&[Written::Word(7), Written::Word(9)]), Some(UsualValues::Words(2)));
    assert_eq!(written(&many[..2]), Some(UsualValues::Numbers(vec![0.0, 1.0])));
}
