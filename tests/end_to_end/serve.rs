//! Other programs: alerts over HTTP as curl sees them, the history as psql does.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use yagura_testkit::certificates::Certificates;
use yagura_testkit::peers;

use crate::outputs::{announced, metrics_of};
use crate::{command, configure, folder, scene, text, wait_for, yagura};

const ANALYST: &str = "0123456789abcdef-mori";
const READER: &str = "0123456789abcdef-wall";

/// The extended protocol: parsed, described, bound and executed.
const PG8000: &str = "
import json, ssl, sys, pg8000.native
asked = json.loads(sys.argv[1])
trust = ssl.create_default_context(cafile=asked['ca'])
history = pg8000.native.Connection('grafana', host='localhost', port=int(asked['port']), database='yagura',
    password='horse-battery-staple', ssl_context=trust)
try:
    rows = history.run(asked['sql'], **asked['values'])
    print(json.dumps([[str(value) for value in row] for row in rows]))
except pg8000.native.DatabaseError as error:
    print(json.dumps({'error': str(error)}))
";

/// What psql prints, without its own words; or what it complains of.
pub fn psql(place: &str, password: &str, sql: &str) -> Result<String, String> {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", sql]);
    let place = format!("host=localhost dbname=yagura {place}");
    let out = psql.arg(place).env("PGPASSWORD", password).output().expect("psql runs");
    match out.status.success() {
        true => Ok(text(&out.stdout).trim().to_string()),
        false => Err(text(&out.stderr)),
    }
}

/// A run of the scene that serves.
struct Run {
    home: tempfile::TempDir,
    config: String,
    child: Child,
    api: String,
    postgres: String,
    metrics: std::net::SocketAddr,
    certificates: Certificates,
}

impl Run {
    fn start() -> Self {
        let home = folder();
        let certificates = Certificates::make(&home.path().join("tls")).expect("certificates");
        std::fs::write(home.path().join("tokens"), format!("mori analyst {ANALYST}\nwall reader {READER}\n"))
            .expect("tokens");
        std::fs::write(home.path().join("users"), "grafana:horse-battery-staple\n").expect("users");
        let tls = r"{ certificate: tls/localhost.pem, key: tls/localhost.key }";
        let more = format!(
            "archive: {{ store: history, flush_every: 1s }}\n\
             api: {{ listen: '127.0.0.1:0', tls: {tls}, token_file: tokens }}\n\
             postgres: {{ listen: '127.0.0.1:0', tls: {tls}, users_file: users }}\n"
        );
        let config = configure(home.path(), &scene(home.path()), &more).display().to_string();
        let log = std::fs::File::create(home.path().join("errors")).expect("a file");
        let run = ["run", "--config", &config, "--format", "json"];
        let mut child = command(&run).stdout(Stdio::piped()).stderr(log).spawn().expect("yagura starts");
        let told = announced(&mut child);
        let port = |name: &str| {
            let address = told[name].as_str().expect("an address");
            address.rsplit(':').next().expect("a port").to_string()
        };
        Run {
            metrics: metrics_of(&told),
            api: port("api"),
            postgres: port("postgres"),
            home,
            config,
            child,
            certificates,
        }
    }

