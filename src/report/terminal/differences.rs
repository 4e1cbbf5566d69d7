//! Differences that `verify` found: the problems of each image, above the command that repairs them.

use std::fmt::Write as _;

use super::failures::{list, text, write_indented};
use crate::{
    error::escape,
    outcome::{ImageOutcome, Repair},
    problem::{FoundBy, Problem, Remedy},
    report::style::Palette,
    units,
};

/// The most images that are named in front of a problem. More are listed below it.
const MAX_NAMED: usize = 3;
/// The most problems of several images that are listed for one remedy.
const MAX_LISTED: usize = 20;

/// A different image and its short name.
type Named<'a> = (&'a ImageOutcome, String);

/// A text for each group of images that the same command repairs.
pub(super) fn texts(images: &[Named<'_>], repair: Option<&Repair>, palette: Palette) -> Vec<String> {
    let mut groups: Vec<Vec<&Named<'_>>> = Vec::new();
    for named in images {
        let (image, _) = named;
        let fitting = |group: &&mut Vec<&Named<'_>>| {
            group.first().is_some_and(|(first, _)| {
                first.failure.is_none() && image.failure.is_none() && is_repaired_alike(first, image, repair)
            })
        };
        match groups.iter_mut().find(fitting) {
            Some(group) => group.push(named),
            None => groups.push(vec![named]),
        }
    }
    groups.iter().map(|group| group_text(group, repair, palette)).collect()
}

fn is_repaired_alike(one: &ImageOutcome, other: &ImageOutcome, repair: Option<&Repair>) -> bool {
    let command =
        |image: &ImageOutcome| repair.map(|repair| repair.command_for(&image.destination).to_owned());
    let needs =
        |image: &ImageOutcome, remedy| image.problems.iter().any(|problem| remedy_of(problem) == remedy);
    command(one) == command(other)
        && Remedy::OF_MIRRORS.into_iter().all(|remedy| needs(one, remedy) == needs(other, remedy))
}

fn remedy_of(problem: &Problem) -> Remedy {
    problem.remedy(FoundBy::Verify)
}

