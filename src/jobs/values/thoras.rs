//! The vendor's install guide as values: login, forecast workers, storage, and what reaches out of the cluster.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    ChartValues, facts,
    outcome::{HIDDEN, ValuesOutcome},
    path::ValuePath,
    relocate::Setting,
};
use crate::{
    enumerate::{ChartSession, WrittenUse},
    error::{Failure, Kind},
    request::{self, Persistence, PullLogin, Values},
    vendor,
};

fn is_thoras(session: &ChartSession) -> bool {
    session.identity().name == vendor::CHART
}

/// The text of a value, if it is set.
fn text<'v>(values: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    ValuePath::of_keys(key).get(values).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn is_set(values: &Map<String, Value>, key: &str) -> bool {
    match ValuePath::of_keys(key).get(values) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// Refuses options that the chart does not have, and values that would send the license to the mirror.
pub(super) fn check(request: &Values, session: &ChartSession, known: &ChartValues) -> Result<(), Failure> {
    let refused = |message: String, hint: &str| Err(Failure::new(Kind::Usage, message).with_hint(hint));
    if !is_thoras(session) {
        return match request.thoras_option() {
            Some(option) => refused(
                format!("{option} is for the Thoras chart, but this is {}", session.identity().name),
                "set the chart's own values for it in your values file",
            ),
            None => Ok(()),
        };
    }
    let password = text(&known.given, facts::PASSWORD);
    if let (Some(root), Some(password)) = (&request.root, password)
        && is_license(password, &known.effective, root.registry())
    {
        return refused(
            format!(
                "your values set {} to the license, and the chart would send it to {root}",
                facts::PASSWORD
            ),
            "remove it from your values; for the mirror's login, pass --pull-secret NAME, or --to-username and \
             --to-password-stdin",
        );
    }
    let has_secret = text(&known.given, facts::SECRET).is_some();
    match &request.login {
        PullLogin::Secret { .. } if password.is_some() => refused(
            format!(
                "your values set {}, but the chart fails if a pull secret is named as well",
                facts::PASSWORD
            ),
            "remove it from your values, or omit --pull-secret",
        ),
        PullLogin::Mirror(_) | PullLogin::License(_) if has_secret => refused(
            format!("your values set {}, but the chart fails if a password is set as well", facts::SECRET),
            "remove it from your values, or omit the password",
        ),
        _ => Ok(()),
    }
}

/// Whether a password is the license rather than the password for a mirror. Another of Google's registries takes keys of
/// the same form.
fn is_license(password: &str, values: &Map<String, Value>, registry: &str) -> bool {
    if text(values, facts::USERNAME) != Some(vendor::LICENSE_USER) {
        return false;
    }
    let is_google = registry.ends_with(".pkg.dev") || registry == "gcr.io" || registry.ends_with(".gcr.io");
    if !is_google {
        return true;
    }
    let compact: String = password.split_whitespace().collect();
    let decoded = STANDARD.decode(compact).unwrap_or_default();
    String::from_utf8_lossy(&decoded).contains(vendor::CHART)
}

/// What the options ask for, and notes on what the values mean.
pub(super) fn settings(
    request: &Values,
    session: &ChartSession,
    known: &ChartValues,
    outcome: &mut ValuesOutcome,
) -> Result<Vec<Setting>, Failure> {
    if !is_thoras(session) {
        if request.root.is_some() {
            outcome.note(format!(
                "If the mirror requires a login, set the values of {} for pull secrets yourself.",
                session.identity().name
            ));
        }
        return Ok(Vec::new());
    }
    let mut draft = Draft { known, outcome, settings: Vec::new() };
    draft.login(request)?;
    draft.workers(request);
    if let Some(storage) = &request.storage {
        draft.storage(storage, request.workloads);
    }
    draft.egress();
    Ok(draft.settings)
}

/// How a chart scales its forecast workers by itself.
struct Scaler {
    /// Its switch. Charts without one scale unless the number of workers is set.
    switch: Option<bool>,
    /// Its limits, in words.
    range: String,
}

impl Scaler {
    fn of(known: &ChartValues) -> Option<Self> {
        if !is_set(&known.own, facts::SCALER) {
            return None;
        }
        let limit = |name: &str| {
            let path = ValuePath::of_keys(&format!("{}.{name}", facts::SCALER));
            path.get(&known.effective).map(ToString::to_string).unwrap_or_default()
        };
        let range = format!(
            "{} to {}, one per {} workloads",
            limit("minReplicas"),
            limit("maxReplicas"),
            limit("astsPerReplica")
        );
        let switch = ValuePath::of_keys(facts::SCALER_SWITCH).get(&known.effective).and_then(Value::as_bool);
        Some(Self { switch, range })
    }
}