    /// What the interface answers: a status and a document.
    fn ask(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, text) = self.ask_text(method, path, token, body);
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}")))
    }

    fn ask_text(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> (u16, String) {
        let mut curl = self.curl(path, token);
        curl.args(["--request", method, "--write-out", "\n%{http_code}"]);
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json", "--data", &body.to_string()]);
        }
        let out = curl.output().expect("curl runs");
        assert!(out.status.success(), "{path}: {}", text(&out.stderr));
        let all = text(&out.stdout);
        let (text, status) = all.rsplit_once('\n').expect("a status");
        (status.parse().expect("a status"), text.to_string())
    }

    fn curl(&self, path: &str, token: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--cacert", &self.certificates.file("ca.pem")]);
        if !token.is_empty() {
            curl.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        curl.arg(format!("https://localhost:{}{path}", self.api));
        curl
    }

    /// What psql prints, without its own words; or what it complains of.
    fn sql(&self, sql: &str) -> Result<String, String> {
        self.sql_as("grafana", "horse-battery-staple", "verify-full", sql)
    }

    fn sql_as(&self, user: &str, password: &str, mode: &str, sql: &str) -> Result<String, String> {
        let (port, ca) = (&self.postgres, self.certificates.file("ca.pem"));
        psql(&format!("port={port} user={user} sslmode={mode} sslrootcert={ca}"), password, sql)
    }

    /// What pg8000 gets for a query with values of their own: rows, or an error.
    fn prepared(&self, sql: &str, values: Value) -> Value {
        let python = peers::readers(&yagura_testkit::build_folder()).join("bin/python");
        let asked = json!({
            "port": self.postgres, "ca": self.certificates.file("ca.pem"), "sql": sql, "values": values,
        });
        let out =
            Command::new(python).args(["-c", PG8000, &asked.to_string()]).output().expect("Python runs");
        assert!(out.status.success(), "has `cargo xtask setup` run? {}", text(&out.stderr));
        serde_json::from_slice(&out.stdout).expect("JSON")
    }

    fn stop(mut self) {
        let stop = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(stop.expect("kill runs").success());
        let errors = || std::fs::read_to_string(self.home.path().join("errors")).unwrap_or_default();
        assert!(self.child.wait().expect("it ends").success(), "{}", errors());
    }
}

