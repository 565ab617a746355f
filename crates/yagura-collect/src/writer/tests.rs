use super::*;

fn kinds(records: &[Record]) -> Vec<(Kind, u64, u32)> {
    records
        .iter()
        .filter_map(|r| Envelope::from_header(&r.header).ok())
        .map(|e| (e.kind, e.first_row, e.rows))
        .collect()
}

fn sample(signal: &'static str, time: Micros) -> MeasuredRow<'static> {
    MeasuredRow { tool: "T", signal, time, observed: time, value: 1.0, ..Default::default() }
}

#[test]
fn context_closes_what_came_before_it_and_numbers_have_no_holes() {
    let mut writer = RowWriter::new("c", 1, Arc::new(AssetTable::new(vec![], "bay")));
    writer.push(Row::Measured(&sample("a", 10)));
    writer.push(Row::Measured(&sample("b", 11)));
    writer.push(Row::Context(&ContextRow {
        time: 12,
        observed: 12,
        tool: "T",
        name: "step",
        value: "2",
        ..Default::default()
    }));
    writer.push(Row::Measured(&sample("a", 13)));
    writer.close(14);
    let records = writer.take().expect("rows encode");
    assert_eq!(
        kinds(&records),
        [(Kind::Series, 0, 2), (Kind::Sample, 2, 2), (Kind::Context, 4, 1), (Kind::Sample, 5, 1)]
    );
    let promises: Vec<Micros> =
        records.iter().filter_map(|r| Envelope::from_header(&r.header).ok()).map(|e| e.promise).collect();
    assert_eq!(promises, [10, 10, 12, 14]);
}

#[test]
fn a_quiet_cell_gets_heartbeats_and_an_end() {
    let mut writer = RowWriter::new("c", 1, Arc::new(AssetTable::new(vec![], "bay")));
    writer.push(Row::Measured(&sample("a", SECOND)));
    writer.close(2 * SECOND);
    writer.close(3 * SECOND);
    writer.close(20 * SECOND);
    writer.close(Micros::MAX);
    let records = writer.take().expect("rows encode");
    let promises: Vec<(u32, Micros)> = records
        .iter()
        .filter_map(|r| Envelope::from_header(&r.header).ok())
        .map(|e| (e.rows, e.promise))
        .collect();
    assert_eq!(promises, [(1, SECOND), (1, 2 * SECOND), (0, 20 * SECOND), (0, Micros::MAX)]);
}

#[test]
fn columns_fill_batches_as_values_do() {
    let written = |columns: bool| {
        let mut writer = RowWriter::new("c", 1, Arc::new(AssetTable::new(vec![], "bay")));
        let of = SeriesOf { signals: 7, number: 3 };
        let reading = Reading { time: 5, observed: 5, quality: 0 };
        assert!(!writer.sample(of, reading, 0.0), "nobody introduced it");
        writer.introduce(of, &sample("a", 5));
        let times: Vec<Micros> = (0..20_000).collect();
        let values: Vec<f64> = times.iter().map(|time| *time as f64).collect();
        if columns {
            assert!(writer.samples(of, reading, &times, &values));
        } else {
            for (&time, &value) in times.iter().zip(&values) {
                assert!(writer.sample(of, Reading { time, ..reading }, value));
            }
        }
        writer.close(Micros::MAX);
        writer.take().expect("rows encode").into_iter().map(|r| (r.header, r.value)).collect::<Vec<_>>()
    };
    assert_eq!(written(true), written(false));
}

#[test]
fn a_tool_is_placed_once_and_its_later_rows_go_there() {
    let mut writer = RowWriter::new("c", 1, Arc::new(AssetTable::new(vec![], "bay")));
    let of = SeriesOf { signals: 1, number: 0 };
    writer.introduce(of, &sample("a", 10));
    writer.place_tool("T", "etch");
    writer.place_tool("T", "other");
    assert!(!writer.sample(of, Reading { time: 11, observed: 11, quality: 0 }, 1.0), "it is elsewhere now");
    writer.introduce(of, &sample("a", 11));
    writer.close(14);
    let records = writer.take().expect("rows encode");
    let cells: Vec<String> =
        records.iter().filter_map(|r| Envelope::from_header(&r.header).ok()).map(|e| e.cell).collect();
    assert_eq!(cells, ["bay", "bay", "etch", "etch"]);
}

#[test]
fn columns_of_forbidden_cells_are_counted() {
    let mut writer = RowWriter::new("c", 1, Arc::new(AssetTable::new(vec![], "bay"))).permit(&["own".into()]);
    let of = SeriesOf { signals: 1, number: 0 };
    let reading = Reading { time: 5, observed: 5, quality: 0 };
    writer.introduce(of, &sample("a", 5));
    assert!(!writer.samples(of, reading, &[1, 2, 3], &[1.0; 3]), "a row that is refused introduces nothing");
    writer.close(6);
    let records = writer.take().expect("rows encode");
    assert_eq!(kinds(&records), [(Kind::Coverage, 0, 1)]);
}
