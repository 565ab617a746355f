//! What `deploy/siem` tells receivers: every field that it names is one that the formats write, and what it lists is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use yagura_respond::cases::Verdict;
use yagura_respond::formats::Format;
use yagura_respond::message::{Beat, Message, test_alert};
use yagura_respond::told::Decided;
use yagura_respond::{SinkConfig, probe};
use yagura_testkit::http::ask;
use yagura_testkit::opensearch::OpenSearch;

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::fixtures;
use common::server::{Seen, serve};

type Names = BTreeSet<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn content(file: &str) -> String {
    let path = root().join("deploy/siem").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn parsed(file: &str) -> Value {
    serde_json::from_str(&content(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn beat() -> yagura_event::Alert {
    Beat { sink: "siem", start: 1, number: 4, acknowledged: 2, refused: 1, lag: 3 }.alert(5_000_000)
}

/// Lines of a format that have all its fields between them.
fn lines(format: &str) -> Vec<String> {
    let format = Format::named(format).expect("a format");
    let (alert, beat, test) = (fixtures::alert(7), beat(), test_alert("siem", 5_000_000));
    let mut revised = alert.clone();
    revised.revision = 2;
    let mut long = alert.clone();
    long.evidence["values"] = "x".repeat(100_000).into();
    let mut lines: Vec<String> = [&alert, &revised, &beat, &test]
        .into_iter()
        .map(|alert| format.line(&Message::of(alert), 1 << 20))
        .collect();
    lines.push(format.line(&Message::of(&long), 60_000));
    let (by, why) = ("mori".to_string(), "the cable is replaced".to_string());
    let decided = Decided { to: Verdict::Resolved, time: 7_000_000, by, why };
    lines.push(format.line(&Message { decided: Some(&decided), ..Message::of(&alert) }, 1 << 20));
    lines
}

/// Paths of a document, inner ones too; what is in lists under `list`.
fn walk(value: &Value, path: &str, list: &str, all: &mut BTreeMap<String, bool>) {
    let leaf = match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(_) => list.is_empty() && !value.to_string().contains('{'),
        _ => true,
    };
    if !path.is_empty() {
        *all.entry(path.into()).or_default() |= leaf;
    }
    match value {
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            fields.iter().for_each(|(name, value)| walk(value, &format!("{path}{dot}{name}"), list, all));
        }
        Value::Array(items) => {
            items.iter().for_each(|item| walk(item, &format!("{path}{list}"), list, all));
        }
        _ => {}
    }
}

/// Paths of what a JSON format writes, and whether each is a value.
fn paths(format: &str, list: &str) -> BTreeMap<String, bool> {
    let mut all = BTreeMap::new();
    for line in lines(format) {
        walk(&serde_json::from_str(&line).expect("JSON"), "", list, &mut all);
    }
    all
}

fn ocsf() -> Names {
    paths("ocsf", "{}").into_keys().collect()
}

/// What a heartbeat counts.
fn beat_keys() -> Names {
    beat().evidence.as_object().expect("an object").keys().cloned().collect()
}

/// Words of letters, digits, underscores and what else belongs to them.
fn words<'a>(text: &'a str, more: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(move |c: char| !c.is_ascii_alphanumeric() && c != '_' && !more.contains(c))
        .filter(|word| !word.is_empty())
}

fn quoted(text: &str, quote: char) -> impl Iterator<Item = &str> {
    text.split(quote).skip(1).step_by(2)
}

/// Settings of Splunk's files: (stanza, name, value).
fn settings(file: &str) -> Vec<(String, String, String)> {
    let text = content(&format!("splunk/yagura/default/{file}"));
    let mut stanza = String::new();
    let mut out = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => stanza = name.into(),
            None => {
                let (name, value) = line.split_once(" = ").unwrap_or_else(|| panic!("{file}: {line}"));
                out.push((stanza.clone(), name.into(), value.into()));
            }
        }
    }
    out
}

