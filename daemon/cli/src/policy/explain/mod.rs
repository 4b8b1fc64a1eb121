//! `bulkhead policy explain`: what becomes of one packet on its whole way, who says so and where it is written,
//! and the smallest change that would turn it around.
//!
//! Asked of files, or of a daemon. A daemon answers with a snapshot of what it knows about the question, so
//! that both are told by the same words from the same objects.

mod answer;
mod end;
mod enforced;
mod guard;
mod says;
mod scene;
mod text;
mod way;

use std::path::PathBuf;

use bulkhead_ipam::wire::admin::{Circumstances, Reply, Request};
use bulkhead_model::Family;
use bulkhead_policy::Question;
use bulkhead_policy::read::{Reader, Reading};
use clap::Args;
use serde::Serialize;

use super::PolicyError;
use super::objects::{circumstances_in, outcome, texts};
use crate::daemon::Reach;
use crate::failure::{Failure, Outcome};
use crate::output::Format;
use answer::Answer;
use scene::{Asked, Scene};

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// What is asked: `web/a to db/b:5432/tcp`, or `'web/a -> db/b:5432/tcp'` in quotes, since `>` is the
    /// shell's. An end is a pod or an address, `[ADDRESS]` where a port follows an IPv6 address.
    #[arg(required = true, value_name = "QUESTION")]
    question: Vec<String>,

    /// Objects, YAML or JSON: a file, a directory with such files, or standard input (`-`). May be given
    /// several times. Without any the node daemon is asked. A snapshot has the way of packets too.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(args: &ExplainArgs, format: Format) -> Outcome {
    // The same of a daemon as of files.
    let formed = Question::is_formed(&args.text()).map_err(|error| PolicyError::from(error).into());
    let (reading, seen) = match formed.and_then(|()| args.known()) {
        Ok(known) => known,
        Err(failure) => return Outcome::partial(String::new(), &[failure]),
    };
    match told(&args.text(), &reading, seen.as_ref(), format) {
        Ok(stdout) => outcome(stdout, &reading),
        Err(failure) => Outcome::partial(String::new(), &[failure]),
    }
}

impl ExplainArgs {
    fn text(&self) -> String {
        self.question.join(" ")
    }

    /// What there is, and what the node has seen of the way.
    fn known(&self) -> Result<(Reading, Option<Circumstances>), Failure> {
        let texts = if self.files.is_empty() {
            // What has no place of its own is named alone: nobody can open what the daemon says.
            vec![(String::new(), self.snapshot()?)]
        } else {
            texts(&self.files)?
        };
        let mut reader = Reader::new();
        for (file, text) in &texts {
            let read = reader.read(file, text);
            read.map_err(|source| PolicyError::Syntax {
                file: file.clone(),
                source,
            })?;
        }
        let seen = texts.iter().find_map(|(_, text)| circumstances_in(text));
        Ok((reader.finish(), seen))
    }

    fn snapshot(&self) -> Result<String, Failure> {
        let about = Some(self.text());
        let request = Request::PolicySnapshot { about };
        let documents = self.reach.daemon()?.all(&request, |reply| match reply {
            Reply::Written { documents } => Some(documents),
            _ => None,
        })?;
        Ok(documents.join("---\n"))
    }
}

fn told(
    text: &str,
    reading: &Reading,
    seen: Option<&Circumstances>,
    format: Format,
) -> Result<String, Failure> {
    let world = &reading.world;
    let question = Question::read(text, world).map_err(PolicyError::from)?;
    let asked = Asked::of(world, question, seen);
    asked
        .real
        .concerns_somebody(world)
        .map_err(PolicyError::from)?;
    let answers: Vec<Answer> = [Family::V4, Family::V6]
        .into_iter()
        .filter_map(|family| Scene::of(world, &asked, seen, family))
        .map(|scene| Answer::of(&scene))
        .collect();
    if answers.is_empty() {
        return Err(PolicyError::NoWay(asked.posed.to_string()).into());
    }
    let told = Told {
        question: asked.posed.to_string(),
        node: seen.map(|seen| seen.node.name.clone()),
        at_unix_ms: seen.map(|seen| seen.at_unix_ms),
        revision: seen.map(|seen| seen.revision),
        gaps: seen.map_or_else(Vec::new, |seen| seen.gaps.clone()),
        families: answers,
    };
    Ok(format.render(&told, |_| told.text()))
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    question: String,
    /// Whose view it is; none where nothing but objects is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_unix_ms: Option<u64>,
    /// Of the policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// What the node could not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<String>,
    families: Vec<Answer>,
}
