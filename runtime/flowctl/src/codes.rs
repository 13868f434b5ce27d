//! What the stable words mean that stand in errors for programs, in dead letters and in logs. Only words.

use flow_model::api::RefusalCode;
use flow_model::diagnostic::Code;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where a code is met, and what it means; none for one that is not known.
pub fn meaning(code: &str) -> Option<(&'static str, &'static str)> {
    if let Some(code) = known::<Code>(code) {
        return Some(("a problem in a pipeline file", of_diagnostic(code)));
    }
    if let Some(code) = known::<RefusalCode>(code).filter(|code| *code != RefusalCode::Unknown) {
        return Some(("a request that the server refuses", of_refusal(code)));
    }
    if let Some((_, meaning)) = ENGINE.iter().find(|(known, _)| *known == code) {
        return Some(("a record that was rejected", meaning));
    }
    CALLS.iter().find(|(known, _)| *known == code).map(|(_, meaning)| ("a call of flowctl that failed", *meaning))
}

fn known<T: DeserializeOwned>(code: &str) -> Option<T> {
    serde_json::from_value(Value::from(code)).ok()
}

fn of_diagnostic(code: Code) -> &'static str {
    match code {
        Code::TooLarge => {
            "The file is too large, nested too deeply, or grows too much by its aliases: split it, or put data beside it."
        }
        Code::Syntax => "The file is not UTF-8 or not YAML at that place.",
        Code::WrongType => {
            "A value is of another type than its field: text where a number belongs. `flowctl explain FIELD` says which."
        }
        Code::InvalidValue => "A value of the right type is not allowed. `flowctl explain FIELD` says what is.",
        Code::UnknownField => "There is no such field; most often it is a slip. `flowctl explain` lists the fields.",
        Code::MissingField => "A field that has to be there is not.",
        Code::Duplicate => "A field is given twice, or two of sources, operators and sinks have one name.",
        Code::Connector => "A source or sink has no connector, has several, or its connector can't be opened.",
        Code::UnknownInput => {
            "`from` names something that does not exist or has no output. `flowctl graph FILE` shows what there is."
        }
        Code::Cycle => "Operators read each other in a circle, which records would never leave.",
        Code::Empty => "The pipeline has no sources or no sinks.",
        Code::Unread => "Nobody reads the output of a source or an operator: its records are dropped. A warning.",
        Code::DeadLetter => {
            "An operator sends dead letters that no sink takes, or a sink takes dead letters where none are sent: \
             `on-error: dead-letter` of an operator and `from: dead-letter` of a sink belong together."
        }
        Code::KindMismatch => {
            "An operator's kind does not fit its place: a process needs `key`, the other kinds have none."
        }
        Code::Component => {
            "A component can't be used: it is no component, of another version, asks for what is not granted, or refuses its config. `flowctl plugin inspect FILE` says what it is."
        }
        Code::Reference => {
            "`${env:NAME}` or `${file:PATH}` leads to nothing: set the variable where flowd is started, or let flowd's user read the file."
        }
        Code::Room => {
            "The process that should run the job has too few memory maps or threads left for its subtasks: lower `parallelism`, cancel other jobs, or raise the limit that the message names."
        }
    }
}

fn of_refusal(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::BadRequest => {
            "The request is malformed. With flowctl and flowd of one version that is a fault of Flow."
        }
        RefusalCode::InvalidPipeline => {
            "The pipeline or a component can't run; its problems come with it, each with its place."
        }
        RefusalCode::Unauthorized => {
            "The server wants a token, and this is none or not its own: set FLOW_TOKEN, or the context's token."
        }
        RefusalCode::Forbidden => "A web page of another origin asks.",
        RefusalCode::NotFound => "No such job; `flowctl list` shows those that the server knows.",
        RefusalCode::MethodNotAllowed => "The path of the API takes another method.",
        RefusalCode::Conflict => "A job of that name runs already, or the job has ended.",
        RefusalCode::TooLarge => {
            "The pipeline with its components is larger than the server takes (`flowd standalone --body-max`)."
        }
        RefusalCode::TooSlow => "The upload came too slowly. Send it again, from nearer.",
        RefusalCode::Internal => "The server could not do it, and its log says why.",
        RefusalCode::Unavailable => "The server is stopping, has too many connections, or a store does not answer.",
        RefusalCode::Unknown => "A later server's word.",
    }
}

/// Of the engine's own; operators have others.
const ENGINE: [(&str, &str); 9] = [
    (
        "no-key",
        "The record has no key where a keyed operator needs one: `key` names a field that is missing, null or an object.",
    ),
    (
        "trap",
        "The operator stopped on this record: a panic, or endless recursion. The message has its text, the backtrace its functions.",
    ),
    (
        "timeout",
        "The operator took more CPU time for this record alone than `limits: {time-per-batch: …}`, and did so twice.",
    ),
    ("memory-limit", "The operator needed more memory for this record than `limits: {memory: …}`."),
    ("output-limit", "What the operator answered for this record is larger than `limits: {output-per-batch: …}`."),
    ("state-limit", "The states of the record's key would hold more than `limits: {state-per-key: …}`."),
    (
        "bad-answer",
        "The component answered something malformed: its SDK and this Flow do not fit, or it was not made with an SDK.",
    ),
    ("bad-json", "The value is no JSON, or not what the operator expects of it (from the SDK)."),
    ("bad-utf8", "The value is no UTF-8 text (from the SDK)."),
];

/// Of flowctl itself, as `-o json` tells them.
const CALLS: [(&str, &str); 9] = [
    ("invalid", "What was given can't be used: usage, a file, an address."),
    ("failed", "The operation failed; the message says why."),
    ("compile", "A crate does not compile; cargo has said why."),
    (
        "unreachable",
        "Nobody answers at the server's address. Start `flowd standalone`, or ask another coordinator of the cluster: name it with --server or --context.",
    ),
    ("no-answer", "The server takes connections and says nothing: it is stopped or has too much to do."),
    ("no-coordinator", "Another program answers at that address."),
    ("connection-lost", "The server went away while it was listened to."),
    ("job-failed", "The job failed; `flowctl logs JOB` has its last lines."),
    ("job-not-finished", "The job ended otherwise than by the end of its input."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_sort() {
        let check = |code: &str, sort: &str| assert_eq!(meaning(code).map(|(sort, _)| sort), Some(sort), "{code}");
        check("unknown-field", "a problem in a pipeline file");
        check("not-found", "a request that the server refuses");
        check("trap", "a record that was rejected");
        check("no-answer", "a call of flowctl that failed");
        assert_eq!((meaning("sources"), meaning("unknown"), meaning("anything")), (None, None, None));
    }
}
