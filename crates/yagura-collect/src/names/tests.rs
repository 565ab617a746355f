use std::path::PathBuf;

use proptest::prelude::*;
use yagura_event::rows::OwnedRow;
use yagura_event::{AssetTable, Kind};

use super::*;
use crate::writer::RowWriter;

/// A table out of its text.
fn read(text: &str) -> Result<NameTable, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names.csv");
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    NameTable::read(&[file]).map_err(|e| e.to_string().replace(&path, "names.csv"))
}

fn signals(text: &str) -> Signals {
    Signals::new("opc-1", &Arc::new(read(text).unwrap()))
}

fn given<'a>(name: &'a str, unit: &'a str) -> Given<'a> {
    Given { name, unit, ..Given::default() }
}

fn reading(time: Micros) -> Reading {
    Reading { time, observed: time, quality: 0 }
}

fn shown(row: &OwnedRow) -> String {
    let texts = ["tool", "chamber", "signal", "unit", "class"].map(|column| row.text(column)).join("|");
    format!("{texts} {} {}", row.number("value").unwrap(), row.number("quality").unwrap())
}

#[test]
fn names_become_what_the_first_line_says() {
    let mut signals = signals(
        "source,name,tool,chamber,signal,unit,from_unit,class,context\n\
         opc-2,**,wrong,,,,,,\n\
         opc-*,plant/E{nn}/pm{chamber}/gas/flow,ETCH-{nn},,cf4_flow,slm,,flow,\n\
         ,plant/E{nn}/pm{chamber}/**,ETCH-{nn},,,Pa,mTorr,,\n\
         ,{tool}/lot,,,,,,,lot\n",
    );
    let mut rows: Vec<OwnedRow> = Vec::new();
    let mut put = |given: &Given<'_>, value| {
        let number = signals.number(given);
        signals.value(number, reading(1), value, &mut rows);
    };
    put(&given("plant/E07/pmA/gas/flow", "SCCM"), 500.0);
    put(&given("plant/E07/pmA/pressure", ""), 7.5);
    put(&given("plant/E07/pmB/pressure", "Torr"), 1.0);
    put(&Given { name: "else", tool: "T", class: "c", unit: "°C", ..Given::default() }, 1.0);
    let lot = signals.number(&given("CVD-1/lot", ""));
    signals.text(lot, reading(2), "L1", &mut rows);
    let samples: Vec<_> = rows[..4].iter().map(shown).collect();
    assert_eq!(
        samples,
        [
            "ETCH-07|A|cf4_flow|slm|flow 0.5 0",
            "ETCH-07|A|plant/E07/pmA/pressure|Pa| 0.9999177631578947 0",
            "ETCH-07|B|plant/E07/pmB/pressure|Pa| 133.32236842105263 0",
            "T||else|degC|unmapped 1 0",
        ]
    );
    assert_eq!([rows[4].text("tool"), rows[4].text("name"), rows[4].text("value")], ["CVD-1", "lot", "L1"]);
}

#[test]
fn tables_that_are_wrong_say_where_why_and_what_to_do() {
    for (text, said) in [
        ("signal\nx\n", "names.csv:1: the header has no column `name`; there are: source"),
        ("name,colour\n", "names.csv:1: `colour` is no column"),
        ("name,name\n", "names.csv:1: the column `name` stands twice"),
        ("name,tool\na,b\n\nc,T-{x}\n", "names.csv:4: `{x}` in `T-{x}` is not captured"),
        ("name,tool\r\na,b\r\nc,T-{x}\r\n", "names.csv:3: `{x}`"),
        ("name,tool\n\"a\n\",b\nc,T-{x}", "names.csv:4: `{x}`"),
        ("name,tool\n,b\n", "names.csv:2: `name` is empty; write"),
        ("name,tool\na\n", "names.csv:2: has 1 columns where the header has 2; put"),
        ("name\n{a\n", "names.csv:2: `{` without `}`"),
        ("name,context\na,weather\n", "names.csv:2: `weather` in `context` is none; there are: lot"),
        ("name,unit,from_unit\na,Pa,sccm\n", "names.csv:2: values in `sccm` (`from_unit`) do not become"),
        ("name,cell,tool\na,x,T\nb,y,T\n", "names.csv:3: `T` is in cell `y` here and in `x` at names.csv:2"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(said), "{error}");
    }
    let missing = NameTable::read(&[PathBuf::from("/nowhere/names.csv")]).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/names.csv: cannot be read"), "{missing}");
    assert!(NameTable::read(&[]).unwrap().is_empty());
}

