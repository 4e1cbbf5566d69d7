//! Decides whether a text names images, from its key and its form.
//!
//! A value counts if its key says that it is an image, or if it is a complete reference with a host, a path, and a tag
//! or a digest. An image of a Docker Hub organization whose key does not call it an image counts only together with
//! others of the same organization. What looks like an image and does not count becomes a note.

use crate::{
    enumerate::{EnumerateError, Note, image::Confidence},
    oci::Reference,
};

use super::{
    charts::ImpliedTag,
    findings::{Condition, is_worth_a_note},
    hosts::{self, HostEvidence},
    keys::{self, KeyMeaning, Part},
    not_images, objects, parts,
    resource::Category,
    text::{self, Mention, Pair, TextContent},
    walk::{Position, Walker},
};

/// What is known about the key of a mention.
pub(super) struct KeyOf<'k> {
    key: &'k str,
    meaning: KeyMeaning,
}

impl KeyOf<'_> {
    /// No key says anything.
    pub(super) fn nothing() -> Self {
        Self { key: "", meaning: KeyMeaning::Other }
    }
}

impl Walker<'_> {
    /// A text at `position`.
    pub(super) fn text(&mut self, text: &str, position: Position<'_>) -> Result<(), EnumerateError> {
        let text = text.trim();
        if text.is_empty() || self.embedded(text, position)? {
            return Ok(());
        }
        let meaning = if self.reads_keys() { position.meaning() } else { KeyMeaning::Other };
        let outer = KeyOf { key: position.key(), meaning };
        let without_secrets;
        let readable = if text.contains("Secret") {
            without_secrets = text::without_secrets(text);
            &without_secrets
        } else {
            text
        };
        self.plain_text(readable, &outer);
        Ok(())
    }

    pub(super) fn plain_text(&mut self, text: &str, outer: &KeyOf<'_>) {
        if outer.meaning == KeyMeaning::Image
            && !text.contains(char::is_whitespace)
            && text.starts_with(['<', '{', '$', '%'])
            && let Some(reason) = not_images::placeholder(text)
        {
            return self.note_placeholder(text, reason);
        }
        let content = text::read(text);
        let joined_values = if self.reads_keys() { self.joined_in_text(&content) } else { Vec::new() };
        let is_list = content.is_list && outer.meaning.is_image();
        for mention in
            content.mentions.iter().filter(|mention| !joined_values.contains(&mention.written.as_str()))
        {
            if is_list && !mention.is_whole {
                self.mention(&Mention { is_whole: true, ..mention.clone() }, text, outer);
            } else {
                self.mention(mention, text, outer);
            }
        }
        for written in &content.artifacts {
            let note = Note::not_taken(
                self.found_at(Confidence::Mentioned),
                written,
                "it is an OCI URL, of an image or a chart",
            );
            self.note(note);
        }
        for written in &content.unfinished {
            self.unfinished(written);
        }
        let is_single =
            !text.contains(|character: char| character.is_whitespace() || ",;=".contains(character));
        if outer.meaning == KeyMeaning::Image
            && is_single
            && content.unfinished.iter().all(|written| !has_placeholder(written))
            && !content.mentions.iter().any(|mention| mention.is_whole)
        {
            self.not_readable(text);
        }
    }

    /// Takes the images that a text writes in parts, and returns the parts: first those of one command, then those of
    /// several lines. A flag belongs to its own command.
    fn joined_in_text<'c>(&mut self, content: &'c TextContent) -> Vec<&'c str> {
        let is_flag = |pair: &&Pair| pair.key.starts_with('-');
        let mut left: Vec<&Pair> = content.pairs.iter().collect();
        let mut joined_values = Vec::new();
        let mut lines: Vec<usize> = left.iter().map(|pair| pair.line).collect();
        lines.dedup();
        for line in lines {
            let of_line = |pair: &&Pair| pair.line == line;
            let command: Vec<&Pair> = left.iter().copied().filter(of_line).collect();
            let taken = self.joined_pairs(&command);
            left.retain(|pair| !taken.iter().any(|taken| std::ptr::eq(*taken, *pair)));
            joined_values.extend(taken.iter().map(|pair| pair.value.as_str()));
        }
        left.retain(|pair| !is_flag(pair));
        joined_values.extend(self.joined_pairs(&left).iter().map(|pair| pair.value.as_str()));
        joined_values
    }

    fn joined_pairs<'c>(&mut self, pairs: &[&'c Pair]) -> Vec<&'c Pair> {
        let texts: Vec<(&str, &str)> =
            pairs.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect();
        if texts.len() < 2 {
            return Vec::new();
        }
        self.tag_stems(&texts);
        let mut taken = Vec::new();
        for joined in parts::join_pairs(&texts) {
            self.composed(&joined.written, joined.is_sure);
            taken.extend(joined.taken.iter().filter_map(|&at| pairs.get(at).copied()));
        }
        taken
    }

    /// Decides what one reference in a text is.
    fn mention(&mut self, mention: &Mention, text: &str, outer: &KeyOf<'_>) {
        let inner = mention.key.as_deref().map(|key| KeyOf { key, meaning: keys::meaning(key) });
        let key = match &inner {
            Some(inner) if self.reads_keys() && inner.meaning != KeyMeaning::Other => inner,
            _ => outer,
        };
        let written = mention.written.as_str();
        if not_images::is_picture(written) || not_images::is_machine_image(written) {
            return;
        }
        let reference = mention.reference.clone();
        let evidence = self.evidence(mention, outer);
        if evidence == HostEvidence::NotRegistry {
            if key.meaning.is_image() && mention.is_whole && mention.has_registry {
                self.note_not_registry(&mention.reference, written);
            }
            return;
        }
        if !mention.has_version() {
            if mention.is_whole {
                self.without_version(mention, key);
            } else if mention.is_pulled && hosts::is_on_image_registry(written) {
                self.note_not_taken(written, "it has no tag", true);
            }
            return;
        }
        // A key in the text of a field is not the field: `expr: up{image="quay.io/acme/web:1"}`.
        let is_inside = inner.as_ref().is_some_and(|inner| std::ptr::eq(inner, key));
        let is_short = !mention.has_registry;
        let condition = match (key.meaning.is_image(), evidence) {
            (true, _) => {
                if let Some(reason) = not_images::placeholder(written) {
                    return self.note_placeholder(written, reason);
                }
                let confidence = if is_inside { Confidence::Named } else { self.named() };
                return self.found(reference, written, confidence, Condition::Always);
            }
            (false, HostEvidence::Plausible) => Condition::Always,
            (false, _) if is_short && is_host_and_port(&reference) => return,
            (false, _) if is_short => {
                Condition::IfKnown { note: self.is_short_image(mention, mention.written == text, key) }
            }
            (false, _) => {
                // `AGENT_URL: registry.example.com/acme/agent:main`
                let has_word =
                    reference.tag().is_some_and(|tag| !tag.starts_with(|c: char| c.is_ascii_digit()));
                Condition::IfKnown { note: has_word && self.is_address(mention, outer) }
            }
        };
        self.found(reference, written, Confidence::Mentioned, condition);
    }

    /// What the host of a reference says about whether it is an image.
    fn evidence(&self, mention: &Mention, outer: &KeyOf<'_>) -> HostEvidence {
        // Without the `library/` that a single word gets: `80:80` maps a port.
        let name = mention.written.split([':', '@']).next().unwrap_or_default();
        let path = mention.reference.repository().path();
        let has_letter = |text: &str| text.bytes().any(|byte| byte.is_ascii_lowercase());
        if !has_letter(path) || !mention.has_registry && !has_letter(name) {
            return HostEvidence::NotRegistry;
        }
        if !mention.has_registry {
            return HostEvidence::Weak;
        }
        let evidence = hosts::host_evidence(&mention.reference);
        let is_plausible = evidence == HostEvidence::Plausible;
        if is_plausible && self.is_address(mention, outer) { HostEvidence::Weak } else { evidence }
    }

    /// Whether a reference without a registry is probably an image, so that a note says that it is not mirrored.
    fn is_short_image(&self, mention: &Mention, is_text: bool, key: &KeyOf<'_>) -> bool {
        let is_other = matches!(key.meaning, KeyMeaning::Other | KeyMeaning::Part(_))
            || key.meaning == KeyMeaning::AboutImage && !keys::is_picture(key.key);
        let name = mention.written.split([':', '@']).next().unwrap_or_default();
        // `[[runners.kubernetes.services]]` of GitLab: `name = "postgres:15"`
        let is_named =
            mention.is_whole && mention.key.as_deref() == Some("name") && not_images::is_official(name);
        mention.is_pulled
            || is_named
            || mention.written.contains('/')
                && (mention.is_whole || is_text)
                && is_other
                && is_worth_a_note(&mention.reference, self.scope.embedding > 0)
    }

    /// Whether the key of a reference says that it is an address, and nothing else suggests an image: neither a known
    /// registry nor the tag of a release.
    fn is_address(&self, mention: &Mention, outer: &KeyOf<'_>) -> bool {
        let key = mention.key.as_deref().filter(|_| self.reads_keys()).unwrap_or(outer.key);
        let is_released = mention.reference.digest().is_some()
            || mention.reference.tag().is_some_and(|tag| tag == "latest" || not_images::is_release(tag));
        keys::is_address_key(key)
            && !is_released
            && !hosts::is_known_registry(mention.reference.repository().registry())
    }

    /// A whole value without a tag or a digest. It counts if the key leaves no doubt.
    fn without_version(&mut self, mention: &Mention, key: &KeyOf<'_>) {
        let written = mention.written.as_str();
        let is_field =
            self.scope.category == Category::Custom && !self.scope.is_settings && key.key == "image";
        match key.meaning {
            KeyMeaning::Image | KeyMeaning::ImageOrPart => {}
            KeyMeaning::Part(Part::Repository)
                if mention.has_registry && key.key.to_ascii_lowercase().contains("image") =>
            {
                return self.note_not_taken(written, "no tag is set next to it", true);
            }
            KeyMeaning::Other if mention.has_registry && hosts::is_on_image_registry(written) => {
                return self.note_not_taken(written, "it has no tag", true);
            }
            // `trivy.dbRepository`: the program adds the tag. What is only called `repository` is read with its neighbors.
            KeyMeaning::Part(Part::Repository)
                if !keys::stem(key.key).is_empty()
                    && mention.has_registry
                    && hosts::is_on_image_registry(written) =>
            {
                return self.note_not_taken(written, "it has no tag", true);
            }
            _ => return,
        }
        if let Some(reason) = not_images::placeholder(written) {
            // In code, a placeholder is a type: `image: string`.
            if mention.key.is_none() || written.contains('/') {
                self.note_placeholder(written, reason);
            }
            return;
        }
        match &self.scope.implied_tag {
            ImpliedTag::Known(tag) if is_field => {
                let tagged = format!("{written}:{tag}");
                return self.composed(&tagged, true);
            }
            ImpliedTag::Unknown(reason) if is_field => {
                let reason = *reason;
                return self.note_not_taken(written, reason, true);
            }
            _ => {}
        }
        if !mention.has_registry
            && let Some(completed) = self.complete_with_hub(written)
        {
            return self.composed(&completed, true);
        }
        let is_name = written.contains('/') || not_images::is_official(written);
        if self.scope.is_disabled && is_field {
            // A component that is disabled and has no version is a default that nothing uses.
            if written.contains('/') {
                self.note_not_taken(written, "its component is disabled", true);
            }
            return;
        }
        if key.meaning == KeyMeaning::Image && is_name {
            let condition = Condition::UnlessTagged { stem: keys::stem(key.key) };
            return self.found(mention.reference.clone(), written, self.named(), condition);
        }
        // A single word says nothing if the component is disabled, or in code: `image = name`.
        let is_empty_word = !written.contains('/') && (self.scope.is_disabled || mention.key.is_some());
        if !is_empty_word && (key.meaning == KeyMeaning::Image || is_name) {
            let reason = if is_name {
                "it has no tag"
            } else {
                "it is a single word without a tag, and not an official image of Docker Hub"
            };
            self.note_not_taken(written, reason, true);
        }
    }

    /// A value that its key calls an image, and that cannot be read as one.
    fn not_readable(&mut self, written: &str) {
        if let Some((scheme, rest)) = written.split_once("://") {
            let is_image = objects::has_version(rest) && rest.parse::<Reference>().is_ok();
            if is_image && matches!(scheme, "http" | "https") {
                self.note(Note::not_taken(self.found_at(self.named()), rest, "it is written as a URL"));
            }
            return;
        }
        if not_images::is_picture(written) || not_images::is_pattern(written) {
            return;
        }
        if let Some(reason) = not_images::placeholder(written) {
            return self.note_placeholder(written, reason);
        }
        if written.contains('/') || objects::has_version(written) {
            self.note_unreadable(written);
        }
    }

    /// Notes a value that is not a reference.
    pub(super) fn note_unreadable(&mut self, written: &str) {
        if let Err(error) = written.parse::<Reference>() {
            let found_at = self.found_at(self.named());
            let shown = crate::oci::reference::hide_login(written);
            self.note(Note::not_taken(found_at, &shown, &error.to_string()).with_remedy(None));
        }
    }

    /// A reference that a placeholder completes.
    fn unfinished(&mut self, written: &str) {
        let last = written.rsplit('/').next().unwrap_or(written);
        let before: String =
            written.chars().take_while(|character| !"${[(<*~+^%#".contains(*character)).collect();
        let reference = before.trim_end_matches(['.', ':', '-', '_', '/', '@']).parse::<Reference>();
        let is_plausible =
            reference.is_ok_and(|reference| hosts::host_evidence(&reference) != HostEvidence::NotRegistry);
        if is_plausible && last.contains([':', '@']) && has_placeholder(written) {
            let found_at = self.found_at(Confidence::Mentioned);
            let note = Note::not_taken(found_at, written, "it contains a placeholder");
            self.note(note.with_remedy("add it with --add IMAGE".to_owned()));
        }
    }

    /// Settings contain many templates that a program fills in with images that are named elsewhere, so they get no note.
    fn note_placeholder(&mut self, written: &str, reason: &str) {
        if !self.scope.is_settings {
            let found_at = self.found_at(self.named());
            self.note(Note::not_taken(found_at, written, reason).with_remedy(None));
        }
    }

    /// Notes an image whose host cannot be a registry: `image: github.com/acme/web:1`.
    pub(super) fn note_not_registry(&mut self, reference: &Reference, written: &str) {
        let is_host = hosts::host_evidence(reference) == HostEvidence::NotRegistry;
        let reason = if is_host { "its host is not a registry" } else { "its name has no letter" };
        self.note_not_taken(written, reason, false);
    }

    fn note_not_taken(&mut self, written: &str, reason: &str, lacks_tag: bool) {
        let note = Note::not_taken(self.found_at(self.named()), written, reason);
        self.note(if lacks_tag { note.with_tag_missing() } else { note });
    }
}

/// Whether what follows a reference is a placeholder.
fn has_placeholder(written: &str) -> bool {
    written.contains(['{', '$', '%', '<']) || written.ends_with("__")
}

/// Whether a name with a tag looks like a host with a port: `postgres:5432`.
fn is_host_and_port(reference: &Reference) -> bool {
    let is_port = |tag: &str| tag.len() > 2 && tag.bytes().all(|byte| byte.is_ascii_digit());
    reference.tag().is_some_and(is_port)
}
