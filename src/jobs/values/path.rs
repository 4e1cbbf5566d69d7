//! A value's position: keys and list indexes from the root of the values.

use std::fmt;

use serde_json::{Map, Value};

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A key of a map.
    Key(String),
    /// An item of a list.
    Index(usize),
}

/// The steps from the root of the values to one value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValuePath(Vec<Step>);

impl ValuePath {
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// `a.b.c`, for keys without dots.
    pub(crate) fn of_keys(keys: &str) -> Self {
        Self(keys.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The path of the map or list that holds the value.
    pub(crate) fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, parent)| Self(parent.to_vec()))
    }

    /// The keys, without indexes.
    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    /// The path of the list that holds the value, if one does.
    pub(crate) fn list(&self) -> Option<Self> {
        let index = self.0.iter().position(|step| matches!(step, Step::Index(_)))?;
        self.0.get(..index).map(|steps| Self(steps.to_vec()))
    }

    /// The value there.
    pub(crate) fn get<'v>(&self, values: &'v Map<String, Value>) -> Option<&'v Value> {
        let (first, rest) = self.0.split_first()?;
        let Step::Key(key) = first else { return None };
        rest.iter().try_fold(values.get(key)?, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// Sets the value in `values`. Helm replaces lists as a whole, so the first list on the way is copied from
    /// `effective`.
    pub(crate) fn set(&self, values: &mut Map<String, Value>, effective: &Map<String, Value>, value: Value) {
        let Some((Step::Key(key), rest)) = self.0.split_first() else { return };
        let mut target = values.entry(key.clone()).or_insert(Value::Null);
        let mut walked = vec![Step::Key(key.clone())];
        for step in rest {
            if matches!(step, Step::Index(_)) && !target.is_array() {
                *target = Self(walked.clone()).get(effective).cloned().unwrap_or_default();
            }
            target = match step {
                Step::Key(key) => {
                    if !target.is_object() {
                        *target = Value::Object(Map::new());
                    }
                    let Value::Object(fields) = target else { return };
                    fields.entry(key.clone()).or_insert(Value::Null)
                }
                Step::Index(index) => match target.get_mut(*index) {
                    Some(item) => item,
                    None => return,
                },
            };
            walked.push(step.clone());
        }
        *target = value;
    }
}

impl fmt::Display for ValuePath {
    /// As `--set` writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position > 0 => write!(formatter, ".{}", key.replace('.', "\\."))?,
                Step::Key(key) => formatter.write_str(&key.replace('.', "\\."))?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_repeated_with_all_items() {
        let effective = json!({"a": {"list": [{"name": "x", "image": "one"}, {"name": "y"}]}, "b": 1});
        let steps = ["a", "list"].map(|key| Step::Key(key.to_owned())).into_iter();
        let path = ValuePath::new(steps.chain([Step::Index(0), Step::Key("image".to_owned())]).collect());
        assert_eq!(path.to_string(), "a.list[0].image");
        let mut values = Map::new();
        path.set(&mut values, effective.as_object().unwrap(), json!("two"));
        let expected = json!({"a": {"list": [{"name": "x", "image": "two"}, {"name": "y"}]}});
        assert_eq!(Value::Object(values), expected);
        assert_eq!(path.list().unwrap().to_string(), "a.list");
        assert_eq!(path.get(effective.as_object().unwrap()), Some(&json!("one")));
    }
}
