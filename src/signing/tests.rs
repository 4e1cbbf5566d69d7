//! Keys and signatures of cosign and OpenSSL; see `testdata/signing/README.md`.

use std::{fs, path::Path};

use secrecy::SecretString;

use super::*;

const MESSAGE: &[u8] = b"message";

fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/signing").join(name)).unwrap()
}

#[test]
fn signatures_of_other_programs_are_checked() {
    for name in ["cosign", "p256", "p384", "p521", "ed25519", "rsa"] {
        let key = PublicKey::from_pem(&file(&format!("{name}.pub"))).unwrap();
        let signature = file(&format!("{name}.sig"));
        assert!(key.verifies(MESSAGE, &signature), "{name}");
        assert!(!key.verifies(b"massage", &signature), "{name}");
        assert!(is_signature(&signature), "{name}");
        // cosign also takes a line break and the bytes themselves.
        assert!(key.verifies(MESSAGE, &[signature.as_slice(), b"\n"].concat()), "{name}");
        assert!(key.verifies(MESSAGE, &STANDARD.decode(&signature).unwrap()), "{name}");
        let other = if name == "p256" { "cosign.pub" } else { "p256.pub" };
        assert!(!PublicKey::from_pem(&file(other)).unwrap().verifies(MESSAGE, &signature), "{name}");
    }
}

#[test]
fn every_kind_of_private_key_signs_for_its_public_key() {
    for (key, public) in [
        ("cosign.key", "cosign.pub"),
        ("p256.pem", "p256.pub"),
        ("p521.pem", "p521.pub"),
        ("ed25519.pem", "ed25519.pub"),
        ("rsa.pem", "rsa.pub"),
    ] {
        let password = SecretString::from("hunter2");
        let pair = PrivateKey::from_pem(&file(key), Some(&password)).unwrap();
        let signature = pair.sign(MESSAGE).unwrap();
        assert!(PublicKey::from_pem(&file(public)).unwrap().verifies(MESSAGE, &signature), "{key}");
        assert!(pair.public().verifies(MESSAGE, &signature), "{key}");
        assert!(is_signature(&signature) && !signature.ends_with(b"\n"), "{key}");
    }
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let key = file("cosign.key");
    let with = |password: &str| PrivateKey::from_pem(&key, Some(&password.into())).unwrap_err();
    assert_eq!(with("hunter3"), KeyError::WrongPassword);
    assert_eq!(with(""), KeyError::WrongPassword);
    assert_eq!(PrivateKey::from_pem(&key, None).unwrap_err(), KeyError::NoPassword);
    // The older name of the same format.
    let older = String::from_utf8(key.clone()).unwrap().replace("SIGSTORE", "COSIGN");
    PrivateKey::from_pem(older.as_bytes(), Some(&"hunter2".into())).unwrap();
}

#[test]
fn a_key_file_must_not_take_all_memory() {
    let envelope = pem::parse(file("cosign.key")).unwrap();
    let envelope = String::from_utf8(envelope.contents().to_vec()).unwrap();
    for (from, to) in [
        ("\"N\":65536", "\"N\":1073741824"),
        ("\"r\":8", "\"r\":4294967295"),
        ("\"p\":1", "\"p\":4294967295"),
        ("\"N\":65536", "\"N\":65537"),
        ("\"N\":65536", "\"N\":0"),
        ("\"r\":8", "\"r\":0"),
        ("scrypt", "argon2"),
    ] {
        let changed = envelope.replace(from, to);
        assert_ne!(changed, envelope);
        let found = encrypted::decrypt(changed.as_bytes(), &"hunter2".into()).unwrap_err();
        assert_eq!(found, KeyError::Encryption, "{to}");
    }
}

#[test]
fn other_files_are_named() {
    let public = |name: &str| PublicKey::from_pem(&file(name)).unwrap_err();
    let private = |text: &[u8]| PrivateKey::from_pem(text, None).unwrap_err();
    assert_eq!(public("p256.pem"), KeyError::Private);
    assert_eq!(public("cosign.key"), KeyError::Private);
    assert_eq!(public("p256.sig"), KeyError::NotPem);
    assert_eq!(private(&file("p256.pub")), KeyError::Public);
    assert_eq!(private(&file("p256.sig")), KeyError::NotPem);
    assert_eq!(private(&file("p384.pem")), KeyError::Algorithm, "cosign checks P-384 with SHA-256");
    let older = String::from_utf8(file("rsa.pem")).unwrap().replace("PRIVATE", "RSA PRIVATE");
    assert!(matches!(private(older.as_bytes()), KeyError::Format { .. }));
    assert!(!is_signature(&file("p256.pub")) && !is_signature(b"notes") && !is_signature(b""));
}
