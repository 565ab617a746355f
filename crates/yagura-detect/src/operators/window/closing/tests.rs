use super::*;
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_event::{Encoding, Kind};

fn envelope(first_row: u64, rows: u32) -> Envelope {
    Envelope {
        kind: Kind::Message,
        version: 1,
        cell: "bay".into(),
        collector: "span".into(),
        epoch: first_row,
        first_row,
        rows,
        observed: (0, 0),
        promise: 0,
        encoding: Encoding::Arrow,
        origin: None,
        places: Vec::new(),
    }
}

fn closing(windows_max: usize, limits: Limits) -> Closing {
    let shape = Shape::Steps { every: 60 * SECOND, within: 60 * SECOND };
    let wanted = Wanted::default();
    let settings =
        Settings { shape, lateness: 0, wanted, measure: Measure::Count, limits, having: None, windows_max };
    let saved = Saved { closed_to: Micros::MIN, left_at: Micros::MIN, ..Saved::default() };
    Closing {
        settings: Arc::new(settings),
        index: FxHashMap::default(),
        slots: Vec::new(),
        free: Vec::new(),
        due: shape.due(),
        windows: 0,
        resting: 0,
        saved,
        late: Vec::new(),
        failed: 0,
        of: Vec::new(),
    }
}

/// One batch with these clients, a second apart.
fn give(closing: &mut Closing, first_row: u64, clients: &[String]) {
    let mut builder = MessageBuilder::default();
    for (row, client) in clients.iter().enumerate() {
        let observed = (first_row as i64 + row as i64) * SECOND / 100;
        builder.push(&MessageRow { client, observed, time: observed, ..Default::default() });
    }
    let envelope = envelope(first_row, clients.len() as u32);
    let by = ["client".to_string()];
    let step = Step { detection: 0, by: &by, envelope: &envelope, from: 0, watermark: 0 };
    closing.rows(&step, &builder.finish(), None, &mut Vec::new());
}

fn end(closing: &mut Closing) -> Vec<Hit> {
    let envelope = envelope(0, 0);
    let by = ["client".to_string()];
    let step = Step { detection: 0, by: &by, envelope: &envelope, from: 0, watermark: Micros::MAX };
    let mut hits = Vec::new();
    closing.advance(&step, &Blocks::default(), &mut hits);
    hits
}

#[test]
fn the_least_recently_active_keys_leave_and_are_counted() {
    let at_least = Limits { at_least: Some(1.0), ..Limits::default() };
    let mut state = closing(100, at_least);
    let names: Vec<String> = (0..1000).map(|n| format!("host-{n}")).collect();
    for (batch, chunk) in names.chunks(7).enumerate() {
        give(&mut state, batch as u64 * 8, &[chunk, &["steady".to_string()]].concat());
        assert!(state.windows <= 100 && state.index.len() <= 100 && state.slots.len() <= 100);
        assert!(state.due.len() <= 200, "what left is not looked at for ever");
    }
    assert!(state.saved.refused >= 900, "{}", state.saved.refused);
    assert!(state.saved.sources.len() <= 2 * SOURCES);
    let hits = end(&mut state);
    let steady: u64 = hits
        .iter()
        .filter(|h| h.key["client"] == "steady")
        .filter_map(|h| h.evidence["count"].as_u64())
        .sum();
    assert_eq!(steady, 143, "one that goes on stays");
    assert!(state.index.is_empty() && state.windows == 0 && state.due.len() == 0);
}

#[test]
fn a_window_that_may_lack_rows_is_not_found_too_small() {
    let few = Limits { below: Some(5.0), ..Limits::default() };
    let names: Vec<String> = (0..200).map(|n| format!("host-{n}")).collect();
    let mut whole = closing(1000, few);
    give(&mut whole, 0, &names);
    assert_eq!(end(&mut whole).len(), 200);
    let mut crowded = closing(100, few);
    give(&mut crowded, 0, &names);
    assert_eq!(end(&mut crowded).len(), 0);
    give(&mut crowded, 6_000, &names[..2]);
    assert_eq!(end(&mut crowded).len(), 2, "the next minute is whole again");
}

#[test]
fn sources_without_a_window_are_forgotten_and_the_others_keep_their_names() {
    let mut state = closing(10_000, Limits { at_least: Some(1.0), ..Limits::default() });
    give(&mut state, 1, &["first".into()]);
    for epoch in 2..2_000 {
        give(&mut state, epoch, &["other".into()]);
    }
    assert!(state.saved.sources.len() <= SOURCES, "{}", state.saved.sources.len());
    let hits = end(&mut state);
    let first = hits.iter().find(|h| h.key["client"] == "first").map(|h| h.cause.epoch);
    assert_eq!(first, Some(1));
}
