//! Refuses the name of a file where an image is expected: `x.tar` would be requested from Docker Hub.

use std::path::Path;

use clap::ArgMatches;

use super::usage;
use crate::error::{Failure, hide_logins};

/// Checks the images on a command line.
pub(crate) fn refuse_files_as_images(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((mut command, mut matches)) = matches.subcommand() else { return Ok(()) };
    while let Some(below) = matches.subcommand() {
        (command, matches) = below;
    }
    // Other commands have a flag of this name.
    let images = if command == "inspect" { "images" } else { "image" };
    let images = matches.try_get_many::<String>(images).ok().flatten();
    match images.into_iter().flatten().find(|image| is_file(image)) {
        Some(file) => {
            let message = format!("`{}` is a file or folder here, not an image", hide_logins(file));
            let hint = match command {
                "inspect" => "`thoras-mirror bundle inspect FILE` shows the images of a bundle",
                _ => {
                    "for a bundle, use `thoras-mirror bundle import` or `bundle verify`; for a list of images, pass --images FILE"
                }
            };
            Err(usage(message).with_hint(hint))
        }
        None => Ok(()),
    }
}

/// Whether a text cannot be meant as an image because it is the path of a file. A folder may have the name of an image.
fn is_file(text: &str) -> bool {
    let path = Path::new(text);
    let is_path =
        text.starts_with(['.', '/']) || path.extension().is_some_and(|extension| extension == "tar");
    is_path && path.exists()
}
