#[cfg(test)]
mod demo_scenario;
