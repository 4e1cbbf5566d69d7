//! One text: whether it names images, by what its key says and by what it looks like.
//!
//! A value counts if its key says that it is an image, or if it is a complete reference with a host, a path, and a tag
//! or a digest. An image of a Docker Hub organization that no key calls one counts only beside others of the same
//! organization. What looks like an image and does not count becomes a note.

use crate::{
    enumerate::{EnumerateError, Note, image::Confidence},
    oci::Reference,
};

use super::{
    charts::ImpliedTag,
    findings::{Condition, is_worth_a_note},
    keys::{self, KeyMeaning, Part},
    not_images::{self, HostEvidence},
    objects, parts,
    resource::Category,
    text::{self, Mention},
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
        let pairs: Vec<(&str, &str)> =
            content.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut joined_values = Vec::new();
        if self.reads_keys() && pairs.len() > 1 {
            self.tag_stems(&pairs);
            for joined in parts::join_pairs(&pairs) {
                self.composed(&joined.written, joined.is_sure);
                joined_values
                    .extend(joined.taken.iter().filter_map(|&at| pairs.get(at)).map(|(_, value)| *value));
            }
        }
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

    /// Decides what one reference in a text is.
    fn mention(&mut self, mention: &Mention, text: &str, outer: &KeyOf<'_>) {
        let inner = mention.key.as_deref().map(|key| KeyOf { key, meaning: keys::meaning(key) });
        let key = match &inner {
            Some(inner) if self.reads_keys() && inner.meaning != KeyMeaning::Other => inner,
            _ => outer,
        };
        let written = mention.written.as_str();
        if not_images::is_picture(written) {
            return;
        }
        let reference = mention.reference.clone();
        let has_letter = reference.repository().path().bytes().any(|byte| byte.is_ascii_lowercase());
        let evidence = match () {
            () if !has_letter => HostEvidence::NotRegistry,
            () if mention.has_registry => not_images::host_evidence(&reference),
            () => HostEvidence::Weak,
        };
        if evidence == HostEvidence::NotRegistry {
            return;
        }
        if !mention.has_version() {
            if mention.is_whole {
                self.without_version(mention, key);
            }
            return;
        }
        let is_alone = mention.is_whole || mention.written == text;
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
            (false, _) => {
                let is_other = key.meaning == KeyMeaning::Other
                    || key.meaning == KeyMeaning::AboutImage && !keys::is_picture(key.key);
                Condition::IfKnown {
                    note: is_short
                        && (mention.is_pulled
                            || written.contains('/')
                                && is_alone
                                && is_other
                                && is_worth_a_note(&reference, self.scope.embedding > 0)),
                }
            }
        };
        self.found(reference, written, Confidence::Mentioned, condition);
    }

    /// A whole value without a tag or a digest. It counts where the key leaves no doubt.
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
            KeyMeaning::Other if mention.has_registry && not_images::is_on_image_registry(written) => {
                return self.note_not_taken(written, "it has no tag", true);
            }
            _ => return,
        }
        if let Some(reason) = not_images::placeholder(written) {
            return self.note_placeholder(written, reason);
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
            // Something that is switched off and has no version is a default that nothing uses.
            if written.contains('/') {
                self.note_not_taken(written, "its component is disabled", true);
            }
            return;
        }
        if key.meaning == KeyMeaning::Image && is_name {
            let condition = Condition::UnlessTagged { stem: keys::stem(key.key) };
            return self.found(mention.reference.clone(), written, self.named(), condition);
        }
        // A single word says nothing where a component is switched off, or in code: `image = name`.
        let is_empty_word = !written.contains('/') && (self.scope.is_disabled || mention.key.is_some());
        if !is_empty_word && (key.meaning == KeyMeaning::Image || written.contains('/')) {
            let reason = if written.contains('/') {
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

    /// A reference that a placeholder completes.
    fn unfinished(&mut self, written: &str) {
        let last = written.rsplit('/').next().unwrap_or(written);
        let before: String =
            written.chars().take_while(|character| !"${[(<*~+^%#".contains(*character)).collect();
        let reference = before.trim_end_matches(['.', ':', '-', '_', '/', '@']).parse::<Reference>();
        let is_plausible = reference
            .is_ok_and(|reference| not_images::host_evidence(&reference) != HostEvidence::NotRegistry);
        if is_plausible && last.contains([':', '@']) && has_placeholder(written) {
            let found_at = self.found_at(Confidence::Mentioned);
            let note = Note::not_taken(found_at, written, "it contains a placeholder");
            self.note(note.with_remedy("add it with --add IMAGE".to_owned()));
        }
    }

    /// In settings there are templates in plenty, which a program fills in with images that are named elsewhere.
    fn note_placeholder(&mut self, written: &str, reason: &str) {
        if !self.scope.is_settings {
            let found_at = self.found_at(self.named());
            self.note(Note::not_taken(found_at, written, reason).with_remedy(None));
        }
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

/// Whether a name with a tag is rather a host with a port: `postgres:5432`.
fn is_host_and_port(reference: &Reference) -> bool {
    let is_port = |tag: &str| tag.len() > 2 && tag.bytes().all(|byte| byte.is_ascii_digit());
    reference.tag().is_some_and(is_port)
}