#[track_caller]
fn all_known<'a>(what: &str, named: impl IntoIterator<Item = &'a str>, known: &Names) -> usize {
    let named: BTreeSet<&str> = named.into_iter().collect();
    let unknown: Vec<&&str> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "{what} names what no format writes: {unknown:?}");
    assert!(!named.is_empty(), "{what} names nothing: the test reads it wrongly");
    named.len()
}

/// What Splunk's collector gets beside the event.
async fn splunk_fields() -> Names {
    let seen = Arc::<Mutex<String>>::default();
    let told = Arc::clone(&seen);
    let address = serve(None, move |request: &Seen| {
        told.lock().expect("no panic").clone_from(&request.body);
        (200, r#"{"text":"Success","code":0}"#.into())
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "0123456789abcdef").expect("a token");
    let config: SinkConfig = serde_json::from_value(json!({
        "name": "splunk", "kind": "splunk-hec", "url": format!("http://{address}"), "tls": false,
        "token_file": "token", "ack": false,
    }))
    .expect("settings");
    let sink = config.build(folder.path()).expect("a sink");
    probe("splunk", sink.as_ref()).await.expect("it is taken");
    let frame: Value = serde_json::from_str(&seen.lock().expect("no panic")).expect("JSON");
    assert_eq!(frame["sourcetype"], "yagura:ocsf", "the source type that the content is for");
    frame["fields"].as_object().expect("fields").keys().cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn splunk_extracts_what_the_collector_is_sent() {
    let ocsf = ocsf();
    let props = settings("props.conf");
    let named: Vec<&str> = props.iter().flat_map(|(_, _, value)| quoted(value, '\'')).collect();
    assert!(all_known("props.conf", named, &ocsf) > 20);
    let types = settings("eventtypes.conf");
    // `NOT` stands alone.
    let compared = types.iter().flat_map(|(_, _, search)| search.split(' ')).filter_map(|term| {
        let (name, _) = term.split_once('=')?;
        let name = name.trim_end_matches('!');
        (name != "sourcetype").then_some(name)
    });
    all_known("eventtypes.conf", compared, &ocsf);

    let transforms = settings("transforms.conf");
    let counts = transforms.iter().filter(|(_, name, _)| name == "REGEX");
    all_known("transforms.conf", counts.flat_map(|(_, _, value)| words(value, "").take(1)), &beat_keys());

    // What searches name is extracted, or comes with the event.
    let mut known = splunk_fields().await;
    all_known("fields.conf", settings("fields.conf").iter().map(|(stanza, _, _)| stanza.as_str()), &known);
    known.extend(props.iter().filter_map(|(_, name, _)| name.strip_prefix("EVAL-").map(String::from)));
    let formats = transforms.iter().filter(|(_, name, _)| name == "FORMAT");
    known.extend(formats.filter_map(|(_, _, value)| Some(value.split_once("::")?.0.to_string())));
    known.extend(types.iter().map(|(stanza, _, _)| stanza.clone()));
    let macros = settings("macros.conf");
    known.extend(macros.iter().map(|(stanza, _, _)| stanza.clone()));
    known.extend(transforms.iter().map(|(stanza, _, _)| stanza.clone()));
    let saved = settings("savedsearches.conf");
    let searches = saved.iter().filter(|(_, name, _)| name == "search").chain(&macros);
    let ours = |word: &&str| word.starts_with("yagura_") || word.ends_with("_uid");
    let named = searches.flat_map(|(_, _, search)| words(search, "").filter(ours));
    assert!(all_known("searches", named, &known) > 10);
}

#[test]
fn elastic_maps_every_field_and_no_other() {
    let mut written: Names =
        paths("ecs", "").into_iter().filter_map(|(path, leaf)| leaf.then_some(path)).collect();
    // What the pipeline adds.
    written.insert("event.ingested".into());
    written.extend(beat_keys().iter().map(|key| format!("yagura.heartbeat.{key}")));
    let template = parsed("elastic/component-template-mappings.json");
    let mut mapped = Names::new();
    fn gather(properties: &Value, path: &str, mapped: &mut Names) {
        for (name, field) in properties.as_object().expect("properties") {
            match field.get("properties") {
                Some(inner) => gather(inner, &format!("{path}{name}."), mapped),
                None => {
                    mapped.insert(format!("{path}{name}"));
                }
            }
        }
    }
    gather(&template["template"]["mappings"]["properties"], "", &mut mapped);
    assert_eq!(mapped, written);

    // Words of the others that begin like a field are one; these are values, or the object that the pipeline makes.
    let values = ["yagura.heartbeat", "yagura.test"];
    for file in [
        "ingest-pipeline.json",
        "transform-newest.json",
        "search-newest.json",
        "search-heartbeats.json",
        "detection-rules.ndjson",
    ] {
        let text = content(&format!("elastic/{file}"));
        for line in text.lines().filter(|_| file.ends_with("ndjson")) {
            serde_json::from_str::<Value>(line).expect("a rule a line");
        }
        let begins = |word: &str| {
            let first = word.split_once('.').map(|(first, _)| first);
            first.is_some_and(|first| mapped.iter().any(|path| path.starts_with(&format!("{first}."))))
        };
        let fields = words(&text, ".@").map(|word| word.trim_end_matches('.'));
        all_known(file, fields.filter(|word| begins(word) && !values.contains(word)), &mapped);
    }
    for file in ["ilm-policy.json", "index-template.json", "component-template-pipeline.json"] {
        parsed(&format!("elastic/{file}"));
    }
}

#[test]
fn opensearch_takes_the_templates_and_answers_the_searches() {
    let folder = tempfile::tempdir().expect("a folder");
    let opensearch = OpenSearch::start(folder.path()).expect("OpenSearch starts");
    let send = |method: &str, path: &str, body: &str| -> Value {
        serde_json::from_str(&ask(opensearch.web, method, path, body).expect(path)).expect("JSON")
    };
    for part in ["mappings", "pipeline"] {
        let body = content(&format!("elastic/component-template-{part}.json"));
        send("PUT", &format!("/_component_template/yagura-alerts-{part}"), &body);
    }
    // Without the parts that this OpenSearch has no modules for: processors, and Elasticsearch's life cycles.
    let mut template = parsed("elastic/index-template.json");
    assert_eq!(template["composed_of"].as_array().map(Vec::len), Some(3));
    template["composed_of"] = json!(["yagura-alerts-mappings"]);
    send("PUT", "/_index_template/yagura-alerts", &template.to_string());

    let mut documents = lines("ecs");
    let (mut far, mut later) = (fixtures::alert(8), beat());
    far.cause.epoch = u64::MAX;
    (later.sequence, later.uid) = (6, fixtures::alert(99).uid);
    documents.extend([&far, &later].map(|alert| Format::ECS.line(&Message::of(alert), 1 << 20)));
    let ids: Vec<String> = documents
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["event"]["id"].as_str().expect("an id").into()
        })
        .collect();
    let mut there = Names::new();
    for (id, document) in ids.iter().zip(&documents) {
        if there.insert(id.clone()) {
            send("PUT", &format!("/yagura-alerts/_create/{id}"), document);
        }
    }
    send("POST", "/yagura-alerts/_refresh", "");
    // The fixture's alerts are of a fixed day.
    let search = |file: &str| {
        let body =
            content(&format!("elastic/{file}")).replace("now-24h", "now-99y").replace("now-7d", "now-99y");
        send("POST", "/yagura-alerts/_search", &body)
    };
    let newest = search("search-newest.json");
    let found: Vec<&Value> = newest["hits"]["hits"].as_array().expect("hits").iter().collect();
    let revisions: Vec<&Value> =
        found.iter().map(|hit| &hit["_source"]["yagura"]["alert"]["revision"]).collect();
    assert_eq!(revisions, [&json!(2), &json!(1)], "one of each alert, no heartbeat, no test");
    let sinks = &search("search-heartbeats.json")["aggregations"]["sinks"]["buckets"];
    assert_eq!(sinks[0]["key"], "siem");
    let start = &sinks[0]["starts"]["buckets"][0];
    let numbers = ["first_number", "last_number", "numbers"].map(|name| start[name]["value"].as_f64());
    assert_eq!(numbers, [Some(4.0), Some(6.0), Some(2.0)], "number 5 is missing");
}

/// Names of the attributes that LEEF lines have.
fn leef() -> Names {
    let attributes = |line: &String| {
        let mut parts = line.splitn(7, '|').skip(5);
        let (delimiter, rest) = (parts.next().expect("a delimiter"), parts.next().expect("attributes"));
        let names = rest.split(delimiter).filter_map(|pair| Some(pair.split_once('=')?.0.to_string()));
        names.collect::<Vec<_>>()
    };
    lines("leef").iter().flat_map(attributes).collect()
}

#[test]
fn qradar_knows_the_attributes_and_every_detection() {
    let text = content("qradar/custom-properties.csv");
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.splitn(4, ',').collect()).collect();
    let keys = rows.iter().map(|row| row[2]).filter(|key| !key.is_empty());
    assert!(all_known("custom-properties.csv", keys, &leef()) > 10);
    let counts = rows.iter().filter(|row| row[2].is_empty()).flat_map(|row| row[3].split("\"\"").nth(1));
    all_known("its counts", counts, &beat_keys());
    for row in rows.iter().filter(|row| !row[2].is_empty()) {
        assert!(row[3].contains(&format!("{}=(", row[2])), "{row:?}");
    }
    let properties: Names = rows.iter().map(|row| row[0].to_string()).collect();
    let aql = content("qradar/heartbeats.aql");
    all_known("heartbeats.aql", quoted(&aql, '"'), &properties);

    let text = content("qradar/event-ids.csv");
    let listed: Names = text.lines().skip(1).map(String::from).collect();
    let mut there = 0;
    for folder in ["pipelines/fab", "pipelines/ot"] {
        for file in std::fs::read_dir(root().join(folder)).expect("pipelines") {
            let file = file.expect("a file").path();
            if file.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("text");
            let pipeline: Value = serde_saphyr::from_str(&text).expect("YAML");
            for detection in pipeline["detections"].as_array().expect("detections") {
                let word = |name: &str| detection[name].as_str().unwrap_or_default().to_string();
                let ten = match word("severity").as_str() {
                    "low" => 3,
                    "medium" => 5,
                    "high" => 8,
                    "critical" => 10,
                    _ => 1,
                };
                let (begin, title) = (format!("{},{},{ten},", word("id"), word("queue")), word("title"));
                let fits =
                    |line: &String| line.starts_with(&begin) && line.trim_end_matches('"').ends_with(&title);
                assert!(listed.iter().any(fits), "event-ids.csv lacks {begin}…,{title}");
                there += 1;
            }
        }
    }
    assert_eq!(listed.len(), there + 2, "event-ids.csv: the detections, heartbeat and test");
}

