//! Tells an error with its causes.
//!
//! Because errors of this program do not repeat their causes in their own text, whoever shows one shows the chain.

use std::error::Error;

/// An error and its causes, in one line. A cause that the text ends with already is not told twice.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failed {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn each_cause_is_told_once() {
        let failed = |text| Failed { text, source: io::Error::other("the disk is full") };
        assert_eq!(chain(&failed("it was not written")), "it was not written: the disk is full");
        assert_eq!(chain(&failed("no: the disk is full")), "no: the disk is full");
    }
}
