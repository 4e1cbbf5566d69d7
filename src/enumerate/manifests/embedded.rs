//! Manifests and settings that a resource holds as text: a pod template in a `ConfigMap`, JSON in an environment
//! variable, Helm values in a resource that installs a chart.

use serde_json::Value;

use crate::enumerate::EnumerateError;

use super::{
    charts, documents,
    resource::{self, Category},
    walk::{Position, Walker},
};

/// YAML within YAML within YAML is read, and nothing deeper.
const MAX_EMBEDDING_DEPTH: usize = 3;

impl Walker<'_> {
    /// Walks a text that is YAML or JSON with a structure of its own; says whether it was.
    pub(super) fn embedded(&mut self, text: &str, position: Position<'_>) -> Result<bool, EnumerateError> {
        if self.scope.embedding >= MAX_EMBEDDING_DEPTH {
            return Ok(false);
        }
        let Some(values) = parse(text) else { return Ok(false) };
        let outer = self.scope.clone();
        self.scope.embedding += 1;
        let is_helm_values = !outer.is_settings && charts::is_values_key(position.key());
        for value in &values {
            self.embedded_document(value, position, is_helm_values)?;
        }
        self.scope = outer;
        Ok(true)
    }

    fn embedded_document(
        &mut self,
        value: &Value,
        position: Position<'_>,
        is_helm_values: bool,
    ) -> Result<(), EnumerateError> {
        let outer = self.scope.clone();
        if is_manifest(value) {
            for resource in resource::unfold(value, None) {
                self.scope.category = resource.category;
                self.scope.is_settings = resource.category == Category::Settings;
                self.resource(&resource)?;
            }
        } else if is_helm_values {
            self.scope.category = Category::Custom;
            if let Value::Object(values) = value {
                self.object(&charts::as_helm_prints(values), Position::Field("values"))?;
            }
        } else {
            self.scope.is_settings = true;
            self.value(value, position)?;
        }
        self.scope = outer;
        Ok(())
    }
}

/// The documents of a text, if each is an object or a list.
fn parse(text: &str) -> Option<Vec<Value>> {
    let may_have_structure = text.contains('\n') || text.starts_with(['{', '[']) || text.contains(": ");
    if !may_have_structure {
        return None;
    }
    let values: Vec<Value> = documents::split(text)
        .iter()
        .map(|document| documents::parse(document.text))
        .collect::<Result<_, _>>()
        .ok()?;
    // `Image {{ $labels.image }}: see the log` reads as YAML as well.
    let is_sentence = !text.contains('\n') && !text.starts_with(['{', '[']);
    // JSON in JSON, with its quotes still escaped, reads as YAML with strange keys.
    let has_structure = |value: &Value| match value {
        Value::Object(object) => {
            !object.keys().any(|key| key.contains("\\\"") || is_sentence && key.contains(char::is_whitespace))
        }
        _ => value.is_array(),
    };
    (!values.is_empty() && values.iter().all(has_structure)).then_some(values)
}

fn is_manifest(value: &Value) -> bool {
    value.get("apiVersion").is_some_and(Value::is_string) && value.get("kind").is_some_and(Value::is_string)
}
