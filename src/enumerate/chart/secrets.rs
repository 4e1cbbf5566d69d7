//! What `--set` and `--set-string` set, so that none of it shows in Helm's messages.

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::{
    ChartOptions,
    strvals::{self, Typing},
};

/// Every text that an assignment sets, so that it can be taken out of Helm's messages.
pub(super) fn of(options: &ChartOptions) -> Vec<String> {
    let mut secrets = Vec::new();
    for text in options.set.iter().chain(&options.set_string) {
        let mut values = Map::new();
        // What cannot be read never reaches Helm.
        if strvals::assign(text.expose_secret(), Typing::Text, &mut values).is_ok() {
            collect_text(&Value::Object(values), &mut secrets);
        }
    }
    secrets
}

fn collect_text(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_text(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| collect_text(field, texts)),
        _ => {}
    }
}
