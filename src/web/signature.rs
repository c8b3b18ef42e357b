//! Whether a request was sent by somebody who knows the secret.
//!
//! Takes the body as it came. Never parses it, and compares in constant time: how much of a guess is right shows in no
//! duration.

use axum::http::HeaderMap;
use ring::hmac;

use crate::model::config::Provider;
use crate::secret::Secret;

/// The headers that may carry the proof; the first that is there counts.
pub fn headers(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Github => &["X-Hub-Signature-256"],
        Provider::Gitlab => &["X-Gitlab-Token"],
        Provider::Gitea => &["X-Gitea-Signature", "X-Forgejo-Signature", "X-Hub-Signature-256"],
        Provider::Bitbucket => &["X-Hub-Signature"],
        Provider::Generic => &["X-Bayplan-Signature"],
    }
}

/// Whether the proof fits the body and the secret.
pub fn is_right(provider: Provider, secret: &Secret<String>, headers: &HeaderMap, body: &[u8]) -> bool {
    let Some(given) = self::headers(provider).iter().find_map(|name| headers.get(*name)) else { return false };
    let secret = secret.expose().as_bytes();
    // No secret proves nothing.
    if secret.is_empty() {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    match provider {
        Provider::Gitlab => {
            // Both are hashed, so that neither their bytes nor their lengths show.
            let expected = hmac::sign(&key, secret);
            hmac::verify(&key, given.as_bytes(), expected.as_ref()).is_ok()
        }
        Provider::Github | Provider::Gitea | Provider::Bitbucket | Provider::Generic => {
            let given = given.as_bytes();
            let given = given.strip_prefix(b"sha256=").unwrap_or(given);
            hex::decode(given).is_ok_and(|tag| hmac::verify(&key, body, &tag).is_ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::is_right;
    use crate::model::config::Provider;
    use crate::secret::Secret;

    fn judged(provider: Provider, secret: &str, header: &str, given: &str, body: &str) -> bool {
        let mut headers = HeaderMap::new();
        let name = HeaderName::try_from(header).expect("a name");
        headers.insert(name, HeaderValue::try_from(given).expect("a value"));
        is_right(provider, &Secret::new(secret.to_owned()), &headers, body.as_bytes())
    }

    #[test]
    fn the_example_of_githubs_documentation_is_right() {
        let (secret, body) = ("It's a Secret to Everybody", "Hello, World!");
        let digits = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let signature = format!("sha256={digits}");
        assert!(judged(Provider::Github, secret, "X-Hub-Signature-256", &signature, body));
        assert!(judged(Provider::Gitea, secret, "X-Gitea-Signature", digits, body));
        assert!(judged(Provider::Bitbucket, secret, "X-Hub-Signature", &signature, body));
        for (secret, signature, body) in [
            (secret, signature.as_str(), "Hello, World?"),
            ("It's no Secret", &signature, body),
            (secret, &signature[..signature.len() - 2], body),
            (secret, "sha256=", body),
            (secret, "", body),
            ("", &signature, body),
        ] {
            assert!(!judged(Provider::Github, secret, "X-Hub-Signature-256", signature, body), "{secret} {signature}");
        }
        assert!(
            !judged(Provider::Github, secret, "X-Hub-Signature", &signature, body),
            "SHA-1's header is not looked at"
        );
    }

    #[test]
    fn a_token_must_be_the_secret_itself() {
        assert!(judged(Provider::Gitlab, "token", "X-Gitlab-Token", "token", "{}"));
        for (secret, given) in [("token", "toke"), ("token", "token2"), ("token", ""), ("", "")] {
            assert!(!judged(Provider::Gitlab, secret, "X-Gitlab-Token", given, "{}"), "{given}");
        }
    }
}
