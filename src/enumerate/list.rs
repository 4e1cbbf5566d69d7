//! Plain references: a list in a file, or arguments.

use crate::oci::Reference;

use super::{EnumerateError, image::ImageSet};

/// Reads one reference a line. A `#` at the start of a line or after white space begins a comment (no
/// reference holds one), and blank lines are skipped.
pub(super) fn scan(input: &str, text: &str, images: &mut ImageSet) -> Result<(), EnumerateError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let written = without_comment(line);
        if written.is_empty() {
            continue;
        }
        let reference: Reference = written.parse().map_err(|source| EnumerateError::ListedReference {
            input: input.to_owned(),
            line: index + 1,
            source,
        })?;
        images.add(reference, written, None);
    }
    Ok(())
}

/// Reads what is added to the images of a chart or of manifests.
pub(super) fn add_extras(input: &str, text: &str, images: &mut ImageSet) -> Result<(), EnumerateError> {
    let mut extras = ImageSet::default();
    scan(input, text, &mut extras)?;
    if extras.references().next().is_none() {
        return Err(EnumerateError::EmptyList { input: input.to_owned() });
    }
    for image in extras.into_sorted() {
        images.add_extra(image.reference, &image.written);
    }
    Ok(())
}

/// Reads references as they were typed.
pub(super) fn parse_arguments(arguments: &[String], images: &mut ImageSet) -> Result<(), EnumerateError> {
    for written in arguments {
        images.add(written.trim().parse()?, written.trim(), None);
    }
    Ok(())
}

fn without_comment(line: &str) -> &str {
    let comment = line
        .char_indices()
        .find(|&(index, character)| {
            character == '#'
                && line.get(..index).is_none_or(|before| before.trim_end().len() < index || index == 0)
        })
        .map_or(line.len(), |(index, _)| index);
    line.get(..comment).unwrap_or(line).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(text: &str) -> Result<Vec<String>, EnumerateError> {
        let mut images = ImageSet::default();
        scan("images.txt", text, &mut images)?;
        Ok(images.into_sorted().iter().map(|image| image.reference.to_string()).collect())
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_and_repetitions_are_one() {
        let text =
            "\u{feff}# ours\r\n\r\nquay.io/a/b:1 # why\r\n  nginx\ndocker.io/library/nginx:latest\n\t#x\n";
        assert_eq!(references(text).unwrap(), ["docker.io/library/nginx:latest", "quay.io/a/b:1"]);
    }

    #[test]
    fn an_error_names_file_and_line() {
        let error = references("quay.io/a/b:1\n\nhttps://quay.io/a/b\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "images.txt, line 3: `https://quay.io/a/b` is a URL: write an image reference without `scheme://`"
        );
        assert!(references("a:1#c").is_err(), "no comment without white space before it");
    }
}
