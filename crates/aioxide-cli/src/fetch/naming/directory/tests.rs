//! Files get their names once, whole, and nobody else's, each way that the system has.

use std::collections::BTreeMap;
use std::io::Write;

use proptest::prelude::*;

use super::*;

fn save(directory: &Rc<Directory>, wanted: &str, bytes: &str) -> String {
    let part = directory.start().unwrap();
    part.file().as_ref().write_all(bytes.as_bytes()).unwrap();
    keep(part, wanted)
}

fn keep(part: PartFile, wanted: &str) -> String {
    part.keep(wanted, &mut |_| Ok(())).unwrap()
}

/// Calls `test` with an empty directory, once for each way of naming files that the system has.
fn both_ways(test: impl Fn(&Path, &dyn Fn(bool) -> Rc<Directory>)) {
    for nameless in [true, false] {
        let path = tempfile::tempdir().unwrap();
        test(path.path(), &|overwrite| {
            let mut directory = Directory::open(path.path(), overwrite).unwrap();
            directory.nameless &= nameless;
            Rc::new(directory)
        });
    }
}

fn contents(path: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect()
}

#[track_caller]
fn check(path: &Path, expected: &[(&str, &str)]) {
    let expected = expected.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).to_owned())).collect();
    assert_eq!(contents(path), expected);
}

#[test]
fn taken_names_are_numbered_and_nothing_is_overwritten() {
    both_ways(|path, open| {
        fs::write(path.join("a.txt"), "old").unwrap();
        fs::create_dir(path.join("a-2.txt")).unwrap();
        let directory = open(false);
        assert_eq!(save(&directory, "a.txt", "1"), "a-1.txt");
        assert_eq!(save(&directory, "a.txt", "2"), "a-3.txt");
        assert_eq!(save(&directory, "b.txt", "3"), "b.txt");
        check(path, &[("a.txt", "old"), ("a-1.txt", "1"), ("a-3.txt", "2"), ("b.txt", "3")]);
    });
}

#[test]
fn overwriting_replaces_old_files_but_none_of_this_run() {
    both_ways(|path, open| {
        fs::write(path.join("a.txt"), "old").unwrap();
        fs::write(path.join("a-1.txt"), "old").unwrap();
        fs::create_dir(path.join("b.txt")).unwrap();
        let directory = open(true);
        assert_eq!(save(&directory, "a.txt", "1"), "a.txt");
        assert_eq!(save(&directory, "a.txt", "2"), "a-1.txt");
        assert_eq!(save(&directory, "b.txt", "3"), "b-1.txt");
        check(path, &[("a.txt", "1"), ("a-1.txt", "2"), ("b-1.txt", "3")]);
    });
}

#[test]
fn overwriting_where_case_and_form_are_ignored_keeps_both_files() {
    both_ways(|_, open| {
        let mut directory = open(true);
        Rc::get_mut(&mut directory).unwrap().folds = true;
        assert_eq!(save(&directory, "A.txt", "1"), "A.txt");
        assert_eq!(save(&directory, "a.txt", "2"), "a-1.txt");
        assert_eq!(save(&directory, "A-1.TXT", "3"), "A-1-1.TXT");
        assert_eq!(save(&directory, "\u{e9}", "4"), "\u{e9}");
        assert_eq!(save(&directory, "E\u{301}", "5"), "E\u{301}-1");
    });
}

#[test]
fn overwriting_where_case_counts_gives_each_name_as_it_is() {
    both_ways(|path, open| {
        let directory = open(true);
        // A file system that ignores case, on which this test may run, is right to number.
        if !directory.folds {
            assert_eq!(save(&directory, "A", "1"), "A");
            assert_eq!(save(&directory, "a", "2"), "a");
            check(path, &[("A", "1"), ("a", "2")]);
        }
    });
}

#[test]
fn overwriting_spares_what_the_run_reads_and_writes() {
    both_ways(|path, open| {
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        fs::write(&elsewhere, "list").unwrap();
        fs::write(path.join("report"), "report").unwrap();
        fs::hard_link(path.join("report"), path.join("hard")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), path.join("soft")).unwrap();
        let mut directory = open(true);
        let identity = |path: &Path| Identity::of(File::open(path).unwrap()).unwrap();
        Rc::get_mut(&mut directory)
            .unwrap()
            .spare([identity(&path.join("report")), identity(elsewhere.path())], []);
        for name in ["report", "hard", "soft"] {
            assert_eq!(save(&directory, name, "new"), format!("{name}-1"));
        }
        assert_eq!(fs::read(path.join("report")).unwrap(), b"report");
        assert_eq!(fs::read(path.join("soft")).unwrap(), b"list");
    });
}

