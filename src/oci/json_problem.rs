//! What is wrong with a JSON document, in words for people.

use serde_json::error::Category;

/// Why a document could not be read: `it is not JSON`, or which field is wrong.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof if (error.line(), error.column()) == (1, 0) => "it is empty".to_owned(),
        Category::Eof => "it ends in the middle of its JSON".to_owned(),
        Category::Syntax => "it is not JSON".to_owned(),
        // The parser knows which field; where it is in a document on one line does not help.
        Category::Data => {
            let text = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let what = text.strip_suffix(&place).unwrap_or(&text);
            format!("a field is missing or wrong: {what}")
        }
        Category::Io => error.to_string(),
    }
}
