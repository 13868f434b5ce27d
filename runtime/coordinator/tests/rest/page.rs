//! The page as files. What it does in a browser the end-to-end tests say.

use crate::bodies::exchange;
use crate::server::Server;

fn get(server: &Server, path: &str) -> (String, String) {
    let answer = exchange(server, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"), b"");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_page_is_whole_and_takes_nothing_from_elsewhere() {
    let server = Server::start();
    let mut paths = vec!["/".to_owned()];
    let mut seen = 0;
    while let Some(path) = paths.get(seen).cloned() {
        let (head, body) = get(&server, &path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        for header in
            ["content-security-policy: default-src 'none'; script-src 'self';", "x-content-type-options: nosniff"]
        {
            assert!(head.contains(header), "{path}: {header} in {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
        for foreign in body.match_indices("://").map(|(at, _)| &body[at..]) {
            assert!(foreign.starts_with("://www.w3.org/2000/svg"), "{path} names another server: {:.60}", foreign);
        }
        // Files that it names, in HTML and in imports.
        for named in body.split(['"', '\'']).filter(|word| word.starts_with("/web/") || word.starts_with("./")) {
            let named = named.replace("./", "/web/");
            if !paths.contains(&named) {
                paths.push(named);
            }
        }
        seen += 1;
    }
    assert!(seen >= 7, "{paths:?}");
    let (_, html) = get(&server, "/");
    for inline in ["<style", "style=", "onclick", "onload", "<script>"] {
        assert!(!html.contains(inline), "{inline}: its own rules forbid it");
    }
}
