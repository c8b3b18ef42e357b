//! Tells paths from URLs, and refuses what `git` could read as something else.
//!
//! Takes what a person wrote as the repository. Gives a path or a URL of a known scheme.
//!
//! Never lets a text through that begins with `-` where `git` or `ssh` expects a host, a user, a path or a branch.

use std::path::PathBuf;

use super::{LEDGER_BRANCH, SourceError};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Location {
    Path(PathBuf),
    Url(String),
}

pub(super) fn read(text: &str) -> Result<Location, SourceError> {
    let refuse = |why: &str| Err(SourceError::Location { location: without_password(text), why: why.to_owned() });
    if text.is_empty() {
        return refuse("is empty");
    }
    if text.chars().any(char::is_control) {
        return refuse("holds a control character");
    }
    if text.starts_with('-') {
        return refuse("begins with `-`");
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path),
            None => (rest, ""),
        };
        return match scheme {
            "file" if !authority.is_empty() => refuse("names a host; a local path is `file:///path`"),
            "file" => Ok(Location::Url(text.to_owned())),
            "https" | "ssh" | "git" => match authority_and_path(authority, path) {
                Ok(())
                    if scheme == "https" && authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) =>
                {
                    refuse("holds a password: use a credential helper of Git, or ssh")
                }
                Ok(()) => Ok(Location::Url(text.to_owned())),
                Err(why) => refuse(why),
            },
            "http" => refuse("would send everything in the clear: use https"),
            _ => refuse("has a scheme other than https, ssh, git and file"),
        };
    }
    if text.contains("::") {
        return refuse("names a remote helper; only https, ssh, git and file are allowed");
    }
    // As git decides: a colon before the first slash is host:path.
    if let Some((host, path)) = text.split_once(':')
        && !host.contains('/')
    {
        return match authority_and_path(host, path) {
            Ok(()) => Ok(Location::Url(text.to_owned())),
            Err(why) => refuse(why),
        };
    }
    Ok(Location::Path(text.into()))
}

fn authority_and_path(authority: &str, path: &str) -> Result<(), &'static str> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() {
        return Err("has no host");
    }
    if host.starts_with('-') || host.starts_with("[-") {
        return Err("has a host that begins with `-`");
    }
    if user.is_some_and(|user| user.is_empty() || user.starts_with('-')) {
        return Err("has a user that is empty or begins with `-`");
    }
    if path.trim_start_matches('/').is_empty() {
        return Err("has no path");
    }
    if path.starts_with('-') || path.starts_with("/-") {
        return Err("has a path that begins with `-`");
    }
    Ok(())
}

/// The text with what is between a user's colon and the `@` left out.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or("");
            format!("{scheme}://{user}@{host}{}", &rest[end..])
        }
        None => text.to_owned(),
    }
}

/// Refuses branch names that Git would refuse, that read as an option, or that are the ledger's own.
pub(super) fn check_branch(branch: &str) -> Result<(), SourceError> {
    let refuse = |why: &str| Err(SourceError::Branch { branch: branch.to_owned(), why: why.to_owned() });
    if branch == "bayplan" {
        return Err(SourceError::BranchInTheWay);
    }
    if branch == LEDGER_BRANCH {
        return refuse("is the ledger's own branch");
    }
    if branch.starts_with('-') || !git2::Reference::is_valid_name(&format!("refs/heads/{branch}")) {
        return refuse("is not a valid branch name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Location, check_branch, read};

    #[test]
    fn urls_of_the_known_schemes_and_host_colon_path_are_urls() {
        for url in [
            "https://example.org/team/fleet.git",
            "https://me@example.org/fleet",
            "ssh://git@example.org:2222/fleet.git",
            "git@example.org:team/fleet.git",
            "example.org:fleet",
            "git://example.org/fleet",
            "file:///srv/fleet.git",
        ] {
            assert_eq!(read(url).expect(url), Location::Url(url.to_owned()));
        }
    }

    #[test]
    fn everything_else_that_is_no_option_is_a_path() {
        for path in [".", "fleet", "/srv/fleet.git", "../fleet", "./a:b"] {
            assert_eq!(read(path).expect(path), Location::Path(path.into()));
        }
    }

    #[test]
    fn what_git_or_ssh_could_read_as_an_option_is_refused() {
        for text in [
            "",
            "-u",
            "--upload-pack=x",
            "ssh://-oProxyCommand=x/fleet",
            "ssh://-x@example.org/fleet",
            "ssh://example.org/-x",
            "-x@example.org:fleet",
            "example.org:-x",
            "git@-example.org:fleet",
            "https:///fleet",
            "https://example.org",
            "http://example.org/fleet",
            "ftp://example.org/fleet",
            "ext::sh -c x",
            "file://host/fleet",
            "a\nb",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_saying_it() {
        let error = read("https://me:hunter2@example.org/fleet").expect_err("a password").to_string();
        assert!(error.contains("credential helper") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_ledgers_branch_and_odd_names_cannot_be_watched() {
        for branch in ["bayplan", "bayplan/status", "-x", "a..b", "", "a b", "x.lock"] {
            assert!(check_branch(branch).is_err(), "{branch:?}");
        }
        assert!(check_branch("release/2.x").is_ok() && check_branch("bayplan/next").is_ok());
    }
}
