//! The grammar of `--set` and `--set-string`, read exactly as Helm reads it.
//!
//! `a.b[0].c=v` names a place, `{x,y}` is a list, a comma begins the next assignment and a backslash takes
//! the next character literally. The result is merged into values that are there already, because
//! `a[0].x=1` keeps the other items of `a`. Helm's oddities are kept (an assignment that ends in `a[0]`
//! makes an empty list): the tests compare with the real program.

use std::{iter::Peekable, str::Chars};

use serde_json::{Map, Number, Value};

/// As in Helm: a larger index is a mistake, and would reserve memory.
const MAX_INDEX: usize = 65_536;
/// As in Helm since 3.11: deeper names are refused.
const MAX_KEY_DEPTH: usize = 30;
/// From here on Helm prints a number that came from a file as `1e+06`.
const FIRST_ROUNDED: u64 = 1_000_000;

/// Why an assignment cannot be used. It never repeats the text: a comma that was not escaped makes a key of
/// half a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No `=` behind a key.
    #[error("has a key without a value")]
    NoValue,
    /// A `{` without its `}`.
    #[error("has a list without its closing brace")]
    OpenList,
    /// The text in brackets is not an index, or is too large.
    #[error("has an index that is not a number from 0 to 65536")]
    Index,
    /// There is text between `]` and `=`, `.` or `[`.
    #[error("has text after an index that is not =, . or [")]
    BehindIndex,
    /// More than thirty levels.
    #[error("has a key of more than 30 levels")]
    TooDeep,
    /// The key goes through a value that has no fields or items.
    #[error("sets a field or an item of a value that is neither a map nor a list")]
    Conflict,
    /// A number that only Helm's command line could carry unchanged.
    #[error(
        "sets a whole number of seven digits or more, which Helm prints as 1e+06 unless it is on Helm's own command line"
    )]
    LargeNumber,
    /// A path that cannot be passed on.
    #[error("names a file by an unusable path")]
    Path,
}

impl SetError {
    /// What to write instead.
    pub(in crate::enumerate) fn hint(self) -> Option<&'static str> {
        match self {
            Self::NoValue => Some("write a comma that belongs to a value as \\, (with a backslash)"),
            Self::LargeNumber => Some(
                "values are kept off Helm's command line, where every user could read them; \
                 use --set-string for it, as for a tag that is a date",
            ),
            _ => None,
        }
    }
}

/// How values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typing {
    /// `--set`: true, false, null and whole numbers have their types.
    Inferred,
    /// `--set-string`: everything is text.
    Text,
}

/// Applies one option's assignments to `values`.
pub(super) fn assign(text: &str, typing: Typing, values: &mut Map<String, Value>) -> Result<(), SetError> {
    let mut parser = Parser { rest: text.chars().peekable(), typing };
    while parser.key(values, 0)? == Progress::More {}
    Ok(())
}

/// Whether an assignment ended at a comma or with the text.
#[derive(PartialEq, Eq)]
enum Progress {
    More,
    End,
}

/// The text after `=`.
enum AssignedValue {
    List(Vec<Value>),
    Scalar(Value),
    Nothing,
}

struct Parser<'t> {
    rest: Peekable<Chars<'t>>,
    typing: Typing,
}

