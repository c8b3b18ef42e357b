//! How the program ends: the exit codes, in one place.

use std::process::ExitCode;

/// Why the program ends as it does. Ordered by what wins when several are true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// The command line or the configuration is wrong.
    Usage,
    /// Files of the repository are wrong.
    Repository,
    /// The world did not do its part: an engine, Git, a container.
    World,
    /// It was taken back.
    RolledBack,
    /// Something is not done on purpose.
    Held,
    /// The answer asked for is no.
    No,
    AsAsked,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::AsAsked => 0,
            Self::Repository => 1,
            Self::Usage => 2,
            Self::World => 3,
            Self::No => 4,
            Self::Held => 5,
            Self::RolledBack => 6,
        }
    }

    /// The one that counts when both are true.
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn of_several_reasons_the_one_that_a_person_must_see_first_wins() {
        let mut exits =
            [Exit::AsAsked, Exit::Held, Exit::No, Exit::RolledBack, Exit::World, Exit::Repository, Exit::Usage];
        exits.sort();
        assert_eq!(exits.map(Exit::code), [2, 1, 3, 6, 5, 4, 0]);
        assert_eq!(Exit::Held.and(Exit::World), Exit::World);
    }
}