#[test]
fn lines_that_can_never_match_are_told() {
    let table =
        read("source,name\nopc-*,a/*\nopc-1,a/b\nmqtt,a/b\n,a/{x}/c\n,a/b/c\nopc-1,a/b\n,a/b/c/d\n").unwrap();
    let covered: Vec<_> =
        table.covered().iter().map(|covered| (covered.line.line, covered.by.line)).collect();
    assert_eq!(covered, [(3, 2), (6, 5), (7, 2)]);
}

#[test]
fn assets_are_the_literal_tools_with_a_cell() {
    let table = read("name,site,cell,tool,area\na,F1,{site}-etch,ETCH-1,\nb,,bay,ETCH-2,fab-system\n{tool}/x,,bay,,\nc,,bay,ETCH-2,\nd,,,ETCH-3,\n")
        .unwrap();
    let assets = table.assets();
    let shown: Vec<_> = assets.iter().map(|a| [a.name.as_str(), &a.cell, &a.area]).collect();
    assert_eq!(shown, [["ETCH-2", "bay", "fab-system"]], "a cell with a word is known when it is seen");
    assert!(assets[0].equipment);
}

#[test]
fn tools_out_of_captures_are_placed_when_they_are_first_seen() {
    let mut signals = signals("name,site,cell,tool\n{area}/{tool}/*,F1,{site}-{area},\n");
    let assets =
        vec![yagura_event::Asset { name: "ETCH-9".into(), cell: "own".into(), ..Default::default() }];
    let mut writer = RowWriter::new("opc-1", 1, Arc::new(AssetTable::new(assets, "else")));
    for name in ["etch/ETCH-7/a", "etch/ETCH-9/a", "cvd/CVD-1/a", "b"] {
        let number = signals.number(&given(name, ""));
        for time in 1..3 {
            signals.value(number, reading(time), 1.0, &mut writer);
        }
    }
    writer.close(5);
    let records = writer.take().unwrap();
    let cells: Vec<_> = records
        .iter()
        .filter_map(|r| yagura_event::Envelope::from_header(&r.header).ok())
        .filter(|e| e.kind == Kind::Sample)
        .map(|e| (e.cell, e.rows))
        .collect();
    let expected = [("F1-cvd", 2), ("F1-etch", 2), ("else", 2), ("own", 2)];
    assert_eq!(cells, expected.map(|(cell, rows)| (cell.to_string(), rows)));
}

#[test]
fn a_changed_unit_is_told_and_values_stay_in_the_plants() {
    let mut signals = signals("name,tool,signal,unit\np,T,pressure,mTorr\n");
    let mut rows: Vec<OwnedRow> = Vec::new();
    for (unit, value) in
        [("mtorr", 5.0), ("mTorr", 5.0), ("Torr", 0.005), ("", 0.005), ("sccm", 1.0), ("Pa", 1.0)]
    {
        let number = signals.number(&given("p", unit));
        signals.value(number, reading(1), value, &mut rows);
        signals.report(1, &mut rows);
    }
    let told: Vec<String> = rows
        .iter()
        .map(|row| match row.kind {
            Kind::Coverage => {
                format!("{} {}: {}", row.text("event"), row.text("subject"), row.text("detail"))
            }
            _ => shown(row),
        })
        .collect();
    assert_eq!(
        told,
        [
            "T||pressure|mTorr| 5 0",
            "T||pressure|mTorr| 5 0",
            "T||pressure|mTorr| 5 0",
            "unit T: the unit of pressure changed from `mTorr` to `Torr`: its values stay in `mTorr`",
            "T||pressure|mTorr| 5 0",
            "T||pressure|mTorr| 1 2",
            "unit T: the unit of pressure changed from `Torr` to `sccm`: its values do not become values in `mTorr` and are marked bad",
            "T||pressure|mTorr| 7.500616827041697 0",
            "unit T: the unit of pressure changed from `sccm` to `Pa`: its values stay in `mTorr`",
        ]
    );
}