impl Parser<'_> {
    /// Reads a key and what is assigned to it, within `data`.
    fn key(&mut self, data: &mut Map<String, Value>, depth: usize) -> Result<Progress, SetError> {
        let (key, stop) = self.until(&['=', '[', ',', '.']);
        match stop {
            None if key.is_empty() => Ok(Progress::End),
            None | Some(',') => Err(SetError::NoValue),
            Some('[') => {
                let index = self.index()?;
                let mut list = match data.remove(&key) {
                    None => Vec::new(),
                    Some(Value::Array(list)) => list,
                    Some(_) => return Err(SetError::Conflict),
                };
                let progress = self.item(&mut list, index, depth)?;
                set(data, key, Value::Array(list));
                Ok(progress)
            }
            Some('.') => {
                if depth >= MAX_KEY_DEPTH {
                    return Err(SetError::TooDeep);
                }
                let mut inner = match data.remove(&key) {
                    None => Map::new(),
                    Some(Value::Object(inner)) => inner,
                    Some(_) => return Err(SetError::Conflict),
                };
                let progress = self.key(&mut inner, depth + 1)?;
                if inner.is_empty() {
                    return Err(SetError::NoValue);
                }
                set(data, key, Value::Object(inner));
                Ok(progress)
            }
            Some(_) => {
                let (value, progress) = match self.right()? {
                    AssignedValue::List(list) => (Value::Array(list), Progress::More),
                    AssignedValue::Scalar(value) => (value, Progress::More),
                    AssignedValue::Nothing => (Value::String(String::new()), Progress::End),
                };
                set(data, key, value);
                Ok(progress)
            }
        }
    }

    /// Reads what follows `[index]`, within `list`. A `list` that the text leaves unfinished stays as it was.
    fn item(&mut self, list: &mut Vec<Value>, index: usize, depth: usize) -> Result<Progress, SetError> {
        let (between, stop) = self.until(&['[', '.', '=']);
        if !between.is_empty() {
            return Err(SetError::BehindIndex);
        }
        match stop {
            None => return Ok(Progress::End),
            Some('[') => {
                let next = self.index()?;
                if depth >= MAX_KEY_DEPTH {
                    return Err(SetError::TooDeep);
                }
                let was_list = matches!(list.get(index), Some(Value::Array(_)));
                let mut inner = match list.get(index) {
                    None | Some(Value::Null) => Vec::new(),
                    Some(Value::Array(inner)) => inner.clone(),
                    Some(_) => return Err(SetError::Conflict),
                };
                let progress = self.item(&mut inner, next, depth + 1)?;
                if progress == Progress::More || was_list {
                    set_item(list, index, Value::Array(inner))?;
                }
                return Ok(progress);
            }
            Some('.') => {
                let mut inner = match list.get(index) {
                    Some(Value::Object(inner)) => inner.clone(),
                    _ => Map::new(),
                };
                let progress = self.key(&mut inner, depth)?;
                if progress == Progress::More || list.len() > index {
                    set_item(list, index, Value::Object(inner))?;
                }
                return Ok(progress);
            }
            Some(_) => {}
        }
        let value = match self.right()? {
            AssignedValue::List(list) => Value::Array(list),
            AssignedValue::Scalar(value) => value,
            AssignedValue::Nothing => Value::String(String::new()),
        };
        set_item(list, index, value)?;
        Ok(Progress::More)
    }

    fn index(&mut self) -> Result<usize, SetError> {
        let (digits, stop) = self.until(&[']']);
        let index = digits.parse().map_err(|_| SetError::Index)?;
        if stop.is_none() || index > MAX_INDEX { Err(SetError::Index) } else { Ok(index) }
    }

    fn right(&mut self) -> Result<AssignedValue, SetError> {
        match self.rest.peek() {
            None => Ok(AssignedValue::Nothing),
            Some('{') => {
                self.rest.next();
                self.list().map(AssignedValue::List)
            }
            Some(_) => {
                let (text, _) = self.until(&[',']);
                Ok(AssignedValue::Scalar(self.typed(text)?))
            }
        }
    }

    fn list(&mut self) -> Result<Vec<Value>, SetError> {
        let mut list = Vec::new();
        loop {
            let (text, stop) = self.until(&[',', '}']);
            let stop = stop.ok_or(SetError::OpenList)?;
            list.push(self.typed(text)?);
            if stop == '}' {
                self.rest.next_if_eq(&',');
                return Ok(list);
            }
        }
    }

    /// The text up to one of `stops`, which is consumed, or to the end.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                stop if stops.contains(&stop) => return (text, Some(stop)),
                '\\' => text.extend(self.rest.next()),
                other => text.push(other),
            }
        }
        (text, None)
    }

    fn typed(&self, text: String) -> Result<Value, SetError> {
        if self.typing == Typing::Text {
            return Ok(Value::String(text));
        }
        if text.eq_ignore_ascii_case("true") {
            return Ok(Value::Bool(true));
        }
        if text.eq_ignore_ascii_case("false") {
            return Ok(Value::Bool(false));
        }
        if text.eq_ignore_ascii_case("null") {
            return Ok(Value::Null);
        }
        // A leading zero makes text of it: account numbers and octal modes.
        let number = if text == "0" || !text.starts_with('0') { text.parse::<i64>().ok() } else { None };
        match number {
            Some(number) if number.unsigned_abs() >= FIRST_ROUNDED => Err(SetError::LargeNumber),
            Some(number) => Ok(Value::Number(Number::from(number))),
            None => Ok(Value::String(text)),
        }
    }
}

