//! The nearest right name, for error messages. Imports nothing, so that every module may use it.

/// Least Jaro-Winkler similarity at which a name is worth suggesting.
const SIMILARITY_MIN: f64 = 0.72;

/// The candidate most like `name`, if one is near enough to be a likely slip.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// The same as the end of a sentence: empty, or a space and `did you mean "…"?`.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|found| format!(" (did you mean `{found}`?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_a_near_name_and_nothing_for_a_far_one() {
        let names = ["production", "staging", "development"];
        assert_eq!(nearest("prod", names), Some("production"));
        assert_eq!(nearest("Stageing", names), Some("staging"));
        assert_eq!(nearest("xyz", names), None);
        assert_eq!(did_you_mean("max_iteration", ["max_iterations"]), " (did you mean `max_iterations`?)");
    }
}
