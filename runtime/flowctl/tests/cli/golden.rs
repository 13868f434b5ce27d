//! Output against files that hold what it has to be. What differs from run to run (ids, times, directories) is replaced
//! first. `GOLDEN=write cargo test` writes the files anew; look at the difference before it is committed.

use std::fs;
use std::path::PathBuf;

/// Holds `output` against the golden file `name`.
pub fn check(name: &str, output: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(name);
    let output = steady(output);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, &output).expect("a file");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(output, golden, "{} differs; GOLDEN=write writes it anew", path.display());
}

/// The output with every id as `NAME-ID` or `ID`, every time as `TIME`, and other numbers that vary as `NUMBER`.
fn steady(output: &str) -> String {
    let mut text = String::new();
    for line in output.split_inclusive('\n') {
        text += &steady_line(line);
    }
    text
}

fn steady_line(line: &str) -> String {
    let key = line.trim_start().split('"').nth(1).unwrap_or_default();
    let stands = match key {
        "submitted" | "ended" | "now" | "time" => Some("TIME"),
        "checkpoint" | "incarnation" => Some("ID"),
        "bytes" | "next" | "entries" => Some("NUMBER"),
        _ => key.ends_with("-us").then_some("TIME"),
    };
    // What has fields itself is none of these.
    if let (Some(stands), Some((before, value))) = (stands, line.split_once(": "))
        && !value.starts_with(['{', '['])
    {
        let after = if value.trim_end().ends_with(',') { ",\n" } else { "\n" };
        return format!("{before}: \"{stands}\"{after}");
    }
    let mut text = line.to_owned();
    for name in ["finite", "endless"] {
        while let Some(start) = find_id(&text, name) {
            text.replace_range(start..start + 6, "ID");
        }
    }
    text
}

/// Where the six digits of an id of a job `name` begin.
fn find_id(text: &str, name: &str) -> Option<usize> {
    let prefix = format!("{name}-");
    text.match_indices(&prefix).map(|(at, _)| at + prefix.len()).find(|&start| {
        let digits = text.as_bytes().get(start..start + 6);
        digits.is_some_and(|digits| digits.iter().all(|d| d.is_ascii_digit() || (b'a'..=b'f').contains(d)))
    })
}

#[test]
fn what_varies_is_replaced() {
    assert_eq!(steady("  \"submitted\": 123,\n"), "  \"submitted\": \"TIME\",\n");
    assert_eq!(steady("finite-00af3c finite-00af3c-x finite"), "finite-ID finite-ID-x finite");
}