/// Settings under collection.
struct Draft<'a> {
    known: &'a ChartValues,
    outcome: &'a mut ValuesOutcome,
    settings: Vec<Setting>,
}

impl Draft<'_> {
    /// Sets a value, if the chart has it.
    fn set(&mut self, key: &str, value: impl Into<Value>) -> bool {
        let has = has_key(self.known, key);
        if has {
            self.settings.push(Setting { path: ValuePath::of_keys(key), value: value.into(), reach: 0 });
        } else {
            let version = &self.outcome.chart.version;
            let note = format!("{key} is left out: version {version} of the chart does not have it.");
            self.outcome.note(note);
        }
        has
    }

    fn login(&mut self, request: &Values) -> Result<(), Failure> {
        match &request.login {
            PullLogin::Secret { name, in_pods } => {
                self.set(facts::SECRET, name.as_str());
                if *in_pods {
                    self.set(facts::SECRET_IN_PODS, true);
                }
                self.outcome.comment(
                    &ValuePath::of_keys(facts::SECRET),
                    "a docker-registry secret in the namespace of the installation",
                );
            }
            PullLogin::Mirror(login) => {
                self.set(facts::USERNAME, login.username.as_str());
                self.password(request::read_password(login)?);
            }
            PullLogin::License(license) => self.password(license.clone()),
            PullLogin::Unset => self.note_on_login(request),
        }
        Ok(())
    }

    fn password(&mut self, password: secrecy::SecretString) {
        if self.set(facts::PASSWORD, HIDDEN) {
            let path = ValuePath::of_keys(facts::PASSWORD);
            self.outcome.comment(&path, "the chart creates a pull secret from it");
            self.outcome.passwords.push((path, password));
        }
    }

    fn note_on_login(&mut self, request: &Values) {
        let Some(root) = &request.root else {
            if !is_set(&self.known.given, facts::PASSWORD) && !is_set(&self.known.given, facts::SECRET) {
                self.outcome.note(
                    "The vendor's registry requires the license: pass --license FILE with --write, or --pull-secret NAME.",
                );
            }
            return;
        };
        if let Some(name) = text(&self.known.given, facts::SECRET) {
            let note = format!(
                "Your values name the pull secret {name}: it must hold a login for {}, not the license.",
                root.registry()
            );
            self.outcome.note(note);
        } else if !is_set(&self.known.given, facts::PASSWORD) {
            let note = format!(
                "If {} requires a login, the pods also need a pull secret: create it \
                 (`thoras-mirror pull-secret`) and pass --pull-secret NAME.",
                root.registry()
            );
            self.outcome.note(note);
        }
    }

    fn workers(&mut self, request: &Values) {
        let Some(workloads) = request.workloads else { return };
        let workers = workloads.div_ceil(facts::WORKLOADS_PER_WORKER);
        let scaler = Scaler::of(self.known);
        if is_set(&self.known.own, facts::WORKERS) || request.fixed_workers {
            self.set(facts::WORKERS, workers);
            let per = facts::WORKLOADS_PER_WORKER;
            let mut line = format!("one worker per {per} workloads, for {workloads}");
            match &scaler {
                Some(Scaler { switch: Some(true), .. }) if request.fixed_workers => {
                    self.set(facts::SCALER_SWITCH, false);
                }
                Some(Scaler { switch: Some(true), range }) => {
                    let note = format!(
                        "This chart starts {workers} forecast workers and then scales them itself ({}: {range}); \
                         --fixed-workers keeps {workers}.",
                        facts::SCALER
                    );
                    self.outcome.note(note);
                }
                Some(Scaler { switch: None, .. }) => line.push_str("; this switches the chart's scaler off"),
                Some(Scaler { switch: Some(false), .. }) | None => {}
            }
            self.outcome.comment(&ValuePath::of_keys(facts::WORKERS), line);
            if ValuePath::of_keys(facts::WORKER_SWITCH).get(&self.known.effective)
                == Some(&Value::Bool(false))
            {
                let note =
                    format!("No forecast worker runs: {} is false in this chart.", facts::WORKER_SWITCH);
                self.outcome.note(note);
            }
        } else if let Some(Scaler { range, .. }) = scaler {
            let note = format!(
                "This chart scales the forecast workers itself ({}: {range}), so {} stays unset; --fixed-workers sets \
                 it to {workers}.",
                facts::SCALER,
                facts::WORKERS,
            );
            self.outcome.note(note);
        } else {
            let note =
                format!("This chart has no value for the number of forecast workers ({}).", facts::WORKERS);
            self.outcome.note(note);
        }
    }

    fn storage(&mut self, storage: &Persistence, workloads: Option<u32>) {
        let Persistence { is_growable, size, class, volume, access_mode, efs_file_system } = storage;
        self.set(facts::PERSISTENCE, true);
        let texts = [
            (facts::STORAGE_SIZE, size),
            (facts::STORAGE_CLASS, class),
            (facts::VOLUME, volume),
            (facts::ACCESS_MODE, access_mode),
            (facts::FILE_SYSTEM, efs_file_system),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                self.set(key, text.as_str());
            }
        }
        if size.is_some()
            && let Some(workloads) = workloads
        {
            let line = format!("the guide asks for 1 GB per workload, for {workloads}");
            self.outcome.comment(&ValuePath::of_keys(facts::STORAGE_SIZE), line);
        }
        if *is_growable {
            self.outcome.comment(
                &ValuePath::of_keys(facts::PERSISTENCE),
                "the storage grows by itself: no size is set",
            );
        }
    }

    fn egress(&mut self) {
        for (key, note) in facts::EGRESS {
            if is_set(&self.known.effective, key) && !self.outcome.notes.iter().any(|known| known == note) {
                self.outcome.note(note);
            }
        }
        if is_set(&self.known.effective, facts::USES_CLIENT_SECRET)
            && has_key(self.known, facts::CLIENT_SECRET)
            && !is_set(&self.known.effective, facts::CLIENT_SECRET)
        {
            self.outcome.note(format!(
                "With `helm template` or Argo CD, set {} in your own values: otherwise every rendering generates \
                 another secret.",
                facts::CLIENT_SECRET
            ));
        }
    }
}

