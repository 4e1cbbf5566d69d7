//! Test helpers: committed JSON schemas match their types, and documents follow them.
//!
//! After a change to a type: `THORAS_MIRROR_UPDATE_SCHEMAS=1 cargo test schema`.

use std::{fs, path::PathBuf};

use jsonschema::Validator;
use schemars::Schema;
use serde_json::Value;

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").join(file)
}

/// Fails if the committed schema differs from this one. Files are named below `src`.
pub(crate) fn assert_current(file: &str, schema: &Schema) {
    let current = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    if std::env::var_os("THORAS_MIRROR_UPDATE_SCHEMAS").is_some() {
        // Other tests read the schema at the same time.
        let beside = path(&format!("{file}.new"));
        fs::write(&beside, &current).unwrap();
        fs::rename(&beside, path(file)).unwrap();
    }
    let committed = fs::read_to_string(path(file)).unwrap_or_default();
    assert!(
        committed == current,
        "{file} is not current: run `THORAS_MIRROR_UPDATE_SCHEMAS=1 cargo test schema`"
    );
}

/// A validator for a committed schema.
pub(crate) fn validator(file: &str) -> Validator {
    let schema: Value = serde_json::from_slice(&fs::read(path(file)).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Fails if a document does not follow the committed schema.
pub(crate) fn assert_valid(file: &str, document: &Value) {
    let errors: Vec<String> = validator(file)
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{file}: {errors:#?}");
}
