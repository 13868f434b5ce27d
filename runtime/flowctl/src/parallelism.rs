//! How many subtasks somebody wants: `NODE=N` of `flowctl deploy`, `JOB/NODE=N` and `JOB=N` of `flowctl scale`. Only words: what a job can
//! have, the server says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use flow_model::api::Scale;
use flow_model::ids::{JobId, OperatorName};

use crate::exit::Failure;

/// A source, an operator or a sink, and how many subtasks it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of {
    node: OperatorName,
    count: u32,
}

/// The same of a job, or of all that a job has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfJob {
    job: JobId,
    /// All that it has if absent.
    node: Option<OperatorName>,
    count: u32,
}

/// `counts=4`.
pub fn of(text: &str) -> Result<Of, String> {
    let (node, count) = split(text, "NODE=N, such as counts=4")?;
    Ok(Of { node: name(node)?, count })
}

/// `orders/counts=4`, or `orders=4`.
pub fn of_job(text: &str) -> Result<OfJob, String> {
    let (of, count) = split(text, "JOB/NODE=N, such as orders/counts=4, or JOB=N for all that it has")?;
    let (job, node) = of.split_once('/').map_or((of, None), |(job, node)| (job, Some(node)));
    let job = JobId::new(job).map_err(|error| error.to_string())?;
    Ok(OfJob { job, node: node.map(name).transpose()?, count })
}

fn split<'a>(text: &'a str, form: &str) -> Result<(&'a str, u32), String> {
    let (of, count) = text.split_once('=').ok_or_else(|| format!("write {form}"))?;
    match count.parse() {
        Ok(0) => Err("it needs 1 subtask at least".to_owned()),
        Ok(count) => Ok((of, count)),
        Err(_) => Err(format!("\"{count}\" is no number of subtasks; write {form}")),
    }
}

fn name(text: &str) -> Result<OperatorName, String> {
    OperatorName::new(text).map_err(|error| error.to_string())
}

/// What is given of one pipeline, each once.
pub fn all(given: &[Of]) -> Result<BTreeMap<OperatorName, u32>, Failure> {
    let mut all = BTreeMap::new();
    for Of { node, count } in given {
        put(&mut all, node, *count)?;
    }
    Ok(all)
}

/// The job that is meant, and what it is to have.
pub fn scale(given: &[OfJob]) -> Result<(&JobId, Scale), Failure> {
    let mut scale = Scale::default();
    let job = &given.first().ok_or_else(|| Failure::invalid("no job is named"))?.job;
    for one in given {
        if one.job != *job {
            return Err(
                Failure::invalid(format!("{job} and {} are two jobs", one.job)).hint("scale one after the other")
            );
        }
        match &one.node {
            Some(node) => put(&mut scale.parallelism, node, one.count)?,
            None if scale.all.is_some() => return Err(twice(job.as_str())),
            None => scale.all = Some(one.count),
        }
    }
    Ok((job, scale))
}

fn put(all: &mut BTreeMap<OperatorName, u32>, node: &OperatorName, count: u32) -> Result<(), Failure> {
    match all.entry(node.clone()) {
        Entry::Vacant(free) => _ = free.insert(count),
        Entry::Occupied(_) => return Err(twice(node.as_str())),
    }
    Ok(())
}

fn twice(what: &str) -> Failure {
    Failure::invalid(format!("{what} is given twice")).hint("say once how many subtasks it is to have")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let good = |text: &str, job: &str, node: Option<&str>, count: u32| {
            let one = of_job(text).expect(text);
            assert_eq!((one.job.as_str(), one.node.as_ref().map(OperatorName::as_str), one.count), (job, node, count));
        };
        good("orders/counts=4", "orders", Some("counts"), 4);
        good("orders-3f9a2c=2", "orders-3f9a2c", None, 2);
        let bad = |text: &str, expect: &str| {
            let error = of_job(text).expect_err(text);
            assert!(error.contains(expect), "{text}: {error}");
        };
        bad("orders", "write JOB/NODE=N");
        bad("orders=", "\"\" is no number of subtasks");
        bad("orders=-1", "\"-1\" is no number of subtasks");
        bad("orders/counts=0", "1 subtask at least");
        bad("orders/a/b=1", "\"a/b\" is no valid name");
        bad("../x=1", "\"..\" is no valid name");
        assert_eq!(of("counts=4").map(|one| (one.node.to_string(), one.count)), Ok(("counts".to_owned(), 4)));
        assert!(of("counts").is_err_and(|error| error.contains("write NODE=N")));
    }

    #[test]
    fn what_a_job_is_to_have() {
        let given = |all: &[&str]| all.iter().map(|text| of_job(text).expect(text)).collect::<Vec<_>>();
        let json = |all: &[&str]| {
            let all = given(all);
            let (job, scale) = scale(&all).map_err(|failure| failure.message)?;
            Ok::<_, String>(format!("{job} {}", serde_json::to_string(&scale).expect("JSON")))
        };
        assert_eq!(json(&["a/b=1", "a/c=2"]).as_deref(), Ok(r#"a {"parallelism":{"b":1,"c":2}}"#));
        assert_eq!(json(&["a=3"]).as_deref(), Ok(r#"a {"parallelism":{},"all":3}"#));
        assert_eq!(json(&["a=3", "a/b=1"]).as_deref(), Ok(r#"a {"parallelism":{"b":1},"all":3}"#));
        assert_eq!(json(&["a/b=1", "b/b=1"]), Err("a and b are two jobs".to_owned()));
        assert_eq!(json(&["a/b=1", "a/b=1"]), Err("b is given twice".to_owned()));
        assert_eq!(json(&["a=1", "a=2"]), Err("a is given twice".to_owned()));
    }
}
