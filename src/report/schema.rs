//! The committed schemas of the JSON documents, in `src/report/schema`.

use jsonschema::Validator;
use schemars::Schema;
use serde_json::Value;

use crate::committed_schema;

fn below_src(file: &str) -> String {
    format!("report/schema/{file}")
}

/// Fails when the committed schema is not this one.
pub(crate) fn assert_current(file: &str, schema: &Schema) {
    committed_schema::assert_current(&below_src(file), schema);
}

/// A validator for a committed schema.
pub(crate) fn validator(file: &str) -> Validator {
    committed_schema::validator(&below_src(file))
}

/// Fails when a document does not follow the committed schema.
pub(crate) fn assert_valid(file: &str, document: &Value) {
    committed_schema::assert_valid(&below_src(file), document);
}
