//! What a file is read as, which decides what helps if it cannot be read.

use std::io;

/// What a file, or standard input, is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAs {
    /// Rendered manifests.
    Manifests,
    /// A list of images.
    List,
    /// The output of `kubectl`.
    Pods,
    /// A values file.
    Values,
    /// A chart: a folder or a package.
    Chart,
}

impl ReadAs {
    /// What to do about a failure to read it.
    pub(super) fn hint(self, error: &io::Error) -> &'static str {
        use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, Other, UnexpectedEof};
        match (self, error.kind()) {
            (Self::Manifests, FileTooLarge) => {
                "split the file and run once for each part, or pass a list of the images with --images FILE"
            }
            (Self::List, FileTooLarge) => "split the file and run once for each part",
            (Self::Pods, FileTooLarge) => {
                "pass the pods of fewer namespaces: the output of `kubectl get pods -n NAMESPACE -o json`"
            }
            (Self::Chart, FileTooLarge) => "omit --with-chart, and carry the chart package as a file",
            (Self::Manifests | Self::List, InvalidData) => {
                "pass a text file: rendered manifests with --rendered, or a list of images with --images"
            }
            (Self::Pods, InvalidData) => "pass the output of `kubectl get pods -A -o json`",
            (Self::Values, FileTooLarge | InvalidData) => "check that --values names a values file",
            (Self::Chart, InvalidData | InvalidInput | UnexpectedEof | Other) => {
                "pass a chart folder, or a chart package that `helm package` wrote"
            }
            _ => "check the path (relative to the current directory) and its permissions",
        }
    }
}

#[cfg(test)]
mod tests {
    use io::ErrorKind;

    use super::*;

    #[test]
    fn hints_fit_what_is_read_bug() {
        let hint = |read_as: ReadAs, kind: ErrorKind| read_as.hint(&io::Error::from(kind));
        for read_as in [ReadAs::Pods, ReadAs::Values, ReadAs::Chart] {
            for kind in [ErrorKind::FileTooLarge, ErrorKind::InvalidData] {
                let hint = hint(read_as, kind);
                assert!(!hint.contains("--rendered") && !hint.contains("--images"), "{read_as:?}: {hint}");
                assert!(!hint.contains("split") && !hint.contains("path"), "{read_as:?}: {hint}");
            }
        }
        for read_as in [ReadAs::Manifests, ReadAs::List, ReadAs::Pods, ReadAs::Values, ReadAs::Chart] {
            assert!(hint(read_as, ErrorKind::NotFound).starts_with("check the path"), "{read_as:?}");
        }
    }
}
