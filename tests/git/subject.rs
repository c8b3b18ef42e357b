//! A repository for the contract: one in Git, or the simulated one that may stand for it.

use std::cell::RefCell;
use std::sync::Arc;

use bayplan::ledger::{self, StatusBranch};
use bayplan::name::Revision;
use bayplan::source::memory::faults::{Act, Fault, Times, Which};
use bayplan::source::memory::{self, Commit, Entry, Files, MemoryRepository, Place};
use bayplan::source::{self, Source};

use crate::repo::Repo;

/// A repository that people commit to, of either kind.
pub enum Subject {
    Git(Repo),
    Memory(MemoryRepository, RefCell<Files>),
}

#[derive(Clone, Copy)]
pub enum Kind {
    Git,
    Memory,
}

impl Subject {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Git => Self::Git(Repo::new()),
            Kind::Memory => Self::Memory(MemoryRepository::new("fleet"), RefCell::default()),
        }
    }

    /// One that is pushed to and that nobody works in.
    pub fn bare(kind: Kind) -> Self {
        match kind {
            Kind::Git => Self::Git(Repo::bare()),
            Kind::Memory => Self::new(kind),
        }
    }

    pub fn cloned(&self) -> Self {
        match self {
            Self::Git(repo) => Self::Git(Repo::clone_of(repo)),
            Self::Memory(repository, files) => Self::Memory(repository.cloned("clone"), files.clone()),
        }
    }

    pub fn write(&self, path: &str, text: &str) {
        match self {
            Self::Git(repo) => repo.write(path, text),
            Self::Memory(_, files) => drop(files.borrow_mut().insert(path.into(), Entry::Text(text.into()))),
        }
    }

    pub fn remove(&self, path: &str) {
        match self {
            Self::Git(repo) => std::fs::remove_file(repo.path.join(path)).unwrap(),
            Self::Memory(_, files) => drop(files.borrow_mut().remove(path).unwrap()),
        }
    }

    pub fn link(&self, path: &str) {
        match self {
            Self::Git(repo) => std::os::unix::fs::symlink("/etc/passwd", repo.path.join(path)).unwrap(),
            Self::Memory(_, files) => drop(files.borrow_mut().insert(path.into(), Entry::Symlink)),
        }
    }

    pub fn commit(&self, message: &str) -> Revision {
        match self {
            Self::Git(repo) => repo.commit(message),
            Self::Memory(repository, files) => repository.commit("main", message, files.borrow().clone()),
        }
    }

    pub fn change(&self, path: &str, text: &str) -> Revision {
        self.write(path, text);
        self.commit(&format!("change {path}"))
    }

    /// A commit on a branch of its own, beside what is checked out, merged into `main`. Gives both.
    pub fn merge_beside(&self, path: &str, text: &str, from: &Revision) -> (Revision, Revision) {
        match self {
            Self::Git(repo) => {
                repo.git(&["checkout", "--quiet", "-b", "side", from.as_str()]);
                let side = repo.change(path, text);
                repo.git(&["checkout", "--quiet", "main"]);
                repo.git(&["merge", "--quiet", "--no-ff", "--no-edit", "side"]);
                (side, repo.at("main"))
            }
            Self::Memory(repository, files) => {
                let entry = || Entry::Text(text.into());
                let mut beside = repository.find(from).unwrap().files.as_ref().clone();
                beside.insert(path.into(), entry());
                let parents = vec![from.clone()];
                let side = repository.make(Commit { parents, files: Arc::new(beside), message: "side".to_owned() });
                files.borrow_mut().insert(path.into(), entry());
                let parents = vec![repository.head("main").unwrap(), side.clone()];
                let files = Arc::new(files.borrow().clone());
                let merged = repository.make(Commit { parents, files, message: "merge".to_owned() });
                repository.set("main", Some(&merged));
                (side, merged)
            }
        }
    }

    pub fn set_main(&self, to: &Revision) {
        match self {
            Self::Git(repo) => drop(repo.git(&["update-ref", "refs/heads/main", to.as_str()])),
            Self::Memory(repository, _) => repository.set("main", Some(to)),
        }
    }

    pub fn remove_main(&self) {
        match self {
            Self::Git(repo) => drop(repo.git(&["update-ref", "-d", "refs/heads/main"])),
            Self::Memory(repository, _) => repository.set("main", None),
        }
    }

    /// The commit that the local ledger is at.
    pub fn ledger_at(&self) -> Option<Revision> {
        match self {
            Self::Git(repo) => {
                let found = repo.try_git(&["rev-parse", "--verify", "--quiet", "refs/heads/bayplan/status"]);
                Revision::new(String::from_utf8_lossy(&found.stdout).trim()).ok()
            }
            Self::Memory(repository, _) => repository.head("bayplan/status"),
        }
    }

    /// Sees what the remote repository has now.
    pub async fn fetch(&self) {
        match self {
            Self::Git(repo) => drop(repo.git(&["fetch", "--quiet", "origin"])),
            Self::Memory(repository, _) => {
                memory::open(repository, "main", Place::Mirror).fetch().await.unwrap();
            }
        }
    }

    pub async fn source(&self) -> Source {
        match self {
            Self::Git(repo) => repo.source().await,
            Self::Memory(repository, _) => memory::open(repository, "main", Place::InPlace),
        }
    }

    /// A mirror of this one, which belongs to nobody else.
    pub async fn mirror(&self) -> Source {
        match self {
            Self::Git(repo) => source::open(&repo.url(), Some("main"), &repo.cache()).await.unwrap(),
            Self::Memory(repository, _) => memory::open(&repository.cloned("mirror"), "main", Place::Mirror),
        }
    }

    pub async fn ledger(&self) -> StatusBranch {
        ledger::open(&self.source().await).await.unwrap()
    }

    /// Another process holds the lock of the ledger's branch.
    pub fn lock(&self) -> Box<dyn FnOnce() + '_> {
        match self {
            Self::Git(repo) => {
                let folder = if repo.path.join(".git").exists() { repo.path.join(".git") } else { repo.path.clone() };
                let lock = folder.join("refs/heads/bayplan/status.lock");
                std::fs::write(&lock, "").unwrap();
                Box::new(move || std::fs::remove_file(lock).unwrap())
            }
            Self::Memory(repository, _) => {
                let id = repository.fault(Fault::Locked, Which::Only(Act::CommitLedger), Times::UntilLifted);
                Box::new(move || repository.lift(id))
            }
        }
    }

    /// The remote repository of `here`, which is this one, cannot be reached.
    pub fn vanish<'a>(&'a self, here: &'a Self) -> Box<dyn FnOnce() + 'a> {
        match (self, here) {
            (Self::Git(repo), _) => {
                let away = repo.home.path().join("away");
                std::fs::rename(&repo.path, &away).unwrap();
                Box::new(move || std::fs::rename(away, &repo.path).unwrap())
            }
            (Self::Memory(..), Self::Memory(here, _)) => {
                let id = here.fault(Fault::Fail, Which::Remote, Times::UntilLifted);
                Box::new(move || here.lift(id))
            }
            (Self::Memory(..), Self::Git(_)) => unreachable!("both are of one kind"),
        }
    }
}