/// An empty key is read but not set, as in Helm.
fn set(data: &mut Map<String, Value>, key: String, value: Value) {
    if !key.is_empty() {
        data.insert(key, value);
    }
}

fn set_item(list: &mut Vec<Value>, index: usize, value: Value) -> Result<(), SetError> {
    if list.len() <= index {
        list.resize(index + 1, Value::Null);
    }
    *list.get_mut(index).ok_or(SetError::Index)? = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str, typing: Typing) -> Result<Value, SetError> {
        let mut values = Map::new();
        assign(text, typing, &mut values).map(|()| Value::Object(values))
    }

    #[test]
    fn values_are_merged_into_what_is_there() {
        let mut values =
            json!({"a": [{"x": 1, "y": 2}, {"x": 3}], "m": {"q": 1}, "s": "t"}).as_object().unwrap().clone();
        assign("a[0].x=9,m.r=x,n=null", Typing::Inferred, &mut values).unwrap();
        assert_eq!(
            Value::Object(values.clone()),
            json!({"a": [{"x": 9, "y": 2}, {"x": 3}], "m": {"q": 1, "r": "x"}, "s": "t", "n": null})
        );
        for text in ["s.x=1", "s[0]=1", "m[0]=1", "a.x=1", "n.x=1", "a[0].x.y=1"] {
            assert_eq!(
                assign(text, Typing::Inferred, &mut values.clone()),
                Err(SetError::Conflict),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_that_helm_would_round_are_refused() {
        assert_eq!(read("tag=999999", Typing::Inferred).unwrap(), json!({"tag": 999_999}));
        assert_eq!(read("tag=20240101", Typing::Inferred), Err(SetError::LargeNumber));
        assert_eq!(read("tag={1,-1000000}", Typing::Inferred), Err(SetError::LargeNumber));
        assert_eq!(read("tag=20240101", Typing::Text).unwrap(), json!({"tag": "20240101"}));
    }

    #[test]
    fn errors_repeat_nothing() {
        for text in ["password=abc,hunter2", "a={hunter2", "a[hunter2]=1", "a[0]hunter2=1"] {
            let error = read(text, Typing::Inferred).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
        }
        assert_eq!(read(&format!("{}x=1", "k.".repeat(31)), Typing::Text), Err(SetError::TooDeep));
        assert_eq!(read("a[70000]=1", Typing::Text), Err(SetError::Index));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[a-c=,.\\[\\]{}\\\\0-9é ]{0,40}") {
            let _ = read(&text, Typing::Inferred);
        }

        #[test]
        fn an_escaped_value_arrives_unchanged(value in "\\PC{1,40}") {
            let mut escaped = String::new();
            for character in value.chars() {
                escaped.push('\\');
                escaped.push(character);
            }
            prop_assert_eq!(read(&format!("a.b={escaped}"), Typing::Text).unwrap(), json!({"a": {"b": value}}));
        }
    }
}