#[test]
fn without_a_table_the_first_unit_stays() {
    let mut signals = signals("name\n");
    let mut rows: Vec<OwnedRow> = Vec::new();
    for (unit, value) in [("bar", 1.0), ("mbar", 1000.0)] {
        let number = signals.number(&given("p", unit));
        signals.value(number, reading(1), value, &mut rows);
    }
    assert_eq!([shown(&rows[0]), shown(&rows[1])], ["opc-1||p|bar| 1 0", "opc-1||p|bar| 1 0"]);
    signals.report(1, &mut rows);
    assert_eq!((rows.len(), rows[2].text("event")), (3, "unit"));
    assert_eq!(signals.unmapped().count(), 0, "there is no table for this collector");
}

#[test]
fn a_unit_that_does_not_become_the_plants_is_told_at_once() {
    let mut signals = signals("name,unit\np,Pa\n");
    let mut rows: Vec<OwnedRow> = Vec::new();
    let number = signals.number(&given("p", "sccm"));
    signals.value(number, reading(1), 3.0, &mut rows);
    signals.report(1, &mut rows);
    assert_eq!(shown(&rows[0]), "opc-1||p|Pa| 3 2");
    assert!(rows[1].text("detail").starts_with("p comes in `sccm`, which does not become the `Pa`"));
}

