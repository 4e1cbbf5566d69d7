//! Test helpers: the committed schemas match the types, and documents follow them.

use jsonschema::Validator;
use schemars::Schema;
use serde_json::Value;

use crate::committed_schema;

fn below_src(file: &str) -> String {
    format!("report/schema/{file}")
}

/// Fails if the committed schema differs from this one.
pub(super) fn assert_current(file: &str, schema: &Schema) {
    committed_schema::assert_current(&below_src(file), schema);
}

/// A validator for a committed schema.
pub(super) fn validator(file: &str) -> Validator {
    committed_schema::validator(&below_src(file))
}

/// Fails if a document does not follow the committed schema.
pub(super) fn assert_valid(file: &str, document: &Value) {
    committed_schema::assert_valid(&below_src(file), document);
}
