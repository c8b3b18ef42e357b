//! An image out of what is running: this program, the libraries that it has mapped, and its loader.
//!
//! Gives a tar of a root file system, and the changes that make it start. Nothing is downloaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::model::request::LABEL_OWNER;

/// Where the program is inside the image.
const PROGRAM: &str = "bayplan";
/// Where its libraries are. Their own folders differ between distributions; a variable tells the loader.
const LIBRARIES: &str = "lib/bayplan";

/// A file in the image.
struct Entry {
    content: Vec<u8>,
    mode: u32,
}

/// The tar of the root file system.
///
/// # Errors
/// When this is no Linux, or a part of the program cannot be read.
pub fn root() -> io::Result<Vec<u8>> {
    let program = std::fs::read("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut files: BTreeMap<String, Entry> = BTreeMap::new();
    let mut put = |path: String, content: Vec<u8>| files.insert(path, Entry { content, mode: 0o755 });
    if let Some(loader) = loader(&program) {
        let content = std::fs::read(&loader)?;
        put(loader.trim_start_matches('/').to_owned(), content);
    }
    for library in libraries(&maps, &std::fs::read_link("/proc/self/exe")?) {
        let content = std::fs::read(&library)?;
        for name in names_of(&library)? {
            put(format!("{LIBRARIES}/{name}"), content.clone());
        }
    }
    put(PROGRAM.to_owned(), program);
    Ok(tar(&files))
}

/// What the engine notes beside the files.
pub fn changes(owner: &str) -> Vec<String> {
    vec![
        format!("ENTRYPOINT [\"/{PROGRAM}\", \"demo-service\"]"),
        format!("ENV LD_LIBRARY_PATH=/{LIBRARIES}"),
        format!("LABEL {LABEL_OWNER}={owner}"),
    ]
}

/// The loader that the kernel starts for a program; none when it needs none. From its ELF program headers (64 bit,
/// little endian; System V ABI, chapter 5): entry type 3 holds a path.
fn loader(program: &[u8]) -> Option<String> {
    const INTERPRETER: u64 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let field = program.get(at..at.checked_add(bytes)?)?;
        Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let is_known = program.starts_with(b"\x7fELF") && program.get(4) == Some(&2) && program.get(5) == Some(&1);
    if !is_known {
        return None;
    }
    let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    (0..count).find_map(|index| {
        let header = usize::try_from(table + index * size).ok()?;
        if number(header, 4)? != INTERPRETER {
            return None;
        }
        let start = usize::try_from(number(header + 0x08, 8)?).ok()?;
        let length = usize::try_from(number(header + 0x20, 8)?).ok()?;
        let path = program.get(start..start.checked_add(length)?)?;
        String::from_utf8(path.iter().copied().take_while(|byte| *byte != 0).collect()).ok()
    })
}

/// The files that are mapped to be executed, the program itself left out.
fn libraries(maps: &str, program: &Path) -> BTreeSet<PathBuf> {
    let mapped = maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let rights = words.nth(1)?;
        let path = words.nth(3)?;
        (rights.contains('x') && path.starts_with('/')).then(|| PathBuf::from(path))
    });
    mapped.filter(|path| path != program).collect()
}

/// The name of a library and the links beside it that lead to it: programs ask for `libc.so.6`, which may be a link.
fn names_of(library: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let (Some(folder), Some(name)) = (library.parent(), library.file_name()) else {
        return Ok(names);
    };
    names.insert(name.to_string_lossy().into_owned());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_link = entry.file_type()?.is_symlink();
        if is_link && std::fs::canonicalize(entry.path()).is_ok_and(|target| target == library) {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// A tar of files in the `ustar` format (POSIX.1-1988), with the folders that they need. No times and no users: equal
/// files give an equal archive.
fn tar(files: &BTreeMap<String, Entry>) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut folders = BTreeSet::new();
    for path in files.keys() {
        folders.extend(path.match_indices('/').map(|(at, _)| path[..=at].to_owned()));
    }
    // Programs expect a folder for passing files.
    folders.insert("tmp/".to_owned());
    for folder in &folders {
        archive.extend(header(folder, 0, if folder == "tmp/" { 0o1777 } else { 0o755 }, b'5'));
    }
    for (path, Entry { content, mode }) in files {
        archive.extend(header(path, content.len(), *mode, b'0'));
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

const BLOCK: usize = 512;

fn header(path: &str, size: usize, mode: u32, kind: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    // Names of libraries and folders here are far shorter than the field.
    let name = &path.as_bytes()[..path.len().min(100)];
    put(0, name);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::{BLOCK, libraries, loader, root};

    #[test]
    fn the_libraries_are_what_is_mapped_to_be_executed() {
        let maps = "55-56 r-xp 0 fd:00 1    /usr/bin/bayplan\n\
                    70-71 r--p 0 fd:00 2    /usr/lib/libc.so.6\n\
                    71-72 r-xp 1 fd:00 2    /usr/lib/libc.so.6\n\
                    72-73 rw-p 0 00:00 0    [heap]\n\
                    74-75 r-xp 0 00:00 0    [vdso]\n";
        let found = libraries(maps, Path::new("/usr/bin/bayplan"));
        assert_eq!(found, BTreeSet::from([PathBuf::from("/usr/lib/libc.so.6")]));
    }

    #[test]
    fn what_is_no_program_has_no_loader() {
        assert_eq!(loader(b"#!/bin/sh\n"), None);
        assert_eq!(loader(b"\x7fELF\x02\x01"), None);
    }

    #[test]
    fn the_archive_holds_this_program() {
        let archive = root().expect("this is Linux");
        assert_eq!(archive.len() % BLOCK, 0);
        let has = |path: &[u8]| archive.chunks(BLOCK).any(|block| block.starts_with(path));
        assert!(has(b"bayplan\0") && has(b"tmp/\0"));
    }
}