#[test]
fn alerts_are_seen_followed_and_decided_about_by_those_who_may() {
    let run = Run::start();
    let list = |query: &str| run.ask("GET", &format!("/v1/alerts{query}"), READER, None);
    wait_for("alerts", || list("").1["all"].as_u64() >= Some(5));
    let (status, worst) = list("?limit=1");
    assert_eq!((status, worst["cases"].as_array().map(Vec::len)), (200, Some(1)));
    let id = worst["cases"][0]["id"].as_str().expect("an id").to_string();
    let at = |rest: &str| format!("/v1/alerts/{}{rest}", &id[..8]);

    // Who may not.
    assert_eq!(run.ask("GET", "/v1/alerts", "", None).0, 401);
    assert_eq!(run.ask("GET", "/v1/alerts", "0123456789abcdef-", None).0, 401);
    let judged = json!({ "to": "acknowledged", "why": "on my way" });
    let (status, told) = run.ask("POST", &at("/decisions"), READER, Some(&judged));
    assert_eq!((status, told["error"].as_str().is_some_and(|e| e.contains("`wall`"))), (403, true), "{told}");

    // Mistakes are told.
    for (method, path, body, expected) in [
        ("GET", "/v1/alerts?state=old", None, 400),
        ("GET", "/v1/alerts?sate=new", None, 400),
        ("GET", "/v1/alerts/ffff-none", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("DELETE", "/v1/alerts", None, 405),
        ("POST", &at("/decisions"), Some(json!({ "to": "acknowledged", "why": " " })), 400),
        ("POST", &at("/decisions"), Some(json!({ "to": "gone", "why": "x" })), 422),
        ("POST", "/v1/mutes", Some(json!({ "id": "all", "for": "8h", "why": "x" })), 400),
        ("POST", "/v1/mutes/none/end", Some(json!({ "why": "x" })), 404),
    ] {
        let (status, told) = run.ask(method, path, ANALYST, body.as_ref());
        assert_eq!(status, expected, "{method} {path}: {told}");
        assert!(told["error"].as_str().is_some_and(|error| !error.is_empty()), "{method} {path}: {told}");
    }

    // Somebody follows while somebody decides.
    let followed = run.home.path().join("followed");
    let mut following = run.curl("/v1/changes", READER);
    let file = std::fs::File::create(&followed).expect("a file");
    let mut following = following.arg("--no-buffer").stdout(file).spawn().expect("curl runs");
    let events = || std::fs::read_to_string(&followed).unwrap_or_default();
    let (status, told) = run.ask("POST", &at("/decisions"), ANALYST, Some(&judged));
    assert_eq!((status, &told["decision"]["by"]), (201, &json!("mori")), "the token's owner decides: {told}");
    let (_, case) = run.ask("GET", &at(""), READER, None);
    assert_eq!((&case["state"], &case["decisions"][0]["why"]), (&json!("acknowledged"), &json!("on my way")));
    wait_for("one who follows hears", || {
        // What was decided before it listened is decided again.
        let again = json!({ "to": "acknowledged", "why": "still on my way" });
        assert_eq!(run.ask("POST", &at("/decisions"), ANALYST, Some(&again)).0, 201);
        events().contains("event: case") && events().contains("on my way")
    });
    following.kill().and_then(|()| following.wait()).expect("curl ends");

    // The command line sees the same, and a mute that was made here.
    let tool = case["alert"]["tool"].as_str().expect("a tool");
    let mute = json!({ "id": "pm", "for": "8h", "why": "the pump is replaced", "tool": tool });
    assert_eq!(run.ask("POST", "/v1/mutes", ANALYST, Some(&mute)).0, 201);
    let out = yagura(&["alerts", "mutes", "-c", &run.config, "--format", "json"]);
    let told: Value = serde_json::from_slice(&out.stdout).expect("a mute");
    assert_eq!((&told["by"], &told["holds"]), (&json!("mori"), &json!(true)));
    assert_eq!(run.ask("POST", "/v1/mutes/pm/end", ANALYST, Some(&json!({ "why": "done" }))).0, 201);
    assert_eq!(run.ask("GET", "/v1/mutes", READER, None).1["mutes"][0]["holds"], json!(false));

    // What a reader sees is redacted as what goes to sinks.
    let seen_by =
        |token: &str| run.ask("GET", "/v1/alerts?state=new,acknowledged", token, None).1.to_string();
    assert!(seen_by(READER).contains("[process]") && !seen_by(ANALYST).contains("[process]"));

    // Some alert has something to draw.
    let all = list("?state=new,acknowledged").1;
    let drawn = all["cases"].as_array().expect("cases").iter().any(|case| {
        let id = case["id"].as_str().expect("an id");
        let (status, text) = run.ask_text("GET", &format!("/v1/alerts/{id}/picture.svg"), ANALYST, None);
        status == 200 && text.starts_with("<svg")
    });
    assert!(drawn, "no alert of the scene has a picture");

    let metrics = yagura_testkit::prometheus::get(run.metrics, "/metrics").expect("metrics");
    assert!(metrics.contains("yagura_serve_denied_total{door=\"api\"} 2"), "{metrics}");

    // What the description names is there.
    let (status, described) = run.ask("GET", "/v1/openapi.json", "", None);
    assert_eq!((status, &described["openapi"]), (200, &json!("3.1.0")));
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().filter(|_| path != "/v1/changes") {
            let path = path.replace("{id}", "ffff-none");
            let body = (method == "post").then(|| json!({}));
            let (status, told) = run.ask(&method.to_uppercase(), &path, ANALYST, body.as_ref());
            let known = told["error"].as_str().is_none_or(|error| !error.starts_with("there are: "));
            assert!(status != 405 && known, "{method} {path}: {status} {told}");
        }
    }
    run.stop();
}