/// Keys of CEF lines, and `key/label` of those that have one.
fn cef() -> (Names, Names) {
    let (mut keys, mut labels) = (Names::new(), Names::new());
    for line in lines("cef") {
        // What stands between two equals signs: a value, and the key of the next.
        let mut last = "";
        for part in line.split('=') {
            let (value, key) = part.rsplit_once([' ', '|']).unwrap_or(("", part));
            if let Some(labelled) = last.strip_suffix("Label") {
                labels.insert(format!("{labelled}/{value}"));
            }
            keys.insert(key.into());
            last = key;
        }
    }
    (keys, labels)
}

#[test]
fn sentinel_reads_both_ways_alike() {
    let (keys, labels) = cef();
    let header = ["device event class id", "name", "severity", "device vendor", "device product"];
    let columns = content("sentinel/cef-columns.csv");
    let kql = content("sentinel/YaguraCef.kql");
    let mut told = Names::new();
    for line in columns.lines().skip(1) {
        let [key, label, column] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(header.contains(&key) || keys.contains(key), "cef-columns.csv: no format writes {key}");
        assert!(
            label.is_empty() || labels.contains(&format!("{key}/{label}")),
            "{key} is not {label}: {labels:?}"
        );
        assert!(words(&kql, "").any(|word| word == column), "YaguraCef.kql leaves out {column}");
        told.insert(column.into());
    }
    all_known("YaguraCef.kql", words(&kql, "").filter(|word| word.contains("DeviceCustom")), &told);

    let ocsf = ocsf();
    let kql_ocsf = content("sentinel/YaguraOcsf.kql");
    let first = |word: &str| word.split(['.', '{']).next().unwrap_or_default().to_string();
    // Kusto wants names that are words of its language in brackets.
    let text = kql_ocsf.replace("[0]", "{}").replace("['", ".").replace("']", "");
    let dotted = words(&text, ".{}").filter(|word| word.contains('.') && ocsf.contains(&first(word)));
    assert!(all_known("YaguraOcsf.kql", dotted, &ocsf) > 10);
    for text in [&kql, &kql_ocsf] {
        all_known(
            "heartbeats",
            words(text, ".").filter_map(|word| word.strip_prefix("Heartbeat.")),
            &beat_keys(),
        );
    }
    assert_eq!(projected(&kql), projected(&kql_ocsf), "both functions give the same columns");

    // The table has what OCSF has at the top.
    let top: Names = ocsf.iter().filter(|path| !path.contains(['.', '{'])).cloned().collect();
    let names = |columns: &Value| -> Names {
        let columns = columns.as_array().expect("columns").iter();
        columns.filter_map(|column| column["name"].as_str()).map(String::from).collect()
    };
    let rule = parsed("sentinel/data-collection-rule.json");
    let stream = names(&rule["properties"]["streamDeclarations"]["Custom-Yagura_CL"]["columns"]);
    assert_eq!(stream, names(&parsed("sentinel/table.json")["properties"]["schema"]["columns"]));
    let arrival = Names::from(["TimeGenerated".to_string()]);
    assert_eq!(stream.difference(&arrival).cloned().collect::<Names>(), top);

    let columns: Names = projected(&kql).into_iter().chain(["Sink".into(), "Arrived".into()]).collect();
    let mut ids = Names::new();
    for rule in ["heartbeat-missing", "heartbeat-gaps", "undelivered", "alerts"] {
        let rule: Value = serde_saphyr::from_str(&content(&format!("sentinel/{rule}.yaml"))).expect("YAML");
        assert!(ids.insert(rule["id"].as_str().expect("an id").into()));
        let entities = rule["entityMappings"].as_array().into_iter().flatten();
        let mapped = entities.filter_map(|entity| entity["fieldMappings"][0]["columnName"].as_str());
        assert!(mapped.into_iter().all(|column| columns.contains(column)));
    }
}

/// The columns that a function of Kusto gives.
fn projected(kql: &str) -> Vec<String> {
    let (_, columns) = kql.split_once("| project\n").expect("a projection");
    let named = columns.lines().filter(|line| line.starts_with("    "));
    named.map(|line| words(line, "").next().expect("a name").to_string()).collect()
}

#[test]
#[should_panic(expected = "names what no format writes")]
fn a_field_that_is_renamed_is_noticed() {
    let mut ocsf = ocsf();
    assert!(ocsf.remove("metadata.uid") && ocsf.insert("metadata.identifier".into()));
    let kql = content("sentinel/YaguraOcsf.kql");
    all_known("YaguraOcsf.kql", words(&kql, ".").filter(|word| word.starts_with("metadata.")), &ocsf);
}
