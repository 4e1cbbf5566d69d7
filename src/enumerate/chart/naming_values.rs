//! Finds the Helm values that name an image, for a message about that image.
//!
//! Only the keys are reported: a value may be secret. What cannot be read is skipped, because the message is about
//! something else.

use std::{collections::BTreeMap, path::Path};

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::{
    ChartOptions, Location, arguments,
    helm::Helm,
    obtain,
    strvals::{self, Typing},
};
use crate::{
    bounded_read::{self, MAX_SETTINGS_SIZE},
    oci::{Reference, Repository},
};

/// A Helm value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ValueKey {
    /// For example `image.registry` or `containers[0].image`.
    pub(crate) key: String,
    /// Where it is set: a flag, a file, or the chart.
    pub(crate) set_by: String,
}

/// The effective values that name the repository of this image, or the beginning of its name. `is_its_registry`
/// compares a registry with the image's registry.
pub(crate) async fn values_naming(
    options: &ChartOptions,
    image: &Repository,
    is_its_registry: impl Fn(&str) -> bool,
) -> Vec<ValueKey> {
    let mut effective: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (set_by, values) in layers(options).await {
        let mut texts = Vec::new();
        collect(&values, String::new(), &mut texts);
        effective.extend(texts.into_iter().map(|(key, text)| (key, (text, set_by.clone()))));
    }
    let naming = effective.into_iter().filter(|(_, (text, _))| names(text, image, &is_its_registry));
    naming.map(|(key, (_, set_by))| ValueKey { key, set_by }).collect()
}

/// The values of each origin. Later ones win.
async fn layers(options: &ChartOptions) -> Vec<(String, Value)> {
    let mut layers: Vec<(String, Value)> = Vec::new();
    layers.extend(defaults(options).await.map(|values| ("the chart's values.yaml".to_owned(), values)));
    for file in &options.values {
        let text = bounded_read::read_text(Path::new(file), MAX_SETTINGS_SIZE).ok();
        let values = text.and_then(|text| serde_saphyr::from_str::<Value>(&text).ok());
        layers.extend(values.map(|values| (file.clone(), values)));
    }
    for (flag, texts) in [("--set", &options.set), ("--set-string", &options.set_string)] {
        let mut values = Map::new();
        for text in texts {
            // What cannot be read never reached Helm.
            let _ = strvals::assign(text.expose_secret(), Typing::Text, &mut values);
        }
        layers.push((flag.to_owned(), Value::Object(values)));
    }
    layers
}

/// The chart's own values.
async fn defaults(options: &ChartOptions) -> Option<Value> {
    let helm = Helm::new(options).ok()?;
    let chart = match Location::find(&options.chart).ok()? {
        Location::Local(path) => path,
        Location::Remote => obtain(&helm, options, &arguments::check(&options.helm_args).ok()?).await.ok()?,
    };
    let shown = helm.run("show", arguments::show_values(&chart), None).await.ok()?;
    serde_saphyr::from_str(&shown).ok()
}

/// Every text with its key.
fn collect(value: &Value, key: String, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => texts.push((key, text.clone())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{key}[{index}]"), texts);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                collect(field, below, texts);
            }
        }
        _ => {}
    }
}

/// Whether a value is the image, its repository, or a registry and path above it.
fn names(text: &str, image: &Repository, is_its_registry: &impl Fn(&str) -> bool) -> bool {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return false;
    }
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (registry, path) = text.split_once('/').unwrap_or((text, ""));
    if is_its_registry(registry) {
        let rest = image.path().strip_prefix(path);
        if path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return true;
        }
    }
    text.parse::<Reference>().is_ok_and(|reference| {
        reference.repository().path() == image.path() && is_its_registry(reference.repository().registry())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_above_the_image_and_the_image_itself_name_it() {
        let image: Repository = "reg.example.com/thoras/web".parse().unwrap();
        let is_its_registry = |text: &str| text.eq_ignore_ascii_case("reg.example.com");
        for text in [
            "reg.example.com",
            "REG.example.com/",
            "reg.example.com/thoras",
            "oci://reg.example.com/thoras",
            "reg.example.com/thoras/web:1.0",
            "reg.example.com/thoras/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            assert!(names(text, &image, &is_its_registry), "{text}");
        }
        for text in
            ["", "thoras/web", "other.example.com", "reg.example.com/tho", "reg.example.com/thoras/web2"]
        {
            assert!(!names(text, &image, &is_its_registry), "{text}");
        }
    }

    #[tokio::test]
    async fn the_last_origin_of_a_value_wins_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("values.yaml");
        std::fs::write(&file, "image: {registry: reg.example.com}\nextra: [{image: reg.example.com/a:1}]\n")
            .unwrap();
        let options = ChartOptions {
            chart: folder.path().join("no-chart").display().to_string(),
            values: vec![file.display().to_string()],
            set: vec!["image.registry=vendor.example.com,x.y=reg.example.com".into()],
            ..ChartOptions::default()
        };
        let image = "reg.example.com/a".parse().unwrap();
        let found = values_naming(&options, &image, |text| text == "reg.example.com").await;
        let found: Vec<_> = found.iter().map(|value| (value.key.as_str(), value.set_by.as_str())).collect();
        assert_eq!(found, [("extra[0].image", file.to_str().unwrap()), ("x.y", "--set")]);
    }
}