#[test]
fn unmapped_names_are_told_once_a_minute() {
    let mut signals = signals("name\nknown\n");
    let mut rows: Vec<OwnedRow> = Vec::new();
    for n in 0..150 {
        signals.number(&given(&format!("n{n}"), ""));
    }
    signals.report(SECOND, &mut rows);
    signals.number(&given("late \"one\"", ""));
    signals.number(&given("known", ""));
    signals.report(2 * SECOND, &mut rows);
    assert_eq!((rows.len(), rows[0].text("event"), rows[0].number("count")), (1, "unknown", Some(150.0)));
    let detail: serde_json::Value = serde_json::from_str(rows[0].text("detail")).unwrap();
    assert_eq!((detail["unmapped"].as_array().unwrap().len(), &detail["more"]), (100, &50.into()));
    signals.report(62 * SECOND, &mut rows);
    assert_eq!(rows[1].text("detail"), r#"{"more":0,"unmapped":["late \"one\""]}"#);
    signals.report(200 * SECOND, &mut rows);
    assert_eq!((rows.len(), signals.unmapped().count()), (2, 151));
}

#[test]
fn names_that_are_too_much_go_under_one() {
    let mut signals = signals("name\n");
    let mut rows: Vec<OwnedRow> = Vec::new();
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let number = signals.number(&given(&long, "Pa"));
    assert_eq!(signals.number(&given(&format!("{long}y"), "bar")), number);
    assert_ne!(signals.number(&given("overflow", "")), number);
    for _ in 0..3 {
        signals.value(number, reading(1), 7.0, &mut rows);
    }
    assert_eq!(shown(&rows[0]), "opc-1||overflow||overflow 7 2");
    signals.report(1, &mut rows);
    assert_eq!((rows[3].text("event"), rows[3].number("count")), ("unknown", Some(3.0)));
}

#[test]
fn a_million_names_and_no_more() {
    let mut signals = signals("name\n");
    for n in 0..NAMES_MAX {
        assert_eq!(signals.number(&given(&n.to_string(), "")), n as u32);
    }
    let over = signals.number(&given("one more", ""));
    assert_eq!(over, NAMES_MAX as u32);
    assert_eq!(signals.number(&given("and one", "")), over);
    assert_eq!(signals.number(&given("17", "")), 17);
}

#[test]
fn the_check_lists_what_is_missing() {
    let table =
        read("source,name,tool,unit\nopc-1,a/{tool}/p,,Pa\nopc-1,b,T,\nother,c,,\nopc-1,a/x/p,,\n").unwrap();
    let report = check(&table, "opc-1", [given("a/E/p", "sccm"), given("z", "")]);
    assert_eq!(report.unmapped, ["z"]);
    assert_eq!((report.mapped[0].tool.as_str(), report.mapped[0].unit.as_str()), ("E", "Pa"));
    assert_eq!(report.mapped[0].problem, "values in `sccm` do not become values in `Pa`");
    assert_eq!(report.unused.iter().map(|place| place.line).collect::<Vec<_>>(), [3, 5]);
    let text = report.to_string();
    assert!(text.starts_with("1 names mapped, 1 not\nnot mapped: z\n"), "{text}");
    assert!(text.contains("names.csv:5: can never match"), "{text}");
    assert!(serde_json::to_value(&report).unwrap()["mapped"][0]["tool"] == "E");
}

proptest! {
    /// The index finds what looking at each line finds.
    #[test]
    fn the_first_line_that_matches_is_found(
        lines in prop::collection::vec(("(c|d|)", "[ab/*]{1,6}"), 1..20), name in "[ab/]{0,8}",
    ) {
        let mut text = String::from("source,name,tool\n");
        for (at, (source, name)) in lines.iter().enumerate() {
            text.push_str(&format!("{source},{name},{at}\n"));
        }
        let table = read(&text).unwrap();
        let plain = lines.iter().position(|(source, line)| {
            source != "d" && pattern::Pattern::parse(line).unwrap().matches(&name)
        });
        let found = table.find(&table.sources_of("c"), &name);
        prop_assert_eq!(found.map(|named| named.tool), plain.map(|at| at.to_string()));
        for covered in table.covered() {
            let [own, by] = [&covered.line, &covered.by].map(|place| &lines[place.line as usize - 2]);
            let [own, by] = [own, by].map(|(_, line)| pattern::Pattern::parse(line).unwrap());
            prop_assert!(!own.matches(&name) || by.matches(&name));
        }
    }

    /// A writer has the same samples by number, by column and by name.
    #[test]
    fn values_by_number_are_values_by_name(
        values in prop::collection::vec((0..5_usize, 0..3_u64), 1..60), held in 0..60_u64,
    ) {
        let table = Arc::new(NameTable::default());
        let written = |way: usize| {
            let places = {
                // What an earlier start left in the log.
                let mut writer = RowWriter::new("c", 1, Arc::new(AssetTable::new(vec![], "bay")));
                writer.at("s", held);
                let row = MeasuredRow { tool: "c", signal: "s0", observed: 1, ..Default::default() };
                use yagura_event::rows::RowSink;
                writer.push(Row::Measured(&row));
                writer.close(2);
                let mut places = crate::Places::default();
                for record in writer.take().unwrap() {
                    places.note(&yagura_event::Envelope::from_header(&record.header).unwrap());
                }
                places
            };
            let mut writer = RowWriter::new("c", 2, Arc::new(AssetTable::new(vec![], "bay"))).resume(places);
            let mut signals = Signals::new("c", &table);
            let mut position = 0;
            for (time, (signal, moved)) in (10..).zip(&values) {
                position += moved;
                writer.at("s", position);
                let name = format!("s{signal}");
                let number = signals.number(&given(&name, ""));
                let reading = Reading { time, observed: time, quality: 1 };
                match way {
                    0 => {
                        use yagura_event::rows::RowSink;
                        for value in [1.0, 2.0, 3.0] {
                            let row = MeasuredRow { tool: "c", signal: &name, source: "c", time, observed: time, value, quality: 1, ..Default::default() };
                            writer.push(Row::Measured(&row));
                        }
                    }
                    1 => [1.0, 2.0, 3.0].iter().for_each(|value| signals.value(number, reading, *value, &mut writer)),
                    _ => signals.values(number, (time, 1), &[time; 3], &[1.0, 2.0, 3.0], &mut writer),
                }
            }
            writer.close(Micros::MAX);
            let records = writer.take().unwrap();
            records.into_iter().map(|record| (record.header, record.value)).collect::<Vec<_>>()
        };
        let by_name = written(0);
        prop_assert_eq!(&written(1), &by_name);
        prop_assert_eq!(&written(2), &by_name);
    }
}

#[test]
fn rows_that_bring_names_are_looked_up_like_all_others() {
    let mut signals =
        signals("name,cell,tool,chamber,signal,unit\nE7/PM{n}/p,bay-3,ETCH-07,PM{n},pressure,Pa\n");
    let mut rows: Vec<OwnedRow> = Vec::new();
    for (chamber, signal, unit) in [("PM1", "p", "kPa"), ("", "rf", "W")] {
        let row =
            MeasuredRow { tool: "E7", chamber, signal, unit, value: 2.0, time: 5, ..Default::default() };
        signals.naming(&mut rows).push(Row::Measured(&row));
    }
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            let text =
                ["tool", "chamber", "signal", "unit", "class"].map(|column| row.text(column).to_string());
            (text.join("|"), row.number("value"))
        })
        .collect();
    let expected =
        [("ETCH-07|PM1|pressure|Pa|".to_string(), Some(2000.0)), ("E7||rf|W|unmapped".into(), Some(2.0))];
    assert_eq!(seen, expected);
}
