//! The planner that plays a scenario file. It says so on screen.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::scenario::{Branch, Scenario, Step};
use super::template::{self, BadReference, Results};
use super::{Message, Plan, Planner, PlannerError, Role, ToolCall, ToolResultView, ToolSpecView};

/// Plays the steps that a file holds for a prompt; asks no model.
#[derive(Clone, Debug)]
pub struct ScriptedPlanner {
    path: PathBuf,
    scenario: Scenario,
}

impl ScriptedPlanner {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// Unknown keys and wrong types with their line; a prompt or step that is there twice; a
    /// reference to a step that the file does not hold.
    pub fn load(path: &Path) -> Result<Self, PlannerError> {
        Ok(ScriptedPlanner { path: path.to_owned(), scenario: Scenario::load(path)? })
    }

    /// The prompts it knows, in the order of the file.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        self.scenario.prompts.iter().map(|script| script.prompt.as_str())
    }

    fn unknown(&self, prompt: &str) -> Plan {
        let known: Vec<String> = self.prompts().map(|known| format!("- {known}")).collect();
        let shown: String = prompt.chars().take(200).collect();
        let answer = format!("I play a script and do not know \"{shown}\". I know:\n{}", known.join("\n"));
        Plan::Finish { answer }
    }

    fn plan(&self, conversation: &[Message]) -> Result<Plan, PlannerError> {
        let mut results = Results::new();
        let mut place: Option<Place<'_>> = None;
        for message in conversation {
            match message.role {
                Role::User => {
                    let script = self.scenario.find(&message.content);
                    place = Some(script.map_or(Place::Unknown(&message.content), |script| Place::at(&script.branch)));
                }
                // What was asked for shows in what came back; a call without a result is asked for again.
                Role::Assistant => {}
                Role::Tool => {
                    if let (Some(before), Some(result)) = (place.take(), &message.result) {
                        place = Some(before.after(result, &mut results)?);
                    }
                }
            }
        }
        match place.ok_or(PlannerError::NoPrompt)? {
            Place::Unknown(prompt) => Ok(self.unknown(prompt)),
            Place::Stopped { answer } => Ok(Plan::Finish { answer }),
            Place::Step { branch, next } => match branch.steps.get(next) {
                Some(step) => call(step, &results),
                None => {
                    let last = branch.steps.last().map_or("answer", |step| step.id.as_str());
                    let answer = template::render(&branch.answer, &results).map_err(|bad| reference(last, bad))?;
                    Ok(Plan::Finish { answer: answer.trim_end().to_owned() })
                }
            },
        }
    }
}

#[async_trait]
impl Planner for ScriptedPlanner {
    async fn next(&self, conversation: &[Message], _tools: &[&ToolSpecView]) -> Result<Plan, PlannerError> {
        self.plan(conversation)
    }

    fn describe(&self) -> String {
        format!("scripted planner ({}): no model is asked", self.path.display())
    }
}

/// Where a conversation stands in the scenario.
enum Place<'s> {
    Unknown(&'s str),
    Step {
        branch: &'s Branch,
        next: usize,
    },
    /// A call was refused or failed, and the file does not say how to go on.
    Stopped {
        answer: String,
    },
}

impl<'s> Place<'s> {
    fn at(branch: &'s Branch) -> Self {
        Place::Step { branch, next: 0 }
    }

    /// The place after one more result.
    fn after(self, result: &'s ToolResultView, results: &mut Results<'s>) -> Result<Self, PlannerError> {
        let (branch, next) = match self {
            Place::Unknown(_) | Place::Stopped { .. } => return Ok(self),
            Place::Step { branch, next } => (branch, next),
        };
        let Some(step) = branch.steps.get(next) else { return Ok(Place::Step { branch, next }) };
        if result.tool_name != step.tool.as_str() {
            return Err(PlannerError::Diverged {
                step: step.id.clone(),
                expected: step.tool.to_string(),
                found: result.tool_name.clone(),
            });
        }
        results.insert(&step.id, &result.value);
        Ok(if result.ok {
            Place::Step { branch, next: next + 1 }
        } else if result.denied {
            let answer = || format!("{} was not authorized, so it was not run. I stop here.", step.tool);
            step.on_denied.as_ref().map_or_else(|| Place::Stopped { answer: answer() }, Place::at)
        } else {
            let answer = || format!("{} failed: {}. I stop here.", step.tool, template::shown(&result.value));
            step.on_error.as_ref().map_or_else(|| Place::Stopped { answer: answer() }, Place::at)
        })
    }
}

fn call(step: &Step, results: &Results<'_>) -> Result<Plan, PlannerError> {
    let bad = |error| reference(&step.id, error);
    Ok(Plan::Call {
        thought: template::render(&step.thought, results).map_err(bad)?.trim_end().to_owned(),
        call: ToolCall {
            name: step.tool.to_string(),
            parameters: template::render_map(&step.parameters, results).map_err(bad)?,
        },
    })
}

fn reference(step: &str, bad: BadReference) -> PlannerError {
    PlannerError::Reference { step: step.to_owned(), reference: bad.reference, problem: bad.problem }
}

#[cfg(test)]
#[path = "scripted_tests.rs"]
mod tests;
