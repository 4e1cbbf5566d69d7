//! `--shard`: which part of the images this machine copies, as typed or as the engine that runs many machines says.

use std::path::PathBuf;

use super::{setting, usage};
use crate::{
    cli::ShardArgs,
    error::{Failure, Kind},
    shard::{ShardNumber, ShardNumberError},
};

/// A shard, and what the images are divided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardSettings {
    pub(crate) number: ShardNumber,
    /// The file with the sizes of the images; by default the lock, if it exists.
    pub(crate) plan: Option<PathBuf>,
}

impl ShardSettings {
    pub(super) fn new(args: ShardArgs) -> Result<Option<Self>, Failure> {
        let ShardArgs { shard, shards, plan } = args;
        let Some(shard) = shard else { return Ok(None) };
        let number = if shard == "auto" {
            from_engine(shards, |name| setting::variable(name).map(|setting| setting.value))?
        } else {
            typed(&shard, shards)?
        };
        Ok(Some(Self { number, plan }))
    }
}

fn typed(shard: &str, shards: Option<u32>) -> Result<ShardNumber, Failure> {
    let number: ShardNumber = shard.parse().map_err(|error: ShardNumberError| {
        usage(format!("--shard {shard}: {error}"))
            .with_hint("write it as I/N with I from 0 to N-1, for example --shard 0/4; or pass --shard auto")
    })?;
    match shards.filter(|shards| *shards != number.count) {
        Some(shards) => Err(usage(format!("--shard {shard} and --shards {shards} disagree"))
            .with_hint("omit --shards: it is for --shard auto")),
        None => Ok(number),
    }
}

/// A program that starts many machines and gives each a number.
struct Engine {
    name: &'static str,
    /// The variable with the number of this machine.
    index: &'static str,
    /// The number of the first machine, or the variable that holds it.
    first: First,
    /// The variables that hold how many machines there are, if any.
    total: Total,
}