#[test]
fn the_history_answers_psql_and_nobody_can_change_it() {
    let run = Run::start();
    wait_for("alerts are in the history", || {
        run.sql("SELECT count(*) FROM alert").is_ok_and(|count| count.parse::<u64>().is_ok_and(|n| n >= 5))
    });
    let log = yagura(&["alerts", "list", "-c", &run.config, "--format", "json"]);
    let severe = text(&log.stdout).lines().filter(|line| line.contains("\"severity\":\"critical\"")).count();
    assert!(severe > 0, "the scene has critical alerts");
    let sql = "SELECT count(DISTINCT uid) FROM alert WHERE severity = 'critical'";
    wait_for("the history has what the log has", || run.sql(sql) == Ok(severe.to_string()));
    // Times as Grafana's macros write their conditions.
    let recent = "SELECT time, tool, title FROM alert WHERE time BETWEEN '2000-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z' \
        ORDER BY time DESC LIMIT 1";
    let row = run.sql(recent).expect("a row");
    assert_eq!(row.split('|').count(), 3, "{row}");
    let numbers =
        run.sql("SELECT tool, max(value), count(*) FROM sample GROUP BY tool ORDER BY tool LIMIT 1");
    assert_eq!(numbers.expect("samples").split('|').count(), 3);
    let tables = run.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
    let tables = tables.expect("tables");
    assert!(tables.lines().any(|table| table == "alert") && tables.lines().count() == 10, "{tables}");
    assert_eq!(run.sql("SELECT current_database()"), Ok("yagura".into()));
    assert!(run.sql("\\dt").expect("tables").contains("alert"));

    // Another client, which prepares its queries and sends values beside them, as Grafana does.
    let told = run.prepared(
        "SELECT DISTINCT uid, time FROM alert WHERE severity = :severity AND time > :since ORDER BY time",
        json!({ "severity": "critical", "since": "2000-01-01T00:00:00Z" }),
    );
    assert_eq!(told.as_array().map(Vec::len), Some(severe), "{told}");
    let told = run.prepared("DELETE FROM alert WHERE tool = :tool", json!({ "tool": "ETCH-07" }));
    assert!(told["error"].as_str().is_some_and(|error| error.contains("25006")), "{told}");

    let refused = |sql: &str| run.sql(sql).expect_err(sql);
    for sql in [
        "DROP TABLE alert",
        "CREATE TABLE mine AS SELECT 1",
        "SELECT 1 AS one INTO mine",
        "DECLARE c CURSOR FOR SELECT 1 AS one INTO mine",
        "INSERT INTO alert SELECT * FROM alert",
        "DELETE FROM alert",
        "UPDATE alert SET tool = ''",
        "COPY alert TO '/tmp/stolen.csv'",
        "CREATE EXTERNAL TABLE passwd STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE VIEW mine AS SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO alert SELECT * FROM alert",
        "TRUNCATE alert",
    ] {
        let error = refused(sql);
        assert!(error.contains("ERROR"), "{sql}: {error}");
    }
    assert!(refused("SET datafusion.runtime.memory_limit = '64G'").contains("not the client's"));
    assert!(refused("SELECT * FROM '/etc/passwd'").contains("ERROR"));
    assert!(refused("SELECT nothing FROM alert").contains("nothing"));
    let all = "SELECT table_name FROM information_schema.tables WHERE table_name = 'mine'";
    assert_eq!(run.sql(all), Ok(String::new()), "nothing was made");

    let wrong = run.sql_as("grafana", "wrong-password", "require", "SELECT 1").expect_err("it let us in");
    assert!(wrong.to_lowercase().contains("password"), "{wrong}");
    run.sql_as("nobody", "horse-battery-staple", "require", "SELECT 1").expect_err("it let nobody in");
    let clear =
        run.sql_as("grafana", "horse-battery-staple", "disable", "SELECT 1").expect_err("in the clear");
    assert!(clear.contains("sslmode=require"), "{clear}");

    // A password is changed while it runs.
    std::fs::write(run.home.path().join("users"), "grafana:another-password\n").expect("users");
    wait_for("the new password is read", || {
        run.sql_as("grafana", "another-password", "verify-full", "SELECT 1") == Ok("1".into())
    });
    run.sql("SELECT 1").expect_err("the old one is let in");
    run.stop();
}

#[test]
fn doors_that_would_be_open_are_refused_at_the_start() {
    let home = folder();
    let scene = scene(home.path());
    for (more, said) in [
        ("postgres: { listen: '127.0.0.1:0', users_file: users }", "there is none: add `archive:"),
        ("api: { listen: '0.0.0.0:0', token_file: tokens }", "give `tls:"),
        ("api: { listen: '127.0.0.1:0', token_file: none }", "none: cannot be read"),
        ("api: { listen: '127.0.0.1:0', token_file: tokens }", "at least 20 characters"),
    ] {
        std::fs::write(home.path().join("tokens"), "mori analyst short\n").expect("tokens");
        let config = configure(home.path(), &scene, more);
        let out = yagura(&["run", "--config", &config.display().to_string()]);
        let error = text(&out.stderr);
        assert!(out.status.code() == Some(2) && error.contains(said), "{more}: {error}");
    }
}