fn group_text(group: &[&Named<'_>], repair: Option<&Repair>, palette: Palette) -> String {
    let Some((first, rest)) = group.split_first() else { return String::new() };
    let (image, name) = first;
    if rest.is_empty() {
        return one_text(image, name, repair, palette);
    }
    let error = palette.error("error:");
    let images = units::counted(group.len(), "image");
    let is_same = rest.iter().all(|(other, _)| other.problems == image.problems);
    let mut lines = if is_same {
        let names: Vec<String> = group.iter().map(|(_, name)| name.clone()).collect();
        let what = if image.problems.len() == 1 { "problem" } else { "problems" };
        format!("{error} {images} with the same {what}\n{}", list(&names).join("\n"))
    } else {
        format!("{error} {images} differ")
    };
    let listed = if is_same { std::slice::from_ref(first) } else { group };
    write_problems(&mut lines, listed, !is_same, repair, palette);
    lines
}

/// The problems of one image, or its failure to be read completely.
fn one_text(image: &ImageOutcome, name: &str, repair: Option<&Repair>, palette: Palette) -> String {
    let failure = image.failure.as_ref().map(|failure| text(failure, Some(name), palette));
    let mut lines = failure.unwrap_or_else(|| {
        let count = units::counted(image.problems.len(), "problem");
        let destination = escape(&image.destination);
        // The name of an image with several destinations ends in its destination.
        if name.ends_with(&destination) {
            format!("{} {name}: {count}", palette.error("error:"))
        } else {
            format!("{} {name}: {count} at {destination}", palette.error("error:"))
        }
    });
    write_problems(&mut lines, &[&(image, name.to_owned())], false, repair, palette);
    lines
}

/// The problems with the same remedy, then the command; the simplest remedy first.
fn write_problems(
    lines: &mut String,
    images: &[&Named<'_>],
    with_names: bool,
    repair: Option<&Repair>,
    palette: Palette,
) {
    for remedy in Remedy::OF_MIRRORS {
        let mut destination = None;
        let mut shared: Vec<(String, Vec<String>)> = Vec::new();
        for (image, name) in images {
            for problem in image.problems.iter().filter(|problem| remedy_of(problem) == remedy) {
                destination = Some(&image.destination);
                let text = problem.to_string();
                match shared.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, names)) => names.push(name.clone()),
                    None => shared.push((text, vec![name.clone()])),
                }
            }
        }
        for (problem, names) in shared.iter().take(if with_names { MAX_LISTED } else { usize::MAX }) {
            match names.as_slice() {
                _ if !with_names => write_indented(lines, &format!("\n  {problem}")),
                few if few.len() <= MAX_NAMED => {
                    write_indented(lines, &format!("\n  {}: {problem}", few.join(", ")));
                }
                many => {
                    let images = units::counted(many.len(), "image");
                    write_indented(lines, &format!("\n  {images}: {problem}"));
                    let _ = write!(lines, "\n{}", list(many).join("\n"));
                }
            }
        }
        let more = if with_names { shared.len().saturating_sub(MAX_LISTED) } else { 0 };
        if more > 0 {
            let problems = units::counted(more, "more problem");
            write_indented(lines, &format!("\n  {problems}; --output json lists all of them"));
        }
        let (Some(repair), Some(destination)) = (repair, destination) else { continue };
        let command = remedy.command(repair.command_for(destination));
        let _ = write!(lines, "\n    {} {command}", palette.hint("repair:"));
        if let Some(note) = &repair.note {
            let _ = write!(lines, "\n    {note}");
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::report::samples;

    fn repair() -> Repair {
        let command = "thoras-mirror sync --to registry.example.com/thoras".to_owned();
        Repair { command, ..Repair::default() }
    }

    fn image(name: &str, problems: Vec<Problem>) -> ImageOutcome {
        let destination = format!("registry.example.com/thoras/{name}");
        ImageOutcome { source: samples::source(name), destination, problems, ..samples::different() }
    }

    #[test]
    fn every_problem_is_listed_above_the_command_that_repairs_it() {
        let outcome = samples::different();
        let command = "thoras-mirror sync --to registry.example.com/thoras".to_owned();
        let repair = Repair { command, ..Repair::default() };
        assert_snapshot!(texts(&[(&outcome, "services:4.53.0".to_owned())], Some(&repair), Palette::plain()).join("\n"), @r#"
        error: services:4.53.0: 4 problems at registry.example.com/thoras/services:4.53.0
          linux/arm64 is missing (available: linux/amd64)
          the tag points to sha256:252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111, not sha256:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea
            repair: thoras-mirror sync --to registry.example.com/thoras
          blob sha256:62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a (1234 bytes) is missing
            repair: thoras-mirror sync --to registry.example.com/thoras --check blobs
          blob sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6 is corrupt: its bytes hash to \u{1b}[31mothers
            repair: delete it in that registry and run the registry's garbage collection, because a push does not
            replace a blob that the registry has; then: thoras-mirror sync --to registry.example.com/thoras --check blobs
        "#);
    }

    #[test]
    fn forty_missing_images_are_one_text() {
        let images: Vec<ImageOutcome> =
            (1..=40).map(|number| image(&format!("img{number}:1"), vec![Problem::MissingTag])).collect();
        let named: Vec<(&ImageOutcome, String)> =
            images.iter().zip(1..).map(|(image, number)| (image, format!("img{number}:1"))).collect();
        let texts = texts(&named, Some(&repair()), Palette::plain());
        assert_eq!(texts.len(), 1);
        assert_snapshot!(texts.join("\n"), @r#"
        error: 40 images with the same problem
          images: img1:1, img2:1, img3:1, img4:1, img5:1, img6:1, img7:1, img8:1,
            img9:1, img10:1, img11:1, img12:1, img13:1, img14:1, img15:1, img16:1,
            img17:1, img18:1, img19:1, img20:1, img21:1, img22:1, img23:1, img24:1,
            img25:1, img26:1, img27:1, img28:1, img29:1, img30:1, img31:1, img32:1,
            img33:1, img34:1, img35:1, img36:1, img37:1, img38:1, img39:1, img40:1
          the tag does not exist
            repair: thoras-mirror sync --to registry.example.com/thoras
        "#);
    }

    /// 40 images that no run confirmed, in various states, took 140 lines.
    #[test]
    fn a_problem_of_many_images_is_one_text_beside_others_bug() {
        let images: Vec<ImageOutcome> = (1..=40)
            .map(|number| {
                let digest = samples::digest(&number.to_string());
                let own = match number % 4 {
                    0 => vec![],
                    1 => vec![Problem::MissingTag],
                    _ => vec![Problem::MissingManifest { digest, platform: None }],
                };
                image(&format!("img{number}:1"), [own, vec![Problem::NeverConfirmed]].concat())
            })
            .collect();
        let named: Vec<(&ImageOutcome, String)> =
            images.iter().zip(1..).map(|(image, number)| (image, format!("img{number}:1"))).collect();
        let text = texts(&named, Some(&repair()), Palette::plain()).join("\n");
        assert!(text.lines().count() <= 36, "{text}");
        assert_eq!(text.matches("the tag does not exist").count(), 1);
        assert_eq!(text.matches("did not confirm it").count(), 1);
        assert!(text.contains("40 images: the run that wrote the lock did not confirm it"));
        assert!(text.contains("more problems; --output json lists all of them") || text.lines().count() < 30);
    }

    #[test]
    fn images_with_various_problems_share_the_command() {
        let problem =
            |seed: &str| vec![Problem::MissingManifest { digest: samples::digest(seed), platform: None }];
        let images = [image("a:1", problem("a")), image("b:1", problem("b"))];
        let named = [(&images[0], "a:1".to_owned()), (&images[1], "b:1".to_owned())];
        assert_snapshot!(texts(&named, Some(&repair()), Palette::plain()).join("\n"), @r#"
        error: 2 images differ
          a:1: manifest sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb is missing
          b:1: manifest sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d is missing
            repair: thoras-mirror sync --to registry.example.com/thoras
        "#);
    }
}