#[test]
fn file_in_the_place_of_the_directory_is_named_as_such() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Directory::open(file.path(), false).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn downloads_in_flight_do_not_meet() {
    both_ways(|path, open| {
        let directory = open(false);
        let (first, second) = (directory.start().unwrap(), directory.start().unwrap());
        first.file().as_ref().write_all(b"1").unwrap();
        second.file().as_ref().write_all(b"2").unwrap();
        assert_eq!(keep(second, "a"), "a");
        assert_eq!(keep(first, "a"), "a-1");
        check(path, &[("a", "2"), ("a-1", "1")]);
    });
}

#[test]
fn file_that_is_not_kept_leaves_nothing() {
    both_ways(|path, open| {
        let directory = open(false);
        let part = directory.start().unwrap();
        part.file().as_ref().write_all(b"half").unwrap();
        assert_eq!(contents(path).len(), usize::from(!directory.nameless));
        drop(part);
        check(path, &[]);
    });
}

#[test]
fn left_over_temporary_file_is_stepped_over() {
    let path = tempfile::tempdir().unwrap();
    let left_over = format!(".aioxide-{}-0.part", std::process::id());
    fs::write(path.path().join(&left_over), "not ours").unwrap();
    let mut directory = Directory::open(path.path(), false).unwrap();
    (directory.nameless, directory.temporary) = (false, Cell::new(0));
    let directory = Rc::new(directory);
    assert_eq!(save(&directory, "a", "1"), "a");
    check(path.path(), &[(&left_over, "not ours"), ("a", "1")]);
}

#[test]
fn symbolic_link_is_not_followed() {
    both_ways(|path, open| {
        let outside = tempfile::NamedTempFile::new().unwrap();
        for overwrite in [false, true] {
            let name = format!("link{overwrite}");
            std::os::unix::fs::symlink(outside.path(), path.join(&name)).unwrap();
            save(&open(overwrite), &name, "1");
        }
        assert_eq!(fs::read(outside.path()).unwrap(), b"");
    });
}

#[test]
fn placeholder_way_never_overwrites_either() {
    let path = tempfile::tempdir().unwrap();
    fs::write(path.path().join("a"), "old").unwrap();
    let mut directory = Directory::open(path.path(), true).unwrap();
    directory.nameless = false;
    let directory = Rc::new(directory);
    let mut part = directory.start().unwrap();
    part.file().as_ref().write_all(b"new").unwrap();
    let temporary = part.name.take().unwrap();
    let error = directory.rename_over_placeholder(&temporary, "a").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    directory.rename_over_placeholder(&temporary, "b").unwrap();
    check(path.path(), &[("a", "old"), ("b", "new")]);
}

#[test]
fn many_equal_names_do_not_search_from_the_start() {
    both_ways(|path, open| {
        let directory = open(false);
        for _ in 0..500 {
            save(&directory, "index.html", "");
        }
        assert_eq!(directory.hints.borrow()["index.html"], 500);
        assert_eq!(contents(path).len(), 500);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_file_is_kept_whole_under_its_own_name(
        old in prop::collection::btree_set("[ab](-[12])?(\\.x)?", 0..5),
        wanted in prop::collection::vec("[ab](-[12])?(\\.x)?", 1..25),
        (overwrite, nameless) in any::<(bool, bool)>(),
    ) {
        let path = tempfile::tempdir().unwrap();
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for name in &old {
            fs::write(path.path().join(name), "old").unwrap();
            expected.insert(name.clone(), "old".to_owned());
        }
        let mut directory = Directory::open(path.path(), overwrite).unwrap();
        directory.nameless &= nameless;
        let directory = Rc::new(directory);
        for (number, name) in wanted.iter().enumerate() {
            let got = save(&directory, name, &number.to_string());
            let before = expected.insert(got, number.to_string());
            prop_assert!(before.is_none() || overwrite && before.as_deref() == Some("old"));
        }
        prop_assert_eq!(contents(path.path()), expected);
    }
}
