//! The JSON documents that commands print, validated against their committed schemas.

use std::path::Path;

use serde_json::Value;

use super::process::Outcome;

/// The document of a run. Asserts that it follows its schema and has the run's exit code.
pub fn run(outcome: &Outcome) -> Value {
    let document = parse(&outcome.stdout, "run.v1.json");
    assert_eq!(document["exitCode"], outcome.status.code().unwrap_or(-1), "{outcome}");
    document
}

/// The document on standard output. Asserts that it follows `src/report/schema/FILE`.
pub fn parse(stdout: &str, schema_file: &str) -> Value {
    let document: Value = serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/schema").join(schema_file);
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_follows(&document, &schema);
    document
}

/// Asserts that the document follows the schema.
pub fn assert_follows(document: &Value, schema: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}: {document:#}");
}