/// Whether the chart sets or reads a value.
fn has_key(known: &ChartValues, key: &str) -> bool {
    let keys: Vec<&str> = key.split('.').collect();
    let is_read = |read: &Vec<String>| read.iter().map(String::as_str).eq(keys.iter().copied());
    ValuePath::of_keys(key).get(&known.effective).is_some() || known.template_keys.iter().any(is_read)
}

/// Pins `services` in components that these values do not run, so that switching one on later does not unpin it.
pub(super) fn pins_of_unused_keys(
    session: &ChartSession,
    known: &ChartValues,
    pins: &[Setting],
    uses: &[WrittenUse],
) -> Vec<Setting> {
    let is_services = |place: &WrittenUse| place.reference.repository().path().ends_with("/services");
    if !is_thoras(session) || !uses.iter().any(is_services) {
        return Vec::new();
    }
    let paths = facts::SERVICES_TAGS.map(ValuePath::of_keys);
    let Some(pinned) = pins.iter().find(|setting| paths.contains(&setting.path)) else { return Vec::new() };
    let is_unused = |path: &ValuePath| {
        let key = path.to_string();
        let lines = session.lines_reading(&key);
        let is_tag_of_services = !lines.is_empty() && lines.iter().all(|line| line.contains("/services:"));
        is_tag_of_services
            && !is_set(&known.effective, &key)
            && !pins.iter().any(|setting| setting.path == *path)
    };
    let unused = paths.iter().filter(|path| is_unused(path));
    unused.map(|path| Setting { path: path.clone(), value: pinned.value.clone(), reach: 0 }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_license_is_distinguished_from_the_key_of_another_registry() {
        let license = STANDARD.encode(r#"{"project_id": "thoras-registry"}"#);
        let other = STANDARD.encode(r#"{"project_id": "shop"}"#);
        let values =
            |user: &str| json!({"imageCredentials": {"username": user}}).as_object().unwrap().clone();
        let vendor = values(vendor::LICENSE_USER);
        assert!(is_license(&license, &vendor, "registry.example.com"));
        assert!(is_license("anything", &vendor, "registry.example.com"));
        assert!(is_license(&license, &vendor, "europe-docker.pkg.dev"));
        assert!(!is_license(&other, &vendor, "europe-docker.pkg.dev"));
        assert!(!is_license("pa55word", &values("robot"), "registry.example.com"));
    }
}
