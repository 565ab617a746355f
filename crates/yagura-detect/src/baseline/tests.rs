use super::*;

fn header() -> Header {
    Header {
        baseline: VERSION,
        detection: "d".into(),
        fingerprint: fingerprint_text(7),
        cell: "bay".into(),
        model: "guard".into(),
        model_version: 1,
        of: vec!["tool".into(), "signal".into()],
        from: time_text(0),
        until: time_text(60_000_000),
        rows: 120,
        entries: 0,
    }
}

fn entry(tool: &str, level: f64) -> Entry {
    let Value::Object(values) = serde_json::json!({"level": level, "deviation": 0.5}) else { unreachable!() };
    Entry { key: vec![tool.into(), "flow".into()], values }
}

fn form() -> Form {
    Form { model: "guard", version: 1, of: vec!["tool".into(), "signal".into()] }
}

fn trust(of: &[&KeyPair]) -> Trust {
    let named = |(at, pair): (usize, &&KeyPair)| Trusted { name: format!("n{at}"), key: pair.public() };
    Trust { trusted: of.iter().enumerate().map(named).collect(), signed_only: false }
}

#[test]
fn a_document_is_read_back_as_it_was_written() {
    let document = Document::new(header(), vec![entry("B", 2.0), entry("A", 1.5)]);
    let text = document.text();
    assert_eq!(text.lines().count(), 3);
    assert_eq!(text.lines().nth(1), Some(r#"{"key":["A","flow"],"deviation":0.5,"level":1.5}"#));
    let read = Document::read(&text).unwrap();
    assert_eq!((&read, read.text(), read.hash()), (&document, text.clone(), document.hash()));
    assert_eq!(read.header.entries, 2);
    for cut in 0..text.len() {
        assert!(Document::read(&text[..cut]).is_err(), "{cut} bytes of {}", text.len());
    }
    let turned: String = [0, 2, 1].iter().map(|n| format!("{}\n", text.lines().nth(*n).unwrap())).collect();
    assert!(Document::read(&turned).unwrap_err().0.contains("line 3: keys stand in their order"));
}

#[test]
fn only_what_was_signed_by_a_trusted_key_is_taken_where_somebody_is_trusted() {
    let (own, other) = (KeyPair::generate().unwrap().0, KeyPair::generate().unwrap().0);
    let mut document = Document::new(header(), vec![entry("A", 1.5)]);
    assert_eq!(document.verify(&Trust::default()), Ok(None));
    assert!(document.verify(&trust(&[&own])).unwrap_err().0.contains("no signature"));
    assert!(document.verify(&Trust { signed_only: true, ..Trust::default() }).is_err());
    document.sign(&other);
    let refused = document.verify(&trust(&[&own])).unwrap_err().0;
    assert!(
        refused.contains(&other.public().to_string()) && refused.contains("baselines.trusted"),
        "{refused}"
    );
    document.sign(&own);
    let read = Document::read(&document.text()).unwrap();
    assert_eq!(read.verify(&trust(&[&own])), Ok(Some("n0".into())));
    assert_eq!(
        read.hash(),
        Document::new(header(), vec![entry("A", 1.5)]).hash(),
        "signatures are no content"
    );
    let forged = document.text().replace("1.5", "9.5");
    for trust in [trust(&[&own]), Trust::default()] {
        let refused = Document::read(&forged).unwrap().verify(&trust).unwrap_err().0;
        assert!(refused.contains("changed after it was signed"), "{refused}");
    }
}

#[test]
fn what_is_of_something_else_is_refused_with_its_reason() {
    let document = Document::new(header(), vec![]);
    assert_eq!(document.fits("d", 7, "bay", &form()), Ok(()));
    let all = Document::new(Header { cell: ALL_CELLS.into(), ..header() }, vec![]);
    assert_eq!(all.fits("d", 7, "any", &form()), Ok(()));
    let newer = Document::new(Header { model_version: 2, ..header() }, vec![]);
    let said = |result: Result<(), Refusal>| result.unwrap_err().0;
    assert!(said(document.fits("e", 7, "bay", &form())).contains("detection `d`"));
    assert!(said(document.fits("d", 8, "bay", &form())).contains("fingerprint"));
    assert!(said(document.fits("d", 7, "other", &form())).contains("cell `bay`"));
    assert!(said(newer.fits("d", 7, "bay", &form())).contains("newer"));
    let text = document.text().replace("\"baseline\":1", "\"baseline\":2,\"more\":true");
    assert!(Document::read(&text).unwrap_err().0.contains("version 2 of a baseline is not known"));
}

#[test]
fn cells_are_put_together_unless_they_contradict() {
    let of = |cell: &str, entries| Document::new(Header { cell: cell.into(), ..header() }, entries);
    let both =
        Document::merged(vec![of("a", vec![entry("A", 1.0)]), of("b", vec![entry("B", 2.0)])]).unwrap();
    assert_eq!((both.header.cell.as_str(), both.header.rows, both.entries.len()), ("*", 240, 2));
    let other = Document::merged(vec![of("a", vec![entry("A", 1.0)]), of("b", vec![entry("A", 2.0)])]);
    assert!(other.unwrap_err().0.contains("A flow"));
}

#[test]
fn a_difference_names_what_came_went_and_changed() {
    let (before, after) = (
        [entry("A", 1.0), entry("B", 1.0), entry("C", 1.0)],
        [entry("B", 2.0), entry("C", 1.0), entry("D", 1.0)],
    );
    let difference = Difference::between(&before, &after);
    assert_eq!(difference.added, [&after[2]]);
    assert_eq!(difference.removed, [&before[0]]);
    assert_eq!(difference.changed, [(&before[1], &after[0])]);
}