enum First {
    Number(u32),
    Variable(&'static str),
}

enum Total {
    /// Nothing says it.
    Unknown,
    /// This variable, which older versions may not set.
    Optional(&'static str),
    Variable(&'static str),
    /// The last number.
    Last(&'static str),
}

const ENGINES: [Engine; 5] = [
    Engine {
        name: "Kubernetes",
        index: "JOB_COMPLETION_INDEX",
        first: First::Number(0),
        total: Total::Unknown,
    },
    Engine {
        name: "Slurm",
        index: "SLURM_ARRAY_TASK_ID",
        first: First::Variable("SLURM_ARRAY_TASK_MIN"),
        total: Total::Last("SLURM_ARRAY_TASK_MAX"),
    },
    Engine {
        name: "AWS Batch",
        index: "AWS_BATCH_JOB_ARRAY_INDEX",
        first: First::Number(0),
        total: Total::Optional("AWS_BATCH_JOB_ARRAY_SIZE"),
    },
    Engine {
        name: "GitLab",
        index: "CI_NODE_INDEX",
        first: First::Number(1),
        total: Total::Variable("CI_NODE_TOTAL"),
    },
    Engine {
        name: "CircleCI",
        index: "CIRCLE_NODE_INDEX",
        first: First::Number(0),
        total: Total::Variable("CIRCLE_NODE_TOTAL"),
    },
];
/// Slurm's step between the numbers of an array.
const SLURM_STEP: &str = "SLURM_ARRAY_TASK_STEP";
/// How many tasks a Slurm array has.
const SLURM_COUNT: &str = "SLURM_ARRAY_TASK_COUNT";

/// The shard that the only engine in the environment names. `shards` is `--shards`.
fn from_engine(
    shards: Option<u32>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ShardNumber, Failure> {
    let found: Vec<&Engine> = ENGINES.iter().filter(|engine| variable(engine.index).is_some()).collect();
    let engine = match found.as_slice() {
        [engine] => *engine,
        [] => {
            let names = ENGINES.map(|engine| format!("{} ({})", engine.index, engine.name)).join(", ");
            return Err(usage(format!("--shard auto: none of these variables is set: {names}"))
                .with_hint("pass --shard I/N with I from 0 to N-1, for example --shard 0/4"));
        }
        several => {
            let set = several.iter().map(|engine| format!("{} ({})", engine.index, engine.name));
            let set = set.collect::<Vec<_>>().join(" and ");
            return Err(usage(format!(
                "--shard auto: {set} are set, but only one engine can number the shards"
            ))
            .with_hint("pass --shard I/N, or unset the variables of the other engine"));
        }
    };
    let reader = Reader { engine, variable: &variable };
    let index = reader.number(engine.index)?;
    let first = match engine.first {
        First::Number(first) => first,
        First::Variable(name) => reader.number(name)?,
    };
    let total = match engine.total {
        Total::Unknown => None,
        Total::Optional(name) => variable(name).map(|_| reader.number(name)).transpose()?,
        Total::Variable(name) => Some(reader.number(name)?),
        Total::Last(name) => {
            let last = reader.number(name)?;
            let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
            let count =
                count.ok_or_else(|| reader.wrong(&format!("{name} is less than the first, {first}")))?;
            reader.refuse_sparse(count)?;
            Some(count)
        }
    };
    let count = match (total, shards) {
        (Some(total), Some(shards)) if total != shards => {
            return Err(reader.wrong(&format!("it runs {total} tasks, but --shards is {shards}")).with_hint(
                "omit --shards; to repeat a single shard, pass its number: --shard I/N with I from 0 to N-1",
            ));
        }
        (Some(count), _) | (None, Some(count)) => count,
        (None, None) => {
            let message =
                format!("{} is set, but {} does not say how many there are", engine.index, engine.name);
            return Err(usage(format!("--shard auto: {message}")).with_hint("pass --shards N"));
        }
    };
    let index = index
        .checked_sub(first)
        .ok_or_else(|| reader.wrong(&format!("{} is {index}, less than the first, {first}", engine.index)))?;
    ShardNumber::new(index, count).map_err(|error| reader.wrong(&error.to_string()))
}

/// Reads the variables of one engine.
struct Reader<'a, V> {
    engine: &'a Engine,
    variable: &'a V,
}

impl<V: Fn(&str) -> Option<String>> Reader<'_, V> {
    fn number(&self, name: &str) -> Result<u32, Failure> {
        let Some(text) = (self.variable)(name) else {
            let message = format!("{} is set, but {name} is not", self.engine.index);
            return Err(usage(format!("--shard auto: {message}")).with_hint("pass --shard I/N"));
        };
        text.trim().parse().map_err(|_| self.wrong(&format!("{name} is `{text}`, not a number")))
    }

    /// Refuses arrays such as `0-6:2` and `1,5,9`: their numbers are not those of shards.
    fn refuse_sparse(&self, count: u32) -> Result<(), Failure> {
        let step = (self.variable)(SLURM_STEP).map(|_| self.number(SLURM_STEP)).transpose()?;
        let tasks = (self.variable)(SLURM_COUNT).map(|_| self.number(SLURM_COUNT)).transpose()?;
        let problem = match (step, tasks) {
            (Some(step), _) if step > 1 => format!("the array has a step of {step} ({SLURM_STEP})"),
            (_, Some(tasks)) if tasks != count => {
                format!("the array has {tasks} tasks ({SLURM_COUNT}), but numbers for {count}")
            }
            _ => return Ok(()),
        };
        Err(self.wrong(&problem).with_hint(
            "number the tasks without gaps, for example sbatch --array=0-7; to repeat a single shard, pass --shard I/N",
        ))
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::new(Kind::Usage, format!("--shard auto ({}): {what}", self.engine.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(variables: &[(&str, &str)], shards: Option<u32>) -> Result<String, String> {
        let value = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let failed = |failure: Failure| format!("{} [{}]", failure.message, failure.hint.unwrap_or_default());
        from_engine(shards, value).map(|shard| shard.to_string()).map_err(failed)
    }

    fn slurm(numbers: [&str; 5]) -> Vec<(&'static str, &str)> {
        let names = [
            "SLURM_ARRAY_TASK_ID",
            "SLURM_ARRAY_TASK_MIN",
            "SLURM_ARRAY_TASK_MAX",
            "SLURM_ARRAY_TASK_STEP",
            "SLURM_ARRAY_TASK_COUNT",
        ];
        names.into_iter().zip(numbers).filter(|(_, number)| !number.is_empty()).collect()
    }

    #[test]
    fn every_engine_names_a_shard() {
        let kubernetes = [("JOB_COMPLETION_INDEX", "3")];
        assert_eq!(auto(&kubernetes, Some(8)).unwrap(), "3/8");
        assert_eq!(auto(&slurm(["5", "1", "8", "1", "8"]), None).unwrap(), "4/8");
        assert_eq!(auto(&slurm(["0", "0", "3", "", ""]), Some(4)).unwrap(), "0/4");
        let batch = [("AWS_BATCH_JOB_ARRAY_INDEX", "0"), ("AWS_BATCH_JOB_ARRAY_SIZE", "6")];
        assert_eq!(auto(&batch, None).unwrap(), "0/6");
        assert_eq!(auto(&batch[..1], Some(5)).unwrap(), "0/5");
        assert_eq!(auto(&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "4")], None).unwrap(), "0/4");
        assert_eq!(auto(&[("CI_NODE_INDEX", "4"), ("CI_NODE_TOTAL", "4")], None).unwrap(), "3/4");
        assert_eq!(auto(&[("CIRCLE_NODE_INDEX", "2"), ("CIRCLE_NODE_TOTAL", "4")], None).unwrap(), "2/4");
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = auto(&[], Some(4)).unwrap_err();
        assert!(none.contains("none of these variables is set") && none.contains("CI_NODE_INDEX"), "{none}");
        for (variables, missing) in [
            (vec![("JOB_COMPLETION_INDEX", "0")], "--shards N"),
            (vec![("AWS_BATCH_JOB_ARRAY_INDEX", "0")], "--shards N"),
            (vec![("CI_NODE_INDEX", "1")], "CI_NODE_TOTAL is not"),
            (vec![("CIRCLE_NODE_INDEX", "1")], "CIRCLE_NODE_TOTAL is not"),
            (slurm(["1", "", "8", "", ""]), "SLURM_ARRAY_TASK_MIN is not"),
            (slurm(["1", "0", "", "", ""]), "SLURM_ARRAY_TASK_MAX is not"),
        ] {
            let refused = auto(&variables, None).unwrap_err();
            assert!(refused.contains(missing) && refused.contains(variables[0].0), "{refused}");
        }
    }

    #[test]
    fn two_engines_are_refused() {
        let refused =
            auto(&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "4"), ("JOB_COMPLETION_INDEX", "0")], None);
        let refused = refused.unwrap_err();
        assert!(
            refused.contains("JOB_COMPLETION_INDEX (Kubernetes) and CI_NODE_INDEX (GitLab)"),
            "{refused}"
        );
    }

    #[test]
    fn sparse_arrays_are_refused() {
        let step = auto(&slurm(["2", "0", "6", "2", "4"]), None).unwrap_err();
        assert!(step.contains("a step of 2") && step.contains("--array=0-7"), "{step}");
        let gaps = auto(&slurm(["5", "1", "9", "1", "3"]), None).unwrap_err();
        assert!(gaps.contains("3 tasks (SLURM_ARRAY_TASK_COUNT), but numbers for 9"), "{gaps}");
        let single = auto(&slurm(["3", "3", "3", "1", "1"]), Some(8)).unwrap_err();
        assert!(single.contains("1 tasks, but --shards is 8") && single.contains("--shard I/N"), "{single}");
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for variables in [
            vec![("JOB_COMPLETION_INDEX", "4")],
            vec![("JOB_COMPLETION_INDEX", "x")],
            vec![("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "4")],
            vec![("CI_NODE_INDEX", "5"), ("CI_NODE_TOTAL", "4")],
            slurm(["0", "4", "1", "", ""]),
        ] {
            auto(&variables, Some(4)).unwrap_err();
        }
    }

    #[test]
    fn a_typed_shard_is_checked() {
        let check = |shard: &str, shards| typed(shard, shards).map_err(|failure| failure.message);
        assert_eq!(check("1/4", Some(4)).unwrap().to_string(), "1/4");
        assert_eq!(check("1/4", Some(5)).unwrap_err(), "--shard 1/4 and --shards 5 disagree");
        assert!(check("4/4", None).unwrap_err().contains("the first is 0 and the last is 3"));
        assert!(check("all", None).unwrap_err().contains("`all` is not I/N"));
    }
}
