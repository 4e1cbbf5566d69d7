//! `values`: the values file itself, or the name of the file that was written.

use crate::report::document::ValuesDocument;

pub(super) fn text(document: &ValuesDocument) -> Option<String> {
    match &document.found.written {
        // The file is the result, and its name was typed.
        Some(_) => None,
        None => Some(document.found.yaml()),
    }
}
