//! The detections that ship with the program, so that it works where no file is at hand.

/// Name and text of each file under `pipelines/`.
pub const PACK: &[(&str, &str)] = &[
    ("pipelines/fab/secs.yaml", include_str!("../../../pipelines/fab/secs.yaml")),
    ("pipelines/fab/recipe.yaml", include_str!("../../../pipelines/fab/recipe.yaml")),
    ("pipelines/fab/facility.yaml", include_str!("../../../pipelines/fab/facility.yaml")),
    ("pipelines/fab/equipment.yaml", include_str!("../../../pipelines/fab/equipment.yaml")),
    ("pipelines/fab/data-quality.yaml", include_str!("../../../pipelines/fab/data-quality.yaml")),
    ("pipelines/ot/access.yaml", include_str!("../../../pipelines/ot/access.yaml")),
    ("pipelines/ot/controller.yaml", include_str!("../../../pipelines/ot/controller.yaml")),
    ("pipelines/ot/misuse.yaml", include_str!("../../../pipelines/ot/misuse.yaml")),
    ("pipelines/ot/plant.yaml", include_str!("../../../pipelines/ot/plant.yaml")),
    ("pipelines/ot/scan.yaml", include_str!("../../../pipelines/ot/scan.yaml")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use arrow::array::AsArray;
    use arrow::datatypes::TimestampMicrosecondType;
    use yagura_detect::shelf::Texts;
    use yagura_detect::{Shard, Shelf};
    use yagura_event::{Encoding, Envelope, Kind, codec};
    use yagura_log::Record;
    use yagura_sql::SqlCompiler;

    use super::PACK;

    /// The rows of a scene, those of one kind and cell that follow one another together: each record as
    /// JSON, which is read as a whole, and as Arrow, of which what nobody looks at is left out.
    fn records(scene: &str) -> Vec<[Record; 2]> {
        let mut batches: Vec<(Kind, String, Vec<String>)> = Vec::new();
        for line in scene.lines().filter(|line| !line.trim().is_empty()) {
            let mut row: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).expect("a row");
            let kind = row.remove("kind").and_then(|k| Kind::from_name(k.as_str()?)).expect("a kind");
            let cell =
                row.remove("cell").map_or("test".into(), |c| c.as_str().unwrap_or_default().to_string());
            if kind.schema().index_of("observed").is_err() {
                row.remove("observed");
            } else if let (None, Some(time)) = (row.get("observed"), row.get("time").cloned()) {
                row.insert("observed".into(), time);
            }
            let line = serde_json::Value::Object(row).to_string();
            match batches.last_mut() {
                Some((k, c, lines)) if (*k, &*c) == (kind, &cell) => lines.push(line),
                _ => batches.push((kind, cell, vec![line])),
            }
        }
        let (mut numbers, mut last) = (BTreeMap::new(), 0);
        let mut out = Vec::new();
        for (kind, cell, lines) in batches {
            let json = lines.join("\n");
            let rows = codec::decode_json(kind, json.as_bytes()).expect("rows");
            let times = rows.column_by_name("observed").or(rows.column_by_name("time"));
            let times = times.map(|c| c.as_primitive::<TimestampMicrosecondType>().values().to_vec());
            let times = times.unwrap_or_else(|| vec![last]);
            let observed = (*times.iter().min().expect("rows"), *times.iter().max().expect("rows"));
            last = last.max(observed.1);
            let number: &mut u64 = numbers.entry(cell.clone()).or_default();
            let record = |encoding, value: Vec<u8>| {
                let envelope = Envelope {
                    kind,
                    version: kind.version(),
                    cell: cell.clone(),
                    collector: "test".into(),
                    epoch: 1,
                    first_row: *number,
                    rows: rows.num_rows() as u32,
                    observed,
                    promise: last,
                    encoding,
                    origin: None,
                    places: Vec::new(),
                };
                Record { key: cell.clone().into(), header: envelope.to_header().into(), value: value.into() }
            };
            let arrow = codec::encode_arrow(&rows).expect("encodes");
            out.push([record(Encoding::Json, json.into_bytes()), record(Encoding::Arrow, arrow)]);
            *number += rows.num_rows() as u64;
        }
        out
    }

    /// All that is told, and each cell's state at the end.
    fn told(texts: &Texts, records: &[[Record; 2]], which: usize) -> (String, BTreeMap<String, Vec<u8>>) {
        let pipeline = Shelf::new(SqlCompiler::default()).read(texts.clone()).expect("a pipeline");
        let mut shards: BTreeMap<String, Shard> = BTreeMap::new();
        let mut told = String::new();
        for record in records {
            let record = &record[which];
            let cell = String::from_utf8_lossy(&record.key).to_string();
            let shard = shards.entry(cell.clone()).or_insert_with(|| Shard::new(&cell, pipeline.clone()));
            let stepped = shard.step(shard.next_offset(), record);
            told.push_str(&format!("{stepped:?}\n"));
        }
        assert!(shards.values().all(|shard| shard.stats().failed_conditions == 0));
        (told, shards.iter().map(|(cell, shard)| (cell.clone(), shard.save()())).collect())
    }

    #[test]
    fn columns_that_nobody_looks_at_change_nothing() {
        let windows = "version: 1
detections:
  - id: slow
    title: Slow
    queue: equipment
    severity: low
    on: message
    where: latency_us > 10 OR client_port > 0
    by: [client, tool]
    join: [recipe]
    window: { every: 1m, of: latency_us, top: function, distinct: [target], at_least: 1, having: p50 >= 0 OR top <> '' OR count > 0 }
    summary: '{client} {top_values} {distinct}'
    then: Look.
  - id: flows
    title: Flows
    queue: security
    severity: low
    on: flow
    by: [server]
    window: { gap: 10s, at_least: 1 }
    summary: '{server}'
    then: Look.
";
        let file = |(name, text): &(&str, &str)| (PathBuf::from(name), text.to_string());
        let mut pipelines: Vec<Texts> =
            PACK.iter().map(|one| Texts { files: vec![file(one)], ..Texts::default() }).collect();
        pipelines.push(Texts { files: PACK.iter().map(file).collect(), ..Texts::default() });
        pipelines.push(Texts::one("windows.yaml", windows));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
        let scenes = ["fab", "ot"].map(|part| root.join(part).join("scenes"));
        let files = scenes.iter().flat_map(|folder| std::fs::read_dir(folder).expect("scenes"));
        let (mut alerts, mut scenes) = (0, 0);
        for scene in files.map(|entry| entry.expect("a scene").path()) {
            let records = records(&std::fs::read_to_string(&scene).expect("a scene"));
            for texts in &pipelines {
                let (json, arrow) = (told(texts, &records, 0), told(texts, &records, 1));
                assert!(json == arrow, "{}:\n{}\n{}", scene.display(), json.0, arrow.0);
                alerts += json.0.matches("Alert {").count();
            }
            scenes += 1;
        }
        assert!(scenes > 20 && alerts > 100, "{alerts} alerts of {scenes} scenes");
    }
}
