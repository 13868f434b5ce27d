//! Which linker makes the Wasm module. rustup's compilers bring one; Debian's expects one that it does not depend on.

use std::fs;
use std::path::{Path, PathBuf};

/// A linker for Wasm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linker {
    /// The compiler finds it by itself.
    Own,
    /// The compiler has to be told.
    Named(PathBuf),
}

/// The compiler's own linker, else one on the path, else one that belongs to another compiler: they are all LLVM's.
/// `libraries` is where the compiler keeps the host's libraries, `others` the same of all compilers.
pub fn find(libraries: &Path, path: &[PathBuf], others: &[PathBuf]) -> Option<Linker> {
    let own = |libraries: &Path| Some(libraries.parent()?.join("bin/rust-lld")).filter(|linker| linker.is_file());
    let on_path = |name: &str| path.iter().map(|dir| dir.join(name)).find(|linker| linker.is_file());
    if own(libraries).is_some() || on_path("rust-lld").is_some() {
        return Some(Linker::Own);
    }
    let versioned = || path.iter().filter_map(|dir| newest(dir)).max().map(|(_, linker)| linker);
    let other = || others.iter().find_map(|libraries| own(libraries));
    versioned().or_else(other).or_else(|| on_path("wasm-ld")).map(Linker::Named)
}

/// The `wasm-ld-N` of the highest N in a directory: an old one may not know what a new compiler writes.
fn newest(dir: &Path) -> Option<(u32, PathBuf)> {
    let version = |path: &Path| path.file_name()?.to_str()?.strip_prefix("wasm-ld-")?.parse().ok();
    let files = fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.is_file()).filter_map(|path| Some((version(&path)?, path))).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_one_first_then_the_newest() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |path: &str| root.path().join(path);
        let touch = |path: &str| {
            fs::create_dir_all(at(path).parent().expect("below the root")).expect("a directory");
            fs::write(at(path), "").expect("a file");
        };
        let check = |expect: Option<Linker>| {
            assert_eq!(find(&at("debian/lib"), &[at("bin")], &[at("debian/lib"), at("rustup/lib")]), expect);
        };
        check(None);
        touch("bin/wasm-ld");
        check(Some(Linker::Named(at("bin/wasm-ld"))));
        touch("rustup/bin/rust-lld");
        check(Some(Linker::Named(at("rustup/bin/rust-lld"))));
        touch("bin/wasm-ld-9");
        touch("bin/wasm-ld-22");
        touch("bin/wasm-ld-old");
        check(Some(Linker::Named(at("bin/wasm-ld-22"))));
        touch("bin/rust-lld");
        check(Some(Linker::Own));
        fs::remove_file(at("bin/rust-lld")).expect("it was there");
        touch("debian/bin/rust-lld");
        check(Some(Linker::Own));
    }
}
