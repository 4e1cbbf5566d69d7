//! The JSON path of a value within a resource.

use std::fmt;

/// Keys and indices from the resource's root, written `spec.containers[0].image`.
#[derive(Debug, Clone, Default)]
pub(super) struct Path(Vec<Segment>);

#[derive(Debug, Clone)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// Steps into the value of `key`.
    pub(super) fn push_key(&mut self, key: &str) {
        self.0.push(Segment::Key(key.to_owned()));
    }

    /// Steps into the item at `index`.
    pub(super) fn push_index(&mut self, index: usize) {
        self.0.push(Segment::Index(index));
    }

    /// Steps out again.
    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(formatter, "[{index}]")?,
                Segment::Key(key) if is_plain(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(formatter, "{dot}{key}")?;
                }
                Segment::Key(key) => write!(formatter, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

/// Whether a key can follow a dot without being mistaken for two keys.
fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dots_are_quoted() {
        let mut path = Path::default();
        path.push_key("data");
        path.push_key("app.yaml");
        path.push_index(3);
        path.push_key("image");
        let text = path.to_string();
        assert_eq!(text, r#"data["app.yaml"][3].image"#);
    }
}
