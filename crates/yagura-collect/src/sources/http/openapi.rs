//! What the server says of itself: OpenAPI 3.1.

use hyper::body::Bytes;
use serde_json::{Value, json};

/// The description of a server that takes bodies of so many bytes, for these streams, with tokens or without.
pub(super) fn description(body_max: usize, streams: &[&str], tokens: bool) -> Bytes {
    let mut all = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Yagura HTTP ingest",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Takes rows into the log. A body is taken as a whole or not at all: one row that is refused refuses its body. \
                The answer comes when the rows are durable.",
        },
        "paths": {
            "/v1/rows": { "post": rows(body_max, "Samples, or what `stream` declares", &[parameter(
                "stream", "query", false, "A stream declared in the collector's `streams`; without it rows are samples.", streams)]) },
            "/v1/openapi.json": { "get": get("This description.", "description") },
            "/health": { "get": get("Whether the server answers: `ok`, or `full` while it refuses bodies with 429.", "health") },
        },
        "components": { "schemas": schemas() },
    });
    // A path with a parameter that can have no value would describe nothing.
    if !streams.is_empty() {
        all["paths"]["/v1/rows/{stream}"] = json!({ "post": rows(body_max, "Rows of a declared stream", &[parameter(
            "stream", "path", true, "A stream declared in the collector's `streams`.", streams)]) });
    }
    if tokens {
        all["components"]["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
        for (path, methods) in all["paths"].as_object_mut().into_iter().flatten() {
            if path.starts_with("/v1/rows") {
                methods["post"]["security"] = json!([{ "token": [] }]);
            }
        }
    }
    format!("{all:#}\n").into()
}

fn rows(body_max: usize, summary: &str, own: &[Value]) -> Value {
    let mut parameters = own.to_vec();
    parameters.push(
        json!({ "name": "Content-Encoding", "in": "header", "schema": { "enum": ["gzip", "identity"] } }),
    );
    parameters.push(json!({ "name": "Yagura-Stream", "in": "header",
        "description": "A name under which the sender numbers its bodies, so that sending again is exact. \
            Bodies of a stream are sent one after the other: the next one when the one before was answered with 200.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 256 } }));
    parameters.push(json!({ "name": "Yagura-Position", "in": "header",
        "description": "The body's number in its stream: it grows from body to body, and a body that is sent again keeps its own.",
        "schema": { "type": "integer", "minimum": 0 } }));
    let problem = |description: &str| {
        json!({ "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/problem" } } } })
    };
    let later = |description: &str| {
        let mut later = problem(description);
        later["headers"] =
            json!({ "Retry-After": { "description": "Seconds.", "schema": { "type": "integer" } } });
        later
    };
    json!({
        "summary": summary,
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "description": format!("At most {body_max} bytes, unpacked."),
            "content": {
                "application/x-ndjson": { "schema": { "description": "A row a line.", "$ref": "#/components/schemas/sample" } },
                "application/json": { "schema": { "type": "array", "items": { "$ref": "#/components/schemas/sample" } } },
            },
        },
        "responses": {
            "200": { "description": "All rows are durable.",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/taken" } } } },
            "400": problem("A row, a header or the gzip stream cannot be read; nothing of the body was taken."),
            "401": problem("No valid token."),
            "404": problem("No such stream is declared."),
            "408": problem("The body took too long."),
            "409": problem("A position that comes after a larger one of its stream."),
            "413": problem("The body is too large."),
            "415": problem("Neither JSON lines nor a JSON array, or packed in another way than gzip."),
            "429": later("The collector is full, since the log does not take rows fast enough. Nothing was taken."),
            "503": later("The collector stops, or the rows were not durable in time: they may become so. Send again, with the same position."),
        },
    })
}

fn parameter(name: &str, place: &str, required: bool, description: &str, streams: &[&str]) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "required": required, "description": description,
        "schema": { "type": "string" } });
    if !streams.is_empty() {
        parameter["schema"]["enum"] = json!(streams);
    }
    parameter
}

fn get(summary: &str, schema: &str) -> Value {
    json!({ "summary": summary, "responses": { "200": { "description": summary,
        "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } } } } })
}

fn schemas() -> Value {
    json!({
        "sample": {
            "type": "object",
            "description": "A sample. Rows of a declared stream have the fields that its mapping names.",
            "required": ["tool", "signal", "value"],
            "properties": {
                "time": { "type": ["string", "number"], "description":
                    "RFC 3339 with a zone, or a number since 1970: seconds below 1e11, milliseconds below 1e14, \
                     microseconds below 1e17, else nanoseconds. Without it, the time of reception." },
                "tool": { "type": "string", "description": "Equipment: a name of the asset table, or an address." },
                "chamber": { "type": "string" },
                "signal": { "type": "string" },
                "value": { "type": ["number", "boolean", "null"], "description":
                    "`true` is 1, `false` 0; `null` is no number, of quality 2 unless that is given." },
                "unit": { "type": "string" },
                "quality": { "type": "integer", "minimum": 0, "maximum": 2, "description": "0 good, 1 uncertain, 2 bad." },
            },
            "additionalProperties": false,
        },
        "taken": {
            "type": "object",
            "required": ["rows", "repeated"],
            "properties": {
                "rows": { "type": "integer", "description": "Rows of the body." },
                "repeated": { "type": "boolean", "description":
                    "The body came before, under its position: rows that the log held were left out." },
            },
        },
        "problem": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": { "type": "string" },
                "row": { "type": "integer", "minimum": 1, "description": "The first row that is refused: line, or place in the array." },
            },
        },
        "health": { "type": "object", "required": ["status"], "properties": { "status": { "enum": ["ok", "full"] } } },
        "description": { "type": "object" },
    })
}
